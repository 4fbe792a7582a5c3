"""Time grids: which timestamps follow each other, how many steps lie between two, what one season is. Pure numpy.

Times are int64: microseconds since 1970 (UTC), or the caller's own integers.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from math import gcd
from typing import Any, Literal

import numpy as np

from rayctl.errors import InvalidRequest

__all__ = ["Frequency", "Origin", "infer_frequency", "origin_of", "parse_frequency"]

_S = 1_000_000
_MIN, _H, _D = 60 * _S, 3600 * _S, 86_400 * _S
_W = 7 * _D
_LONGEST_SEASON = 1000
_JITTER = 20  # a timestamp may be off by this part of a step …
_CLOCK_CHANGE = _H  # … and the time of day by what summer time makes of it in UTC
_FIRST_BUSINESS, _LAST_BUSINESS = 0, 32
_HOLIDAYS = 4  # days

Unit = Literal["step", "us", "month", "business"]

_ALIASES: dict[str, tuple[Unit, int]] = {
    **dict.fromkeys(("us", "U"), ("us", 1)),
    **dict.fromkeys(("ms", "L"), ("us", 1000)),
    **dict.fromkeys(("S", "s", "sec"), ("us", _S)),
    **dict.fromkeys(("T", "min"), ("us", _MIN)),
    **dict.fromkeys(("H", "h", "hourly", "hour"), ("us", _H)),
    **dict.fromkeys(("D", "d", "daily", "day"), ("us", _D)),
    **dict.fromkeys(("W", "w", "weekly", "week"), ("us", _W)),
    **dict.fromkeys(("M", "MS", "ME", "monthly", "month"), ("month", 1)),
    **dict.fromkeys(("Q", "QS", "QE", "quarterly", "quarter"), ("month", 3)),
    **dict.fromkeys(("Y", "YS", "YE", "A", "AS", "yearly", "annual", "year"), ("month", 12)),
    **dict.fromkeys(("B", "business"), ("business", 1)),
}


@dataclass(frozen=True)
class Origin:
    """Where the grids of series begin: per series the first time, and the day of month that monthly grids aim at.

    A ``day`` of 0 is the first business day of the month (Monday to Friday), 32 the last.
    """

    first: np.ndarray
    day: np.ndarray

    def take(self, positions: np.ndarray) -> Origin:
        """Return the origins of some series, or of rows if ``positions`` holds the series of each row."""
        return Origin(self.first[positions], self.day[positions])


@dataclass(frozen=True)
class Frequency:
    """A regular grid: every ``count`` units. ``step`` counts integers, ``us`` microseconds, ``month`` calendar months,
    ``business`` the days from Monday to Friday."""

    unit: Unit
    count: int

    @property
    def name(self) -> str:
        """Short name as callers write it: 1, 15min, h, D, W, M, Q, Y, B, …"""
        if self.unit == "step":
            return str(self.count)
        if self.unit == "business":
            return "B"
        sizes = ((12, "Y"), (3, "Q"), (1, "M")) if self.unit == "month" else _DURATION_NAMES
        size, letter = next((size, letter) for size, letter in sizes if self.count % size == 0)
        return letter if self.count == size else f"{self.count // size}{letter}"

    @property
    def season_length(self) -> int:
        """Steps of the usual season: a day for hours, a week for days, a year for weeks, months and quarters."""
        if self.unit == "business":
            return 5
        if self.unit == "month":
            return 12 // self.count if 12 % self.count == 0 else 1
        if self.unit == "step":
            return 1
        if self.count == _W:
            return 52
        longer = next((span for span in (_MIN, _H, _D, _W) if span > self.count), None)
        if self.count >= _MIN and self.count < _H and _D // self.count <= 300:
            longer = _D  # quarter hours repeat by day rather than by hour
        return longer // self.count if longer is not None and longer % self.count == 0 else 1

    def season_lengths(self, length: float) -> tuple[int, ...]:
        """Return the usual season and, where series of ``length`` steps show it at least twice, the next longer one:
        a week for parts of a day, a year for days."""
        found = [self.season_length]
        if self.unit == "us":
            longer = {_D: _W}.get(found[0] * self.count)
            if found[0] > 1 and longer is not None and longer // self.count <= _LONGEST_SEASON:
                found.append(longer // self.count)
            if self.count == _D:
                found.append(365)
        elif self.unit == "business":
            found.append(261)
        return tuple(found[:1] + [season for season in found[1:] if length >= 2.5 * season])

    def positions(self, times: np.ndarray, origin: Origin) -> tuple[np.ndarray, np.ndarray]:
        """Return (steps since the origin, int64; whether the time is on the grid, bool) for each time.

        Times may be off the grid by a twentieth of a step, and by an hour on calendar grids (summer time).
        """
        if self.unit == "step":
            return (times - origin.first) // self.count, (times - origin.first) % self.count == 0
        if self.unit == "us":
            steps = (times - origin.first + self.count // 2) // self.count
            return steps, np.abs(times - origin.first - steps * self.count) <= self.count // _JITTER
        clock = np.abs(times % _D - origin.first % _D) <= _CLOCK_CHANGE
        days, first_days = _days(times), _days(origin.first)
        if self.unit == "business":
            return np.busday_count(first_days, days), clock & np.is_busday(days)
        months = _months(days)
        steps = months - _months(first_days)
        # A bank holiday moves a business day at the edge of the month, but not the month.
        off = np.abs(_day_of_month(days, months) - _aimed_day(months, origin.day))
        fits = off <= np.where(_is_business(origin.day), _HOLIDAYS, 0)
        on_grid = clock & fits & (steps % self.count == 0)
        return steps // self.count, on_grid

    def times(self, positions: np.ndarray, origin: Origin) -> np.ndarray:
        """Return the times (int64) at the given steps since the origin: the inverse of `positions`."""
        if self.unit in ("step", "us"):
            return origin.first + positions * self.count
        clock, first_days = origin.first % _D, _days(origin.first)
        if self.unit == "business":
            return np.busday_offset(first_days, positions, roll="forward").astype(np.int64) * _D + clock
        months = _months(first_days) + positions * self.count
        starts = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
        return (starts + _aimed_day(months, origin.day) - 1) * _D + clock

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form kept in bundles."""
        return {"unit": self.unit, "count": self.count}


