"""Values that travel: exact both ways, and no bytes that crash the reader."""

from __future__ import annotations

import math
import uuid
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any
from zoneinfo import ZoneInfo

import msgpack
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rayctl.errors import MalformedEnvelope
from rayctl.tenancy.frozen import FrozenDict, FrozenList, freeze
from rayctl.tenancy.wire import MAX_DEPTH, UnknownEnum, pack, sorted_deep, unpack, unpack_frozen


class Color(Enum):
    RED = "red"
    MIXED = ("a", 1)


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Outer:
    class Inner(Enum):
        ONLY = 1


ZONES = st.sampled_from([None, timezone.utc, timezone(timedelta(hours=-3, minutes=-30)), ZoneInfo("Europe/Berlin")])
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**200), 2**200),
    st.floats(allow_nan=False),
    st.text(max_size=20),
    st.binary(max_size=20),
    st.decimals(allow_nan=False),
    st.datetimes(timezones=ZONES, allow_imaginary=False),
    st.dates(),
    st.times(timezones=st.sampled_from([None, timezone.utc])),
    st.timedeltas(),
    st.uuids(),
    st.complex_numbers(allow_nan=False),
    st.sampled_from([*Color, *Level, Outer.Inner.ONLY]),
    st.text("abc/._", min_size=1, max_size=12).map(PurePosixPath),
    st.text("abc/._", min_size=1, max_size=12).map(Path),
    st.lists(st.text("abc_", min_size=1, max_size=4), min_size=1, max_size=3).map(
        lambda parts: PureWindowsPath(*parts)
    ),
)
KEYS_OF_SETS = st.one_of(st.integers(), st.text(max_size=5), st.booleans(), st.dates())
VALUES = st.recursive(
    SCALARS | st.frozensets(KEYS_OF_SETS, max_size=4) | st.sets(KEYS_OF_SETS, max_size=4),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=20,
)


def same(a: Any, b: Any) -> bool:
    """Equal, and of the same types all the way down (1 == 1.0 == True would hide a loss)."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, (set, frozenset)):
        return {(type(x), x) for x in a} == {(type(x), x) for x in b}
    if isinstance(a, (datetime, time)):
        return bool(a == b and a.fold == b.fold and str(a.tzinfo) == str(b.tzinfo))
    if isinstance(a, float):
        return math.copysign(1, a) == math.copysign(1, b) and a == b
    if isinstance(a, complex):
        return same(a.real, b.real) and same(a.imag, b.imag)
    if isinstance(a, Decimal):
        return str(a) == str(b)
    return bool(a == b)


@settings(max_examples=400, deadline=None)
@given(VALUES)
@example({"a": [(1, [2]), {3, 4}, frozenset({"x"})]})
@example(2**64)
@example(-(2**63) - 1)
@example(datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1))
@example(Decimal("1E+500"))
@example(Decimal("NaN"))
@example(Path("/data/\udcff"))
def test_what_is_read_is_what_was_written(value: Any) -> None:
    assert same(unpack(pack(value)), value)


def outcome(data: bytes) -> str | None:
    """The code of the readers' refusal, None if they read the bytes; any other exception is a crash."""
    found: list[tuple[str | None, Any]] = []
    for read in (lambda: freeze(unpack(data)), lambda: unpack_frozen(data)):
        try:
            found.append((None, read()))
        except MalformedEnvelope as error:
            found.append((error.code, None))
    careful, fast = found
    assert careful[0] == fast[0], "both readers refuse the same"
    assert repr(careful[1]) == repr(fast[1]), "both readers read the same"
    return careful[0]


def is_frozen(value: Any) -> bool:
    if isinstance(value, dict):
        return type(value) is FrozenDict and all(map(is_frozen, value.values()))
    if isinstance(value, list):
        return type(value) is FrozenList and all(map(is_frozen, value))
    return not isinstance(value, set) and (not isinstance(value, tuple) or all(map(is_frozen, value)))


@settings(max_examples=300, deadline=None)
@given(VALUES)
def test_what_is_read_frozen_is_the_same(value: Any) -> None:
    found = unpack_frozen(pack(value))
    assert is_frozen(found)
    assert same(found, freeze(value))


def test_nan_stays_nan() -> None:
    assert math.isnan(unpack(pack(float("nan"))))


@settings(max_examples=300, deadline=None)
@given(VALUES)
def test_equal_mappings_have_equal_bytes_once_sorted(value: Any) -> None:
    turned = {"b": value, "a": 1}
    assert pack(sorted_deep(turned)) == pack(sorted_deep({"a": 1, "b": value}))


@settings(max_examples=600, deadline=None)
@given(st.binary(max_size=200))
@example(b"\xc1")
@example(b"\x91" * 5000)
@example(b"\xdd\xff\xff\xff\xff")
@example(b"\x82\xa1a\x01\xa1a\x02")
@example(b"\x81\x01\x02")
@example(b"\x81\xc4\x01a\x02")
@example(b"\xd6\xff\x00\x00\x00\x01")
@example(b"\x91\xd6\xff\x00\x00\x00\x01")
@example(b"\x91" * (MAX_DEPTH - 1) + b"\x90")
@example(b"\x91" * MAX_DEPTH + b"\x90")
def test_no_bytes_crash_the_reader(data: bytes) -> None:
    assert outcome(data) in (None, "not-readable")


