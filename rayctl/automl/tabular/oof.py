"""The validation predictions of trials, brought together over the folds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from rayctl.automl.engine import Fold, FoldOutcome
from rayctl.automl.metrics import Metric, score
from rayctl.automl.tabular.prepare import PreparedTable

__all__ = ["Validation"]

_PARTS = 5


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
        return self.mean([outcome.score for outcome in outcomes[: len(self.folds)]])

    def score(self, metric: Metric, predicted: np.ndarray) -> float:
        """Score predictions of all rows as trials are scored: fold by fold, then the mean.

        Folds without rows, and those for which the metric is undefined, do not count.
        """
        return self.mean(self.scores(metric, predicted))

    def scores(self, metric: Metric, predicted: np.ndarray) -> list[float | None]:
        """Return the score of each fold, None where there is none."""
        values: list[float | None] = []
        for at in self.places:
            if not len(at):
                values.append(None)
                continue
            weights = None if self.weights is None else self.weights[at]
            value = score(metric, self.truth[at], predicted[at], self.n_classes, weights, self.classes)
            values.append(value if np.isfinite(value) else None)
        return values

    def is_better(self, metric: Metric, new: np.ndarray, old: np.ndarray) -> bool:
        """Whether predictions are better than others by more than half the standard error of the difference.

        The error is that between folds, or between five parts of a single fold.
        """
        parts = self if len(self.folds) > 1 else self._in_parts()
        pairs = zip(parts.scores(metric, new), parts.scores(metric, old), strict=True)
        gains = [metric.loss(b) - metric.loss(a) for a, b in pairs if a is not None and b is not None]
        if not gains:
            return False
        error = float(np.std(gains)) / len(gains) ** 0.5
        return bool(np.mean(gains) > 0.5 * error)

    def sample(self, most: int, seed: int) -> Validation:
        """Return at most ``most`` of the rows, the same share of every fold, in order."""
        return self if len(self.rows) <= most else self.take(self.sampled(most, seed))

    def sampled(self, most: int, seed: int) -> np.ndarray:
        """Return the positions that `sample` keeps."""
        if len(self.rows) <= most:
            return np.arange(len(self.rows))
        rng = np.random.default_rng(seed)
        share = most / len(self.rows)
        parts = [np.sort(rng.permutation(at)[: max(1, round(share * len(at)))]) for at in self.places]
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
        parts = self.fold if len(self.folds) > 1 else np.arange(len(self.rows)) % _PARTS
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

    def _in_parts(self) -> Validation:
        folds = tuple(replace(self.folds[0], index=part, group=part) for part in range(_PARTS))
        return replace(self, folds=folds, fold=np.arange(len(self.rows)) % _PARTS)

    @cached_property
    def places(self) -> list[np.ndarray]:
        """The positions of each fold's rows."""
        return [np.flatnonzero(self.fold == place) for place in range(len(self.folds))]

    def mean(self, values: Sequence[float | None]) -> float:
        """Return the mean over groups of the weighted means within them; None does not count."""
        groups: dict[int, list[tuple[float, float]]] = {}
        for fold, value in zip(self.folds, values, strict=True):
            if value is not None:
                groups.setdefault(fold.group, []).append((value, fold.weight))
        means = [sum(v * w for v, w in parts) / sum(w for _, w in parts) for parts in groups.values()]
        return sum(means) / len(means) if means else float("nan")
