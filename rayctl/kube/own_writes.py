"""Whether the caches have seen what we wrote ourselves: nothing is decided about a key before.

The rule of Kubernetes 1.36's own controllers (KEP-5647): revisions of one kind compare as integers (KEP-5504), and a
key waits until the cache of each kind that was written for it is as new as the newest answer to such a write.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from rayctl.kube.calls import Resource

__all__ = ["OwnWrites", "SeenSoFar"]

Key = tuple[str, str]

PATIENCE_S = 30.0
"""After so long a write is no longer waited for: the object may lie outside of what is watched."""


class SeenSoFar(Protocol):
    """What the gate asks of the caches."""

    def revision(self, resource: Resource) -> str | None:
        """Return the resourceVersion up to which a kind is known; None if it is not watched."""
        ...

    def has(self, resource: Resource, key: Key, uid: str) -> bool:
        """Whether this very object is there and is not being deleted, as far as is known."""
        ...


@dataclass
class _Pending:
    revisions: dict[Resource, tuple[int, float]] = field(default_factory=dict)
    deletions: dict[tuple[Resource, Key, str], float] = field(default_factory=dict)


class OwnWrites:
    """The newest writes per key. Times are the event loop's, in seconds."""

    def __init__(self, patience_s: float = PATIENCE_S) -> None:
        self._patience_s = patience_s
        self._pending: dict[Key, _Pending] = {}

    def wrote(self, key: Key, resource: Resource, answer: Any, now: float) -> None:
        """Note the answer to a write that was made for ``key``. One without a readable revision is let pass."""
        metadata = answer.get("metadata") if isinstance(answer, Mapping) else None
        revision = str((metadata or {}).get("resourceVersion") or "")
        if not revision.isdecimal():
            return
        pending = self._pending.setdefault(key, _Pending())
        known = pending.revisions.get(resource, (0, 0.0))[0]
        pending.revisions[resource] = (max(known, int(revision)), now)

    def deleted(self, key: Key, resource: Resource, target: Key, uid: str, now: float) -> None:
        """Note that an object was deleted (or began to be) for ``key``."""
        self._pending.setdefault(key, _Pending()).deletions[resource, target, uid] = now

    def behind(self, key: Key, seen: SeenSoFar, now: float) -> str:
        """Return what the caches have not seen yet, as text; empty if nothing. What was seen is forgotten."""
        pending = self._pending.get(key)
        if pending is None:
            return ""
        for resource, (revision, at) in list(pending.revisions.items()):
            known = seen.revision(resource)
            unreadable = known is None or (known != "" and not known.isdecimal())
            if unreadable or int(known or 0) >= revision or now - at > self._patience_s:
                del pending.revisions[resource]
            else:
                return f"{resource.plural} up to revision {revision}"
        for deletion, at in list(pending.deletions.items()):
            resource, target, uid = deletion
            if not seen.has(resource, target, uid) or now - at > self._patience_s:
                del pending.deletions[deletion]
            else:
                return f"the deletion of {resource.kind} {target[1]}"
        del self._pending[key]
        return ""

    def __len__(self) -> int:
        """Keys that wait."""
        return len(self._pending)
