"""What a schedule asks its trainer to do, and what the trainer reports back. Plain frozen data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rayctl.automl.engine import Candidate, Combination
from rayctl.automl.model import LeaderboardRow

__all__ = ["Action", "Combine", "FinishRun", "FoldResult", "FoldShape", "RecordTrial", "StartFold", "StopTask"]


@dataclass(frozen=True)
class FoldShape:
    """What the schedule knows of a fold (see `rayctl.automl.engine.Fold`)."""

    group: int
    weight: float = 1.0
    scored: bool = True


@dataclass(frozen=True)
class FoldResult:
    """What a fold gave, without the arrays. Seconds are wall time; ``size_bytes`` is that of the fitted model."""

    score: float | None
    fit_s: float
    predict_s: float
    size_bytes: int = 0
    stopped_at: int | None = None


@dataclass(frozen=True)
class StartFold:
    """Submit one fold of one trial as a task.

    ``soft_s``: wall seconds after which a model that can end its fit early does so; None: no such bound.
    ``stop_at``: repeat a fit that time had ended (`FoldOutcome.stopped_at`). ``quick_s``: what it is predicted to take
    if that is so little that it may share a task with others; None: it has its own.
    """

    trial: int
    fold: int
    candidate: Candidate
    attempt: int
    soft_s: float | None = None
    stop_at: int | None = None
    quick_s: float | None = None


@dataclass(frozen=True)
class StopTask:
    """Stop a running fold task. ``force`` kills its worker process."""

    trial: int
    fold: int
    force: bool


@dataclass(frozen=True)
class RecordTrial:
    """A trial has ended: journal this row. ``results``: what its scored folds gave, as far as they ended."""

    row: LeaderboardRow
    candidate: Candidate
    results: Mapping[int, FoldResult]


@dataclass(frozen=True)
class Combine:
    """Choose the weights of these trials (`Engine.combine`)."""

    trials: tuple[int, ...]


@dataclass(frozen=True)
class FinishRun:
    """The run is over. ``combination`` is what is delivered; None means that it failed or was cancelled."""

    combination: Combination | None
    reason: str
    error: Mapping[str, Any] | None = None


Action = StartFold | StopTask | RecordTrial | Combine | FinishRun
