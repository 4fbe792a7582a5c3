"""A caller's own class or function that came as bytes: loaded once per process while it stays as it was sent.

Loading it for every fold, and pickling it again with every fitted model, takes longer than many folds (cloudpickle
looks through all imported modules for each function). What a fit has changed of it (a counter on the class, a global
variable of its functions) must not reach other folds, and must be kept with a model. So only what consists of parts
that cannot change in place is kept here, and only as long as every part is still the very object that was loaded.
"""

from __future__ import annotations

import io
import logging
import re
import sys
import types
from abc import ABCMeta
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

__all__ = ["dumps", "load"]

_MOST = 8
_CONSTANTS = (
    *(type(None), bool, int, float, complex, str, bytes, range, type(Ellipsis), type(NotImplemented)),
    *(types.BuiltinFunctionType, types.WrapperDescriptorType, types.MethodDescriptorType, types.MethodWrapperType),
    *(types.ClassMethodDescriptorType, types.GetSetDescriptorType, types.MemberDescriptorType),
    *(logging.Logger, re.Pattern),
)
_NOT_LOOKED_AT = frozenset(
    {"__builtins__", "__annotations__", "__orig_bases__", "__parameters__", "__slots__", "__abstractmethods__"}
    | {"__dataclass_fields__", "__dataclass_params__", "_abc_impl", "__slotnames__", "__warningregistry__"}
)
"""Names that Python itself fills: nobody keeps anything in them."""
_BY_NAME = frozenset({"numpy.ufunc", "sklearn.utils._metadata_requests.RequestMethod"})
"""Types of things that are what their name says."""
_EMPTY = object()


class _MayChange(Exception):
    """Something that a class consists of can change without becoming another object."""


@dataclass(frozen=True)
class _Loaded:
    """``names``: the dictionaries that hold its parts, each with what it held; ``cells``: the same for closures."""

    value: Any
    names: tuple[tuple[Mapping[str, Any], dict[str, Any]], ...]
    cells: tuple[tuple[types.CellType, Any], ...]

    @property
    def is_as_sent(self) -> bool:
        """Whether nobody has changed any part."""
        return all(_same(mapping, held) for mapping, held in self.names) and all(
            _content(cell) is content for cell, content in self.cells
        )


_loaded: OrderedDict[bytes, _Loaded] = OrderedDict()


def load(pickled: bytes) -> Any:
    """Return what cloudpickle made bytes of; the same object each time, as long as it is as it was sent.

    Runs code of whoever pickled it. Raises whatever that raises.
    """
    import cloudpickle

    found = _loaded.get(pickled)
    if found is not None and found.is_as_sent:
        _loaded.move_to_end(pickled)
        return found.value
    _loaded.pop(pickled, None)
    value = cloudpickle.loads(pickled)
    snapshot = _snapshot(value)
    if snapshot is not None:
        _loaded[pickled] = snapshot
        while len(_loaded) > _MOST:
            _loaded.popitem(last=False)
    return value


def dumps(obj: Any) -> bytes:
    """Pickle an object like cloudpickle; classes that `load` made and that are as sent become the bytes they were."""
    import cloudpickle

    sent = {id(found.value): pickled for pickled, found in _loaded.items() if found.is_as_sent}
    if not sent:
        return bytes(cloudpickle.dumps(obj))
    out = io.BytesIO()
    _pickler()(out, sent).dump(obj)
    return out.getvalue()


@lru_cache(maxsize=1)
def _pickler() -> Any:
    import cloudpickle

    class Pickler(cloudpickle.Pickler):
        def __init__(self, file: io.BytesIO, sent: Mapping[int, bytes]) -> None:
            super().__init__(file)
            self._sent = sent

        def reducer_override(self, obj: Any) -> Any:
            pickled = self._sent.get(id(obj))
            return super().reducer_override(obj) if pickled is None else (load, (pickled,))

    return Pickler


def _same(mapping: Mapping[str, Any], held: Mapping[str, Any]) -> bool:
    found = 0
    for name, value in mapping.items():
        if name in held:
            if held[name] is not value:
                return False
            found += 1
        elif not _is_internal(name):
            return False
    return found == len(held)


def _snapshot(value: Any) -> _Loaded | None:
    """Return what a class or function consists of; None if it may change in place."""
    if not isinstance(value, (type, types.FunctionType)) or _is_importable(value):
        return None
    seen: dict[int, Any] = {}
    names: list[tuple[Mapping[str, Any], dict[str, Any]]] = []
    cells: list[tuple[types.CellType, Any]] = []
    waiting = [value]
    try:
        while waiting:
            part = waiting.pop()
            if id(part) in seen:
                continue
            seen[id(part)] = part
            for found in _parts(part):
                if isinstance(found, types.CellType):
                    cells.append((found, _content(found)))
                    waiting.append(_content(found))
                elif id(found) not in seen:
                    seen[id(found)] = found
                    held = {name: item for name, item in found.items() if not _is_internal(name)}
                    names.append((found, held))
                    waiting += held.values()
            waiting += _items(part)
    except Exception:  # `_MayChange`, or whatever a foreign object answers with: it is loaded anew each time
        return None
    return _Loaded(value, tuple(names), tuple(cells))


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return _EMPTY


def _is_internal(name: str) -> bool:
    return name in _NOT_LOOKED_AT or name.startswith("_sklearn_")


def _parts(part: Any) -> Iterator[Any]:
    """Yield the dictionaries and cells that hold what a class or function consists of; nothing for constants.

    Raises:
        _MayChange: it is something else.
    """
    if isinstance(part, type):
        if not _is_importable(part):
            if type(part) not in (type, ABCMeta):
                raise _MayChange
            yield vars(part)
    elif isinstance(part, types.FunctionType):
        if not _is_importable(part):
            module = sys.modules.get(part.__module__ or "")
            if module is not None and part.__globals__ is vars(module):
                raise _MayChange  # it shares its variables with a whole module
            yield part.__globals__
            yield part.__dict__
            if part.__kwdefaults__:
                yield part.__kwdefaults__
            yield from part.__closure__ or ()
    elif not isinstance(part, (*_CONSTANTS, types.ModuleType, tuple, frozenset, staticmethod, classmethod, property)):
        kind = type(part)
        if f"{kind.__module__}.{kind.__qualname__}" not in _BY_NAME and not _is_importable(part):
            raise _MayChange
    elif isinstance(part, types.ModuleType) and sys.modules.get(part.__name__) is not part:
        raise _MayChange


def _items(part: Any) -> list[Any]:
    """Return what a constant holds that is looked at as well, and what else belongs to a class or function."""
    if isinstance(part, (tuple, frozenset)):
        return list(part)
    if isinstance(part, (staticmethod, classmethod)):
        return [part.__func__]
    if isinstance(part, property):
        return [part.fget, part.fset, part.fdel]
    if isinstance(part, type) and not _is_importable(part):
        return list(part.__bases__)
    if isinstance(part, types.FunctionType) and not _is_importable(part):
        return [part.__defaults__]
    return []


def _is_importable(part: Any) -> bool:
    """Whether a module of this process has it under its own name, so that it is pickled as that name."""
    module, name = getattr(part, "__module__", None), getattr(part, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str) or module == "__main__":
        return False
    found: Any = sys.modules.get(module)
    for step in name.split("."):
        found = getattr(found, step, None)
    return found is part
