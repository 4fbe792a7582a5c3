"""Single columns of a long table as numpy arrays: times, target, and the checks that belong to one column alone."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

import numpy as np
import pyarrow as pa

from rayctl.errors import FieldError, InvalidData, InvalidRequest

__all__ = ["Columns", "bad_rows", "check_columns", "defect", "read_target", "read_times"]

_EXAMPLES = 5
_ISO_MONTH = re.compile(r"\d{4}-\d{2}")
_WHOLE = re.compile(r"[+-]?\d{1,18}")


@dataclass(frozen=True)
class Columns:
    """The roles of a long table: columns that name the series (none: one series), its time, its values."""

    ids: tuple[str, ...]
    time: str
    target: str


def defect(code: str, column: str, message: str, hint: str) -> InvalidData:
    """Return the error for a defect of one column."""
    errors: list[FieldError] = [{"pointer": f"/data/{column}", "message": message}]
    return InvalidData(message, code=code, hint=hint, errors=errors)


def bad_rows(bad: np.ndarray) -> str:
    """Return the positions of the first bad rows as text, counted from 0."""
    found = np.flatnonzero(bad)
    return ", ".join(str(row) for row in found[:_EXAMPLES]) + (", …" if len(found) > _EXAMPLES else "")


def check_columns(names: Sequence[str], columns: Columns, *, with_target: bool = True) -> None:
    """Check that every role has a column of its own.

    Raises:
        InvalidData: ``duplicate-columns``, ``missing-target``, ``unknown-column``.
        InvalidRequest: ``column-roles`` (one column in two roles), ``reserved-column``.
    """
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise defect(
            "duplicate-columns", repeated[0], f"These columns occur more than once: {repeated}.", "Rename them."
        )
    keys = [*columns.ids, columns.time]
    twice = [name for name, count in Counter([*keys, columns.target]).items() if count > 1]
    if twice:
        raise InvalidRequest(
            f"The column {twice[0]!r} is named in two roles.",
            code="column-roles",
            hint="target, time_column and id_columns must be different columns.",
        )
    if "prediction" in keys:
        raise InvalidRequest(
            "An id or time column cannot be named 'prediction'.",
            code="reserved-column",
            hint="Rename it: the forecast's values have this name.",
        )
    roles = [(name, "unknown-column") for name in keys] + [(columns.target, "missing-target")] * with_target
    for name, code in roles:
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
            hint = f"Did you mean {close[0]!r}?" if close else f"Columns: {', '.join(names[:20])}."
            raise defect(code, name, f"There is no column {name!r} in the table.", hint)


def read_times(column: pa.ChunkedArray, name: str) -> tuple[np.ndarray, bool]:
    """Return (times, int64; True if they are microseconds since 1970, False if they are integers).

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
        return column.cast(pa.int64()).to_numpy(), True
    if pa.types.is_integer(dtype):
        return column.cast(pa.int64()).to_numpy(), False
    if pa.types.is_string(dtype):
        return _parse_texts(column.to_pylist(), name)
    raise defect(
        "time-type",
        name,
        f"The time column {name!r} has values of type {dtype}, which are not times.",
        "Give timestamps, ISO 8601 text (2024-01-31 or 2024-01-31T12:00:00) or whole numbers.",
    )


def _parse_texts(texts: list[str], name: str) -> tuple[np.ndarray, bool]:
    if texts and all(_WHOLE.fullmatch(text.strip()) for text in texts):
        return np.array([int(text) for text in texts], np.int64), False
    micros = [_parse_iso(text) for text in texts]
    bad = [row for row, value in enumerate(micros) if value is None]
    if bad:
        shown = ", ".join(f"row {row}: {texts[row][:40]!r}" for row in bad[:_EXAMPLES])
        raise defect(
            "time-type",
            name,
            f"{len(bad)} values of the time column {name!r} are not times ({shown}).",
            "Write them as ISO 8601: 2024-01-31 or 2024-01-31T12:00:00.",
        )
    return np.array(micros, np.int64), True


def _parse_iso(text: str) -> int | None:
    text = text.strip()
    if _ISO_MONTH.fullmatch(text):
        text += "-01"
    if text.endswith(("Z", "z")):
        text = text[:-1] + "+00:00"
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    found = found.replace(tzinfo=timezone.utc) if found.tzinfo is None else found
    since = found - datetime(1970, 1, 1, tzinfo=timezone.utc)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def read_target(column: pa.ChunkedArray, name: str) -> np.ndarray:
    """Return the target as float64 with NaN for missing values.

    Raises:
        InvalidData: ``target-type``, ``non-finite``.
    """
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        example = next((value for value in column.to_pylist()[:1000] if value is not None), None)
        raise defect(
            "target-type",
            name,
            f"The target {name!r} must be numeric; it has type {column.type} (for example {str(example)[:40]!r}).",
            "Turn it into numbers, written without thousands separators, units or words (leave missing values empty).",
        )
    values = column.cast(pa.float64(), safe=False).fill_null(float("nan")).to_numpy().astype(np.float64)
    infinite = np.isinf(values)
    if infinite.any():
        raise defect(
            "non-finite",
            name,
            f"The target {name!r} has {infinite.sum()} infinite values (rows {bad_rows(infinite)}).",
            "Replace infinities by numbers, or by missing values.",
        )
    return values
