"""Columns with a role of their own: the weights of rows, and the groups that must not be split."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rayctl.automl.tabular import columns as col
from rayctl.automl.tabular.target import Target, examples
from rayctl.errors import InvalidData

__all__ = ["check_classes_weigh", "read_groups", "read_weights"]


def read_weights(table: pa.Table, name: str) -> np.ndarray:
    """Return the weights of rows: float64 (rows,), scaled to a mean of 1.

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
            raise _invalid_weights(name, f"has {int(bad.sum())} {what} (rows {examples(bad)})")
    if not weights.any():
        raise _invalid_weights(name, f"has weight 0 in all {len(weights)} rows that have a target")
    # Divided by the largest first: the sum of huge weights would be infinite.
    scaled = weights / weights.max()
    return scaled / scaled.mean()


def check_classes_weigh(target: Target, weights: np.ndarray, name: str) -> None:
    """Refuse weights that leave fewer than two classes to tell apart.

    Raises:
        InvalidData: ``invalid-weights``.
    """
    if target.classes is None:
        return
    heavy = np.unique(target.values[weights > 0])
    if len(heavy) < 2:
        only = target.classes[int(heavy[0])]
        raise _invalid_weights(name, f"leaves only the class {only!r}: all rows of the others have weight 0")


def read_groups(table: pa.Table, name: str) -> tuple[np.ndarray, list[str]]:
    """Return (numbers of the groups, int64 (rows,), counting from 0; warnings). A row without a group is one itself."""
    encoded = pc.dictionary_encode(col.merged(table.column(name)))
    groups = encoded.indices.cast(pa.float64()).to_numpy(zero_copy_only=False)
    alone = np.isnan(groups)
    numbers = np.where(alone, 0, groups).astype(np.int64)
    numbers[alone] = len(encoded.dictionary) + np.arange(int(alone.sum()))
    if not alone.any():
        return numbers, []
    return numbers, [
        f"{int(alone.sum())} rows have no value in group column {name!r} (rows {examples(alone)}): "
        "each of them is a group of its own."
    ]


def _invalid_weights(name: str, what: str) -> InvalidData:
    message = f"The weight column {name!r} {what}."
    return InvalidData(
        message,
        code="invalid-weights",
        hint="Weights are finite numbers from 0 up, one per row, not all 0.",
        errors=[{"pointer": "/weight_column", "message": message}],
    )
