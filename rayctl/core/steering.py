"""What somebody's word to a running object comes to: one change of the object, and a sentence about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rayctl.kube.calls import MERGE, Call

__all__ = ["Steered"]

JSON_PATCH = "application/json-patch+json"


@dataclass(frozen=True)
class Steered:
    """A change that is asked for.

    Args:
        text: What happens, to follow the object's name: ``paused``.
        changes: Merge patch (RFC 7386); None: there are ``operations``.
        operations: JSON patch (RFC 6902).
    """

    text: str
    changes: Mapping[str, Any] | None = None
    operations: Sequence[Mapping[str, Any]] = ()

    def based_on(self, revision: str) -> Steered:
        """Return the change so that it is made to exactly this resourceVersion, or not at all."""
        if self.changes is None:
            test = {"op": "test", "path": "/metadata/resourceVersion", "value": revision}
            return Steered(self.text, None, (test, *self.operations))
        metadata = {**self.changes.get("metadata", {}), "resourceVersion": revision}
        return Steered(self.text, {**self.changes, "metadata": metadata})

    def call(self, path: str, manager: str) -> Call:
        """Return the request that makes the change to the object at a path."""
        body: Any = list(self.operations) if self.changes is None else self.changes
        kind = JSON_PATCH if self.changes is None else MERGE
        return Call("PATCH", path, body=body, content_type=kind, timeout_s=30.0).asking(fieldManager=manager)
