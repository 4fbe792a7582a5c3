"""JSON merge patch (RFC 7386)."""

from __future__ import annotations

from typing import Any

__all__ = ["merge_patch"]


def merge_patch(document: Any, patch: Any) -> Any:
    """Return the patched document; neither argument is changed."""
    if not isinstance(patch, dict):
        return patch
    found = dict(document) if isinstance(document, dict) else {}
    for name, value in patch.items():
        if value is None:
            found.pop(name, None)
        else:
            found[name] = merge_patch(found.get(name), value)
    return found
