"""What a reflector has seen: objects by name, indexes, and what changed. Objects in it are never changed in place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["ByLabel", "Change", "Key", "Store", "by_owner", "key_of"]

Key = tuple[str, str]
"""Namespace and name."""
Object = Mapping[str, Any]
Index = Callable[[Object], Iterable[str]]
"""The values under which an object is found."""


def key_of(document: Object) -> Key:
    """Return an object's namespace and name."""
    metadata = document["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def by_owner(document: Object) -> Iterable[str]:
    """Index: the uids of an object's owners."""
    return [owner["uid"] for owner in document["metadata"].get("ownerReferences") or ()]


@dataclass(frozen=True)
class ByLabel:
    """Index: the value of a label."""

    label: str

    def __call__(self, document: Object) -> Iterable[str]:
        """Return the label's value, if there is one."""
        value = (document["metadata"].get("labels") or {}).get(self.label)
        return () if value is None else (value,)


@dataclass(frozen=True)
class Change:
    """``old`` is None for a new object, ``new`` for one that is gone (``old`` is then the last that was seen)."""

    old: Object | None
    new: Object | None

    @property
    def object(self) -> Object:
        """The newest state that is known."""
        found = self.old if self.new is None else self.new
        assert found is not None
        return found


class Store:
    """Objects of one kind.

    Args:
        indexes: Name → index, for `by`.
    """

    def __init__(self, indexes: Mapping[str, Index] | None = None) -> None:
        self._indexes = dict(indexes or {})
        self._objects: dict[Key, Object] = {}
        self._found: dict[str, dict[str, dict[Key, None]]] = {name: {} for name in self._indexes}

    def add_index(self, name: str, index: Index) -> None:
        """Have objects found by one more property; nothing happens if there is an index of that name."""
        if name in self._indexes:
            return
        self._indexes[name] = index
        found = self._found[name] = {}
        for key, document in self._objects.items():
            for value in index(document):
                found.setdefault(value, {})[key] = None

    def __len__(self) -> int:
        return len(self._objects)

    def __iter__(self) -> Iterator[Object]:
        return iter(list(self._objects.values()))

    def get(self, namespace: str, name: str) -> Object | None:
        """Return an object, or None."""
        return self._objects.get((namespace, name))

    def names(self) -> list[Key]:
        """Return the names of all objects."""
        return list(self._objects)

    def by(self, index: str, value: str) -> list[Object]:
        """Return the objects that an index finds under a value, in the order in which they came.

        Raises:
            KeyError: There is no such index.
        """
        return [self._objects[key] for key in self._found[index].get(value, ())]

    def put(self, document: Object) -> Change | None:
        """Take a newer state; None if it is the one that is there already."""
        key = key_of(document)
        old = self._objects.get(key)
        if old is not None and _revision(old) == _revision(document) and _uid(old) == _uid(document):
            return None
        document = _without_managed_fields(document)
        if old is not None:
            self._unindex(key, old)
        self._objects[key] = document
        for name, index in self._indexes.items():
            for value in index(document):
                self._found[name].setdefault(value, {})[key] = None
        return Change(old, document)

    def drop(self, key: Key, last: Object | None = None) -> Change | None:
        """Forget an object; ``last``: its last state, if it is known better than here."""
        old = self._objects.pop(key, None)
        if old is None:
            return None
        self._unindex(key, old)
        return Change(old if last is None else _without_managed_fields(last), None)

    def _unindex(self, key: Key, document: Object) -> None:
        for name, index in self._indexes.items():
            for value in index(document):
                under = self._found[name].get(value)
                if under is not None:
                    under.pop(key, None)
                    if not under:
                        del self._found[name][value]


def _revision(document: Object) -> Any:
    return document["metadata"].get("resourceVersion")


def _uid(document: Object) -> Any:
    return document["metadata"].get("uid")


def _without_managed_fields(document: Object) -> Object:
    # Half of an object's memory, and nothing that decisions look at.
    metadata = document["metadata"]
    if "managedFields" not in metadata:
        return document
    left = {name: value for name, value in metadata.items() if name != "managedFields"}
    return {**document, "metadata": left}
