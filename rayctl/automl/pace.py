"""How long a fold will take: the engine's table of costs, corrected by what this run has seen. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import median

from rayctl.automl.engine import Candidate, Cost

__all__ = ["Pace"]

_NEWEST = 0.4
"""Weight of the newest measurement in a family's correction."""
QUICK_S = 0.02
"""Folds below this are quick in any run: the way to a worker and back takes a good part of it."""
_FORGETS = 0.7
"""How soon a fold that took longer than the others of its model is forgotten."""
_TINY_S = 0.05
"""A fold that is predicted to take less is mostly overhead; its ratio says nothing of other models."""


class Pace:
    """Predictions of one run.

    Args:
        cost: The engine's prediction for one fold, None for models it does not know (`Engine.cost`).
    """

    def __init__(self, cost: Callable[[Candidate], Cost | None]) -> None:
        self._cost = cost
        self._corrections: dict[str, float] = {}
        self._seen: dict[str, float] = {}
        self._slowest: dict[str, float] = {}
        self._telling: set[str] = set()

    def learn(self, candidate: Candidate, seconds: float) -> None:
        """Take in what a fold took that was not cut short by the clock; one of several that share work says nothing."""
        predicted = self._cost(candidate)
        if predicted is not None and predicted.peak > 1:
            return
        self._slowest[candidate.model] = max(seconds, _FORGETS * self._slowest.get(candidate.model, 0.0))
        book, value = (
            (self._seen, seconds) if predicted is None else (self._corrections, _log_ratio(seconds, predicted))
        )
        if predicted is not None and predicted.seconds >= _TINY_S:
            self._telling.add(candidate.model)
        old = book.get(candidate.model)
        book[candidate.model] = value if old is None else (1 - _NEWEST) * old + _NEWEST * value

    def seconds(self, candidate: Candidate) -> float | None:
        """Predict what a fold will take here, in seconds; None if nothing is known."""
        predicted = self._cost(candidate)
        if predicted is None:
            return self._seen.get(candidate.model)
        correction = self._corrections.get(candidate.model)
        if correction is None:
            correction = median(self._corrections[model] for model in self._telling) if self._telling else 0.0
        return predicted.seconds * math.exp(correction)

    def quick_s(self, candidate: Candidate, longest_s: float = 0.0) -> float | None:
        """Predict the seconds of a fold that is sure to be quick, because those of its model were; None: it may not.

        ``longest_s``: what the folds of one task may take together. At least two have to fit in.
        """
        seconds = self.seconds(candidate)
        slowest = self._slowest.get(candidate.model)
        if seconds is None or slowest is None or max(seconds, slowest) > max(QUICK_S, longest_s / 2):
            return None
        return seconds

    def peak(self, candidate: Candidate) -> float:
        """Return how many times the mean the longest of a trial's folds takes."""
        predicted = self._cost(candidate)
        return 1.0 if predicted is None else predicted.peak

    def any_part_helps(self, candidate: Candidate) -> bool:
        """Whether a fit that time ends early is worth having."""
        predicted = self._cost(candidate)
        return predicted is None or predicted.any_part_helps

    def memory_bytes(self, candidate: Candidate) -> float | None:
        """Predict the additional memory of a fold; None if nothing is known."""
        predicted = self._cost(candidate)
        return None if predicted is None else predicted.memory_bytes


def _log_ratio(seconds: float, predicted: Cost) -> float:
    return math.log(max(seconds, 1e-3) / max(predicted.seconds, 1e-3))
