"""Time zones: what their clocks show at a moment, and at which moment they show a time. Numpy and zoneinfo only.

Moments are int64, microseconds since 1970 in UTC. What clocks show is written the same way, as if it were UTC.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np

__all__ = ["UTC", "hour_later", "is_fixed", "is_known", "texts", "to_clocks", "to_moments", "zone_of_offsets"]

UTC = "UTC"
_OFFSET = re.compile(r"([+-])(\d{2}):?(\d{2})")
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_SECOND = 1_000_000
_HOUR_S, _DAY_S = 3600, 86_400
_SAMPLE_S = 3 * _DAY_S  # no place has changed its clocks twice within so short a time
_LONG_AGO = np.iinfo(np.int64).min
_FIRST_YEAR, _LAST_YEAR = 2, 9990


@lru_cache(maxsize=256)
def _zone(name: str) -> tzinfo | None:
    match = _OFFSET.fullmatch(name)
    if match:
        sign, hours, minutes = match.groups()
        span = timedelta(hours=int(hours), minutes=int(minutes))
        return timezone(-span if sign == "-" else span) if span < timedelta(days=1) else None
    if name in (UTC, "Z"):
        return timezone.utc
    try:
        return ZoneInfo(name)
    except (ValueError, KeyError, OSError):
        return None


def is_known(name: str) -> bool:
    """Whether a name (``Europe/Berlin``, ``+02:00``, ``UTC``) means a zone on this machine."""
    return _zone(name) is not None


def is_fixed(name: str) -> bool:
    """Whether a zone is a mere offset, whose clocks never change."""
    return isinstance(_zone(name), timezone)


def zone_of_offsets(offsets: Collection[int], last: int) -> str:
    """Return the zone of times that were written with offsets from UTC, in seconds; ``last``: of the latest time.

    One offset, or two that are summer and winter time of one place: the latest. More different ones: UTC.
    """
    if not offsets or max(offsets) - min(offsets) > _HOUR_S or last % 60:
        return UTC
    return _offset_name(last)


def hour_later(name: str) -> str:
    """Return the fixed zone whose clocks are an hour ahead of this fixed one's."""
    zone = _zone(name) or timezone.utc
    return _offset_name(round((zone.utcoffset(None) or timedelta()).total_seconds()) + _HOUR_S)


def _offset_name(seconds: int) -> str:
    if seconds == 0:
        return UTC
    hours, rest = divmod(abs(seconds), _HOUR_S)
    return f"{'-' if seconds < 0 else '+'}{hours:02}:{rest // 60:02}"


def to_clocks(moments: np.ndarray, name: str) -> np.ndarray:
    """Return what a zone's clocks show at moments, int64."""
    if name == UTC or not len(moments):
        return moments
    begins, offsets = _offsets(name, *_years(moments))
    return np.asarray(moments + offsets[np.searchsorted(begins, moments, side="right") - 1])


def to_moments(shown: np.ndarray, name: str) -> np.ndarray:
    """Return the moments at which a zone's clocks show times, int64.

    Of times that are shown twice the first moment; for times that are left out (02:30 when summer time begins) the
    moment of the change.
    """
    if name == UTC or not len(shown):
        return shown
    begins, offsets = _offsets(name, *_years(shown))
    # Until the later of its two readings, a change has not happened yet for a clock that is looked at.
    edges = begins[1:] + np.maximum(offsets[:-1], offsets[1:])
    place = np.searchsorted(edges, shown, side="right")
    ends = np.append(begins[1:], np.iinfo(np.int64).max)
    return np.asarray(np.minimum(shown - offsets[place], ends[place]))


def texts(moments: np.ndarray, name: str) -> list[str]:
    """Return moments as ISO 8601 texts with a zone's offset: ``2024-05-01 00:00:00+02:00``."""
    shown = to_clocks(moments, name)
    whole = not (shown % _SECOND).any()
    days = np.datetime_as_string(shown.astype("datetime64[us]"), unit="s" if whole else "us").tolist()
    return [
        f"{text[:10]} {text[11:]}{_offset_text(offset)}"
        for text, offset in zip(days, ((shown - moments) // _SECOND).tolist(), strict=True)
    ]


def _offset_text(seconds: int) -> str:
    return "+00:00" if seconds == 0 else _offset_name(seconds)


def _years(times: np.ndarray) -> tuple[int, int]:
    """Return the decades, first and last year, that times and the day around them lie in."""
    ends = np.array([times.min(), times.max()]).astype("datetime64[us]").astype("datetime64[Y]").astype(np.int64)
    first, last = (int(year) + 1970 for year in ends)
    inside = [min(max(year, _FIRST_YEAR), _LAST_YEAR) for year in ((first - 1) // 10 * 10, (last + 1) // 10 * 10 + 9)]
    return inside[0], inside[1]


@lru_cache(maxsize=256)
def _offsets(name: str, first_year: int, last_year: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (moments from which on each offset holds, the first one long ago; the offsets), microseconds."""
    zone = _zone(name) or timezone.utc

    def offset(second: int) -> int:
        found = (_EPOCH + timedelta(seconds=second)).astimezone(zone).utcoffset() or timedelta()
        return round(found.total_seconds() * _SECOND)

    def begin_of(year: int) -> int:
        return (datetime(year, 1, 1, tzinfo=timezone.utc) - _EPOCH).days * _DAY_S

    first, end = begin_of(first_year), begin_of(last_year + 1)
    begins, offsets = [_LONG_AGO], [offset(first)]
    if not isinstance(zone, timezone):
        for second in range(first + _SAMPLE_S, end + _SAMPLE_S, _SAMPLE_S):
            if (now := offset(second)) == offsets[-1]:
                continue
            low, high = second - _SAMPLE_S, second
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if offset(middle) == offsets[-1] else (low, middle)
            begins.append(high * _SECOND)
            offsets.append(now)
    return np.array(begins, np.int64), np.array(offsets, np.int64)
