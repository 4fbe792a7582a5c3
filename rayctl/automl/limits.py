"""The arithmetic of a run's time: what bounds it, and how much of it the last steps need. Pure."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CombineTime", "Limits", "TimeLeft"]

ASSEMBLE_S = 0.3
"""Packing the model and storing the result, apart from what grows with its size."""
ASSEMBLE_BYTES_PER_S = 80e6
FORECASTS_PER_S = 50e3
"""The same for forecasts of series: their intervals are computed, and they are written as text."""
COMBINE_S = 0.2
"""A first guess for choosing the weights; later the last measured time counts."""
SLACK_SHARE = 0.01
TRIALS_OF_BUDGET = 6
"""No trial may take more than this part of the whole computing time of a run."""


@dataclass(frozen=True)
class CombineTime:
    """Seconds that choosing the weights took. ``imports_s``: spent before, on the imports of a new process."""

    seconds: float
    imports_s: float = 0.0

    @property
    def to_keep_free_s(self) -> float:
        """What the next choice may take. A process that was new says that the last steps may meet a new one too."""
        return 1.5 * self.seconds + 0.05 + self.imports_s


@dataclass(frozen=True)
class Limits:
    """What bounds a run. Times are in the unit and origin of ``now`` (seconds).

    ``rows_factor``: rows of the whole table per row of a fold's train part; scales a fold's fit time up to a fit on
    all rows. ``forecasts``: series × steps that are delivered.
    """

    started_at: float
    deadline_at: float | None = None
    max_trials: int | None = None
    fold_timeout_s: float = 300.0
    rows_factor: float = 1.25
    forecasts: int = 0

    @property
    def budget_s(self) -> float | None:
        """Seconds from start to deadline."""
        return None if self.deadline_at is None else self.deadline_at - self.started_at

    @property
    def overdue_s(self) -> float:
        """After this time a task counts as hanging: it should have ended itself at its cap (and waited before)."""
        return 2 * self.fold_timeout_s + 60.0

    def soft_fold_s(self, slots: int, folds: int) -> float | None:
        """Wall seconds that one fold may take before its model ends the fit by itself; None without a deadline."""
        if self.budget_s is None:
            return None
        return max(0.5, self.budget_s * slots / (TRIALS_OF_BUDGET * max(folds, 1)))


@dataclass(frozen=True)
class TimeLeft:
    """When the phases at the end of a run with a deadline begin. Times as in `Limits`.

    Args:
        limits: With a deadline.
        combine_s: What choosing the weights takes; 0 if nothing is combined.
        model_bytes: Size of the models that are delivered.
        finals_s: What fitting the folds takes that are not scored.
    """

    limits: Limits
    combine_s: float
    model_bytes: float
    finals_s: float

    @property
    def deliver_at(self) -> float:
        """When packing must begin so that the result is there at the deadline."""
        budget, deadline = self.limits.budget_s, self.limits.deadline_at
        assert budget is not None
        assert deadline is not None
        slack = SLACK_SHARE * min(budget, 100.0)
        packing = self.model_bytes / ASSEMBLE_BYTES_PER_S + self.limits.forecasts / FORECASTS_PER_S
        return deadline - min(0.25 * budget, ASSEMBLE_S + slack + packing)

    @property
    def stop_searching_at(self) -> float:
        """When folds end so that everything after them still fits in."""
        budget = self.limits.budget_s
        assert budget is not None
        return self.deliver_at - min(0.35 * budget, self.combine_s + self.finals_s)
