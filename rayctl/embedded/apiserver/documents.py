"""Copies of documents: plain data, as it comes out of JSON."""

from __future__ import annotations

from typing import Any, TypeVar

__all__ = ["copied"]

T = TypeVar("T")


def copied(value: T) -> T:
    """Return a copy that shares no map and no list with the original; much faster than `copy.deepcopy`."""
    return _copied(value)


def _copied(value: Any) -> Any:
    kind = type(value)
    if kind is dict:
        return {name: _copied(inner) if type(inner) in _CONTAINERS else inner for name, inner in value.items()}
    if kind is list:
        return [_copied(inner) if type(inner) in _CONTAINERS else inner for inner in value]
    return value


_CONTAINERS = frozenset({dict, list})
