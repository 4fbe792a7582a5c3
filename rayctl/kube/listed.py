"""What a controller's caches would say, from lists read once: for commands that ask a controller's planner."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rayctl.kube.calls import Resource
from rayctl.kube.store import key_of

__all__ = ["Listed"]

Document = Mapping[str, Any]


class Listed:
    """See `rayctl.core.controller.Caches`.

    Args:
        read: Lists the objects of a kind that match a label selector (empty: all). Asked once per kind, when needed.
        selectors: Kind → the selector that its controller watches it with.
        hidden: Kinds of which it is to see nothing.
    """

    def __init__(
        self,
        read: Callable[[Resource, str], Sequence[Document]],
        selectors: Mapping[Resource, str],
        hidden: Sequence[Resource] = (),
    ) -> None:
        self._read, self._selectors = read, dict(selectors)
        self._found: dict[Resource, list[Document]] = {kind: [] for kind in hidden}

    def get(self, resource: Resource, namespace: str, name: str) -> Document | None:
        """Return an object, or None."""
        return next((item for item in self.all(resource) if key_of(item) == (namespace, name)), None)

    def all(self, resource: Resource, namespace: str = "") -> list[Document]:
        """Return all objects of a kind (of one namespace), by namespace and name."""
        if resource not in self._found:
            self._found[resource] = sorted(self._read(resource, self._selectors[resource]), key=key_of)
        return [item for item in self._found[resource] if not namespace or key_of(item)[0] == namespace]

    def owned(self, resource: Resource, uid: str) -> list[Document]:
        """Return the objects with an owner reference to this uid, by name."""
        return [
            item
            for item in self.all(resource)
            if any(owner.get("uid") == uid for owner in item["metadata"].get("ownerReferences") or ())
        ]

    def labelled(self, resource: Resource, label: str, value: str) -> list[Document]:
        """Return the objects with this label value, by namespace and name."""
        return [item for item in self.all(resource) if (item["metadata"].get("labels") or {}).get(label) == value]
