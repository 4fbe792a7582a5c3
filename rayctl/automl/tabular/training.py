"""What a model is fitted on, and what comes out: the two forms that all families share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from rayctl.automl.bundle import Member
from rayctl.automl.tabular.clock import Clock

__all__ = ["Fitter", "Part", "Predictor", "TrainingData"]


@dataclass(frozen=True)
class Part:
    """Some rows: ``x`` float32 (n, p), ``y`` local class codes (int64) or numbers (float64), ``weights`` or None."""

    x: np.ndarray
    y: np.ndarray
    weights: np.ndarray | None

    def take(self, rows: np.ndarray) -> Part:
        """Return the part of some rows (positions)."""
        return Part(self.x[rows], self.y[rows], None if self.weights is None else self.weights[rows])


@dataclass(frozen=True)
class TrainingData:
    """One fold as a family sees it.

    ``n_classes``: of the training rows (codes 0 to n_classes-1), None for regression. ``watch``: rows on which
    models may watch their loss to stop early. ``categorical``: columns of ``x`` that hold category codes (NaN
    missing), ``cardinalities``: how many categories each of them has.
    """

    train: Part
    watch: Part | None
    n_classes: int | None
    categorical: tuple[int, ...] = ()
    cardinalities: tuple[int, ...] = ()


class Predictor(Protocol):
    """A fitted model, the same before and after storage."""

    kind: ClassVar[str]
    has_proba: bool
    rounds: int
    """Rounds, epochs or trees that it consists of; 0 where there is no such thing, and after storage."""

    @property
    def row_us(self) -> float:
        """About how many microseconds of one core predicting a row takes, among many rows."""

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Predict rows: (n, classes of the training rows) probabilities, or (n,) class codes or numbers."""

    def to_parts(self) -> tuple[dict[str, Any], dict[str, Member]]:
        """Return (JSON, members) from which the class's ``load`` makes an equal predictor."""


class Fitter(Protocol):
    """How a family fits. Raises whatever the library raises."""

    def __call__(self, data: TrainingData, params: Mapping[str, Any], seed: int, clock: Clock) -> Predictor:
        """Fit and return; ``clock.stopped_at`` says whether the clock ended it."""
