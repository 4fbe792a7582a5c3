"""Which kind a column is, and numbers and dates that come as text."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayctl.automl.tabular.columns import Feature, canonical, numbers
from rayctl.automl.tabular.formats import find_reading, parse
from rayctl.automl.tabular.kinds import decide


def kind(values: Any) -> tuple[str, str]:
    decision = decide("x", pa.chunked_array([values]))
    return (decision.feature.kind, decision.feature.reading) if decision.feature else ("dropped", decision.why)


@pytest.mark.parametrize(
    ("texts", "reading", "values"),
    [
        (["$1,234", "12%", "(1,000.5)", "-$5", "?"], "number:point", [1234.0, 12.0, -1000.5, -5.0, None]),
        (["1.234,5", "12,1 €", "3"], "number:comma", [1234.5, 12.1, 3.0]),
        (["EUR 5", "7.25 EUR", "1'000"], "number:point", [5.0, 7.25, 1000.0]),
        (["17:30", "09:05:30"], "number:clock", [17.5, 9 + 5.5 / 60]),
        (["2021-03-04", "2022-01-01T10:00:00Z"], "date:iso", [dt.datetime(2021, 3, 4), dt.datetime(2022, 1, 1, 10)]),
        (["2021-03", "2021-04"], "date:iso", [dt.datetime(2021, 3, 1), dt.datetime(2021, 4, 1)]),
        (["03/04/2021", "12/31/2021"], "date:%m/%d/%Y", [dt.datetime(2021, 3, 4), dt.datetime(2021, 12, 31)]),
        (["03/04/2021", "31/12/2021"], "date:%d/%m/%Y", [dt.datetime(2021, 4, 3), dt.datetime(2021, 12, 31)]),
        (["31.12.2021 10:00", "1.2.2020 11:30"], "date:%d.%m.%Y %H:%M", [dt.datetime(2021, 12, 31, 10), None]),
        (["Mar 4, 2021", "Dec 1, 2020"], "date:%b %d, %Y", [dt.datetime(2021, 3, 4), dt.datetime(2020, 12, 1)]),
    ],
)
def test_readings(texts: list[str], reading: str, values: list[Any]) -> None:
    array = pa.array(texts)
    assert find_reading(array) == reading
    for got, want in zip(parse(array, reading).to_pylist(), values, strict=True):
        if isinstance(want, float):
            assert got == pytest.approx(want)
        elif isinstance(want, dt.datetime):
            assert got == want


@pytest.mark.parametrize(
    "texts",
    [["a", "b"], ["01234", "94110"], ["1-2", "3-4"], ["18-24", "25-34"], ["1.2.3", "10.2.33"], ["3/4", "5/8"]],
)
def test_texts_that_only_look_like_numbers_or_dates(texts: list[str]) -> None:
    assert find_reading(pa.array(texts)) is None


@given(st.lists(st.floats(-1e9, 1e9).map(lambda value: round(value, 2)), min_size=2, max_size=30, unique=True))
def test_amounts_are_read_back_from_both_ways_of_writing(values: list[float]) -> None:
    english = [f"${value:,.2f}" if value >= 0 else f"-${-value:,.2f}" for value in values]
    swapped = [text.replace(",", " ").replace(".", ",").replace(" ", ".") for text in english]
    assert parse(pa.array(english), "number:point").to_pylist() == pytest.approx(values)
    assert parse(pa.array(swapped), "number:comma").to_pylist() == pytest.approx(values)
    assert find_reading(pa.array(english)) == "number:point"


def test_a_few_values_that_do_not_read_are_missing_and_named() -> None:
    texts = [f"${index},000" for index in range(1, 100)] + ["on request"]
    decision = decide("price", pa.chunked_array([texts]))
    assert decision.feature == Feature("price", "number", "number:point")
    assert "'$1,000' is 1000.0" in decision.note
    assert "1 values that do not read so count as missing ('on request'; rows 99)" in decision.note
    values = numbers(canonical(decision.feature, pa.chunked_array([texts])))
    assert values[:2].tolist() == [1000.0, 2000.0]
    assert np.isnan(values[99])
    assert kind([*texts[:90], *["on request", "sold", "?", "call"] * 5])[0] != "number"


def test_plain_numbers_as_text() -> None:
    assert kind([str(index / 2) for index in range(100)])[0] == "number"
    assert kind(["1", "2", "3"] * 20) == ("category", "")  # a few: rather codes than amounts
    assert kind(["02134", "94110", "10001"] * 30 + [f"0{index}" for index in range(1000, 1050)])[0] == "category"


def test_kinds_of_text() -> None:
    assert kind(["red", "green", None] * 10) == ("category", "")
    assert kind([f"city {index % 200}" for index in range(1000)]) == ("category", "")
    prose = [f"the room was {word} and number {index} too" for index in range(60) for word in ("good", "bad")]
    assert kind(prose) == ("text", "")
    assert kind([f"これは{index}番目のとても長い文章です、そして続きます" for index in range(60)]) == ("text", "")
    dropped, why = kind([f"user{index}" for index in range(60)])
    assert dropped == "dropped"
    assert "60 different values in 60 rows, like an identifier ('user0', 'user1')" in why


def test_durations_and_times_are_seconds() -> None:
    durations = pa.array([dt.timedelta(minutes=1), None, dt.timedelta(milliseconds=1500)], pa.duration("ms"))
    assert kind(durations) == ("number", "")
    np.testing.assert_array_equal(numbers(pa.chunked_array([durations])), [60.0, np.nan, 1.5])
    times = pa.array([dt.time(0, 1), dt.time(1, 0)], pa.time32("s"))
    np.testing.assert_array_equal(numbers(pa.chunked_array([times])), [60.0, 3600.0])


@pytest.mark.parametrize(
    "values",
    [pa.array([[1], [2]]), pa.array([{"a": 1}, {"a": 2}]), pa.array([b"1", b"2"])],
)
def test_nested_and_binary_columns_are_dropped(values: pa.Array) -> None:
    assert "are not supported" in kind(values)[1]
