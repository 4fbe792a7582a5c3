"""What a run delivers: the weights of its trials, the fits that only delivered trials get, and the time it all takes.

Pure bookkeeping, part of `rayctl.automl.schedule`. A trial is *ready* once every fold that is not scored has been
fitted for it (at once where there are none).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from rayctl.automl.baseline import NO_TRIAL
from rayctl.automl.engine import Combination
from rayctl.automl.leaderboard import best_row
from rayctl.automl.limits import COMBINE_S, CombineTime, Limits, TimeLeft
from rayctl.automl.model import LeaderboardRow, TrialState
from rayctl.automl.partial import KEY, Partial
from rayctl.automl.replay import STOPPED, Delivered
from rayctl.automl.selection import worth_keeping

__all__ = ["INCOMPLETE", "OVERTIME_S", "Delivery"]

SPECULATIVE_SHARE = 0.15
"""At most this share of the elapsed time goes into unscored folds while the search goes on."""
COMBINE_EVERY_S = 1.0
COMBINE_SHARE = 0.1
"""Weights are chosen again after this time, and so seldom that it takes at most this share of the time."""

OVERTIME_S = 10.0
"""So long a trainer that comes after the deadline may take to choose the weights, if they are all that is missing."""

INCOMPLETE = "incomplete"
"""Code of a done trial of which only some folds ended; it cannot be combined, but delivered alone."""

Rows = Mapping[int, LeaderboardRow]
Key = tuple[int, int]
"""(trial, fold)"""


@dataclass
class _Final:
    waiting: list[int]
    predicted_s: float
    running: dict[int, float] = field(default_factory=dict)
    done: dict[int, int | None] = field(default_factory=dict)
    """Fold → after how many rounds time ended its fit; None: it ended by itself."""
    losses: int = 0

    def recall(self) -> list[int]:
        """Put the running folds back; returns them."""
        folds = sorted(self.running)
        self.waiting = sorted({*self.waiting, *folds})
        self.running.clear()
        return folds


class Delivery:
    """The state of what would be delivered now.

    Args:
        finals: Indices of the folds that are not scored.
        scored: Number of the folds that are.
        greater_is_better: Direction of the metric.
        limits: Deadline and sizes.
        ensemble: Combine trials; else the best one is delivered.
        bounded: What is delivered is chosen among several even then: the best one may predict too slowly.
        sizes: Unscored fold → its share of what is delivered, in any unit; None: they are equal.
        again: The choice to repeat once its trials are there; without them a new one is made.
    """

    def __init__(
        self,
        finals: Sequence[int],
        scored: int,
        greater_is_better: bool,
        limits: Limits,
        ensemble: bool,
        again: Delivered | None = None,
        bounded: bool = False,
        sizes: Mapping[int, float] | None = None,
    ) -> None:
        self._folds = tuple(finals)
        self._sizes = dict.fromkeys(finals, 1.0) if sizes is None else dict(sizes)
        self._scored = scored
        self._greater = greater_is_better
        self._limits = limits
        self._ensemble = ensemble or bounded
        self._bounded = bounded
        self._again = again
        self._finals: dict[int, _Final] = {}
        self._ready: set[int] = set()
        self._no_model: dict[int, Mapping[str, Any]] = {}
        self._spent_s = 0.0
        self._combination: Combination | None = None
        self._basis: tuple[int, ...] = ()
        self._seen: tuple[int, int] = (0, 0)
        self._best: LeaderboardRow | None = None
        self._keep: tuple[int, ...] = ()
        self._combining: tuple[int, ...] | None = None
        self._combine_time: CombineTime | None = None
        self._combine_started_at: float | None = None
        self._overtime_until = float("-inf")

    @property
    def in_flight(self) -> int:
        """Unscored folds that run or wait for a worker."""
        return sum(len(final.running) for final in self._finals.values())

    @property
    def combination(self) -> Combination | None:
        """The weights that were chosen last."""
        return self._combination

    # What happened ----------------------------------------------------------------------------------

    def fold_done(self, trial: int, fold: int, seconds: float, stopped_at: int | None = None) -> None:
        """An unscored fold was fitted. ``stopped_at``: rounds after which time ended the fit."""
        self._spent_s += seconds
        final = self._finals.get(trial)
        if final is None:
            return
        final.running.pop(fold, None)
        if fold in final.waiting:  # it was being stopped, and was done before
            final.waiting.remove(fold)
        final.done[fold] = stopped_at
        if not final.running and not final.waiting:
            self._ready.add(trial)

    def fold_failed(self, trial: int, fold: int, error: Mapping[str, Any]) -> list[Key]:
        """The trial cannot be fitted on all data: others will be delivered. Returns its folds that still run."""
        final = self._finals.get(trial)
        if final is None or fold not in final.running:
            return []  # it was being stopped
        del final.running[fold]
        return self._give_up(trial, error)

    def fold_lost(self, trial: int, fold: int, error: Mapping[str, Any], most: int) -> list[Key]:
        """A worker died under an unscored fold. It is repeated, unless that happened ``most`` times.

        Returns the trial's folds that still run and are of no use now.
        """
        final = self._finals.get(trial)
        if final is None or fold not in final.running:
            return []
        del final.running[fold]
        final.losses += 1
        if final.losses >= most:
            return self._give_up(trial, error)
        final.waiting.insert(0, fold)
        return []

    def fail_overdue(self, now: float) -> list[Key]:
        """Give up trials with an unscored fold that hangs; returns their running folds."""
        late = [trial for trial, final in self._finals.items() for at in final.running.values() if self._hangs(at, now)]
        message = f"A fit on all rows did not end within its time cap of {self._limits.fold_timeout_s:g} s."
        error = {"code": "trial-timeout", "message": message}
        return [key for trial in dict.fromkeys(late) for key in self._give_up(trial, error)]

    def _hangs(self, at: float, now: float) -> bool:
        return now - at >= self._limits.overdue_s

    def _give_up(self, trial: int, error: Mapping[str, Any]) -> list[Key]:
        self._no_model[trial] = error
        if self._again is not None and trial in self._again.trials:
            self._choose_anew()
        return [(trial, fold) for fold in self._finals.pop(trial).recall()]

    def combined(self, trials: tuple[int, ...], combination: Combination, took: CombineTime) -> None:
        """The weights of these trials were chosen."""
        self._combining = None
        self._combine_time = took
        self._combination = replace(combination, chosen_from=trials)
        self._basis = trials

    def combine_failed(self, trials: tuple[int, ...], error: Mapping[str, Any]) -> None:
        """The weights of these trials could not be chosen (``error`` is in the log): the best one counts alone."""
        self._combining = None
        self._combination = None
        self._basis = trials
        self._choose_anew()

    def _choose_anew(self) -> None:
        """The choice cannot be repeated: what its members were without is missing now."""
        again, self._again = self._again, None
        if again is None:
            return
        for trial, final in self._finals.items():
            if again.lacks(trial):
                final.waiting = sorted({*final.waiting, *again.lacks(trial)} - set(final.done))
                self._ready.discard(trial)

    def abandon(self) -> list[Key]:
        """Forget all running unscored folds; returns (trial, fold) of each."""
        return [(trial, fold) for trial, final in self._finals.items() for fold in final.recall()]

    def take_up(self, now: float, rows: Rows) -> None:
        """The trainer begins. Where it comes too late (after a crash or a reboot), what was found still is combined."""
        if self._ensemble and not self._folds and len(self._pool(rows)) > 1 and self.is_late(now, rows):
            self._overtime_until = now + OVERTIME_S

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
        combine_s = COMBINE_S if self._combine_time is None else self._combine_time.to_keep_free_s
        return TimeLeft(self._limits, combine_s, size, 1.3 * seconds / max(1, min(slots, len(self._folds))))

    def stop_searching_at(self, rows: Rows, slots: int) -> float | None:
        """When the search ends so that weights, unscored folds and packing fit in; None without a deadline."""
        left = self._time_left(rows, slots)
        return None if left is None else left.stop_searching_at

    def deliver_at(self, rows: Rows) -> float | None:
        """When packing begins at the latest; None without a deadline."""
        left = self._time_left(rows, 1)
        return None if left is None else max(left.deliver_at, self._overtime_until)

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
        for final in self._finals.values():
            times.extend(begun + self._limits.overdue_s for begun in final.running.values())
        if searching and self._stale(rows) and self._combine_started_at is not None and self._combining is None:
            times.append(max(now, self._combine_started_at + self._combine_interval_s))
        return min(times) if times else None

    # The first answer -----------------------------------------------------------------------------------

    @property
    def has_no_answer(self) -> bool:
        """Whether a deadline may come before any trial has been fitted on all rows."""
        return bool(self._folds) and self._limits.deadline_at is not None and not self._ready

    def awaits_first_final(self, rows: Rows) -> bool:
        """Whether a trial has ended and none is being fitted on all rows: that comes before any other trial's folds."""
        return self.has_no_answer and not self._begun() and self._best_of(rows) is not None

    # Weights ------------------------------------------------------------------------------------------

    def _usable(self, rows: Iterable[LeaderboardRow]) -> list[LeaderboardRow]:
        return [row for row in rows if row.state is TrialState.DONE and row.trial not in self._no_model]

    def _look(self, rows: Rows) -> None:
        """Find the best trial and those worth combining among what was found before and what came in addition.

        Exact, because rows are never taken away and trials are only ever pushed out (see `worth_keeping`).
        """
        count, without = self._seen
        if self._seen == (len(rows), len(self._no_model)):
            return
        before = [] if self._best is None else [self._best, *(rows[trial] for trial in self._keep)]
        if without != len(self._no_model):
            count, before = 0, []
        usable = {row.trial: row for row in [*before, *self._usable(islice(rows.values(), count, None))]}
        self._seen = (len(rows), len(self._no_model))
        self._best = best_row(usable.values(), self._greater)
        self._keep = worth_keeping(usable.values(), self._greater) if self._ensemble else ()

    def _best_of(self, rows: Rows) -> LeaderboardRow | None:
        self._look(rows)
        return self._best

    def _repeats(self, rows: Rows) -> Delivered | None:
        """Return the choice to repeat, if its trials have ended well again."""
        if self._again is None or any(
            trial not in rows or rows[trial].state is not TrialState.DONE or trial in self._no_model
            for trial in self._again.trials
        ):
            return None
        return self._again

    def _pool(self, rows: Rows) -> tuple[int, ...]:
        again = self._repeats(rows)
        if again is not None:
            return again.chosen_from
        best = self._best_of(rows)
        if best is not None and (best.error or {}).get("code") == INCOMPLETE:
            return ()
        if self._ensemble:
            return self._keep
        return () if best is None else (best.trial,)

    def _stale(self, rows: Rows) -> bool:
        pool = self._pool(rows)
        return bool(pool) and pool != self._basis

    @property
    def _combine_interval_s(self) -> float:
        seconds = 0.0 if self._combine_time is None else self._combine_time.seconds
        return max(COMBINE_EVERY_S, seconds / COMBINE_SHARE)

    def combine_now(self, rows: Rows, now: float, searching: bool) -> tuple[int, ...] | None:
        """Return the trials whose weights are to be chosen now, None if that is not due."""
        if self._combining is not None or not self._stale(rows):
            return None
        if searching:
            if self._again is not None:
                return None
            due = self._combine_started_at is None or now >= self._combine_started_at + self._combine_interval_s
            if not self._ensemble or not due:
                return None
        self._combining = self._pool(rows)
        self._combine_started_at = now
        return self._combining

    def _wanted(self, rows: Rows) -> dict[int, float]:
        """Return trial → weight of what would be delivered now if everything were ready."""
        again = self._repeats(rows)
        if again is not None:
            weights = self._chosen_weights(rows)
            fills_in = None if again.partial is None else again.partial.fills_in
            usual = {trial: weights.get(trial, 1.0 / len(again.members)) for trial in again.members}
            return usual if fills_in is None else usual | {fills_in: 0.0}
        best = self._best_of(rows)
        weights = self._chosen_weights(rows)
        if weights and not self._beaten_by(best):
            return weights
        return {} if best is None else {best.trial: 1.0}

    def _chosen_weights(self, rows: Rows) -> dict[int, float]:
        """Return the weights that were chosen last, without trials that cannot be delivered."""
        if self._combination is None or not (self._ensemble or not self._stale(rows)):
            return {}
        return {t: w for t, w in self._combination.weights.items() if t not in self._no_model and t in rows}

    def _beaten_by(self, best: LeaderboardRow | None) -> bool:
        """Whether a trial that ended after the weights were chosen is better alone than all of them together."""
        if self._combination is None or self._bounded:
            return False
        if best is None or best.score is None or best.trial in self._basis:
            return False
        chosen = self._combination.score
        return best.score > chosen if self._greater else best.score < chosen

    # Unscored folds -----------------------------------------------------------------------------------

    def _is_ready(self, trial: int) -> bool:
        return not self._folds or trial in self._ready

    def finals(
        self, rows: Rows, now: float, searching: bool, room: int, busy: Collection[Key] = ()
    ) -> tuple[list[Key], list[Key]]:
        """Return ((trial, fold) to start, (trial, fold) that run for trials which are no longer wanted).

        ``room``: how many may start. ``busy``: tasks that are being stopped; they are not started again before that.
        """
        if not self._folds:
            return [], []
        wanted = self._wanted(rows)
        unwanted: list[Key] = []
        if not searching and (self._ready or self._limits.deadline_at is None):
            # While nothing is ready, one that was begun may be all that there will be at the deadline.
            idle = [trial for trial in self._finals if trial not in wanted]
            unwanted = [(trial, fold) for trial in idle for fold in self._finals[trial].recall()]
        starts: list[Key] = []
        for trial in self._order_of_finals(wanted, searching):
            final = self._finals.get(trial)
            if final is None:
                predicted_s = (rows[trial].fit_s or 0.0) * self._limits.rows_factor * len(self._folds)
                if searching and not self._worth_it_now(predicted_s, now):
                    break
                lacks = () if self._again is None else self._again.lacks(trial)
                final = _Final([fold for fold in self._folds if fold not in lacks], predicted_s)
                self._finals[trial] = final
            free = [fold for fold in final.waiting if (trial, fold) not in busy]
            for fold in free[: max(0, room - len(starts))]:
                final.waiting.remove(fold)
                final.running[fold] = now
                starts.append((trial, fold))
        return starts, unwanted

    def _begun(self) -> list[int]:
        return [trial for trial in self._finals if trial not in self._ready]

    def _order_of_finals(self, wanted: Mapping[int, float], searching: bool) -> list[int]:
        missing = sorted((t for t in wanted if t not in self._ready), key=lambda trial: (-wanted[trial], trial))
        if not searching or self._ready:
            return missing
        # What was begun first is completed first, even if the lead has changed: then there is something to deliver.
        return list(dict.fromkeys([*self._begun(), *missing]))

    def _worth_it_now(self, predicted_s: float, now: float) -> bool:
        if self._limits.deadline_at is None:
            return False
        begun = self._begun()
        if not self._ready and not begun:
            return True
        under_way = sum(self._finals[trial].predicted_s for trial in begun if self._finals[trial].running)
        elapsed = now - self._limits.started_at
        return self._spent_s + under_way + predicted_s <= SPECULATIVE_SHARE * elapsed

    def stop_at(self, trial: int, fold: int) -> int | None:
        """Return the rounds after which time ended that unscored fold in the run that is repeated; None: it did not."""
        return None if self._again is None else self._again.stopped.get(trial, {}).get(fold)

    # The end ------------------------------------------------------------------------------------------

    def deliver(self, rows: Rows, late: bool) -> tuple[Combination | None, Mapping[str, Any] | None]:
        """Return (what is delivered, None), (None, why there is nothing), or (None, None): not yet.

        ``late``: what is ready now is delivered, whatever is still under way.
        """
        if self._best_of(rows) is None:
            return None, self._why_no_model(rows)
        if not late and (self._stale(rows) or self._combining is not None):
            return None, None
        wanted = self._wanted(rows)
        complete = all(self._is_ready(trial) for trial in wanted)
        if not complete and not late:
            return None, None
        partly = self._partly(wanted, rows, complete)
        if partly is not None:
            return partly, None
        ready = {trial: weight for trial, weight in wanted.items() if weight > 0 and self._is_ready(trial)}
        if not ready:
            chosen = self._chosen_weights(rows)
            ready = {trial: weight for trial, weight in chosen.items() if self._is_ready(trial)}
        if not ready:
            best = self._best_ready(rows)
            if best is None:
                return None, self._why_no_model(rows)
            ready = {best.trial: 1.0}
        return self._told(self._with(ready, rows)), None

    def _best_ready(self, rows: Rows) -> LeaderboardRow | None:
        return best_row([row for row in self._usable(rows.values()) if self._is_ready(row.trial)], self._greater)

    def _partly(self, wanted: Mapping[int, float], rows: Rows, complete: bool) -> Combination | None:
        """Return what is delivered of members of which some lack some folds; None where that is not needed.

        ``complete``: all is there that is wanted, so what was missing in the run that is repeated is missing again.
        """
        again = self._repeats(rows) if complete else None
        if again is not None:
            partial, have = again.partial, [trial for trial in wanted if wanted[trial] > 0]
            missing = {} if partial is None else dict(partial.missing)
        else:
            have = [t for t in wanted if wanted[t] > 0 and (self._is_ready(t) or self._done_of(t))]
            lacking = {t: tuple(f for f in self._folds if f not in self._done_of(t)) for t in have}
            missing = {trial: folds for trial, folds in lacking.items() if folds}
        if not missing:
            return None
        whole = self._with({trial: wanted[trial] for trial in have}, rows)
        partial = Partial(whole.weights, missing)
        uncovered = partial.uncovered(self._folds)
        if uncovered:
            before = None if again is None or again.partial is None else again.partial.fills_in
            filler = self._best_ready(rows) if before is None else rows[before]
            if filler is None:
                return None
            share = sum(self._sizes[fold] for fold in uncovered) / sum(self._sizes.values())
            partial = replace(partial, fills_in=filler.trial, filled=share)
            whole = replace(whole, score=(1 - share) * whole.score + share * (filler.score or 0.0))
        settings = {**whole.settings, KEY: partial.to_json()}
        return self._told(replace(whole, weights=partial.shares(self._sizes), settings=settings))

    def _done_of(self, trial: int) -> Mapping[int, int | None]:
        return self._finals[trial].done if trial in self._finals else {}

    def _told(self, combination: Combination) -> Combination:
        """Add which fits time had ended, for a replay."""
        stopped = {
            str(trial): {
                str(fold): rounds for fold, rounds in sorted(self._done_of(trial).items()) if rounds is not None
            }
            for trial in sorted(combination.weights)
        }
        stopped = {trial: folds for trial, folds in stopped.items() if folds}
        return replace(combination, settings={**combination.settings, STOPPED: stopped}) if stopped else combination

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
        settings = {**chosen.settings, "incomplete": True}
        return replace(chosen, weights=scaled, settings=settings)

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
                "hint": " ".join(filter(None, [first_error.get("hint"), "The leaderboard lists the reason of each."])),
            }
        return {
            "code": NO_TRIAL,
            "message": "The time was up before any trial had finished and was fitted.",
            "hint": "Give a larger time budget, fewer folds, or cheaper models.",
        }
