"""Whether an object already is as it is wanted, although the server has added defaults to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["covers", "first_difference"]


def covers(live: Any, wanted: Any) -> bool:
    """Whether all that is wanted is there already; what is there besides (defaults, others' fields) does not matter.

    Lists must have the same length and cover each other item by item, in order.
    """
    return first_difference(live, wanted) is None


def first_difference(live: Any, wanted: Any, path: str = "") -> str | None:
    """Return the path of the first place that is not as wanted (``.spec.ports[0].name``), or None."""
    if isinstance(wanted, Mapping):
        if not isinstance(live, Mapping):
            return path or "."
        for name, value in wanted.items():
            if name not in live:
                # The API leaves out what is empty.
                if value in (None, {}, []):
                    continue
                return f"{path}.{name}"
            found = first_difference(live[name], value, f"{path}.{name}")
            if found is not None:
                return found
        return None
    if isinstance(wanted, Sequence) and not isinstance(wanted, (str, bytes)):
        if not isinstance(live, Sequence) or isinstance(live, (str, bytes)) or len(live) != len(wanted):
            return path or "."
        for index, (there, value) in enumerate(zip(live, wanted, strict=True)):
            found = first_difference(there, value, f"{path}[{index}]")
            if found is not None:
                return found
        return None
    same = live == wanted and isinstance(live, bool) == isinstance(wanted, bool)
    return None if same else path or "."
