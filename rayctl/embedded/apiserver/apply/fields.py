"""Sets of fields, in the form that ``managedFields`` has on the wire (FieldsV1).

A path is made of elements: ``f:name`` (a field or a map's key), ``k:{"name":"a"}`` (an element of a list by key),
``v:"a"`` (an element of a set). The semantics are those of Kubernetes' structured merge: a set has *members*, and a
member's children may be members or not.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

__all__ = ["Fields", "key_element", "name_element", "shown_path", "value_element"]

Path = tuple[str, ...]


def name_element(name: str) -> str:
    """Return the element of a field or a map's key."""
    return f"f:{name}"


def key_element(keys: dict[str, Any]) -> str:
    """Return the element of a list's element with these keys."""
    return f"k:{json.dumps(keys, separators=(',', ':'), sort_keys=True, ensure_ascii=False)}"


def value_element(value: Any) -> str:
    """Return the element of a set's element."""
    return f"v:{json.dumps(value, separators=(',', ':'), ensure_ascii=False)}"


class Fields:
    """A set of paths. ``member``: whether this very path is in it. Treated as immutable once it is built."""

    __slots__ = ("children", "member")

    def __init__(self, member: bool = False, children: dict[str, Fields] | None = None) -> None:
        self.member = member
        self.children = {} if children is None else children

    @property
    def empty(self) -> bool:
        """Whether nothing is in it."""
        return not self.member and not self.children

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fields) and self.member == other.member and self.children == other.children

    __hash__ = None  # type: ignore[assignment]

    # Forms --------------------------------------------------------------------------------------------

    @staticmethod
    def parse(document: Any) -> Fields:
        """Read FieldsV1.

        Raises:
            ValueError: It is none.
        """
        if not isinstance(document, dict):
            raise ValueError("fieldsV1 is not an object")
        root = Fields._node(document)
        root.member = False
        return root

    @staticmethod
    def _node(document: dict[str, Any]) -> Fields:
        children = {}
        for name, below in document.items():
            if name == ".":
                continue
            if len(name) < 2 or name[1] != ":" or name[0] not in "fkvi" or not isinstance(below, dict):
                raise ValueError(f"fieldsV1 has an unknown element {name!r}")
            children[_canonical(name)] = Fields._node(below)
        return Fields(not document or "." in document, children)

    def document(self) -> dict[str, Any]:
        """Return FieldsV1, in a fixed order."""
        found: dict[str, Any] = {name: self.children[name]._document() for name in sorted(self.children)}
        return found

    def _document(self) -> dict[str, Any]:
        below = self.document()
        return {".": {}, **below} if self.member and below else below

    def paths(self, prefix: Path = ()) -> Iterator[Path]:
        """Yield the members."""
        for name in sorted(self.children):
            child = self.children[name]
            path = (*prefix, name)
            if child.member:
                yield path
            yield from child.paths(path)

    # Building -----------------------------------------------------------------------------------------

    def add(self, path: Path) -> None:
        """Make a path a member (only while the set is being built)."""
        node = self
        for name in path:
            node = node.children.setdefault(name, Fields())
        node.member = True

    def has(self, name: str) -> bool:
        """Whether a child is a member."""
        child = self.children.get(name)
        return child is not None and child.member

    # Algebra ------------------------------------------------------------------------------------------

    def union(self, other: Fields) -> Fields:
        """Return what is in either."""
        children = dict(self.children)
        for name, child in other.children.items():
            mine = children.get(name)
            children[name] = child if mine is None else mine.union(child)
        return Fields(self.member or other.member, children)

    def intersection(self, other: Fields) -> Fields:
        """Return what is in both."""
        children = {}
        for name, child in self.children.items():
            others = other.children.get(name)
            if others is not None:
                found = child.intersection(others)
                if not found.empty:
                    children[name] = found
        return Fields(self.member and other.member, children)

    def difference(self, other: Fields) -> Fields:
        """Return what is in this one only."""
        children = {}
        for name, child in self.children.items():
            others = other.children.get(name)
            found = child if others is None else child.difference(others)
            if not found.empty:
                children[name] = found
        return Fields(self.member and not other.member, children)

    def without_below(self, other: Fields) -> Fields:
        """Return what is in this one, without the members of the other and everything below them."""
        children = {}
        for name, child in self.children.items():
            others = other.children.get(name)
            if others is None:
                children[name] = child
            elif not others.member:
                found = child.without_below(others)
                if not found.empty:
                    children[name] = found
        return Fields(self.member, children)


def _canonical(name: str) -> str:
    if name[0] in "kv":
        value = json.loads(name[2:])
        return key_element(value) if name[0] == "k" else value_element(value)
    return name


def shown_path(path: Path) -> str:
    """Return a path as conflicts name it: ``.spec.ports[number=80,protocol="TCP"].name``."""
    parts = []
    for name in path:
        kind, text = name[0], name[2:]
        if kind == "f":
            parts.append(f".{text}")
        elif kind == "k":
            keys = json.loads(text)
            shown = ",".join(f"{key}={json.dumps(keys[key], ensure_ascii=False)}" for key in sorted(keys))
            parts.append(f"[{shown}]")
        elif kind == "v":
            parts.append(f"[={text}]")
        else:
            parts.append(f"[{text}]")
    return "".join(parts)
