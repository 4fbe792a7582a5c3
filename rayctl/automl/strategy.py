"""How a run searches and what it knows before it begins: what a schedule is given. Plain frozen data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rayctl.automl.actions import FoldResult
from rayctl.automl.model import LeaderboardRow, TrialState
from rayctl.automl.replay import Replay

__all__ = ["KnownTrial", "Strategy"]

NEARLY = 0.8
"""A fit that time had cut short is taken over if it had this part of the time that it may take now."""


@dataclass(frozen=True)
class Strategy:
    """How a run searches.

    ``ensemble``: what is delivered is combined from trials (else the best trial). ``race``: give up hopeless trials.
    ``prefetch``: more folds than slots may wait for a worker, and share tasks, while they are short. ``replay``: the
    run that is repeated; only what ended in it is run. ``bounded``: not every trial may be delivered: it may predict
    too slowly.
    """

    ensemble: bool = True
    bounded: bool = False
    race: bool = False
    prefetch: bool = False
    replay: Replay | None = None


@dataclass(frozen=True)
class KnownTrial:
    """What an earlier run found out about a configuration: folds that need not be repeated; ``row`` if it ended."""

    results: Mapping[int, FoldResult]
    row: LeaderboardRow | None = None

    def worth_taking(self, scored: Sequence[int], soft_fold_s: float | None) -> dict[int, FoldResult]:
        """Return the results that may stand for folds of this run: not of fits that would get more time now.

        Args:
            scored: The folds that give this run's scores.
            soft_fold_s: Seconds that one of them may take before it ends itself; None: as long as it wants.
        """

        def stands(result: FoldResult) -> bool:
            whole = result.stopped_at is None
            return whole or (soft_fold_s is not None and result.fit_s + result.predict_s >= NEARLY * soft_fold_s)

        return {fold: self.results[fold] for fold in scored if fold in self.results and stands(self.results[fold])}

    def row_that_stands(self, results: Mapping[int, FoldResult], folds: int, race: bool) -> LeaderboardRow | None:
        """Return the row if it need not be made again: all of its results are worth taking, and the trial is over.

        Args:
            results: What is `worth_taking`.
            folds: How many scored folds there are.
            race: Hopeless trials are given up in this run, too.
        """
        row = self.row
        if row is None or len(results) < len(self.results):
            return None
        done = row.state is TrialState.DONE and len(results) == folds
        given_up = row.state is TrialState.SKIPPED and (row.error or {}).get("code") == "abandoned"
        return row if done or (given_up and race) else None
