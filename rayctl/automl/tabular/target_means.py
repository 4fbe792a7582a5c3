"""Means of the target per category, shrunk towards the overall mean, and cross-fitted for the rows they come from.

A row must not see its own target: the value of a training row comes from the other parts of the training rows. Own code
rather than `sklearn.preprocessing.TargetEncoder`: that one knows no weights and no groups (in all versions supported
here), and its default does not shrink a category with a single row.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Outcomes", "explained", "target_means"]

_PARTS = 5
_SHRINK = (1.0, 100.0)
_LEAST, _MOST = 1e-30, 1e30


@dataclass(frozen=True)
class Outcomes:
    """The target of the training rows, as numbers.

    ``values``: float64 (rows, k): the target (very large and small ones in a unit of their own), or one indicator per
    class. ``weights``: float64 (rows,) or None.
    ``parts``: int64 (rows,), which of the five parts a row belongs to; groups are never split.
    """

    values: np.ndarray
    weights: np.ndarray | None
    parts: np.ndarray

    @classmethod
    def of(
        cls,
        target: np.ndarray,
        classes: tuple[int, ...] | None,
        weights: np.ndarray | None,
        groups: np.ndarray | None,
        seed: int,
    ) -> Outcomes:
        """Build from the target of the training rows; ``classes``: the codes that get an indicator."""
        rng = np.random.default_rng(seed)
        if classes is None:
            values = _in_single_precision(target.astype(np.float64))[:, None]
        else:
            values = (target[:, None] == np.asarray(classes)[None, :]).astype(np.float64)
        units, members = (len(target), None) if groups is None else _number(groups)
        of_unit = rng.permutation(units) % _PARTS
        return cls(values, weights, of_unit if members is None else of_unit[members])

    def take(self, rows: np.ndarray) -> Outcomes:
        """Return the outcomes of some rows."""
        return Outcomes(self.values[rows], None if self.weights is None else self.weights[rows], self.parts[rows])


def _in_single_precision(target: np.ndarray) -> np.ndarray:
    """Return the target in a unit in which its means are float32 numbers: its own, unless they are huge or tiny."""
    peak = float(np.abs(target).max())
    return target if _LEAST < peak < _MOST or peak == 0 else target / peak


def _number(groups: np.ndarray) -> tuple[int, np.ndarray]:
    names, members = np.unique(groups, return_inverse=True)
    return len(names), members


def target_means(codes: np.ndarray, size: int, outcomes: Outcomes) -> tuple[np.ndarray, np.ndarray]:
    """Return (table, values): the means per code, float64 (size, k), and cross-fitted ones per row, float64 (rows, k).

    ``(sum + m * overall) / (weight + m)``, with m the ratio of the variance within categories to that between them
    (method of moments of the one-way random effects model, kept between 1 and 100).

    Args:
        codes: int64 (rows,), from 0 to size - 1.
        size: Number of codes; a code without rows gets the overall mean.
        outcomes: The target of the rows.
    """
    cells = outcomes.parts * size + codes
    weights = outcomes.weights
    count = np.bincount(cells, weights, _PARTS * size).reshape(_PARTS, size).astype(np.float64)
    tables, values = [], []
    for column in outcomes.values.T:
        mass = column if weights is None else column * weights
        total = np.bincount(cells, mass, _PARTS * size).reshape(_PARTS, size)
        square = float((mass * column).sum())
        m = _shrinkage(count.sum(axis=0), total.sum(axis=0), square)
        tables.append(_shrunk(count.sum(axis=0), total.sum(axis=0), m))
        without = _shrunk(count.sum(axis=0) - count, total.sum(axis=0) - total, m)
        values.append(without.ravel()[cells])
    return np.column_stack(tables), np.column_stack(values)


def _shrunk(count: np.ndarray, total: np.ndarray, m: float) -> np.ndarray:
    overall = total.sum(axis=-1, keepdims=True) / np.maximum(count.sum(axis=-1, keepdims=True), 1e-12)
    return (total + m * overall) / (np.maximum(count, 0.0) + m)


def _shrinkage(count: np.ndarray, total: np.ndarray, square: float) -> float:
    seen = count > 0
    count, total = count[seen], total[seen]
    n, k = float(count.sum()), len(count)
    if k < 2 or n <= k:
        return _SHRINK[1]
    between_sum = float((total**2 / count).sum() - total.sum() ** 2 / n)
    within = max(square - float((total**2 / count).sum()), 0.0) / (n - k)
    between = (between_sum - (k - 1) * within) / (n - float((count**2).sum()) / n)
    if between <= 0:
        return _SHRINK[1]
    return float(np.clip(within / between, *_SHRINK))


def explained(values: np.ndarray, outcomes: Outcomes) -> float:
    """Return the share of the outcomes' variance that cross-fitted values explain (0: none; may be negative)."""
    center = np.average(outcomes.values, axis=0, weights=outcomes.weights)
    weights = np.ones(len(values)) if outcomes.weights is None else outcomes.weights
    spread = float((weights[:, None] * (outcomes.values - center) ** 2).sum())
    return 1.0 - float((weights[:, None] * (outcomes.values - values) ** 2).sum()) / spread if spread > 0 else 0.0
