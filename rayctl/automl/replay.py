"""What a run repeats: another run's finished trials, the folds they had, and the choice it delivered. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rayctl.automl.baseline import is_baseline
from rayctl.automl.model import LeaderboardRow, TrialState
from rayctl.automl.partial import Partial

__all__ = ["STOPPED", "Delivered", "Replay"]

STOPPED = "stopped_finals"
"""Where a stored combination's settings hold which fits that only delivered trials get were ended by time, and when."""


@dataclass(frozen=True)
class Delivered:
    """The choice that a run delivered.

    ``members``: the delivered trials. ``chosen_from``: the trials that their weights were chosen from; empty if none
    were chosen because one trial was delivered as it was (at a deadline, or because it beat all earlier choices).
    ``partial``: what the members lacked then. ``stopped``: trial → unscored fold → rounds after which time ended it.
    """

    members: tuple[int, ...]
    chosen_from: tuple[int, ...] = ()
    partial: Partial | None = None
    stopped: Mapping[int, Mapping[int, int]] = field(default_factory=dict)

    @property
    def trials(self) -> frozenset[int]:
        """Everything that has to be there before the choice can be repeated."""
        return frozenset((*self.members, *self.chosen_from))

    @classmethod
    def of(cls, combination: Mapping[str, Any] | None) -> Delivered | None:
        """Read it from a run's stored combination; None if that does not say (an older version, or no result)."""
        if combination is None or "chosen_from" not in combination:
            return None
        members = tuple(sorted(int(trial) for trial in combination["weights"]))
        settings = combination.get("settings") or {}
        stopped = {
            int(trial): {int(fold): int(rounds) for fold, rounds in folds.items()}
            for trial, folds in settings.get(STOPPED, {}).items()
        }
        return cls(members, tuple(combination["chosen_from"]), Partial.of(settings), stopped)

    def lacks(self, trial: int) -> tuple[int, ...]:
        """Return the unscored folds that a member lacked."""
        return () if self.partial is None else self.partial.missing.get(trial, ())


@dataclass(frozen=True)
class Replay:
    """The run that is repeated: its rows by trial, and what it delivered (None: not known, chosen from all)."""

    rows: Mapping[int, LeaderboardRow] = field(default_factory=dict)
    delivered: Delivered | None = None

    @classmethod
    def of(cls, rows: Sequence[LeaderboardRow], combination: Mapping[str, Any] | None) -> Replay:
        """Return the repetition of a run with these rows and this stored combination.

        What was delivered because no trial had ended is no trial to repeat: it comes about in the same way again.
        """
        return cls({row.trial: row for row in rows if not is_baseline(row)}, Delivered.of(combination))

    def finished(self, trial: int) -> bool:
        """Whether the trial ended with a score in the run that is repeated; others are not run."""
        row = self.rows.get(trial)
        return row is not None and row.state is TrialState.DONE

    def folds(self, trial: int, scored: Sequence[int]) -> list[int]:
        """Return those of the scored folds that ended in time there."""
        only = (self.rows[trial].error or {}).get("folds")
        return list(scored) if only is None else [fold for fold in scored if fold in only]

    def stop_at(self, trial: int, fold: int) -> int | None:
        """Return the rounds after which time ended that fit there; None: it ended by itself."""
        return self.rows[trial].stopped_at.get(fold)
