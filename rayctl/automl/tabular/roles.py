"""Columns with a role of their own: weights of rows, groups that must not be split, the time that orders windows."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rayctl.automl.tabular import columns as col
from rayctl.automl.tabular import formats
from rayctl.automl.tabular.target import Target, examples
from rayctl.errors import InvalidData

__all__ = ["in_order", "read_groups", "read_weights", "weighed"]


def weighed(table: pa.Table, target: Target, name: str) -> tuple[Target, np.ndarray, list[str]]:
    """Return (the target of the rows that have a weight, their weights, warnings). Rows of weight 0 count for nothing.

    Args:
        table: The rows of the target, in its order.
        target: Of these rows.
        name: Of the weight column.

    Raises:
        InvalidData: as `read_weights`; ``invalid-weights`` also if fewer than two classes or values have a weight.
    """
    weights = read_weights(table, name, target.rows)
    if weights.all():
        return target, weights, []
    heavy = np.flatnonzero(weights)
    first = target.values[heavy[0]]
    if not (target.values[heavy] != first).any():
        only = f"value {float(first):g}" if target.classes is None else f"class {target.classes[int(first)]!r}"
        raise _invalid_weights(name, f"leaves only the {only}: all rows of the others have weight 0")
    kept = target.take(heavy)
    gone = len(target.classes or ()) - len(kept.classes or ())
    shown = examples(weights == 0, positions=target.rows)
    note = f"{len(weights) - len(heavy)} rows with weight 0 in {name!r} are left out (rows {shown})"
    return (
        kept,
        weights[heavy] / weights[heavy].mean(),
        [note + (f", and with them {gone} of the classes." if gone else ".")],
    )


def read_weights(table: pa.Table, name: str, positions: np.ndarray | None = None) -> np.ndarray:
    """Return the weights of rows: float64 (rows,), scaled to a mean of 1. ``positions``: see `examples`.

    Raises:
        InvalidData: ``invalid-weights``: not numbers, missing, infinite, negative, or all zero.
    """
    column = table.column(name)
    if col.kind_of(column.type) not in ("number", "bool"):
        raise _invalid_weights(name, f"has type {column.type}; weights are numbers")
    weights = col.numbers(column)
    for bad, what in (
        (np.isnan(weights), "missing weights"),
        (np.isinf(weights), "infinite weights"),
        (weights < 0, "negative weights"),
    ):
        if bad.any():
            shown = examples(bad, positions=positions)
            raise _invalid_weights(name, f"has {int(bad.sum())} {what} (rows {shown})")
    if not weights.any():
        raise _invalid_weights(name, f"has weight 0 in all {len(weights)} rows that have a target")
    # Divided by the largest first: the sum of huge weights would be infinite.
    scaled = weights / weights.max()
    return scaled / scaled.mean()


def read_groups(table: pa.Table, name: str, positions: np.ndarray | None = None) -> tuple[np.ndarray, list[str]]:
    """Return (numbers of the groups, int64 (rows,), counting from 0; warnings). A row without a group is one itself."""
    encoded = pc.dictionary_encode(col.merged(table.column(name)))
    groups = encoded.indices.cast(pa.float64()).to_numpy(zero_copy_only=False)
    alone = np.isnan(groups)
    numbers = np.where(alone, 0, groups).astype(np.int64)
    numbers[alone] = len(encoded.dictionary) + np.arange(int(alone.sum()))
    if not alone.any():
        return numbers, []
    shown = examples(alone, positions=positions)
    return numbers, [
        f"{int(alone.sum())} rows have no value in group column {name!r} (rows {shown}): "
        "each of them is a group of its own."
    ]


def in_order(table: pa.Table, target: Target, name: str) -> tuple[Target, list[str]]:
    """Return (the target in the order of a time column, warnings). Rows without a time come first.

    Args:
        table: The rows of the target, in its order.
        target: Of these rows.
        name: Of the column: dates, numbers, or text that reads as one of these.

    Raises:
        InvalidData: ``invalid-times``.
    """
    column = table.column(name)
    kind = col.kind_of(column.type)
    if kind == "category":
        values = col.texts(column)
        reading = formats.find_reading(values)
        if reading is not None:
            column = pa.chunked_array([formats.parse(values, reading)])
            kind = col.kind_of(column.type)
    if kind == "datetime":
        moments, known = col.timestamps(column)
    elif kind in ("number", "bool"):
        moments = col.numbers(column)
        known = ~np.isnan(moments)
    else:
        raise _invalid_times(name, "holds no dates and no numbers")
    if not known.any():
        raise _invalid_times(name, "has no value in any row")
    order = np.lexsort((moments, known))
    warnings = []
    if not known.all():
        shown = examples(~known, positions=target.rows)
        warnings.append(f"{int((~known).sum())} rows have no time in {name!r} (rows {shown}): they count as the first.")
    if (order == np.arange(len(order))).all():
        return target, warnings
    return target.take(order), warnings


def _invalid_times(name: str, what: str) -> InvalidData:
    message = f"The time column {name!r} {what}, so it cannot order the rows."
    return InvalidData(
        message,
        code="invalid-times",
        hint="Give dates or numbers, or leave time_column out if the rows are in order already.",
        errors=[{"pointer": "/time_column", "message": message}],
    )


def _invalid_weights(name: str, what: str) -> InvalidData:
    message = f"The weight column {name!r} {what}."
    return InvalidData(
        message,
        code="invalid-weights",
        hint="Weights are finite numbers from 0 up, one per row, not all 0.",
        errors=[{"pointer": "/weight_column", "message": message}],
    )
