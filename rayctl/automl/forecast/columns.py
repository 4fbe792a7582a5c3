"""Single columns of a long table: their roles, the target as numpy, and the checks that belong to one column alone."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from rayctl.errors import FieldError, InvalidData, InvalidRequest

__all__ = ["Columns", "bad_rows", "check_columns", "defect", "label", "read_target"]

_EXAMPLES = 5


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


def label(ids: pa.Table, series: int) -> str:
    """Return how a message names a series. ``ids``: the id columns, one row per series."""
    if not ids.num_columns:
        return "the series"
    return "series " + ", ".join(f"{name}={ids.column(name)[series].as_py()!s:.40}" for name in ids.column_names)


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
            "Turn it into numbers with a decimal point, without thousands separators, units or words (leave missing "
            "values empty).",
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
