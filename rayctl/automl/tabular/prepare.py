"""The shared, read-only form of a table that every task of a run gets."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
import pyarrow as pa

from rayctl.automl.model import RunRequest
from rayctl.automl.tabular.columns import Feature, canonical, take
from rayctl.automl.tabular.encoder import Encoded, TableEncoder
from rayctl.automl.tabular.target import Label
from rayctl.automl.tabular.validate import TablePlan, inspect_table

__all__ = ["PreparedTable", "prepare_table"]


@dataclass(frozen=True)
class PreparedTable:
    """A checked and encoded table. Plain numpy arrays and small objects: pickles (protocol 5) without copies.

    Attributes:
        encoder: What was learned of the input columns (see `rayctl.automl.tabular.encoder`).
        tree: float32 (n, t): numbers, category codes, NaN for missing.
        dense: float32 (n, d): no missing values.
        target: Class codes (int32) or numbers (float64), shape (n,).
        classes: The class labels in their own type, sorted (the code is the position); None for regression.
        weights: float64 (n,), mean 1, from ``request.weight_column``; None without one.
        groups: int64 (n,), numbers of the groups of ``validation.group_column``; None without one.
        rows: Positions in the caller's table (int64) if rows without target were dropped, else None.
        token: Digest of all of this; equal data has equal tokens (key of the per-process caches).
    """

    encoder: TableEncoder
    tree: np.ndarray
    dense: np.ndarray
    target: np.ndarray
    classes: tuple[Label, ...] | None
    weights: np.ndarray | None
    groups: np.ndarray | None
    rows: np.ndarray | None
    token: str

    @property
    def n_classes(self) -> int | None:
        """Number of classes, None for regression."""
        return None if self.classes is None else len(self.classes)

    @property
    def features(self) -> tuple[Feature, ...]:
        """The input columns that are used, in order."""
        return self.encoder.features


def prepare_table(table: pa.Table, request: RunRequest) -> PreparedTable:
    """Check and encode a table.

    Raises:
        InvalidData: as `rayctl.automl.tabular.validate.inspect_table`.
    """
    plan = inspect_table(table, request)
    used = take(table.select([feature.name for feature in plan.features]), plan.target.rows)
    columns = [canonical(feature, column) for feature, column in zip(plan.features, used.columns, strict=True)]
    encoder, encoded = TableEncoder.fit_encode(plan.features, columns, len(used), request.seed)
    return PreparedTable(
        encoder,
        encoded.tree,
        encoded.dense,
        plan.target.values,
        plan.target.classes,
        plan.weights,
        plan.groups,
        plan.target.rows,
        _token(encoder, encoded, plan),
    )


def _token(encoder: TableEncoder, encoded: Encoded, plan: TablePlan) -> str:
    """Return the digest of the prepared data; the dense matrix follows from the tree matrix and the encoder."""
    info, members = encoder.to_members()
    digest = sha256(json.dumps(info).encode())
    for name in sorted(members):
        digest.update(members[name].data)
    digest.update(repr(plan.target.classes).encode())
    for array in (encoded.tree, plan.target.values, plan.weights, plan.groups):
        digest.update(b"none" if array is None else repr(array.shape).encode())
        if array is not None:
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
