"""Clocks of time zones against pandas', for moments and for what clocks show."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from rayctl.automl.zones import (
    UTC,
    hour_later,
    is_fixed,
    is_known,
    texts,
    to_clocks,
    to_moments,
    zone_of_offsets,
)

_ZONES = ["Europe/Berlin", "America/New_York", "Asia/Tokyo", "Asia/Kolkata", "Pacific/Auckland", "Australia/Lord_Howe"]


def _micros(times: pd.DatetimeIndex) -> np.ndarray:
    return np.asarray(times.tz_localize(None).astype("datetime64[us]").astype(np.int64))


@pytest.mark.parametrize("zone", [*_ZONES, "America/Sao_Paulo", "Africa/Casablanca", "+05:30", "-03:00", UTC])
def test_clocks_show_what_pandas_says(zone: str) -> None:
    # Of later years the two data bases of zones may say different things.
    moments = pd.date_range("1995-01-01", "2024-01-01", freq="7h", tz="UTC")
    assert np.array_equal(to_clocks(_micros(moments), zone), _micros(moments.tz_convert(zone)))


@pytest.mark.parametrize("zone", [*_ZONES, "America/Sao_Paulo", "-03:00"])
def test_midnights_are_the_moments_that_pandas_says(zone: str) -> None:
    days = pd.date_range("1999-01-01", "2024-01-01", freq="D")
    # Where midnight is left out, the day begins later; where it is shown twice, at the first of both.
    expected = days.tz_localize(zone, nonexistent="shift_forward", ambiguous=np.ones(len(days), bool))
    assert np.array_equal(to_moments(_micros(days), zone), _micros(expected.tz_convert("UTC")))


def test_a_time_that_is_left_out_is_the_moment_of_the_change() -> None:
    gap = _micros(pd.DatetimeIndex(["2024-03-31 01:59", "2024-03-31 02:30", "2024-03-31 03:00"]))
    assert texts(to_moments(gap, "Europe/Berlin"), "Europe/Berlin") == [
        "2024-03-31 01:59:00+01:00",
        "2024-03-31 03:00:00+02:00",
        "2024-03-31 03:00:00+02:00",
    ]


def test_texts_have_offsets_and_no_empty_fractions() -> None:
    moments = _micros(pd.DatetimeIndex(["2024-07-01 12:00:00", "2024-01-01 12:00:00.25"]))
    assert texts(moments[:1], "America/New_York") == ["2024-07-01 08:00:00-04:00"]
    assert texts(moments, "Asia/Kolkata")[1] == "2024-01-01 17:30:00.250000+05:30"
    assert texts(moments[:1], UTC) == ["2024-07-01 12:00:00+00:00"]


@pytest.mark.parametrize(
    ("offsets", "last", "zone"),
    [
        ({7200}, 7200, "+02:00"),
        ({0}, 0, UTC),
        ({3600, 7200}, 3600, "+01:00"),
        ({-18000, -14400}, -14400, "-04:00"),
        ({3600, -18000}, 3600, UTC),
        ({3208}, 3208, UTC),
        (set(), 0, UTC),
    ],
)
def test_zone_of_offsets(offsets: set[int], last: int, zone: str) -> None:
    assert zone_of_offsets(offsets, last) == zone


def test_names() -> None:
    assert [is_known(name) for name in ("Europe/Berlin", "+02:00", "Europe", "Mars/Base", "../etc", "")] == [
        True,
        True,
        False,
        False,
        False,
        False,
    ]
    assert [is_fixed(name) for name in (UTC, "-09:30", "Europe/Berlin")] == [True, True, False]
    assert [hour_later(name) for name in (UTC, "-01:00", "+05:30")] == ["+01:00", UTC, "+06:30"]


def test_nothing_is_nothing() -> None:
    none = np.empty(0, np.int64)
    assert len(to_clocks(none, "Europe/Berlin")) == len(to_moments(none, "Europe/Berlin")) == 0
