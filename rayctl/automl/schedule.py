"""Which fold runs next, which is stopped, and when the run ends: the pure brain of a trainer.

`Schedule` is a state machine without I/O and without a clock. The trainer tells it what happened
(`fold_done`, `fold_failed`, `fold_lost`, `final_done`, …) and performs the actions that `plan(now)` returns.
Trials are opened in the order of the candidates and never out of it, so that a run bounded by ``max_trials``
gives the same trials whatever the parallelism and whatever was killed on the way.

With a deadline the answer is *anytime*: the best trial so far is fitted on all rows early and again after
improvements, so that a model exists when time is up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from statistics import fmean, pstdev
from typing import Any, Literal

from rayctl.automl.engine import Candidate
from rayctl.automl.leaderboard import best_row
from rayctl.automl.model import LeaderboardRow, TrialState

__all__ = ["Action", "FinishRun", "FitFinal", "Limits", "RecordTrial", "Schedule", "StartFold", "StopTask"]

MAX_LOSSES = 4
"""So many deaths of a worker under a trial of which nothing has succeeded yet end the trial: the model does it."""
MAX_LOSSES_OF_A_GOOD_TRIAL = 10
"""The same for a trial of which a fold has been scored: then somebody else kills the workers."""
SELF_STOP_S = 0.1
"""When time is up, folds end themselves at their own time cap; only those that do not are asked to stop after this."""
STOP_GRACE_S = 0.5
"""A task that was asked to stop and is still there after this time is killed with its worker process."""
PREFETCH_S = 0.05
"""Work that may wait in front of the workers, so that a result's way through the trainer costs no worker time."""
SPECULATIVE_SHARE = 0.15
"""At most this share of the elapsed time goes into fitting the leader on all rows before the end."""


@dataclass(frozen=True)
class StartFold:
    """Submit one fold of one trial as a task."""

    trial: int
    fold: int
    candidate: Candidate
    attempt: int


@dataclass(frozen=True)
class StopTask:
    """Stop a running fold task (``fold`` None: the final fit). ``force`` kills its worker process."""

    trial: int
    fold: int | None
    force: bool


@dataclass(frozen=True)
class RecordTrial:
    """A trial has ended: journal this row."""

    row: LeaderboardRow


@dataclass(frozen=True)
class FitFinal:
    """Fit this trial's configuration on all rows."""

    trial: int
    candidate: Candidate


@dataclass(frozen=True)
class FinishRun:
    """The run is over. ``trial`` is the one whose model is delivered; None means that it failed."""

    trial: int | None
    reason: str
    error: Mapping[str, Any] | None = None


Action = StartFold | StopTask | RecordTrial | FitFinal | FinishRun


@dataclass(frozen=True)
class Limits:
    """What bounds a run. Times are in the unit and origin of ``now`` (seconds)."""

    started_at: float
    deadline_at: float | None = None
    max_trials: int | None = None
    fold_timeout_s: float = 300.0
    rows_factor: float = 1.25
    """Rows of the whole table per row of a fold's train part: scales a fold's fit time up to the final fit's."""

    def final_reserve_s(self, fit_s: float | None) -> float:
        """Seconds before the deadline at which searching stops so that the final fit still fits in."""
        predicted = 0.0 if fit_s is None else 1.3 * fit_s * self.rows_factor
        budget = 0.0 if self.deadline_at is None else self.deadline_at - self.started_at
        return min(0.5 * budget, predicted + max(0.3, 0.03 * min(budget, 100.0)))


@dataclass
class _Trial:
    candidate: Candidate
    waiting: list[int]
    running: dict[int, float] = field(default_factory=dict)
    scores: dict[int, tuple[float, float, float]] = field(default_factory=dict)
    losses: int = 0


@dataclass
class _Stopping:
    since: float
    ask_at: float = 0.0
    asked: bool = False
    forced: bool = False


