"""Values to msgpack and back, exactly: also dates, decimals, paths, enums, sets, tuples and integers of any size.

What msgpack lacks travels as extension types, numbered below; a number is never given a second meaning. Nothing is
imported or executed while reading: an enum is only resolved if its class is loaded already, else it is kept as
`UnknownEnum` and written again as it came.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal, InvalidOperation
from enum import Enum
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgpack

from rayctl.errors import MalformedEnvelope
from rayctl.tenancy.frozen import MAX_DEPTH, FrozenDict, FrozenList, freeze

__all__ = ["MAX_DEPTH", "UnknownEnum", "pack", "sorted_deep", "unpack", "unpack_frozen"]

_BIG, _DECIMAL, _DATETIME, _DATE, _TIME, _DELTA, _PATH, _ENUM, _SET, _FROZENSET, _TUPLE, _UUID, _COMPLEX = range(1, 14)
_SMALLEST, _LARGEST = -(2**63), 2**64 - 1
_MAX_BIG_BYTES = 4096
_TEXT = frozenset({str})
_PLAIN = frozenset({str, int, float, bool, bytes, type(None)})
_MAPPINGS = (dict, Mapping)
_NESTED = (dict, list, tuple, set, frozenset, Mapping)
_NESTING = frozenset({_ENUM, _SET, _FROZENSET, _TUPLE})


@dataclass(frozen=True)
class UnknownEnum:
    """A member of an enum whose class is not loaded in this process: ``module:qualified.name``, member, value."""

    cls: str
    name: str
    value: Any


def pack(value: Any) -> bytes:
    """Return the msgpack bytes of a value.

    Raises:
        MalformedEnvelope: ``not-serializable``: a type that has no form here, a key that is no text, a value that
            contains itself or is nested deeper than `MAX_DEPTH`; the message names the place.
    """
    try:
        if flaw := _flaw(value, 0):
            raise _Unserializable(flaw)
        found: bytes = _packer(_Depth(0)).pack(value)
        return found
    except _Unserializable as error:
        raise _refused(value, str(error)) from error
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise _refused(value, str(error)) from error


def unpack(data: bytes) -> Any:
    """Return the value of msgpack bytes.

    Raises:
        MalformedEnvelope: ``not-readable``: anything but exactly what `pack` writes, whatever the bytes are.
    """
    return _unpack(data, _Depth(0))


def unpack_frozen(data: bytes) -> Any:
    """Return the same as `unpack`, its containers frozen; much faster where only what msgpack knows by itself occurs.

    Raises:
        MalformedEnvelope: as `unpack`.
    """
    try:
        value = msgpack.unpackb(
            data,
            raw=False,
            strict_map_key=True,
            timestamp=1,
            ext_hook=_not_plain,
            object_hook=FrozenDict,
            list_hook=FrozenList,
        )
        if _flaw(value, 0) is None and msgpack.packb(value) == data:
            return value
    except Exception:  # noqa: S110  (the careful reader below reads it, or says what is wrong with it)
        pass
    return freeze(unpack(data))


def sorted_deep(value: Any) -> Any:
    """Return the value with all mappings in the order of their keys, so that equal values have equal bytes.

    Sets need no order here: they are always written sorted by their members' bytes. What is nested deeper than can be
    written is left as it is.
    """
    return _sorted(value, 0)


def _sorted(value: Any, level: int) -> Any:
    if level > MAX_DEPTH:
        return value  # refused when it is written
    if isinstance(value, Mapping):
        keys = sorted(value) if {type(key) for key in value} <= _TEXT else sorted(value, key=str)
        return {key: item if type(item := value[key]) in _PLAIN else _sorted(item, level + 1) for key in keys}
    if isinstance(value, list):
        return [item if type(item) in _PLAIN else _sorted(item, level + 1) for item in value]
    if type(value) is tuple:
        return tuple(_sorted(item, level + 1) for item in value)
    return value


# Writing --------------------------------------------------------------------------------------------------


class _Unserializable(Exception):
    pass


@dataclass(frozen=True)
class _Depth:
    """How deep an extension lies in others; msgpack counts the levels inside each by itself."""

    level: int

    def deeper(self) -> _Depth:
        if self.level >= MAX_DEPTH:
            raise _Unserializable(f"it is nested deeper than {MAX_DEPTH} levels")
        return _Depth(self.level + 1)


def _flaw(value: Any, level: int) -> str | None:
    """Say what forbids a value in both directions: too much nesting, or a key that is not a text.

    ``level``: how deep the value itself lies.
    """
    there = [value] if isinstance(value, _NESTED) else []
    while there:
        if level >= MAX_DEPTH:
            return f"it is nested deeper than {MAX_DEPTH} levels"
        if not {type(key) for item in there if isinstance(item, _MAPPINGS) for key in item} <= _TEXT:
            return "a key is not a text"
        there = [
            inner
            for item in there
            for inner in (item.values() if isinstance(item, _MAPPINGS) else item)
            if type(inner) not in _PLAIN and isinstance(inner, _NESTED)
        ]
        level += 1
    return None


def _packer(depth: _Depth) -> msgpack.Packer:
    return msgpack.Packer(default=lambda value: _extension(value, depth), strict_types=True, use_bin_type=True)


def _nested(value: Any, depth: _Depth) -> bytes:
    inner = depth.deeper()
    if flaw := _flaw(value, inner.level):
        raise _Unserializable(flaw)
    found: bytes = _packer(inner).pack(value)
    return found


def _extension(value: Any, depth: _Depth) -> Any:
    kind = type(value)
    simple = _WRITERS.get(kind)
    if simple is not None:
        code, write = simple
        return msgpack.ExtType(code, write(value))
    if isinstance(value, Enum):
        name = f"{kind.__module__}:{kind.__qualname__}"
        return msgpack.ExtType(_ENUM, _nested([name, value.name, value.value], depth))
    if kind is UnknownEnum:
        return msgpack.ExtType(_ENUM, _nested([value.cls, value.name, value.value], depth))
    if kind is tuple:
        return msgpack.ExtType(_TUPLE, _nested(list(value), depth))
    if kind in (set, frozenset):
        # Sorted by their bytes, so that equal sets have equal bytes.
        members = sorted(_nested(member, depth) for member in value)
        return msgpack.ExtType(_SET if kind is set else _FROZENSET, _nested(members, depth))
    if isinstance(value, PurePath):
        return msgpack.ExtType(_PATH, _path(value))
    if isinstance(value, Mapping) and kind is not dict:
        return dict(value)
    if isinstance(value, list) and kind is not list:
        return list(value)
    raise _Unserializable(f"a {kind.__module__}.{kind.__qualname__} has no form in msgpack")


def _integer(value: int) -> bytes:
    size = (value.bit_length() + 8) // 8
    if size > _MAX_BIG_BYTES:
        raise _Unserializable(f"an integer of more than {_MAX_BIG_BYTES} bytes")
    return value.to_bytes(size, "big", signed=True)


def _zone(zone: tzinfo | None) -> str:
    if zone is None:
        return ""
    if isinstance(zone, ZoneInfo) and zone.key is not None:
        return zone.key
    if zone is timezone.utc:
        return "UTC+0"
    if type(zone) is timezone:
        return f"={zone.utcoffset(None) // timedelta(microseconds=1)}"
    raise _Unserializable(f"the time zone {zone!r} has no portable form; use zoneinfo or datetime.timezone")


def _moment(value: datetime | time) -> bytes:
    zone = _zone(value.tzinfo)
    return f"{value.replace(tzinfo=None, fold=0).isoformat()}|{value.fold}|{zone}".encode()


def _delta(value: timedelta) -> bytes:
    return f"{value.days},{value.seconds},{value.microseconds}".encode()


_PATHS: Mapping[str, type[PurePath]] = {"c": Path, "p": PurePosixPath, "w": PureWindowsPath}


def _path(value: PurePath) -> bytes:
    """Concrete paths, and pure ones of both systems; subclasses beyond these are written as their nearest one."""
    kind = "c" if isinstance(value, Path) else "w" if isinstance(value, PureWindowsPath) else "p"
    again = _PATHS[kind](str(value))
    if again != value or str(again) != str(value):
        raise _Unserializable(f"the path {str(value)!r} is not the same once it is written and read")
    return f"{kind}{value}".encode("utf-8", "surrogateescape")


_WRITERS: Mapping[type, tuple[int, Callable[[Any], bytes]]] = {
    int: (_BIG, _integer),  # only called for integers that msgpack cannot write
    Decimal: (_DECIMAL, lambda value: str(value).encode()),
    datetime: (_DATETIME, _moment),
    date: (_DATE, lambda value: value.isoformat().encode()),
    time: (_TIME, _moment),
    timedelta: (_DELTA, _delta),
    UUID: (_UUID, lambda value: value.bytes),
    complex: (_COMPLEX, lambda value: f"{value.real!r},{value.imag!r}".encode()),
}


def _refused(value: Any, why: str) -> MalformedEnvelope:
    place, reason = _culprit(value, "", 0) or ("", why)
    where = f" at {place}" if place else ""
    return MalformedEnvelope(
        f"This value cannot be put into an envelope{where}: {reason}.",
        code="not-serializable",
        hint="Use texts, numbers, dates, paths, enums, lists, sets and mappings with texts as keys.",
    )


def _culprit(value: Any, place: str, level: int) -> tuple[str, str] | None:
    """Find what cannot be written; only asked after writing has failed."""
    if level > MAX_DEPTH:
        return "/".join(place.split("/")[:4]) + "/…", f"it is nested deeper than {MAX_DEPTH} levels"
    if isinstance(value, Mapping):
        for key, item in value.items():
            if type(key) is not str:
                return place or "/", f"the key {key!r} is not a text"
            found = _culprit(item, f"{place}/{key}", level + 1)
            if found:
                return found
        return None
    if isinstance(value, (list, tuple, set, frozenset)):
        for number, item in enumerate(value):
            found = _culprit(item, f"{place}/{number}", level + 1)
            if found:
                return found
        return None
    try:
        _packer(_Depth(level)).pack(value)
    except _Unserializable as error:
        return place, str(error)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        return place, f"{type(value).__name__}: {error}"
    return None


# Reading --------------------------------------------------------------------------------------------------


def _unpack(data: bytes, depth: _Depth) -> Any:
    try:
        value = msgpack.unpackb(
            data,
            raw=False,
            strict_map_key=True,
            timestamp=1,  # as a number, which would be written in another way: msgpack's own type is not one of ours
            ext_hook=lambda code, body: _read_extension(code, body, depth),
        )
        if flaw := _flaw(value, depth.level):
            raise _unreadable(flaw)
        again = _packer(depth).pack(value)
    except MalformedEnvelope:
        raise
    except Exception as error:
        # msgpack raises many types for broken input (ValueError, StackError, UnicodeDecodeError, RecursionError, …).
        raise _unreadable(f"{type(error).__name__}: {error}".strip()) from error
    if again != data:  # keys that occur twice, numbers in longer forms than they need, …
        raise _unreadable("it is written in another way than rayctl writes")
    return value


def _not_plain(code: int, body: bytes) -> Any:
    raise _Unserializable(f"extension {code}")


def _read_extension(code: int, body: bytes, depth: _Depth) -> Any:
    read = _READERS.get(code)
    try:
        if read is not None:
            return read(body)
        if code in _NESTING:
            return _read_nesting(code, _unpack(body, depth.deeper()), depth)
    except (_Unserializable, ValueError, TypeError, ArithmeticError, UnicodeError, ZoneInfoNotFoundError) as error:
        raise _unreadable(f"extension {code}: {error}") from error
    raise _unreadable(f"the extension type {code} is not known")


def _read_nesting(code: int, value: Any, depth: _Depth) -> Any:
    if type(value) is not list:
        raise ValueError("not a list")
    if code == _TUPLE:
        return tuple(value)
    if code == _ENUM:
        cls, name, member = value
        return _enum(cls, name, member)
    if not all(type(member) is bytes for member in value) or sorted(set(value)) != value:
        raise ValueError("not the members of a set")
    members = {_unpack(member, depth.deeper()) for member in value}
    if len(members) != len(value):
        raise ValueError("a member occurs twice")
    return members if code == _SET else frozenset(members)


def _enum(cls: Any, name: Any, value: Any) -> Any:
    if type(cls) is not str or type(name) is not str:
        raise ValueError("not an enum")
    module, _, qualified = cls.partition(":")
    found: Any = sys.modules.get(module)
    for part in qualified.split("."):
        # vars, not getattr: a module may run code when it is asked for a name.
        found = None if found is None else vars(found).get(part) if hasattr(found, "__dict__") else None
    if isinstance(found, type) and issubclass(found, Enum):
        member = found.__members__.get(name)
        if member is None or member.value != value:
            raise ValueError(f"{qualified} has no member {name} with that value in this version")
        return member
    return UnknownEnum(cls, name, value)


def _read_integer(body: bytes) -> int:
    if len(body) > _MAX_BIG_BYTES:
        raise ValueError("too large")
    value = int.from_bytes(body, "big", signed=True)
    if _SMALLEST <= value <= _LARGEST or _integer(value) != body:
        raise ValueError("not in its shortest form")
    return value


def _read_decimal(body: bytes) -> Decimal:
    try:
        value = Decimal(body.decode())
    except InvalidOperation as error:
        raise ValueError("not a decimal") from error
    if str(value).encode() != body:
        raise ValueError("not a decimal")
    return value


def _read_zone(text: str) -> tzinfo | None:
    if text == "":
        return None
    if text == "UTC+0":
        return timezone.utc
    if text.startswith("="):
        return timezone(timedelta(microseconds=int(text[1:])))
    return ZoneInfo(text)


def _read_moment(kind: Any, body: bytes) -> Any:
    text, fold, zone = body.decode().split("|")
    value = kind.fromisoformat(text)
    if value.tzinfo is not None or fold not in ("0", "1"):
        raise ValueError("not a time")
    return value.replace(tzinfo=_read_zone(zone), fold=int(fold))


def _read_delta(body: bytes) -> timedelta:
    days, seconds, microseconds = map(int, body.decode().split(","))
    return timedelta(days, seconds, microseconds)


def _read_path(body: bytes) -> PurePath:
    text = body.decode("utf-8", "surrogateescape")
    if text[:1] not in _PATHS:
        raise ValueError("not a path")
    return _PATHS[text[0]](text[1:])


def _read_complex(body: bytes) -> complex:
    real, imaginary = body.decode().split(",")
    return complex(float(real), float(imaginary))


_READERS: Mapping[int, Callable[[bytes], Any]] = {
    _BIG: _read_integer,
    _DECIMAL: _read_decimal,
    _DATETIME: lambda body: _read_moment(datetime, body),
    _DATE: lambda body: date.fromisoformat(body.decode()),
    _TIME: lambda body: _read_moment(time, body),
    _DELTA: _read_delta,
    _PATH: _read_path,
    _UUID: lambda body: UUID(bytes=body),
    _COMPLEX: _read_complex,
}


def _unreadable(why: str) -> MalformedEnvelope:
    return MalformedEnvelope(f"These bytes are not a valid envelope: {why}", code="not-readable")
