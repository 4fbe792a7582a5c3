"""The shared, read-only form of a table that every task of a run gets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
import pyarrow as pa

from rayctl.automl.model import RunRequest
from rayctl.automl.tabular.columns import Feature, describe, encode
from rayctl.automl.tabular.target import Label
from rayctl.automl.tabular.validate import inspect_table

__all__ = ["PreparedTable", "prepare_table"]


@dataclass(frozen=True)
class PreparedTable:
    """A checked and encoded table. Only plain numpy arrays and small tuples: pickles (protocol 5) without copies.

    Attributes:
        features: The input columns that are used, in order.
        numeric: float64 (rows, numeric parts), NaN for missing; dates are expanded.
        codes: int32 (rows, category features), -1 for missing.
        target: Class codes (int32) or numbers (float64), shape (rows,).
        classes: The class labels in their own type, sorted (the code is the position); None for regression.
        rows: Positions in the caller's table (int64) if rows without target were dropped, else None.
        token: Digest of all of this; equal data has equal tokens (key of the per-process caches).
    """

    features: tuple[Feature, ...]
    numeric: np.ndarray
    codes: np.ndarray
    target: np.ndarray
    classes: tuple[Label, ...] | None
    rows: np.ndarray | None
    token: str

    @property
    def n_classes(self) -> int | None:
        """Number of classes, None for regression."""
        return None if self.classes is None else len(self.classes)

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """Number of categories of each column of ``codes``."""
        return cardinalities(self.features)


def cardinalities(features: Sequence[Feature]) -> tuple[int, ...]:
    """Return the number of categories of each category feature, in order."""
    return tuple(len(feature.categories) for feature in features if feature.kind == "category")


def prepare_table(table: pa.Table, request: RunRequest) -> PreparedTable:
    """Check and encode a table.

    Raises:
        InvalidData: as `rayctl.automl.tabular.validate.inspect_table`.
    """
    plan = inspect_table(table, request)
    used = table.select([name for name, _ in plan.features])
    if plan.target.rows is not None:
        used = used.take(pa.array(plan.target.rows))
    features = tuple(describe(name, kind, used.column(name)) for name, kind in plan.features)
    numeric, codes = encode(features, used.columns, len(used))
    described = [json.dumps([feature.to_json() for feature in features]), repr(plan.target.classes)]
    digest = sha256("\0".join(described).encode())
    for array in (numeric, codes, plan.target.values):
        digest.update(repr(array.shape).encode())
        digest.update(np.ascontiguousarray(array).data)
    return PreparedTable(
        features, numeric, codes, plan.target.values, plan.target.classes, plan.target.rows, digest.hexdigest()
    )
