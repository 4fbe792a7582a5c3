"""The engine's greedy combination, in a form that is fast enough for a hundred thousand of them.

One number per row is all that the three metrics need (see `Result`), and all members that a step could add are judged
at once. The rule, its constants and its ties are those of `rayctl.automl.ensemble.greedy_blend` as
`rayctl.automl.tabular.combine` calls it; corrections of probabilities are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Target", "blend"]

STEPS = 40
PATIENCE = 8
MIN_WEIGHT = 0.03
DEAR_SHARE = 0.1
_BINS = 1024
_FLOOR = 1e-15


@dataclass(frozen=True)
class Target:
    """The truth of some rows: class codes or numbers. ``fold``: the metric is computed in each and averaged."""

    kind: str
    values: np.ndarray
    fold: np.ndarray

    @classmethod
    def of(cls, kind: str, values: np.ndarray, fold: np.ndarray | None = None) -> Target:
        """Make one; without ``fold`` all rows belong together."""
        fold = np.zeros(len(values), dtype=np.int64) if fold is None else fold
        return cls(kind, values, np.unique(fold, return_inverse=True)[1])

    def take(self, rows: np.ndarray) -> Target:
        """Return some of the rows."""
        return Target(self.kind, self.values[rows], self.fold[rows])

    def losses(self, predicted: np.ndarray) -> np.ndarray:
        """Return the loss of every row of ``predicted`` (candidates, rows); lower is better.

        RMSE; log loss of the probabilities of the true class; 1 - ROC AUC by a histogram (values are put into 1,024
        bins of the square root of the probability, of which rare classes use more than of the probability).
        """
        if self.kind == "regression":
            return self._mean_of_folds((predicted - self.values) ** 2, root=True)
        if self.kind == "multiclass":
            return self._mean_of_folds(-np.log(np.clip(predicted, _FLOOR, 1.0)), root=False)
        return self._one_minus_auc(predicted)

    def _mean_of_folds(self, per_row: np.ndarray, *, root: bool) -> np.ndarray:
        counts = np.bincount(self.fold)
        means = np.column_stack([per_row[:, self.fold == fold].sum(axis=1) for fold in range(len(counts))]) / counts
        return np.asarray((np.sqrt(means) if root else means).mean(axis=1))

    def _one_minus_auc(self, predicted: np.ndarray) -> np.ndarray:
        folds, candidates = int(self.fold.max()) + 1, len(predicted)
        bins = np.minimum((np.sqrt(np.clip(predicted, 0, 1)) * _BINS).astype(np.int64), _BINS - 1)
        cell = (np.arange(candidates)[:, None] * folds + self.fold) * _BINS + bins
        second = self.values == 1
        shape = (candidates, folds, _BINS)
        size = candidates * folds * _BINS
        positive = np.bincount(cell[:, second].ravel(), minlength=size).reshape(shape)
        negative = np.bincount(cell[:, ~second].ravel(), minlength=size).reshape(shape)
        below = np.cumsum(negative, axis=2) - negative / 2  # ties count half
        pairs = positive.sum(axis=2) * negative.sum(axis=2)
        return np.asarray(1 - ((positive * below).sum(axis=2) / np.maximum(pairs, 1)).mean(axis=1))


def blend(target: Target, members: np.ndarray) -> np.ndarray:
    """Return the weights (members,) that greedy selection gives to predictions (members, rows)."""
    total = np.zeros(members.shape[1])
    chosen: list[int] = []
    best_loss, best, first = np.inf, 0, np.inf
    for step in range(STEPS):
        losses = target.losses((total + members) / (step + 1))
        place = int(np.argmin(losses))
        chosen.append(place)
        total = total + members[place]
        first = losses[place] if step == 0 else first
        if losses[place] < best_loss:
            best_loss, best = float(losses[place]), step
        elif step - best >= PATIENCE:
            break
    weights = np.bincount(chosen[: best + 1], minlength=len(members)) / (best + 1)
    gain = first - best_loss
    bound = best_loss + (DEAR_SHARE * gain if np.isfinite(gain) else 0.0)
    for place in np.lexsort((np.arange(len(weights)), weights)):
        if not 0 < weights[place] < MIN_WEIGHT:
            continue
        rest = np.where(np.arange(len(weights)) == place, 0.0, weights)
        rest = rest / rest.sum()
        if target.losses((rest @ members)[None])[0] <= bound:
            weights = rest
    return np.asarray(weights)
