"""A world in memory on which plans are tried out: for `rayctl plan`, which shows what comes next, and for tests.

It does what an API server does with a plan's writes, as far as planners can tell: uids, resourceVersions, generations,
preconditions, merge patches, and the deletion of what an object owned.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rayctl.core.plan import Create, Delete, Emit, Patch, Plan, SetStatus, Single, Together
from rayctl.replicaset.status import rfc3339

__all__ = ["ImaginedWorld", "Refused", "merge_patch"]

Document = dict[str, Any]
Key = tuple[str, str, str]
"""Kind, namespace, name."""


class Refused(Exception):
    """A write whose precondition does not hold; the pass ends."""


def merge_patch(target: Any, changes: Any) -> Any:
    """Return a document after a merge patch (RFC 7386)."""
    if not isinstance(changes, Mapping):
        return copy.deepcopy(changes)
    found = dict(target) if isinstance(target, Mapping) else {}
    for name, value in changes.items():
        if value is None:
            found.pop(name, None)
        else:
            found[name] = merge_patch(found.get(name), value)
    return found


class ImaginedWorld:
    """Objects by kind, namespace and name.

    Args:
        now: Seconds since the epoch.
        keeps: Whether a deleted object stays, with a deletionTimestamp, until it is told to go.

    Attributes:
        events: All that was emitted.
        writes: All that was carried out.
    """

    def __init__(self, now: float, keeps: Callable[[Document], bool] = lambda _: False) -> None:
        self.now = now
        self.objects: dict[Key, Document] = {}
        self.events: list[Emit] = []
        self.writes: list[Single] = []
        self._keeps = keeps
        self._revision = 0
        self._uids = 0

    # Reading ------------------------------------------------------------------------------------------

    def all(self, kind: str, namespace: str = "") -> list[Document]:
        """Return the objects of a kind, by name."""
        return [self.objects[key] for key in sorted(self.objects) if key[0] == kind and namespace in ("", key[1])]

    def get(self, kind: str, namespace: str, name: str) -> Document | None:
        """Return an object, or None."""
        return self.objects.get((kind, namespace, name))

    # Writing ------------------------------------------------------------------------------------------

    def put(self, document: Mapping[str, Any]) -> Document:
        """Take an object as it is, as from a server."""
        found = copy.deepcopy(dict(document))
        metadata = found.setdefault("metadata", {})
        metadata.setdefault("uid", self._uid())
        metadata.setdefault("generation", 1)
        metadata.setdefault("creationTimestamp", rfc3339(self.now))
        metadata["resourceVersion"] = self._next()
        self.objects[_key(found)] = found
        return found

    def perform(self, plan: Plan) -> bool:
        """Carry a plan out; returns False if a precondition ended it."""
        for action in plan.actions:
            group = action.actions if isinstance(action, Together) else (action,)
            failed = False
            for single in group:
                try:
                    self.act(single)
                except Refused:
                    failed = True
            if failed:
                return False
        return True

    def act(self, action: Single) -> None:
        """Carry one action out.

        Raises:
            Refused: Its precondition does not hold.
        """
        if isinstance(action, Emit):
            self.events.append(action)
            return
        if isinstance(action, Create):
            self._create(action)
        elif isinstance(action, Patch):
            self.change(self._meant(action), action.changes)
        elif isinstance(action, SetStatus):
            found = self._meant(action)
            found["status"] = copy.deepcopy(dict(action.status))
            found["metadata"]["resourceVersion"] = self._next()
        elif isinstance(action, Delete):
            self.delete(self._meant(action))
        else:
            raise TypeError(f"{type(action).__name__} is not imagined")
        self.writes.append(action)

    def change(self, document: Document, changes: Mapping[str, Any]) -> None:
        """Merge-patch an object; its generation moves if its specification does."""
        spec = copy.deepcopy(document.get("spec"))
        changed = merge_patch(document, changes)
        document.clear()
        document.update(changed)
        if document.get("spec") != spec:
            document["metadata"]["generation"] = int(document["metadata"].get("generation") or 0) + 1
        document["metadata"]["resourceVersion"] = self._next()

    def set_status(self, document: Document, status: Mapping[str, Any]) -> None:
        """Set an object's status, as its controller would."""
        document["status"] = copy.deepcopy(dict(status))
        document["metadata"]["resourceVersion"] = self._next()

    def delete(self, document: Document) -> None:
        """Delete an object and what it owns."""
        if self._keeps(document) and not document["metadata"].get("deletionTimestamp"):
            document["metadata"]["deletionTimestamp"] = rfc3339(self.now)
            document["metadata"]["resourceVersion"] = self._next()
            return
        if not self._keeps(document):
            self.remove(document)

    def remove(self, document: Document) -> None:
        """Have an object gone, and what it owned with it."""
        self.objects.pop(_key(document), None)
        uid = document["metadata"]["uid"]
        for child in [item for item in self.objects.values() if uid in _owner_uids(item)]:
            self.delete(child)

    def _create(self, action: Create) -> None:
        if _key(action.document) in self.objects:
            raise Refused(f"{action.ref} is there already")
        self.put(action.document)

    def _meant(self, action: Patch | SetStatus | Delete) -> Document:
        ref, revision = action.ref, action.revision
        found = self.objects.get((ref.kind, ref.namespace, ref.name))
        if found is None or (ref.uid and found["metadata"]["uid"] != ref.uid):
            raise Refused(f"{ref} is not there")
        if revision and found["metadata"]["resourceVersion"] != revision:
            raise Refused(f"{ref} has changed")
        return found

    def _next(self) -> str:
        self._revision += 1
        return str(self._revision)

    def _uid(self) -> str:
        self._uids += 1
        return f"uid-{self._uids:06d}"


def _key(document: Mapping[str, Any]) -> Key:
    metadata = document["metadata"]
    return document["kind"], metadata.get("namespace", ""), metadata["name"]


def _owner_uids(document: Mapping[str, Any]) -> Iterable[str]:
    return [owner.get("uid") for owner in document["metadata"].get("ownerReferences") or ()]