_DURATION_NAMES = ((_W, "W"), (_D, "D"), (_H, "h"), (_MIN, "min"), (_S, "s"), (1000, "ms"), (1, "us"))


def _days(times: np.ndarray) -> np.ndarray:
    return np.floor_divide(times, _D).astype("datetime64[D]")


def _months(days: np.ndarray) -> np.ndarray:
    return days.astype("datetime64[M]").astype(np.int64)


def _month_length(months: np.ndarray) -> np.ndarray:
    starts = np.stack([months, months + 1]).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    return starts[1] - starts[0]


def _day_of_month(days: np.ndarray, months: np.ndarray) -> np.ndarray:
    return np.asarray((days - months.astype("datetime64[M]").astype("datetime64[D]")).astype(np.int64) + 1)


def _is_business(day: np.ndarray) -> np.ndarray:
    return np.asarray((day == _FIRST_BUSINESS) | (day == _LAST_BUSINESS))


def _aimed_day(months: np.ndarray, day: np.ndarray) -> np.ndarray:
    """Return the day of month that grids with an origin's day have in months."""
    length = _month_length(months)
    aimed = np.minimum(day, length)
    if not _is_business(day).any():
        return aimed
    starts = months.astype("datetime64[M]").astype("datetime64[D]")
    last = np.busday_offset(starts + length - 1, 0, roll="backward")
    first = np.busday_offset(starts, 0, roll="forward")
    aimed = np.where(day == _LAST_BUSINESS, (last - starts).astype(np.int64) + 1, aimed)
    return np.where(day == _FIRST_BUSINESS, (first - starts).astype(np.int64) + 1, aimed)


def origin_of(times: np.ndarray, offsets: np.ndarray, calendar: bool) -> Origin:
    """Return the origin of each series from its own times (ascending; series ``i`` is ``offsets[i]:offsets[i+1]``).

    A series whose rows are all last days of their months aims at the last day, others at their largest day; where that
    does not fit, at the last or first business day.
    """
    first = times[offsets[:-1]]
    if not calendar:
        return Origin(first, np.ones_like(first))
    days = _days(times)
    months = _months(days)
    day, length = _day_of_month(days, months), _month_length(months)
    largest = np.maximum.reduceat(day, offsets[:-1])
    all_last = np.logical_and.reduceat(day == length, offsets[:-1])
    aim = np.where(all_last, 31, largest)
    rows = np.repeat(np.arange(len(first)), np.diff(offsets))
    fits = np.logical_and.reduceat(day == np.minimum(aim[rows], length), offsets[:-1])
    one_a_month = (np.diff(months) > 0) | (rows[1:] != rows[:-1])
    if not fits.all() and one_a_month.all():
        work = np.is_busday(days)
        for edge in (_LAST_BUSINESS, _FIRST_BUSINESS):
            near = np.abs(day - _aimed_day(months, np.full_like(day, edge))) <= _HOLIDAYS
            aim = np.where(~fits & np.logical_and.reduceat(work & near, offsets[:-1]), edge, aim)
    return Origin(first, aim)


