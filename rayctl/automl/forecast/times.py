"""The time column of a long table as numpy: timestamps, texts with the year first, or whole numbers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa

from rayctl.automl.forecast.columns import bad_rows, defect
from rayctl.automl.zones import UTC, is_known, to_moments, zone_of_offsets
from rayctl.errors import InvalidData

__all__ = ["Times", "looks_compact", "read_times"]

_SHOWN = 5
_WHOLE = re.compile(r"[+-]?\d{1,18}")
_QUARTER = re.compile(r"(\d{4})[-/ ]?Q([1-4])", re.IGNORECASE)
_MONTH = re.compile(r"(\d{4})-(\d{1,2})")  # with a slash it may be two years: 2011/12
_DATE = re.compile(
    r"(\d{4})([-/.])(\d{1,2})\2(\d{1,2})"
    r"(?:[T ](\d{1,2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?"
    r" ?(Z|UTC|[+-]\d{2}(?::?\d{2})?)?)?",
    re.IGNORECASE,
)
_ANY_ORDER = re.compile(r"\d{1,2}([-/. ])\d{1,2}\1\d{2,4}\b.*")
_COMPACT = re.compile(r"(18|19|20|21)\d{2}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])")
_AS_NUMBERS = (
    "The times look like dates written as 20240131, but are whole numbers and counted as such: 20240131 is followed by "
    "20240132. If they are dates, write 2024-01-31."
)
_EPOCH = datetime(1970, 1, 1)


@dataclass(frozen=True)
class Times:
    """The times of all rows.

    Attributes:
        values: int64: microseconds since 1970 in UTC, or the caller's whole numbers.
        calendar: Whether they are microseconds.
        zone: The zone that they were written in; None: they name none (and ``values`` are as if they were UTC).
        warning: What could not be followed, for people.
    """

    values: np.ndarray
    calendar: bool
    zone: str | None = None
    warning: str | None = None


def read_times(column: pa.ChunkedArray, name: str, local: str | None = None) -> Times:
    """Return the times of a column.

    Args:
        column: In its normal form (`rayctl.automl.ingest.normalize`), with or without its zone.
        name: Of the column, for messages.
        local: On whose clocks times without a zone are meant.

    Raises:
        InvalidData: ``time-type``, ``missing-time``.
    """
    dtype = column.type
    if column.null_count:
        bad = ~np.asarray(column.combine_chunks().is_valid())
        raise defect(
            "missing-time",
            name,
            f"{bad.sum()} rows have no time in column {name!r} (rows {bad_rows(bad)}): it cannot be told which step "
            "they belong to.",
            "Fill in these times, or drop the rows. A step that is not known may be left out altogether, or have a "
            "time and an empty target.",
        )
    if pa.types.is_timestamp(dtype):
        values = column.cast(pa.int64()).to_numpy()
        if dtype.tz is None:
            return Times(values if local is None else to_moments(values, local), True)
        if is_known(dtype.tz):
            return Times(values, True, dtype.tz)
        return Times(values, True, UTC, f"The time zone {dtype.tz!r} is not known here: times are answered in UTC.")
    if pa.types.is_integer(dtype):
        return _numbers(column.cast(pa.int64()).to_numpy())
    if pa.types.is_string(dtype):
        return _read_texts(column, name, local)
    raise defect(
        "time-type",
        name,
        f"The time column {name!r} has values of type {dtype}, which are not times.",
        "Give timestamps, ISO 8601 text (2024-01-31 or 2024-01-31T12:00:00) or whole numbers.",
    )


def _numbers(values: np.ndarray) -> Times:
    return Times(values, False, warning=_AS_NUMBERS if looks_compact(values) else None)


def _read_texts(column: pa.ChunkedArray, name: str, local: str | None) -> Times:
    # Series share their times: each text is read once.
    coded = column.combine_chunks().dictionary_encode()
    texts = coded.dictionary.to_pylist()
    codes = coded.indices.to_numpy(zero_copy_only=False)
    if texts and all(_WHOLE.fullmatch(text.strip()) for text in texts):
        return _numbers(np.array([int(text) for text in texts], np.int64)[codes])
    found = [_read(text.strip()) for text in texts]
    wrong = np.array([item is None for item in found], bool)[codes]
    if wrong.any():
        rows = np.flatnonzero(wrong)
        examples = [(row, texts[codes[row]]) for row in rows[:_SHOWN]]
        raise _no_times(name, len(rows), examples)
    shown = np.array([item[0] for item in found if item is not None], np.int64)
    offsets = [item[1] for item in found if item is not None]
    if local is not None:
        without = np.array([offset is None for offset in offsets], bool)
        shown[without] = to_moments(shown[without], local)
    moments = shown - np.array([offset or 0 for offset in offsets], np.int64) * 1_000_000
    warning = None
    if None in offsets and any(offset is not None for offset in offsets):
        warning = "Some times have an offset from UTC and some have none: the latter were taken as "
        warning += f"{UTC if local is None else local}."
    return Times(moments[codes], True, _zone(moments, offsets), warning)


def _zone(moments: np.ndarray, offsets: list[int | None]) -> str | None:
    known = {offset for offset in offsets if offset is not None}
    if not known:
        return None
    last = offsets[int(moments.argmax())]
    return UTC if None in offsets or last is None else zone_of_offsets(known, last)


def _no_times(name: str, count: int, examples: list[tuple[int, str]]) -> InvalidData:
    shown = ", ".join(f"row {row}: {text[:40]!r}" for row, text in examples)
    hint = "Write them as ISO 8601: 2024-01-31 or 2024-01-31T12:00:00."
    if any(_ANY_ORDER.fullmatch(text.strip()) for _, text in examples):
        hint = (
            "It cannot be told whether the day or the month comes first. Write the year first: 2024-01-31 or "
            "2024/01/31, in pandas with to_datetime(..., format=...)."
        )
    return defect("time-type", name, f"{count} values of the time column {name!r} are not times ({shown}).", hint)


def looks_compact(values: np.ndarray) -> bool:
    """Whether whole numbers are dates written as 20240131."""
    return len(values) > 0 and all(_COMPACT.fullmatch(str(value)) for value in values[:1000].tolist())


def _read(text: str) -> tuple[int, int | None] | None:
    """Return (microseconds since 1970 on the clock of the text, its offset in seconds or None); None: no time."""
    try:
        if match := _DATE.fullmatch(text):
            return _from_parts(*match.groups())
        if match := _MONTH.fullmatch(text):
            return _micros(datetime(int(match[1]), int(match[2]), 1)), None
        if match := _QUARTER.fullmatch(text):
            return _micros(datetime(int(match[1]), 3 * int(match[2]) - 2, 1)), None
        found = datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith(("Z", "z")) else text)
    except (ValueError, OverflowError):
        return None
    offset = found.utcoffset()
    return _micros(found.replace(tzinfo=None)), None if offset is None else round(offset.total_seconds())


def _from_parts(
    year: str,
    _: str,
    month: str,
    day: str,
    hour: str | None,
    minute: str | None,
    second: str | None,
    fraction: str | None,
    zone: str | None,
) -> tuple[int, int | None]:
    micro = int((fraction or "0")[:6].ljust(6, "0"))
    found = datetime(int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0), micro)
    if zone is None:
        return _micros(found), None
    if zone.upper() in ("Z", "UTC"):
        return _micros(found), 0
    minutes = int(zone[1:3]) * 60 + int(zone[3:].lstrip(":") or 0)
    if minutes >= 24 * 60:
        raise ValueError(f"no zone is {zone} from UTC")
    return _micros(found), minutes * (-60 if zone[0] == "-" else 60)


def _micros(moment: datetime) -> int:
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