@settings(max_examples=600, deadline=None)
@given(st.integers(-128, 127), st.binary(max_size=60))
@example(8, msgpack.packb(["os:environ", "x", 1]))
@example(8, msgpack.packb([1, 2, 3]))
@example(8, msgpack.packb(["a"]))
@example(9, msgpack.packb([msgpack.packb([])]))
@example(9, msgpack.packb([b"\x02", b"\x01"]))
@example(2, b"1e99999999999999999999")
@example(2, b"0x10")
@example(3, b"2026-01-01T00:00:00+01:00|0|")
@example(3, b"2026-01-01T00:00:00|0|Nowhere/Land")
@example(3, b"2026-01-01T00:00:00|0|../../etc/passwd")
@example(3, b"2026-01-01T00:00:00|0|=999999999999999999999999")
@example(6, b"999999999999,0,0")
@example(1, b"\x00" * 5000)
@example(7, b"")
def test_no_extension_crashes_the_reader(code: int, body: bytes) -> None:
    data = msgpack.packb(msgpack.ExtType(code, body)) if code >= 0 else b"\xd4" + code.to_bytes(1, "big", signed=True)
    assert outcome(data) in (None, "not-readable")


def nested(levels: int, wrap: Any) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = wrap(value)
    return value


@pytest.mark.parametrize("wrap", [lambda v: [v], lambda v: {"k": v}, lambda v: (v,), lambda v: [(v,)]])
def test_values_may_be_nested_so_deep_and_no_deeper(wrap: Any) -> None:
    levels = MAX_DEPTH // 2 if isinstance(wrap(1), list) and isinstance(wrap(1)[0], tuple) else MAX_DEPTH
    fine = nested(levels // 2, wrap)
    assert unpack(pack(fine)) == fine
    with pytest.raises(MalformedEnvelope, match="deeper"):
        unpack(pack(nested(3 * MAX_DEPTH, wrap)))
    with pytest.raises(MalformedEnvelope):
        pack(nested(5000, wrap))


def test_a_depth_bomb_of_extensions_is_refused() -> None:
    data = msgpack.packb(1)
    for _ in range(2000):
        data = msgpack.packb(msgpack.ExtType(11, msgpack.packb([0])[:1] + data))
    with pytest.raises(MalformedEnvelope):
        unpack(data)


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"a": {"b": object()}}, "/a/b"),
        ({"a": [1, {"c": lambda: 1}]}, "/a/1/c"),
        ({"a": {1: 2}}, "/a"),
        ({"deep": [datetime(2026, 1, 1, tzinfo=type("Odd", (timezone.__base__,), {})())]}, "/deep/0"),
        ({"big": 1 << 40_000}, "/big"),
    ],
)
def test_what_cannot_travel_is_named(value: Any, place: str) -> None:
    with pytest.raises(MalformedEnvelope) as caught:
        pack(value)
    assert caught.value.code == "not-serializable"
    assert f"at {place}:" in caught.value.message


def test_a_value_that_contains_itself_is_refused() -> None:
    value: dict[str, Any] = {}
    value["again"] = value
    for write in (pack, lambda found: pack(sorted_deep(found))):
        with pytest.raises(MalformedEnvelope):
            write(value)
    with pytest.raises(ValueError, match="deeper"):
        freeze(value)


def test_msgpacks_own_timestamps_are_none_of_ours() -> None:
    assert outcome(b"\x91\xd6\xff\x00\x00\x00\x01") == "not-readable"


@pytest.mark.parametrize("inner", [{1}, frozenset({1}), (1,), UnknownEnum("m:C", "A", [1])], ids=repr)
def test_what_can_be_written_can_be_read_at_any_depth(inner: Any) -> None:
    for levels in range(MAX_DEPTH + 2):
        value = nested(levels, lambda v: [v] if v != 1 else [inner])
        try:
            data = pack(value)
        except MalformedEnvelope:
            continue
        assert same(unpack(data), value) or isinstance(inner, UnknownEnum)


def test_an_enum_of_a_class_that_is_not_loaded_is_kept() -> None:
    data = pack(UnknownEnum("some.app.that:IsNotHere", "A", 1))
    found = unpack(data)
    assert found == UnknownEnum("some.app.that:IsNotHere", "A", 1)
    assert pack(found) == data


def test_an_enum_whose_member_means_something_else_now_is_refused() -> None:
    data = pack(UnknownEnum(f"{Color.__module__}:Color", "RED", "blue"))
    with pytest.raises(MalformedEnvelope, match="RED"):
        unpack(data)


def test_reading_imports_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("an import while reading")

    data = pack({"e": Color.RED, "u": UnknownEnum("antigravity:Fly", "A", 1), "i": uuid.UUID(int=5), "d": date.min})
    monkeypatch.setattr("builtins.__import__", refuse)
    found = unpack(data)
    monkeypatch.undo()
    assert found["e"] is Color.RED