class Schedule:
    """State of one run's search.

    Args:
        candidates: What to try, in order; may be endless.
        folds: Number of folds of every trial.
        greater_is_better: Direction of the metric.
        limits: Deadline, number of trials, time per fold.
        slots: How many tasks may be in flight.
        recorded: Rows of trials that ended before (a restarted trainer); they are not repeated.
        prefetch: Whether more tasks than ``slots`` may wait for a worker while folds take only milliseconds.
    """

    def __init__(
        self,
        candidates: Iterator[Candidate],
        folds: int,
        greater_is_better: bool,
        limits: Limits,
        slots: int,
        recorded: Iterable[LeaderboardRow] = (),
        prefetch: bool = False,
    ) -> None:
        self.limits = limits
        self.slots = slots
        self._candidates = candidates
        self._folds = folds
        self._greater = greater_is_better
        self._rows: dict[int, LeaderboardRow] = {row.trial: row for row in recorded}
        self._seen: dict[int, Candidate] = {}
        self._opened = 0
        self._exhausted = False
        self._active: dict[int, _Trial] = {}
        self._stopping: dict[tuple[int, int | None], _Stopping] = {}
        self._to_record: list[LeaderboardRow] = []
        self._final: tuple[int, float] | None = None
        self._final_losses = 0
        self._final_cost_s = 0.0
        self._model: int | None = None
        self._no_model: dict[int, Mapping[str, Any]] = {}
        self._closed: Literal["", "deadline", "cancelled"] = ""
        self._finished = False
        self._prefetch = prefetch
        self._fold_s: float | None = None

    # What the shell asks -----------------------------------------------------------------------

    @property
    def rows(self) -> list[LeaderboardRow]:
        """Rows of all ended trials, by number."""
        return [self._rows[number] for number in sorted(self._rows)]

    @property
    def in_flight(self) -> int:
        """Tasks that occupy a worker or wait for one, those being stopped included."""
        running = sum(len(trial.running) for trial in self._active.values())
        return running + len(self._stopping) + (self._final is not None)

    @property
    def running_trials(self) -> int:
        """Trials that have begun and not ended."""
        return len(self._active)

    @property
    def stop_searching_at(self) -> float | None:
        """When folds end so that the final fit still fits in before the deadline; None without a deadline."""
        if self.limits.deadline_at is None:
            return None
        best = self._best()
        ready = best is not None and best.trial == self._model
        return self.limits.deadline_at - self.limits.final_reserve_s(best.fit_s if best and not ready else None)

    def candidate(self, trial: int) -> Candidate:
        """Return the configuration of a trial that was opened before, also of a recorded one."""
        while trial not in self._seen and not self._exhausted:
            self._next_candidate()
        return self._seen[trial]

    # What happened ----------------------------------------------------------------------------------

    def fold_done(self, trial: int, fold: int, score: float, fit_s: float, predict_s: float) -> None:
        """A fold was scored. Results of trials that have ended meanwhile are dropped."""
        if self._gone(trial, fold):
            return
        active = self._active[trial]
        del active.running[fold]
        active.scores[fold] = (score, fit_s, predict_s)
        taken = fit_s + predict_s
        self._fold_s = taken if self._fold_s is None else 0.7 * self._fold_s + 0.3 * taken
        if len(active.scores) == self._folds:
            self._end_trial(trial, TrialState.DONE)

    def fold_failed(self, trial: int, fold: int, error: Mapping[str, Any], now: float) -> None:
        """A fold failed by its own fault: the trial has failed and its other folds are stopped."""
        if self._gone(trial, fold):
            return
        del self._active[trial].running[fold]
        self._end_trial(trial, TrialState.FAILED, error, now)

    def fold_lost(self, trial: int, fold: int, error: Mapping[str, Any], now: float) -> None:
        """A fold's worker died. It is repeated, unless that happened too often to this trial."""
        if self._gone(trial, fold):
            return
        active = self._active[trial]
        del active.running[fold]
        active.losses += 1
        if active.losses >= (MAX_LOSSES_OF_A_GOOD_TRIAL if active.scores else MAX_LOSSES):
            self._end_trial(trial, TrialState.FAILED, error, now)
        else:
            active.waiting.insert(0, fold)

    def final_done(self, trial: int, seconds: float) -> None:
        """The final fit of a trial gave a model."""
        self._stopping.pop((trial, None), None)
        self._final = None
        self._final_losses = 0
        self._final_cost_s += seconds
        self._model = trial

    def final_failed(self, trial: int, error: Mapping[str, Any]) -> None:
        """The final fit failed by the model's fault: the next best trial will be delivered."""
        self._stopping.pop((trial, None), None)
        self._final = None
        self._no_model[trial] = error

    def final_lost(self, trial: int, error: Mapping[str, Any]) -> None:
        """The final fit's worker died. It is repeated, unless that happened too often."""
        self._final_losses += 1
        if self._final_losses >= MAX_LOSSES:
            self._final_losses = 0
            self.final_failed(trial, error)
        else:
            self._stopping.pop((trial, None), None)
            self._final = None

    def cancel(self) -> None:
        """The caller wants no more: everything stops, nothing is delivered."""
        self._closed = "cancelled"

    # What to do next ----------------------------------------------------------------------------------

    def plan(self, now: float) -> list[Action]:
        """Return the actions to perform now, in order."""
        if self._finished:
            return []
        self._close_if_time_is_up(now)
        self._fail_overdue(now)
        actions: list[Action] = []
        if self._closed:
            self._skip_all(now)
        else:
            self._plan_speculative_final(now, actions)
            self._plan_folds(now, actions)
        actions.extend(self._plan_stops(now))
        actions.extend(RecordTrial(row) for row in self._to_record)
        self._to_record = []
        self._plan_end(now, actions)
        return actions

    def next_check(self, now: float) -> float | None:
        """Return when `plan` has to be asked again even if nothing happens; None: only after events."""
        stops = [stop for stop in self._stopping.values() if not stop.forced]
        times = [stop.since + STOP_GRACE_S if stop.asked else max(stop.ask_at, now) for stop in stops]
        for trial in self._active.values():
            times.extend(at + self._overdue_s for at in trial.running.values())
        stop_at = self.stop_searching_at
        if self.limits.deadline_at is not None and stop_at is not None:
            times.append(self.limits.deadline_at if self._closed else stop_at)
        elif self._final is not None:
            times.append(self._final[1] + 4 * self.limits.fold_timeout_s)
        return max(now, min(times)) if times else None

    # Inside -----------------------------------------------------------------------------------------

    @property
    def _overdue_s(self) -> float:
        # Tasks end themselves at their own time cap; this is for those that cannot (and waited for a worker before).
        return 2 * self.limits.fold_timeout_s + 60.0

    def _gone(self, trial: int, fold: int) -> bool:
        self._stopping.pop((trial, fold), None)
        return trial not in self._active or fold not in self._active[trial].running

    def _best(self) -> LeaderboardRow | None:
        rows = [row for number, row in self._rows.items() if number not in self._no_model]
        return best_row(rows, self._greater)

    def _close_if_time_is_up(self, now: float) -> None:
        stop_at = self.stop_searching_at
        if not self._closed and stop_at is not None and now >= stop_at:
            self._closed = "deadline"

    def _fail_overdue(self, now: float) -> None:
        for number, trial in list(self._active.items()):
            late = [fold for fold, at in trial.running.items() if now - at >= self._overdue_s]
            if late:
                message = f"Fold {late[0]} did not end within its time cap of {self.limits.fold_timeout_s:g} s."
                self._end_trial(number, TrialState.FAILED, {"code": "trial-timeout", "message": message}, now)

    def _skip_all(self, now: float) -> None:
        reason = "cancelled" if self._closed == "cancelled" else "deadline"
        text = "The run was cancelled." if reason == "cancelled" else "The run's time was up."
        for number in list(self._active):
            self._end_trial(number, TrialState.SKIPPED, {"code": reason, "message": text}, now)
        if self._final is not None and self._closed == "cancelled":
            self._stopping.setdefault((self._final[0], None), _Stopping(now))

    def _end_trial(
        self, number: int, state: TrialState, error: Mapping[str, Any] | None = None, now: float = 0.0
    ) -> None:
        trial = self._active.pop(number)
        ask_at = now + SELF_STOP_S if self._closed == "deadline" else now
        for fold in trial.running:
            self._stopping[(number, fold)] = _Stopping(now, ask_at)
        measured = [trial.scores[fold] for fold in sorted(trial.scores)]
        scores = [score for score, _, _ in measured]
        done = state is TrialState.DONE
        row = LeaderboardRow(
            trial=number,
            model=trial.candidate.model,
            params=trial.candidate.params,
            state=state,
            score=fmean(scores) if done else None,
            std=pstdev(scores) if done else None,
            fold_scores=scores,
            fit_s=round(fmean(fit_s for _, fit_s, _ in measured), 6) if measured else None,
            predict_s=round(fmean(predict_s for _, _, predict_s in measured), 6) if measured else None,
            error=dict(error) if error else None,
        )
        self._rows[number] = row
        self._to_record.append(row)

    def _next_candidate(self) -> int | None:
        try:
            candidate = next(self._candidates)
        except StopIteration:
            self._exhausted = True
            return None
        number = self._opened
        self._opened += 1
        self._seen[number] = candidate
        return number

    def _open_trial(self) -> bool:
        """Open the next trial that has not ended before. Returns False if there is none."""
        while not self._exhausted:
            if self.limits.max_trials is not None and self._opened >= self.limits.max_trials:
                return False
            number = self._next_candidate()
            if number is not None and number not in self._rows:
                self._active[number] = _Trial(self._seen[number], list(range(self._folds)))
                return True
        return False

    @property
    def _most_in_flight(self) -> int:
        """Folds of milliseconds are submitted ahead, or workers would mostly wait for the next one."""
        if not self._prefetch or self._fold_s is None:
            return self.slots
        return max(self.slots, min(4 * self.slots, int(PREFETCH_S / max(self._fold_s, 1e-4))))

    def _plan_folds(self, now: float, actions: list[Action]) -> None:
        while self.in_flight < self._most_in_flight:
            ready = next((number for number in sorted(self._active) if self._active[number].waiting), None)
            if ready is None:
                if not self._open_trial():
                    return
                continue
            trial = self._active[ready]
            fold = trial.waiting.pop(0)
            trial.running[fold] = now
            actions.append(StartFold(ready, fold, trial.candidate, trial.losses))

    def _plan_speculative_final(self, now: float, actions: list[Action]) -> None:
        best = self._best()
        if self.limits.deadline_at is None or self._final is not None or best is None or best.trial == self._model:
            return
        predicted = (best.fit_s or 0.0) * self.limits.rows_factor
        elapsed = now - self.limits.started_at
        if self._model is None or self._final_cost_s + predicted <= SPECULATIVE_SHARE * elapsed:
            self._start_final(best.trial, now, actions)

    def _start_final(self, trial: int, now: float, actions: list[Action]) -> None:
        self._final = (trial, now)
        actions.append(FitFinal(trial, self.candidate(trial)))

    def _plan_stops(self, now: float) -> Iterator[Action]:
        for (trial, fold), stop in self._stopping.items():
            if not stop.asked and now >= stop.ask_at:
                stop.asked = True
                yield StopTask(trial, fold, force=False)
            elif now - stop.since >= STOP_GRACE_S and not stop.forced:
                stop.forced = True
                yield StopTask(trial, fold, force=True)

    def _plan_end(self, now: float, actions: list[Action]) -> None:
        searching = self._active or (not self._closed and not self._all_opened())
        if searching:
            return
        if self._closed == "cancelled":
            if not self.in_flight:
                self._finish(actions, FinishRun(None, "cancelled"))
            return
        best = self._best()
        late = self.limits.deadline_at is not None and now >= self.limits.deadline_at
        if best is not None and best.trial == self._model:
            if self._stopping and not late:
                return  # killed with the trainer, their workers would be cold for the next run
            self._finish(actions, FinishRun(best.trial, self._closed or "completed"))
        elif late:
            self._finish_late(actions)
        elif self._final is None and best is not None:
            self._start_final(best.trial, now, actions)
        elif best is None and self._final is None:
            self._finish(actions, FinishRun(None, "no-model", self._why_no_model()))
        elif self._final is not None and best is not None and self._final[0] != best.trial and not self._stopping:
            # A speculative fit of an earlier leader is in the way of the winner's.
            self._stopping[(self._final[0], None)] = _Stopping(now, asked=True, forced=True)
            actions.append(StopTask(self._final[0], None, force=True))

    def _finish_late(self, actions: list[Action]) -> None:
        if self._model is not None:
            self._finish(actions, FinishRun(self._model, "deadline"))
        else:
            self._finish(actions, FinishRun(None, "deadline", self._why_no_model()))

    def _finish(self, actions: list[Action], action: FinishRun) -> None:
        for (trial, fold), stop in self._stopping.items():
            if not stop.forced:
                actions.append(StopTask(trial, fold, force=True))
        if self._final is not None and (self._final[0], None) not in self._stopping:
            actions.append(StopTask(self._final[0], None, force=True))
        actions.append(action)
        self._finished = True

    def _all_opened(self) -> bool:
        bounded = self.limits.max_trials is not None and self._opened >= self.limits.max_trials
        return self._exhausted or bounded

    def _why_no_model(self) -> dict[str, Any]:
        failed = [row for row in self._rows.values() if row.state is TrialState.FAILED]
        done = any(row.state is TrialState.DONE for row in self._rows.values())
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
