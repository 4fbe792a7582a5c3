"""The target column: which rows have one, what its classes are, and what is wrong with it."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rayctl.automl.model import TaskType
from rayctl.automl.tabular.columns import Kind, kind_of, numbers, texts
from rayctl.automl.tabular.formats import read_amounts
from rayctl.errors import InvalidData

__all__ = ["Label", "Target", "examples", "read_target"]

Label = str | int | bool | float

_MANY_CLASSES = 100
_MANY_FLOAT_VALUES = 20
_CLASSES_SHARE, _FLOATS_SHARE = 0.25, 0.05  # of the rows
_EXACT = 2.0**53  # every whole number up to here is a float64
_LEAST_PEAK, _MOST_PEAK = 1e-100, 1e100


@dataclass(frozen=True)
class Target:
    """The usable part of the target.

    ``rows``: positions of the rows that are used (int64), in their order, or None for all as they are. ``values``: for
    those rows class codes (int32) or numbers (float64). ``classes``: the labels in their own type, sorted, or None.
    """

    rows: np.ndarray | None
    values: np.ndarray
    classes: tuple[Label, ...] | None
    warnings: tuple[str, ...]

    @property
    def class_counts(self) -> list[int] | None:
        """Number of rows per class, or None for regression."""
        return None if self.classes is None else np.bincount(self.values, minlength=len(self.classes)).tolist()

    def take(self, places: np.ndarray) -> Target:
        """Return the target of some of the rows (positions in ``values``), without classes that none of them has."""
        rows = places if self.rows is None else self.rows[places]
        values, classes = self.values[places], self.classes
        if classes is not None:
            found, codes = np.unique(values, return_inverse=True)
            values, classes = codes.astype(np.int32), tuple(classes[code] for code in found)
        return Target(rows, values, classes, self.warnings)


def examples(mask: np.ndarray, limit: int = 5, positions: np.ndarray | None = None) -> str:
    """Name the first rows (counted from 0) where ``mask`` is true, for messages.

    ``positions``: of the mask's rows in the caller's table; None: it is about that table itself.
    """
    rows = np.flatnonzero(mask)
    shown = rows[:limit] if positions is None else positions[rows[:limit]]
    return ", ".join(map(str, shown.tolist())) + (", …" if len(rows) > limit else "")


def read_target(table: pa.Table, name: str, task: TaskType) -> Target:
    """Read and check the target column.

    Raises:
        InvalidData: ``missing-target`` (no such column, or no value in it), ``target-type``, ``non-finite``,
            ``one-class``, ``constant-target``, ``out-of-range``.
    """
    if name not in table.column_names:
        close = difflib.get_close_matches(name, table.column_names, n=1, cutoff=0.5)
        raise _defect(
            "missing-target",
            f"The target column {name!r} is not in the table.",
            f"Did you mean {close[0]!r}?" if close else f"Columns: {', '.join(table.column_names[:20])}.",
        )
    column = table.column(name)
    kind = kind_of(column.type)
    if kind in (None, "datetime"):
        raise _defect(
            "target-type",
            f"The target column {name!r} has type {column.type}, which cannot be predicted.",
            "Make it a number of days or seconds, or a class; times ahead are for task forecasting."
            if kind == "datetime"
            else "Turn it into numbers, text or true/false values.",
        )
    warnings = []
    if task is TaskType.REGRESSION and kind == "category":
        read = _numbers_of_text(name, texts(column))
        if read is not None:
            (column, note), kind = read, "number"
            warnings.append(note)
    present = np.asarray(pc.is_valid(column)) if kind in ("category", "bool") else ~np.isnan(numbers(column))
    if not present.any():
        raise _defect(
            "missing-target",
            f"The target column {name!r} has no value in any of {len(table)} rows.",
            "Training needs rows whose target is known. Is this the right target column?",
        )
    if not present.all():
        missing = len(present) - int(present.sum())
        warnings.append(f"{missing} rows without a value in target {name!r} were dropped (rows {examples(~present)}).")
    rows = None if present.all() else np.flatnonzero(present)
    kept = column if rows is None else column.take(pa.array(rows))
    if kind == "number":
        _check_finite(name, column)
    if task is TaskType.REGRESSION:
        return Target(rows, _regression(name, kept, kind), None, tuple(warnings))
    codes, classes = _classes(name, kept, kind, gaps=rows is not None)
    return Target(rows, codes, classes, tuple(warnings))


def _defect(code: str, message: str, hint: str) -> InvalidData:
    return InvalidData(message, code=code, hint=hint, errors=[{"pointer": "/target", "message": message}])


def _check_finite(name: str, column: pa.ChunkedArray) -> None:
    infinite = np.isinf(numbers(column))
    if infinite.any():
        raise _defect(
            "non-finite",
            f"The target column {name!r} has {int(infinite.sum())} infinite values (rows {examples(infinite)}).",
            "Remove these rows or correct their values.",
        )


def _numbers_of_text(name: str, values: pa.Array) -> tuple[pa.ChunkedArray, str] | None:
    """Return (the numbers that a text column holds, what to say about it); None if it holds others than numbers."""
    read = read_amounts(values)
    if read is None:
        return None
    found, strange = read
    if pc.any(strange).as_py():
        shown = ", ".join(map(repr, values.filter(strange).unique().slice(0, 3).to_pylist()))
        rows = np.asarray(strange)
        others = "1 value that is" if rows.sum() == 1 else f"{int(rows.sum())} values that are"
        raise _defect(
            "target-type",
            f"The target column {name!r} holds numbers as text and {others} none ({shown}; rows {examples(rows)}).",
            "Correct these values, or leave them empty: rows without a target are left out.",
        )
    first = int(np.flatnonzero(np.asarray(found.is_valid()))[0])
    example = f"{values[first].as_py()!r} is {found[first].as_py():g}"
    return pa.chunked_array([found]), f"Target {name!r} is text and was read as numbers ({example})."


def _regression(name: str, column: pa.ChunkedArray, kind: Kind | None) -> np.ndarray:
    if kind != "number":
        shown = ", ".join(repr(value) for value in column.slice(0, 3).to_pylist())
        raise _defect(
            "target-type",
            f"The target column {name!r} holds {'text' if kind == 'category' else 'true/false'} (for example {shown}); "
            "regression needs numbers.",
            "Use task classification, or convert the column to numbers.",
        )
    values = numbers(column)
    if (values == values[0]).all():
        raise _defect(
            "constant-target",
            f"The target column {name!r} has the same value in all {len(values)} rows.",
            "There is nothing to learn. Is this the right target column?",
        )
    peak = float(np.abs(values).max())
    if not _LEAST_PEAK < peak < _MOST_PEAK:
        raise _defect(
            "out-of-range",
            f"The target column {name!r} has values up to {peak:g}, and the squares of errors of that size are lost.",
            "Divide the target by its typical size, and multiply predictions by it.",
        )
    return values


def _classes(
    name: str, column: pa.ChunkedArray, kind: Kind | None, *, gaps: bool
) -> tuple[np.ndarray, tuple[Label, ...]]:
    """Return (codes, labels). ``gaps``: rows without a value were left out, so whole numbers came as floats."""
    if kind == "category":
        array = texts(column)
    elif kind == "bool":
        array = column.combine_chunks()
    elif pa.types.is_integer(column.type):
        array = column.cast(pa.int64()).combine_chunks()
    else:
        array = pa.array(numbers(column))
        if gaps:
            array = _whole(array)
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks)
    classes = sorted(array.unique().to_pylist())
    if len(classes) < 2:
        raise _defect(
            "one-class",
            f"The target column {name!r} has only one class ({classes[0]!r}) in {len(array)} rows.",
            "Classification needs rows of at least two classes.",
        )
    _check_class_number(name, classes, len(array))
    codes = pc.index_in(array, value_set=pa.array(classes, array.type))
    return codes.to_numpy(zero_copy_only=False).astype(np.int32), tuple(classes)


def _whole(array: pa.Array) -> pa.Array:
    """Return floating-point numbers as whole ones if all are: what they were before some were missing."""
    whole = pc.and_(pc.equal(pc.trunc(array), array), pc.less(pc.abs(array), _EXACT))
    return array.cast(pa.int64()) if pc.all(whole).as_py() else array


def _check_class_number(name: str, classes: list[Label], rows: int) -> None:
    continuous = any(isinstance(label, float) and not label.is_integer() for label in classes)
    most, share = (_MANY_FLOAT_VALUES, _FLOATS_SHARE) if continuous else (_MANY_CLASSES, _CLASSES_SHARE)
    too_many = len(classes) > most and len(classes) > share * rows
    # Small tables: nearly every row its own class is no classification either.
    if too_many or (len(classes) > _MANY_FLOAT_VALUES and len(classes) > 0.5 * rows):
        text = isinstance(classes[0], str)
        raise _defect(
            "target-type",
            f"The target column {name!r} has {len(classes)} different values in {rows} rows; "
            "that is too many for classes.",
            "Is this the right target column?" if text else "Use task regression.",
        )
