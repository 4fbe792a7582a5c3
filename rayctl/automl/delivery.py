"""What a run delivers: the weights of its trials, the fits that only delivered trials get, and the time it all takes.

Pure bookkeeping, part of `rayctl.automl.schedule`. A trial is *ready* once every fold that is not scored has been
fitted for it (at once where there are none).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rayctl.automl.engine import Combination
from rayctl.automl.leaderboard import best_row
from rayctl.automl.limits import COMBINE_S, Limits, TimeLeft
from rayctl.automl.model import LeaderboardRow, TrialState
from rayctl.automl.selection import worth_keeping

__all__ = ["Delivery"]

SPECULATIVE_SHARE = 0.15
"""At most this share of the elapsed time goes into unscored folds while the search goes on."""
COMBINE_EVERY_S = 1.0
COMBINE_SHARE = 0.1
"""Weights are chosen again after this time, and so seldom that it takes at most this share of the time."""

Rows = Mapping[int, LeaderboardRow]


@dataclass
class _Final:
    waiting: list[int]
    running: set[int] = field(default_factory=set)
    seconds: float = 0.0
    losses: int = 0


class Delivery:
    """The state of what would be delivered now.

    Args:
        finals: Indices of the folds that are not scored.
        scored: Number of the folds that are.
        greater_is_better: Direction of the metric.
        limits: Deadline and sizes.
        ensemble: Combine trials; else the best one is delivered.
    """

    def __init__(
        self, finals: Sequence[int], scored: int, greater_is_better: bool, limits: Limits, ensemble: bool
    ) -> None:
        self._folds = tuple(finals)
        self._scored = scored
        self._greater = greater_is_better
        self._limits = limits
        self._ensemble = ensemble
        self._finals: dict[int, _Final] = {}
        self._ready: set[int] = set()
        self._no_model: dict[int, Mapping[str, Any]] = {}
        self._spent_s = 0.0
        self._combination: Combination | None = None
        self._basis: tuple[int, ...] = ()
        self._combining: tuple[int, ...] | None = None
        self._combine_s: float | None = None
        self._combine_started_at: float | None = None

    @property
    def in_flight(self) -> int:
        """Unscored folds that run or wait for a worker."""
        return sum(len(final.running) for final in self._finals.values())

    @property
    def combination(self) -> Combination | None:
        """The weights that were chosen last."""
        return self._combination

    # What happened ----------------------------------------------------------------------------------

    def fold_done(self, trial: int, fold: int, seconds: float) -> None:
        """An unscored fold was fitted."""
        self._spent_s += seconds
        final = self._finals.get(trial)
        if final is None or fold not in final.running:
            return
        final.running.discard(fold)
        final.seconds += seconds
        if not final.running and not final.waiting:
            self._ready.add(trial)

    def fold_failed(self, trial: int, error: Mapping[str, Any]) -> None:
        """The trial cannot be fitted on all data: others will be delivered."""
        self._finals.pop(trial, None)
        self._no_model[trial] = error

    def fold_lost(self, trial: int, fold: int, error: Mapping[str, Any], most: int) -> None:
        """A worker died under an unscored fold. It is repeated, unless that happened ``most`` times."""
        final = self._finals.get(trial)
        if final is None or fold not in final.running:
            return
        final.running.discard(fold)
        final.losses += 1
        if final.losses >= most:
            self.fold_failed(trial, error)
        else:
            final.waiting.insert(0, fold)

    def combined(self, trials: tuple[int, ...], combination: Combination, seconds: float) -> None:
        """The weights of these trials were chosen."""
        self._combining = None
        self._combine_s = seconds
        self._combination = combination
        self._basis = trials

    def combine_failed(self, trials: tuple[int, ...], error: Mapping[str, Any]) -> None:
        """The weights of these trials could not be chosen (``error`` is in the log): the best one counts alone."""
        self._combining = None
        self._combination = None
        self._basis = trials

    def abandon(self) -> list[tuple[int, int]]:
        """Forget all running unscored folds; returns (trial, fold) of each."""
        running = [(trial, fold) for trial, final in self._finals.items() for fold in sorted(final.running)]
        self._finals = {trial: final for trial, final in self._finals.items() if not final.running}
        return running

    # Time ---------------------------------------------------------------------------------------------

    def _time_left(self, rows: Rows, slots: int) -> TimeLeft | None:
        if self._limits.deadline_at is None:
            return None
        wanted = self._wanted(rows)
        per_trial = 1 if self._folds and self._scored == 0 else max(self._scored, 1)
        share = 1.0 / per_trial if self._folds and not self._ensemble else 1.0
        size = sum((rows[trial].size_bytes or 0) * share for trial in wanted)
        missing = [trial for trial in wanted if not self._is_ready(trial)]
        seconds = sum((rows[trial].fit_s or 0.0) for trial in missing) * self._limits.rows_factor * len(self._folds)
        combine_s = COMBINE_S if self._combine_s is None else 1.5 * self._combine_s + 0.05
        return TimeLeft(self._limits, combine_s, size, 1.3 * seconds / max(1, min(slots, len(self._folds))))

    def stop_searching_at(self, rows: Rows, slots: int) -> float | None:
        """When the search ends so that weights, unscored folds and packing fit in; None without a deadline."""
        left = self._time_left(rows, slots)
        return None if left is None else left.stop_searching_at

    def deliver_at(self, rows: Rows) -> float | None:
        """When packing begins at the latest; None without a deadline."""
        left = self._time_left(rows, 1)
        return None if left is None else left.deliver_at

    def is_late(self, now: float, rows: Rows) -> bool:
        """Whether what exists has to be delivered now."""
        at = self.deliver_at(rows)
        return at is not None and now >= at

    def next_check(self, now: float, rows: Rows, searching: bool) -> float | None:
        """Return when the clock alone may change what is to be done here."""
        times = []
        at = self.deliver_at(rows)
        if at is not None and not searching:
            times.append(at)
        elif at is None and self._finals and any(final.running for final in self._finals.values()):
            times.append(now + self._limits.fold_timeout_s)
        if searching and self._stale(rows) and self._combine_started_at is not None and self._combining is None:
            times.append(max(now, self._combine_started_at + self._combine_interval_s))
        return min(times) if times else None

    # Weights ------------------------------------------------------------------------------------------

    def _usable(self, rows: Rows) -> list[LeaderboardRow]:
        return [row for trial, row in rows.items() if row.state is TrialState.DONE and trial not in self._no_model]

    def _pool(self, rows: Rows) -> tuple[int, ...]:
        usable = self._usable(rows)
        if self._ensemble:
            return worth_keeping(usable, self._greater)
        best = best_row(usable, self._greater)
        return () if best is None else (best.trial,)

    def _stale(self, rows: Rows) -> bool:
        pool = self._pool(rows)
        return bool(pool) and pool != self._basis

    @property
    def _combine_interval_s(self) -> float:
        return max(COMBINE_EVERY_S, (self._combine_s or 0.0) / COMBINE_SHARE)

    def combine_now(self, rows: Rows, now: float, searching: bool) -> tuple[int, ...] | None:
        """Return the trials whose weights are to be chosen now, None if that is not due."""
        if self._combining is not None or not self._stale(rows):
            return None
        if searching:
            due = self._combine_started_at is None or now >= self._combine_started_at + self._combine_interval_s
            if not self._ensemble or not due:
                return None
        self._combining = self._pool(rows)
        self._combine_started_at = now
        return self._combining

    def _wanted(self, rows: Rows) -> dict[int, float]:
        """Return trial → weight of what would be delivered now if everything were ready."""
        if self._combination is not None and (self._ensemble or not self._stale(rows)):
            weights = {t: w for t, w in self._combination.weights.items() if t not in self._no_model and t in rows}
            if weights:
                return weights
        best = best_row(self._usable(rows), self._greater)
        return {} if best is None else {best.trial: 1.0}

    # Unscored folds -----------------------------------------------------------------------------------

    def _is_ready(self, trial: int) -> bool:
        return not self._folds or trial in self._ready

    def finals(
        self, rows: Rows, now: float, searching: bool, room: int
    ) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """Return ((trial, fold) to start, (trial, fold) that run for trials which are no longer wanted)."""
        if not self._folds:
            return [], []
        wanted = self._wanted(rows)
        order = sorted((t for t in wanted if t not in self._ready), key=lambda trial: (-wanted[trial], trial))
        unwanted = []
        if not searching:
            for trial in [t for t in self._finals if t not in wanted and self._finals[t].running]:
                unwanted += [(trial, fold) for fold in sorted(self._finals.pop(trial).running)]
        starts: list[tuple[int, int]] = []
        for trial in order:
            final = self._finals.get(trial)
            if final is None:
                if searching and not self._worth_it_now(rows[trial], now):
                    break
                final = self._finals[trial] = _Final(list(self._folds))
            while final.waiting and len(starts) < room:
                fold = final.waiting.pop(0)
                final.running.add(fold)
                starts.append((trial, fold))
        return starts, unwanted

    def _worth_it_now(self, row: LeaderboardRow, now: float) -> bool:
        if self._limits.deadline_at is None:
            return False
        predicted = (row.fit_s or 0.0) * self._limits.rows_factor * len(self._folds)
        elapsed = now - self._limits.started_at
        return not self._ready or self._spent_s + predicted <= SPECULATIVE_SHARE * elapsed

    # The end ------------------------------------------------------------------------------------------

    def deliver(self, rows: Rows, late: bool) -> tuple[Combination | None, Mapping[str, Any] | None]:
        """Return (what is delivered, None), (None, why there is nothing), or (None, None): not yet.

        ``late``: what is ready now is delivered, whatever is still under way.
        """
        if not self._usable(rows):
            return None, self._why_no_model(rows)
        if not late and (self._stale(rows) or self._combining is not None):
            return None, None
        wanted = self._wanted(rows)
        ready = {trial: weight for trial, weight in wanted.items() if self._is_ready(trial)}
        if len(ready) < len(wanted) and not late:
            return None, None
        if not ready:
            best = best_row([row for row in self._usable(rows) if self._is_ready(row.trial)], self._greater)
            if best is None:
                return None, self._why_no_model(rows)
            ready = {best.trial: 1.0}
        return self._with(ready, rows), None

    def _with(self, weights: Mapping[int, float], rows: Rows) -> Combination:
        chosen = self._combination
        if chosen is not None and set(weights) == set(chosen.weights):
            return chosen
        total = sum(weights.values())
        scaled = {trial: weights[trial] / total for trial in sorted(weights)}
        if len(scaled) == 1:
            return Combination(scaled, float(rows[next(iter(scaled))].score or 0.0))
        assert chosen is not None
        # Some members are missing, so the score and the corrections of the whole no longer hold exactly.
        return Combination(scaled, chosen.score, {**chosen.settings, "incomplete": True}, chosen.history)

    def _why_no_model(self, rows: Rows) -> dict[str, Any]:
        failed = [row for row in rows.values() if row.state is TrialState.FAILED]
        done = any(row.state is TrialState.DONE for row in rows.values())
        if done and self._no_model:
            first = next(iter(self._no_model.values()))
            message = f"No trial could be fitted on all rows: {first.get('message')}"
            return {"code": "final-fit-failed", "message": message}
        if failed and not done:
            first_error = failed[0].error or {}
            return {
                "code": "all-trials-failed",
                "message": f"All {len(failed)} trials that ended have failed; the first ({failed[0].model}): "
                f"{first_error.get('message')}",
                "hint": "The leaderboard lists the reason of each.",
            }
        return {
            "code": "no-trial-finished",
            "message": "The time was up before any trial had finished and was fitted.",
            "hint": "Give a larger time budget, fewer folds, or cheaper models.",
        }