def infer_frequency(
    times: np.ndarray, offsets: np.ndarray, origin: Origin, calendar: bool, *, dense: bool = True
) -> Frequency | None:
    """Return the grid that all times of all series lie on, or None if there is no sensible one.

    Tried in order: calendar months, business days, the most common distance, the largest common divisor. Gaps are
    allowed as long as no more values are missing than there are (without ``dense`` however many).
    """
    rows = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    deltas = np.diff(times)[rows[1:] == rows[:-1]]
    if not len(deltas):
        return None
    by_row = origin.take(rows)
    for candidate in _candidates(times, deltas, rows, calendar):
        steps, on_grid = candidate.positions(times, by_row)
        if on_grid.all() and (np.diff(steps)[rows[1:] == rows[:-1]] > 0).all():
            wanted = steps[offsets[1:] - 1].sum() + len(offsets) - 1
            if not dense or wanted <= 2 * len(times):
                return candidate
    return None


def _candidates(times: np.ndarray, deltas: np.ndarray, rows: np.ndarray, calendar: bool) -> list[Frequency]:
    found = []
    most_common = _mode(deltas)
    if calendar and deltas.min() >= 28 * _D - _CLOCK_CHANGE:
        months = np.diff(_months(_days(times)))[rows[1:] == rows[:-1]]
        found += [Frequency("month", size) for size in (_mode(months), int(np.gcd.reduce(months))) if size > 0]
    if calendar and abs(most_common - _D) <= _CLOCK_CHANGE and (times.max() - times.min()) >= 7 * _D:
        # With a weekend in it, daily data would have a row there.
        found += [Frequency("business", 1)] if np.is_busday(_days(times)).all() else []
    divisor = int(np.gcd.reduce(deltas))
    unit: Unit = "us" if calendar else "step"
    sizes = [most_common, gcd(divisor, most_common)]
    if calendar and (deltas % most_common).any():
        sizes.insert(0, _rounded(most_common))  # of measured times no distance is the step itself
    return found + [Frequency(unit, size) for size in dict.fromkeys(sizes)]


def _rounded(size: int) -> int:
    """Return the days, hours, minutes or seconds that a distance is within a hundredth of, else the distance."""
    for unit in (_D, _H, _MIN, _S):
        near = round(size / unit) * unit
        if near and abs(size - near) <= size // 100:
            return near
    return size


def _mode(values: np.ndarray) -> int:
    found, counts = np.unique(values, return_counts=True)
    return int(found[counts.argmax()])


def parse_frequency(text: str) -> Frequency:
    """Return the frequency that a caller wrote.

    That is one of pandas' aliases (``h``, ``15min``, ``D``, ``W-SUN``, ``MS``, ``QE-DEC``, …), a word (``daily``), or
    a whole number for integer times.

    Raises:
        InvalidRequest: ``unknown-frequency``.
    """
    match = re.fullmatch(r"(\d*)\s*([A-Za-z]*)(-[A-Z]{3})?", text.strip())
    count, word = (int(match.group(1) or 1), match.group(2)) if match else (0, "")
    if match and match.group(1) and not word and count > 0:
        return Frequency("step", count)
    unit = _ALIASES.get(word) or _ALIASES.get(word.lower() if len(word) > 1 else "")
    if unit is None or count < 1 or (unit[0] == "business" and count > 1):
        close = difflib.get_close_matches(word, _ALIASES, n=1)
        raise InvalidRequest(
            f"There is no frequency {text!r}.",
            code="unknown-frequency",
            hint=(f"Did you mean {close[0]!r}? " if close else "")
            + "Write for example h, 15min, D, B, W, M, Q, Y, or a whole number for integer times.",
            errors=[{"pointer": "/frequency", "message": "unknown frequency"}],
        )
    return Frequency(unit[0], unit[1] * count)
