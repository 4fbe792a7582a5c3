"""Which fold runs next, which is stopped, and when the run ends: the pure brain of a trainer.

`Schedule` is a state machine without I/O and without a clock. The trainer tells it what happened
(`fold_done`, `fold_failed`, `fold_lost`, `combined`, …) and performs the actions that `plan(now)` returns.
Trials are opened in the order of the proposals and never out of it, so that a run bounded by ``max_trials``
gives the same trials whatever the parallelism and whatever was killed on the way.

With a deadline the answer is *anytime*: from the first trial on there are fitted models, weights are chosen again
while the search goes on, and searching stops early enough for the last steps. The first trials are then begun in
breadth, hopeless ones are given up, and those that cannot end in time are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from rayctl.automl.actions import Action, Combine, FinishRun, FoldResult, FoldShape, RecordTrial, StartFold, StopTask
from rayctl.automl.batches import longest_task_s, most_in_flight
from rayctl.automl.delivery import INCOMPLETE, Delivery
from rayctl.automl.engine import Candidate, Combination
from rayctl.automl.leaderboard import trial_row
from rayctl.automl.limits import CombineTime, Limits
from rayctl.automl.model import LeaderboardRow, TrialState
from rayctl.automl.pace import Pace
from rayctl.automl.proposals import WAIT, Proposals
from rayctl.automl.search import candidate_key
from rayctl.automl.selection import hopeless
from rayctl.automl.sequence import candidate_of
from rayctl.automl.skipping import TOO_LARGE, TOO_SLOW, Room, does_not_fit
from rayctl.automl.stopping import Stops
from rayctl.automl.strategy import KnownTrial, Strategy

__all__ = ["Schedule"]

MAX_LOSSES = 4
"""So many deaths of a worker under a trial of which nothing has succeeded yet end the trial: the model does it."""
MAX_LOSSES_OF_A_GOOD_TRIAL = 10
"""The same for a trial of which a fold has been scored: then somebody else kills the workers."""
SELF_STOP_S = 0.1
"""When time is up, folds end themselves at their own time cap; only those that do not are asked to stop after this."""
BREADTH = 4
"""With a deadline: after the very first trial so many get their first fold before any of them gets its second."""
LEFT_OUT = 200
LEFT_OUT_OF_SEARCH = 8
"""After so many trials in a row that were left out (of adaptive search: it has no end) nothing more is proposed."""
CLOSED = {
    "deadline": "The run's time was up.",
    "finished-early": "The run was ended early.",
    "cancelled": "The run was cancelled.",
}
"""Why a search stopped with trials under way, and what their rows say then."""
_USUAL = Strategy()


@dataclass
class _Trial:
    candidate: Candidate
    waiting: list[int]
    running: dict[int, float] = field(default_factory=dict)
    results: dict[int, FoldResult] = field(default_factory=dict)
    losses: int = 0
    shared: set[int] = field(default_factory=set)
    alone: bool = False
    """Its folds no longer share tasks with those of other trials: one of them did not end as predicted."""


class Schedule:
    """State of one run's search.

    Args:
        proposals: What to try, in order.
        shapes: The folds of every trial; those that are not scored come last.
        greater_is_better: Direction of the metric.
        limits: Deadline, number of trials, time per fold.
        slots: How many tasks may be in flight.
        strategy: How to search.
        pace: Predicts what folds take.
        recorded: Rows of trials that ended before (a restarted trainer); they are not repeated.
        known: Candidate key → what an earlier run found out.
        memory_bytes: What a task may take; trials that are predicted to take more are skipped.
    """

    def __init__(
        self,
        proposals: Proposals,
        shapes: Sequence[FoldShape],
        greater_is_better: bool,
        limits: Limits,
        slots: int,
        strategy: Strategy = _USUAL,
        pace: Pace | None = None,
        recorded: Iterable[LeaderboardRow] = (),
        known: Mapping[str, KnownTrial] | None = None,
        memory_bytes: int | None = None,
    ) -> None:
        self.limits = limits
        self.slots = slots
        self._proposals = proposals
        self._shapes = tuple(shapes)
        self._scored = [fold for fold, shape in enumerate(shapes) if shape.scored]
        self._greater = greater_is_better
        self._strategy = strategy
        self._pace = pace or Pace(lambda _: None)
        self._known = known or {}
        self._memory_bytes = memory_bytes
        self._rows: dict[int, LeaderboardRow] = {row.trial: row for row in recorded}
        self._opened = 0
        self._exhausted = False
        self._left_out = 0
        self._out_of_time = False
        self._active: dict[int, _Trial] = {}
        self._stops = Stops()
        self._to_record: list[RecordTrial] = []
        self._closed: Literal["", "deadline", "finished-early", "cancelled"] = ""
        self._taken_up = self._finished = False
        self._fold_s: float | None = None
        self._next: tuple[float, float | None] = (0.0, None)
        self._longest_task_s = longest_task_s(limits.budget_s, strategy.race)
        finals = [fold for fold, shape in enumerate(shapes) if not shape.scored]
        delivered = None if strategy.replay is None else strategy.replay.delivered
        self.delivery = Delivery(
            finals,
            len(self._scored),
            greater_is_better,
            limits,
            strategy.ensemble,
            delivered,
            strategy.bounded,
            {fold: shapes[fold].weight for fold in finals},
        )

    # What the shell asks -----------------------------------------------------------------------

    @property
    def rows(self) -> list[LeaderboardRow]:
        """Rows of all ended trials, by number."""
        return [self._rows[number] for number in sorted(self._rows)]

    @property
    def ended(self) -> int:
        """How many trials have ended."""
        return len(self._rows)

    @property
    def in_flight(self) -> int:
        """Tasks that occupy a worker or wait for one, those being stopped included."""
        running = sum(len(trial.running) for trial in self._active.values())
        return running + len(self._stops) + self.delivery.in_flight

    @property
    def stopping(self) -> list[tuple[int, int]]:
        """(trial, fold) of the tasks that are being stopped."""
        return list(self._stops)

    @property
    def running_trials(self) -> int:
        """Trials that have begun and not ended."""
        return len(self._active)

    @property
    def longest_task_s(self) -> float:
        """What the folds of one task may be predicted to take together (`rayctl.automl.batches`)."""
        return self._longest_task_s

    @property
    def stop_searching_at(self) -> float | None:
        """When folds end so that the last steps still fit in before the deadline; None without a deadline."""
        return self.delivery.stop_searching_at(self._rows, self.slots)

    def fold_ends_at(self, fold: int) -> float | None:
        """When a fold has to be over: at the end of the search, or of everything for folds that are not scored."""
        return self.stop_searching_at if fold in self._scored else self.delivery.deliver_at(self._rows)

    def candidate(self, trial: int) -> Candidate:
        """Return the configuration of a trial that was opened before, also of a recorded one."""
        while self._proposals.count <= trial:
            if self._proposals.next(self._rows) in (None, WAIT):
                row = self._rows[trial]  # adaptive search has not come to it again
                return candidate_of(row)
        return self._proposals.known(trial)

    # What happened ----------------------------------------------------------------------------------

    def fold_done(self, trial: int, fold: int, result: FoldResult, now: float = 0.0) -> None:
        """A fold was fitted. Results of trials that have ended meanwhile are dropped."""
        self._stops.ended((trial, fold))
        if fold not in self._scored:
            self.delivery.fold_done(trial, fold, result.fit_s + result.predict_s, result.stopped_at)
            return
        if not self._runs(trial, fold):
            return
        active = self._active[trial]
        del active.running[fold]
        active.results[fold] = result
        taken = result.fit_s + result.predict_s
        self._fold_s = taken if self._fold_s is None else 0.7 * self._fold_s + 0.3 * taken
        if result.stopped_at is None:
            self._pace.learn(active.candidate, taken)
        if active.waiting or active.running:
            self._judge([trial], now)
        else:
            self._end_done(trial, now)
            self._judge(list(self._active), now)  # a better one has ended

    def fold_failed(self, trial: int, fold: int, error: Mapping[str, Any], now: float) -> None:
        """A fold failed by its own fault: the trial has failed and its other folds are stopped."""
        self._stops.ended((trial, fold))
        if fold not in self._scored:
            self._stop(self.delivery.fold_failed(trial, fold, error), now)
        elif self._runs(trial, fold):
            del self._active[trial].running[fold]
            self._end_trial(trial, TrialState.FAILED, error, now)

    def fold_lost(self, trial: int, fold: int, error: Mapping[str, Any], now: float) -> None:
        """A fold's worker died, or had no time left. It is repeated, unless that happened too often to this trial."""
        self._stops.ended((trial, fold))
        if fold not in self._scored:
            self._stop(self.delivery.fold_lost(trial, fold, error, MAX_LOSSES), now)
            return
        if not self._runs(trial, fold):
            return
        active = self._active[trial]
        del active.running[fold]
        if not (active.alone and fold in active.shared):  # of folds that shared a task the first one says it for all
            active.losses += 1
        active.alone = True
        if active.losses >= (MAX_LOSSES_OF_A_GOOD_TRIAL if active.results else MAX_LOSSES):
            no_fault = error.get("code") == "deadline"  # its task looks at the clock a moment before this schedule does
            self._end_trial(trial, TrialState.SKIPPED if no_fault else TrialState.FAILED, error, now)
        else:
            active.waiting.insert(0, fold)

    def fold_left(self, trial: int, fold: int) -> None:
        """A fold was not begun, because others of the same task took longer than predicted. That is no loss."""
        self._stops.ended((trial, fold))
        if self._runs(trial, fold):
            active = self._active[trial]
            del active.running[fold]
            active.waiting.insert(0, fold)
            active.alone = True

    def combined(self, trials: Sequence[int], combination: Combination, took: CombineTime) -> None:
        """The weights of these trials were chosen."""
        self.delivery.combined(tuple(trials), combination, took)

    def combine_failed(self, trials: Sequence[int], error: Mapping[str, Any]) -> None:
        """The weights could not be chosen: the best trial alone will be delivered."""
        self.delivery.combine_failed(tuple(trials), error)

    def cancel(self) -> None:
        """The caller wants no more: everything stops, nothing is delivered."""
        self._closed = "cancelled"

    def close(self) -> None:
        """The caller wants the best so far: the search stops as if the time were up."""
        if not self._closed:
            self._closed = "finished-early"

    # What to do next ----------------------------------------------------------------------------------

    def plan(self, now: float) -> list[Action]:
        """Return the actions to perform now, in order."""
        if self._finished:
            return []
        if not self._taken_up:
            self._taken_up = True
            self.delivery.take_up(now, self._rows)
        stop_at = self.stop_searching_at
        if not self._closed and stop_at is not None and now >= stop_at:
            self._closed = "deadline"
        self._fail_overdue(now)
        actions: list[Action] = []
        if self._closed:
            self._skip_all(now)
        if self._closed != "cancelled":
            self._plan_delivery(now, actions)
        if not self._closed:
            self._plan_folds(now, actions)
            # Trials that were taken over from an earlier run may have been the last ones.
            if not self._searching:
                self._plan_delivery(now, actions)
        actions.extend(self._stops.plan(now))
        actions.extend(self._to_record)
        self._to_record = []
        self._plan_end(now, actions)
        return actions

    def next_check(self, now: float) -> float | None:
        """Return when `plan` has to be asked again even if nothing happens; None: only after events."""
        times = self._stops.due_at(now)
        begun = (min(trial.running.values()) for trial in self._active.values() if trial.running)
        times.extend(at + self.limits.overdue_s for at in begun)
        stop_at = self.stop_searching_at
        if stop_at is not None and not self._closed:
            times.append(stop_at)
        deliver_at = self.delivery.deliver_at(self._rows)
        if deliver_at is not None and self._closed and self._active:
            times.append(deliver_at)
        if self._closed != "cancelled":
            later = self.delivery.next_check(now, self._rows, self._searching)
            if later is not None:
                times.append(later)
        return max(now, min(times)) if times else None

    # Inside: trials -----------------------------------------------------------------------------------

    @property
    def _searching(self) -> bool:
        return bool(self._active) or (not self._closed and not self._all_opened)

    @property
    def _all_opened(self) -> bool:
        bounded = self.limits.max_trials is not None and self._opened >= self.limits.max_trials
        return self._exhausted or bounded

    def _runs(self, trial: int, fold: int) -> bool:
        return trial in self._active and fold in self._active[trial].running

    def _judge(self, trials: Iterable[int], now: float) -> None:
        """Give up those of the trials that have become hopeless."""
        for number in trials if self._strategy.race else ():
            trial = self._active[number]
            why = hopeless(trial.candidate.model, self._groups_done(trial), self._rows.values(), self._greater)
            if why is not None:
                error = {"code": "abandoned", "message": f"Given up: {why}."}
                self._end_trial(number, TrialState.SKIPPED, error, now)

    def _groups_done(self, trial: _Trial) -> dict[int, float]:
        """Return position in a row's ``fold_scores`` → score, for the groups of folds that have ended."""
        open_groups = {self._shapes[fold].group for fold in self._scored if fold not in trial.results}
        row = trial_row(0, trial.candidate, TrialState.SKIPPED, trial.results, self._shapes)
        places = sorted({self._shapes[fold].group for fold in self._scored})
        groups = sorted({self._shapes[fold].group for fold in trial.results})
        pairs = zip(groups, row.fold_scores, strict=True)
        return {places.index(group): score for group, score in pairs if group not in open_groups}

    def _fail_overdue(self, now: float) -> None:
        for number, trial in list(self._active.items()):
            late = [fold for fold, at in trial.running.items() if now - at >= self.limits.overdue_s]
            if trial.shared.issuperset(late):
                # Whose fault it is shows when each runs by itself.
                trial.running |= dict.fromkeys(late, now)
                for fold in late:
                    self._stops.kill((number, fold))
            elif late:
                message = f"Fold {late[0]} did not end within its time cap of {self.limits.fold_timeout_s:g} s."
                self._end_trial(number, TrialState.FAILED, {"code": "trial-timeout", "message": message}, now)
        self._stop(self.delivery.fail_overdue(now), now)

    def _stop(self, keys: Iterable[tuple[int, int]], now: float) -> None:
        for key in keys:
            self._stops.add(key, now)

    def _skip_all(self, now: float) -> None:
        error = {"code": self._closed, "message": CLOSED[self._closed]}
        last = self._last_chance(now)
        for number in list(self._active):
            if number != last:
                self._end_trial(number, TrialState.SKIPPED, error, now)
        if self._closed == "cancelled":
            self._stop(self.delivery.abandon(), now)

    def _last_chance(self, now: float) -> int | None:
        """Return the trial whose folds may still end, because nothing else has an answer; None: no such.

        When no more time is left it ends as done with the folds that it has: an answer by one fold beats none.
        """
        answered = any(row.score is not None for row in self._rows.values())
        if self._closed == "cancelled" or answered or len(self._scored) < len(self._shapes):
            return None
        begun = [n for n, trial in self._active.items() if trial.results or trial.running]
        if not begun:
            return None
        number = max(begun, key=lambda n: (len(self._active[n].results), len(self._active[n].running), -n))
        trial = self._active[number]
        may_wait = self._closed == "deadline" or not trial.results  # who ends a run early wants its answer now
        if trial.running and may_wait and not self.delivery.is_late(now, self._rows):
            return number
        if trial.results:
            self._end_done(number, now)
        return None

    def _end_done(self, number: int, now: float) -> None:
        """The folds that there are of a trial give its score."""
        folds, error = sorted(self._active[number].results), None
        if len(folds) < len(self._scored):
            text = f"Only {len(folds)} of {len(self._scored)} folds ended in time; its score is their mean."
            error = {"code": INCOMPLETE, "message": text, "folds": folds}
        self._end_trial(number, TrialState.DONE, error, now)

    def _end_trial(
        self, number: int, state: TrialState, error: Mapping[str, Any] | None = None, now: float = 0.0
    ) -> None:
        trial = self._active.pop(number)
        ask_at = now + SELF_STOP_S if self._closed in ("deadline", "finished-early") else now
        for fold in trial.running:
            self._stops.add((number, fold), now, ask_at)
        row = trial_row(number, trial.candidate, state, trial.results, self._shapes, error)
        self._record(row, trial.candidate, trial.results)

    def _record(self, row: LeaderboardRow, candidate: Candidate, results: Mapping[int, FoldResult]) -> None:
        self._rows[row.trial] = row
        self._to_record.append(RecordTrial(row, candidate, results))

    def _next_candidate(self) -> Candidate | Literal["wait"] | None:
        if self._opened < self._proposals.count:
            candidate: Candidate | Literal["wait"] | None = self._proposals.known(self._opened)
        else:
            candidate = self._proposals.next(self._rows)
        if candidate is None:
            self._exhausted = True
        elif candidate != WAIT:
            self._opened += 1
        return candidate

    def _open_trial(self, now: float) -> bool:
        """Open the next trial that has not ended before. Returns False if there is none now."""
        while not self._all_opened:
            candidate = self._next_candidate()
            if candidate is None or candidate == WAIT:
                return False
            number = self._opened - 1
            if number in self._rows:
                continue
            known = self._known.get(candidate_key(candidate)) or KnownTrial({})
            results = known.worth_taking(self._scored, self.limits.soft_fold_s(self.slots, len(self._scored)))
            row = known.row_that_stands(results, len(self._scored), self._strategy.race)
            if row is not None:
                update = {"trial": number, "rank": None, "weight": None, "reused": True}
                self._record(row.model_copy(update=update), candidate, known.results)
                continue
            error = self._not_to_run(number, candidate, now)
            if error is not None:
                row = trial_row(number, candidate, TrialState.SKIPPED, {}, self._shapes, error)
                self._record(row, candidate, {})
                self._count_left_out(error["code"])
                continue
            self._left_out = 0
            replay = self._strategy.replay
            wanted = self._scored if replay is None else replay.folds(number, self._scored)
            waiting = [fold for fold in wanted if fold not in results]
            self._active[number] = _Trial(candidate, waiting, results=results)
            if waiting:
                return True
            self._end_done(number, now)
        return False

    def _count_left_out(self, code: str) -> None:
        """Adaptive search would go on for ever with proposals that do not fit into the time or memory that is left."""
        if code in (TOO_SLOW, TOO_LARGE):
            self._left_out += 1
            if self._left_out >= (LEFT_OUT_OF_SEARCH if self._proposals.adapts else LEFT_OUT):
                self._exhausted = True
                self._out_of_time = code == TOO_SLOW

    def _not_to_run(self, number: int, candidate: Candidate, now: float) -> dict[str, str] | None:
        """Say why a trial is not run at all, None if it is."""
        if self._strategy.replay is not None:
            if self._strategy.replay.finished(number):
                return None
            return {"code": "not-replayed", "message": "It did not end in the run that is repeated."}
        stop_at = self.stop_searching_at
        if stop_at is None:
            return None
        if all(row.state is not TrialState.DONE for row in self._rows.values()) and (
            not self._active or self._pace.any_part_helps(candidate)
        ):
            return None  # nothing has an answer yet, and nothing that is under way would be held up for nothing
        soft_s, scored = self.limits.soft_fold_s(self.slots, len(self._scored)), len(self._scored)
        unscored = len(self._shapes) - scored
        room = Room(max(stop_at - now, 0.0), soft_s, self.slots, scored, unscored, self._memory_bytes)
        return does_not_fit(candidate, self._pace, room)

    # Inside: folds ------------------------------------------------------------------------------------

    @property
    def _most_in_flight(self) -> int:
        """Short folds are handed over ahead, or workers would mostly wait for the next one.

        Not before there is an answer: what is submitted ahead of its last folds may hang.
        """
        ahead = self._strategy.prefetch and self._fold_s is not None and not self.delivery.has_no_answer
        if not ahead:
            return self.slots
        seconds, quick_s = self._next
        return most_in_flight(self.slots, max(self._fold_s or 0.0, seconds), quick_s, self._longest_task_s)

    def _plan_folds(self, now: float, actions: list[Action]) -> None:
        soft_s = self.limits.soft_fold_s(self.slots, len(self._scored))
        while self.in_flight < self._most_in_flight:
            if self.delivery.awaits_first_final(self._rows):  # a trial of an earlier run was taken over
                self._plan_delivery(now, actions)
                continue
            number = self._next_to_run()
            if number is None or self._wants_breadth(number):
                if self._open_trial(now):
                    continue
                if number is None:
                    return
            trial = self._active[number]
            before, self._next = self._next, self._predict(trial)
            if self._next != before and self.in_flight >= self._most_in_flight:
                return  # fewer may be in flight now
            quick_s = self._next[1]
            fold = trial.waiting.pop(0)
            trial.running[fold] = now
            (trial.shared.discard if quick_s is None else trial.shared.add)(fold)
            soft = None if soft_s is None else soft_s * self._pace.peak(trial.candidate)
            stop_at = self._stop_at(number, fold)
            actions.append(StartFold(number, fold, trial.candidate, trial.losses, soft, stop_at, quick_s))

    def _predict(self, trial: _Trial) -> tuple[float, float | None]:
        """Return what a fold of a trial takes (0 if nobody knows), and again if it may share a task with others."""
        seconds = self._pace.seconds(trial.candidate) or 0.0
        shares = self._strategy.prefetch and not trial.alone
        return seconds, self._pace.quick_s(trial.candidate, self._longest_task_s) if shares else None

    def _wants_breadth(self, number: int) -> bool:
        """Whether another trial should be begun before this one gets a further fold."""
        if not self._has_answer or self._opened > BREADTH or self._all_opened:
            return False
        trial = self._active[number]
        return bool(trial.running or trial.results)

    @property
    def _has_answer(self) -> bool:
        """Whether a race is on: only once the quick first trial has ended, so that there is an answer soon."""
        return self._strategy.race and any(row.score is not None for row in self._rows.values())

    def _next_to_run(self) -> int | None:
        ready = [number for number in sorted(self._active) if self._active[number].waiting]
        if not ready or not self._has_answer:
            return ready[0] if ready else None
        # First folds first; then the trial with the best ones, because it may matter most.
        fresh = [n for n in ready if not self._active[n].running and not self._active[n].results]
        return fresh[0] if fresh else min(ready, key=self._standing)

    def _standing(self, number: int) -> tuple[float, int]:
        results = [result.score for result in self._active[number].results.values() if result.score is not None]
        if not results:
            return float("inf"), number
        mean = sum(results) / len(results)
        return (-mean if self._greater else mean), number

    def _stop_at(self, trial: int, fold: int) -> int | None:
        replay = self._strategy.replay
        return None if replay is None else replay.stop_at(trial, fold)

    def _plan_delivery(self, now: float, actions: list[Action]) -> None:
        searching = self._searching
        if not searching and self.delivery.is_late(now, self._rows):
            return  # what is there will be delivered
        # After the search, folds that are being stopped must not hold up what is delivered.
        room = self.slots - (self.in_flight if searching else self.delivery.in_flight)
        starts, unwanted = self.delivery.finals(self._rows, now, searching, room, self._stops)
        for trial, fold in starts:
            stop = self.delivery.stop_at(trial, fold)
            actions.append(StartFold(trial, fold, self.candidate(trial), 0, stop_at=stop))
        self._stop(unwanted, now)
        basis = self.delivery.combine_now(self._rows, now, searching)
        if basis is not None:
            actions.append(Combine(basis))

    # Inside: the end ------------------------------------------------------------------------------------

    def _plan_end(self, now: float, actions: list[Action]) -> None:
        if self._searching:
            return
        if self._closed == "cancelled":
            if not self.in_flight:
                self._finish(actions, FinishRun(None, "cancelled"))
            return
        late = self.delivery.is_late(now, self._rows)
        if not late and self._stops:
            return  # killed with the trainer, their workers would be cold for the next run
        combination, error = self.delivery.deliver(self._rows, late)
        if combination is not None:
            early = "deadline" if self._out_of_time else "completed"
            self._finish(actions, FinishRun(combination, self._closed or early))
        elif error is not None:
            reason = "deadline" if late and self._closed else "no-model"
            self._finish(actions, FinishRun(None, reason, error))

    def _finish(self, actions: list[Action], action: FinishRun) -> None:
        actions.extend(self._stops.kill_all())
        abandoned = [key for key in self.delivery.abandon() if key not in self._stops]
        actions.extend(StopTask(*key, force=True) for key in abandoned)
        actions.append(action)
        self._finished = True
