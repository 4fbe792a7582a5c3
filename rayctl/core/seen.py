"""What everything that is seen of an object has in common: the object's own document, and what is asked of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rayctl.core.plan import Ref

__all__ = ["OfDocument"]


class OfDocument:
    """Base of frozen records with a field ``document``: the object as the API gives it."""

    document: Mapping[str, Any]

    @property
    def ref(self) -> Ref:
        """Which object."""
        return Ref.to(self.document)

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.document["metadata"]["name"])

    @property
    def revision(self) -> str:
        """Its resourceVersion: the precondition of writing its status."""
        return str(self.document["metadata"].get("resourceVersion", ""))

    @property
    def generation(self) -> int:
        """Of its specification."""
        return int(self.document["metadata"].get("generation") or 0)

    @property
    def annotations(self) -> Mapping[str, str]:
        """Of the object."""
        return self.document["metadata"].get("annotations") or {}

    @property
    def status(self) -> Mapping[str, Any]:
        """As it is."""
        return self.document.get("status") or {}
