"""Settings that nobody can change by accident: mappings and lists whose contents stay what they were.

A worker process decodes a configuration once and hands it to every call that carries it, so a call that could change
it would change it for others. `thaw` (or `copy.deepcopy`) gives a copy that may be changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

__all__ = ["MAX_DEPTH", "FrozenDict", "FrozenList", "freeze", "thaw"]

MAX_DEPTH = 32
"""Levels of nesting that a value may have, wherever it comes from."""


def _refuse(self: Any, *args: Any, **kwargs: Any) -> NoReturn:
    raise TypeError("A configuration cannot be changed in place; copy.deepcopy() gives a copy to change.")


class FrozenDict(dict[str, Any]):
    """A dict that cannot be changed. Made by `freeze` and by reading bytes, so that what is in it is frozen as well."""

    __setitem__ = __delitem__ = clear = pop = popitem = setdefault = update = __ior__ = _refuse

    def __reduce__(self) -> Any:
        return FrozenDict, (dict(self),)

    def __deepcopy__(self, memo: Any) -> dict[str, Any]:
        return {key: thaw(value) for key, value in self.items()}

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple(sorted((key, _hashable(value)) for key, value in self.items())))


class FrozenList(list[Any]):
    """A list that cannot be changed."""

    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse
    append = extend = insert = remove = reverse = sort = pop = clear = _refuse

    def __reduce__(self) -> Any:
        return FrozenList, (list(self),)

    def __deepcopy__(self, memo: Any) -> list[Any]:
        return [thaw(value) for value in self]

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple(_hashable(value) for value in self))


def _hashable(value: Any) -> int:
    try:
        return hash(value)
    except TypeError:
        return hash(repr(value))


def freeze(value: Any) -> Any:
    """Return the value with every dict and list in it replaced by one that cannot be changed.

    Raises:
        ValueError: it is nested deeper than `MAX_DEPTH` levels, or contains itself.
    """
    return _freeze(value, 0)


def _freeze(value: Any, level: int) -> Any:
    kind = type(value)
    if kind is FrozenDict or kind is FrozenList:
        return value
    if level > MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, Mapping):
        return FrozenDict({key: _freeze(item, level + 1) for key, item in value.items()})
    if isinstance(value, list):
        return FrozenList([_freeze(item, level + 1) for item in value])
    if kind is tuple:
        return tuple(_freeze(item, level + 1) for item in value)
    if kind is set:
        return frozenset(value)
    return value


def thaw(value: Any) -> Any:
    """Return a copy whose dicts and lists are ordinary ones."""
    if isinstance(value, Mapping):
        return {key: thaw(item) for key, item in value.items()}
    if isinstance(value, list):
        return [thaw(item) for item in value]
    if type(value) is tuple:
        return tuple(thaw(item) for item in value)
    return value
