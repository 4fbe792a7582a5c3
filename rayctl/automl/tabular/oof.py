"""The validation predictions of trials, brought together over the folds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rayctl.automl.engine import Fold, FoldOutcome
from rayctl.automl.metrics import Metric, score
from rayctl.automl.tabular.prepare import PreparedTable

__all__ = ["Validation", "one_hot"]


@dataclass(frozen=True)
class Validation:
    """The rows that scored folds have in their test parts, fold after fold, in the order of the folds.

    ``rows``: positions in the prepared table; ``fold``: number of the fold in ``folds``; ``truth`` and ``weights`` of
    the rows. A row that is tested by several folds is there several times.
    """

    folds: tuple[Fold, ...]
    rows: np.ndarray
    fold: np.ndarray
    truth: np.ndarray
    weights: np.ndarray | None
    n_classes: int | None
    classes: tuple[object, ...] | None

    @classmethod
    def of(cls, prepared: PreparedTable, folds: Sequence[Fold]) -> Validation:
        """Collect the scored folds of a table."""
        scored = tuple(fold for fold in folds if fold.scored)
        rows = np.concatenate([fold.test for fold in scored])
        numbers = np.concatenate([np.full(len(fold.test), place) for place, fold in enumerate(scored)])
        weights = None if prepared.weights is None else prepared.weights[rows]
        return cls(scored, rows, numbers, prepared.target[rows], weights, prepared.n_classes, prepared.classes)

    def predictions(self, outcomes: Sequence[FoldOutcome]) -> np.ndarray:
        """Return a trial's predictions of all rows."""
        return np.concatenate([outcome.predictions for outcome in outcomes[: len(self.folds)]])

    def mean_score(self, outcomes: Sequence[FoldOutcome]) -> float:
        """Return the score that the leaderboard shows for a trial."""
        return self._mean([outcome.score for outcome in outcomes[: len(self.folds)]])

    def score(self, metric: Metric, predicted: np.ndarray, chosen: np.ndarray | None = None) -> float:
        """Score predictions of all rows as trials are scored: fold by fold, then the mean.

        ``chosen``: count only these rows (boolean mask). Folds for which the metric is undefined do not count.
        """
        values = []
        for place in range(len(self.folds)):
            at = self._places[place]
            if chosen is not None:
                at = at[chosen[at]]
            weights = None if self.weights is None else self.weights[at]
            value = score(metric, self.truth[at], predicted[at], self.n_classes, weights, self.classes)
            values.append(value if np.isfinite(value) else None)
        return self._mean(values)

    def sample(self, most: int, seed: int) -> Validation:
        """Return at most ``most`` of the rows, the same share of every fold, in order."""
        return self if len(self.rows) <= most else self.take(self.sampled(most, seed))

    def sampled(self, most: int, seed: int) -> np.ndarray:
        """Return the positions that `sample` keeps."""
        if len(self.rows) <= most:
            return np.arange(len(self.rows))
        rng = np.random.default_rng(seed)
        share = most / len(self.rows)
        parts = [np.sort(rng.permutation(at)[: max(1, round(share * len(at)))]) for at in self._places]
        return np.concatenate(parts)

    def take(self, places: np.ndarray) -> Validation:
        """Return some of the rows (positions in ``rows``)."""
        weights = None if self.weights is None else self.weights[places]
        fold, truth = self.fold[places], self.truth[places]
        return Validation(self.folds, self.rows[places], fold, truth, weights, self.n_classes, self.classes)

    def cross_validated(
        self, fit: Callable[[Validation, np.ndarray], Callable[[np.ndarray], np.ndarray]], values: np.ndarray
    ) -> np.ndarray:
        """Apply a correction to rows that it was not fitted on: fitted on all folds but one, applied to that one.

        With a single fold its rows are split into five parts. ``fit`` gets a validation and its values, and returns
        the function to apply.
        """
        parts = self.fold if len(self.folds) > 1 else np.arange(len(self.rows)) % 5
        out = None
        for part in np.unique(parts):
            inside = np.flatnonzero(parts != part)
            outside = np.flatnonzero(parts == part)
            changed = fit(self.take(inside), values[inside])(values[outside])
            if out is None:
                out = np.empty((len(self.rows), *changed.shape[1:]), dtype=changed.dtype)
            out[outside] = changed
        assert out is not None
        return out

    @cached_property
    def _places(self) -> list[np.ndarray]:
        return [np.flatnonzero(self.fold == place) for place in range(len(self.folds))]

    def _mean(self, values: Sequence[float | None]) -> float:
        """Return the mean over groups of the weighted means within them; None does not count."""
        groups: dict[int, list[tuple[float, float]]] = {}
        for fold, value in zip(self.folds, values, strict=True):
            if value is not None:
                groups.setdefault(fold.group, []).append((value, fold.weight))
        means = [sum(v * w for v, w in parts) / sum(w for _, w in parts) for parts in groups.values()]
        return sum(means) / len(means) if means else float("nan")


def one_hot(codes: np.ndarray, n_classes: int) -> np.ndarray:
    """Return labels as probabilities of 0 and 1: float32 (n, n_classes)."""
    return np.eye(n_classes, dtype=np.float32)[codes.astype(np.int64)]


def by_trial(validation: Validation, outcomes: Mapping[int, Sequence[FoldOutcome]]) -> dict[int, np.ndarray]:
    """Return the predictions of every trial."""
    return {trial: validation.predictions(parts) for trial, parts in outcomes.items()}
