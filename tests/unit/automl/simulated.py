"""A small cluster in simulated time that performs the actions of a schedule and checks its promises at every step."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from rayctl.automl.actions import Combine, FinishRun, FoldResult, FoldShape, RecordTrial, StartFold, StopTask
from rayctl.automl.engine import Candidate, Combination
from rayctl.automl.limits import CombineTime, Limits
from rayctl.automl.model import LeaderboardRow, TrialState
from rayctl.automl.partial import KEY, Partial
from rayctl.automl.proposals import Proposals
from rayctl.automl.schedule import Schedule
from rayctl.automl.strategy import Strategy

ERROR = {"code": "model-error", "message": "it broke"}
GONE = {"code": "worker-died", "message": "gone"}
DEADLINE = {"code": "deadline", "message": "The run's time was up."}


@dataclass(frozen=True)
class Fate:
    """What becomes of a task: ``end`` is done, failed, lost or hangs; ``self_stops``: it ends its fit when it should.

    ``deaf``: it does not react to being asked to stop, only to force.
    """

    end: str = "done"
    seconds: float = 1.0
    self_stops: bool = True
    deaf: bool = False


def numbered(count: int | None = None, families: int = 1000) -> Iterator[Candidate]:
    numbers = itertools.count() if count is None else range(count)
    return (Candidate(f"model-{number % families}", {"x": number}) for number in numbers)


def shapes(scored: int, finals: int = 0) -> list[FoldShape]:
    return [FoldShape(fold) for fold in range(scored)] + [FoldShape(0, scored=False)] * finals


def by_number(trial: int, fold: int, candidate: Candidate) -> float:
    return float(trial * 10 + fold)


def by_content(trial: int, fold: int, candidate: Candidate) -> float:
    """A score that only depends on the configuration, never on the trial's number or the time."""
    return round(random.Random(f"{candidate.model}/{sorted(candidate.params.items())}/{fold}").random(), 6)


def best_two(rows: Mapping[int, LeaderboardRow], trials: tuple[int, ...], greater: bool) -> Combination:
    """The two best halve the weight; a little better than the best."""
    sign = -1 if greater else 1
    order = sorted(trials, key=lambda trial: (sign * (rows[trial].score or 0.0), trial))[:2]
    return Combination(dict.fromkeys(sorted(order), 1 / len(order)), float(rows[order[0]].score or 0.0) - sign * 1e-3)


@dataclass
class Task:
    number: int
    action: StartFold
    began: float
    end: str
    seconds: float
    stopped_at: int | None
    deaf: bool
    asked: bool = False
    forced: bool = False


@dataclass
class Cluster:
    """``fate`` says what becomes of a fold's task, ``combine_fate`` (end, seconds) of the choice of weights.

    ``imports_s``: what the first choice takes in addition, because its process is new.
    """

    schedule: Schedule
    shapes: list[FoldShape]
    fate: Callable[[StartFold], Fate] = lambda action: Fate()
    score: Callable[[int, int, Candidate], float] = by_number
    combine_fate: Callable[[int], tuple[str, float]] = lambda nth: ("done", 0.05)
    choose: Callable[[Mapping[int, LeaderboardRow], tuple[int, ...], bool], Combination] = best_two
    greater: bool = True
    now: float = 0.0
    imports_s: float = 0.0
    finish: FinishRun | None = None
    started: list[StartFold] = field(default_factory=list)
    start_times: list[float] = field(default_factory=list)
    recorded: list[LeaderboardRow] = field(default_factory=list)
    records: list[RecordTrial] = field(default_factory=list)
    combines: list[tuple[float, tuple[int, ...]]] = field(default_factory=list)
    stops: list[tuple[float, StopTask]] = field(default_factory=list)
    done: set[tuple[int, int]] = field(default_factory=set)
    most_in_flight: int = 0
    most_while_searching: int = 0
    alive: dict[tuple[int, int], Task] = field(default_factory=dict)
    rows: dict[int, LeaderboardRow] = field(default_factory=dict)
    deliverable_from: float | None = None
    _events: list[tuple[float, int, str, Any]] = field(default_factory=list)
    _ids: Iterator[int] = field(default_factory=itertools.count)
    _combining: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        self.rows = {row.trial: row for row in self.schedule.rows}

    # Running ------------------------------------------------------------------------------------------

    def run(self, until: float = float("inf"), steps: int = 20_000) -> Cluster:
        if self.finish is not None:
            return self
        for _ in range(steps):
            self._perform_all()
            if self.finish is not None or not self._advance(until):
                return self
        raise AssertionError("the schedule does not come to an end")

    def _perform_all(self) -> None:
        actions = self.schedule.plan(self.now)
        assert not any(isinstance(action, FinishRun) for action in actions[:-1]), "something follows the end"
        for action in sorted(actions, key=lambda action: not isinstance(action, RecordTrial)):
            self._perform(action)
        self.most_in_flight = max(self.most_in_flight, len(self.alive))
        if self.finish is None:
            assert self.schedule.in_flight == len(self.alive), "tasks are lost track of"
            if self.schedule.running_trials:
                self.most_while_searching = max(self.most_while_searching, len(self.alive))
        else:
            assert all(task.forced for task in self.alive.values()), "tasks go on after the end"
            assert self.schedule.plan(self.now) == []
            assert self.schedule.plan(self.now + 1e6) == []

    def _perform(self, action: object) -> None:
        if isinstance(action, StartFold):
            self._start(action)
        elif isinstance(action, StopTask):
            self._stop(action)
        elif isinstance(action, RecordTrial):
            assert action.row.trial not in self.rows, "a trial ends twice"
            self.rows[action.row.trial] = action.row
            self.recorded.append(action.row)
            self.records.append(action)
        elif isinstance(action, Combine):
            assert self._combining is None, "weights are chosen twice at once"
            assert action.trials
            self._combining = action.trials
            end, seconds = self.combine_fate(len(self.combines))
            self.combines.append((self.now, action.trials))
            took = CombineTime(seconds, self.imports_s if len(self.combines) == 1 else 0.0)
            if end != "hangs":
                self._event(self.now + took.seconds + took.imports_s, "combine", (end, took))
        elif isinstance(action, FinishRun):
            assert self.finish is None
            self._check_end(action)
            self.finish = action

    def _event(self, at: float, kind: str, what: Any) -> None:
        heapq.heappush(self._events, (at, next(self._ids), kind, what))

    def _start(self, action: StartFold) -> None:
        key = (action.trial, action.fold)
        assert key not in self.alive, f"{key} runs twice at once"
        scored = self.shapes[action.fold].scored
        assert scored != (action.trial in self.rows), "scored folds run before the end of a trial, the others after it"
        stop_at = self.schedule.stop_searching_at
        if scored and stop_at is not None:
            assert self.now < stop_at, "the search is over"
        if not scored:
            assert self.rows[action.trial].state is TrialState.DONE
        self.started.append(action)
        self.start_times.append(self.now)
        fate = self.fate(action)
        end, seconds, stopped_at = fate.end, fate.seconds, None
        ends_at = self.schedule.fold_ends_at(action.fold)
        hard_s = self.schedule.limits.fold_timeout_s
        if ends_at is not None:
            hard_s = min(hard_s, max(0.001, ends_at - self.now))
        own_s = min([0.9 * hard_s] + ([] if action.soft_s is None else [action.soft_s]))
        if end == "done" and seconds > own_s and fate.self_stops:
            seconds, stopped_at = own_s, max(1, int(100 * own_s / seconds))
        if end != "hangs" and seconds > hard_s:
            at_end = ends_at is not None and self.now + hard_s >= ends_at - 0.05
            end, seconds = "deadline" if at_end else "failed", hard_s
        task = self.alive[key] = Task(next(self._ids), action, self.now, end, seconds, stopped_at, fate.deaf)
        if end != "hangs":
            self._event(self.now + seconds, "task", task)

    def _stop(self, action: StopTask) -> None:
        task = self.alive.get((action.trial, action.fold))
        assert task is not None, f"{action} for a task that does not run"
        self.stops.append((self.now, action))
        assert not task.forced, "killed twice"
        if action.force:
            task.forced = True
            task.end = "lost"
            self._event(self.now + 0.01, "task", task)
        else:
            assert not task.asked, "asked twice"
            task.asked = True
            if not task.deaf and task.end != "hangs":
                task.end = "lost"
                self._event(self.now + 0.02, "task", task)

    def _advance(self, until: float) -> bool:
        check = self.schedule.next_check(self.now)
        assert check is None or check >= self.now
        event = self._events[0][0] if self._events else None
        times = [at for at in (check, event) if at is not None]
        assert times or until < float("inf"), "nothing will ever happen again"
        if not times or min(times) > until:
            self.now = max(self.now, until)
            return False
        if event is None or (check is not None and check < event):
            assert check is not None
            self.now = max(check, self.now + 1e-6)
            return True
        at, _, kind, what = heapq.heappop(self._events)
        self.now = max(self.now, at)
        if kind == "combine":
            self._tell_combined(*what)
        elif self.alive.get((what.action.trial, what.action.fold)) is what:
            self._tell(what)
        return True

    def _tell(self, task: Task) -> None:
        trial, fold = key = (task.action.trial, task.action.fold)
        del self.alive[key]
        if task.end == "done":
            scored = self.shapes[fold].scored
            value = self.score(trial, fold, task.action.candidate) if scored else None
            self.done.add(key)
            result = FoldResult(value, task.seconds, 0.0, 1000, task.stopped_at)
            self.schedule.fold_done(trial, fold, result, self.now)
            if self.deliverable_from is None and self._is_ready(trial):
                self.deliverable_from = self.now
        elif task.end == "failed":
            self.schedule.fold_failed(trial, fold, ERROR, self.now)
        else:
            self.schedule.fold_lost(trial, fold, DEADLINE if task.end == "deadline" else GONE, self.now)

    def _tell_combined(self, end: str, took: CombineTime) -> None:
        trials, self._combining = self._combining, None
        assert trials is not None
        if end == "failed":
            self.schedule.combine_failed(trials, ERROR)
        else:
            self.schedule.combined(trials, self.choose(self.rows, trials, self.greater), took)

    # Checks -------------------------------------------------------------------------------------------

    def _is_ready(self, trial: int, without: Collection[int] = ()) -> bool:
        finals = [fold for fold, shape in enumerate(self.shapes) if not shape.scored and fold not in without]
        row = {row.trial: row for row in self.schedule.rows}.get(trial)
        return row is not None and row.state is TrialState.DONE and all((trial, fold) in self.done for fold in finals)

    def _check_end(self, action: FinishRun) -> None:
        if action.combination is None:
            assert action.reason == "cancelled" or action.error is not None
            return
        weights = action.combination.weights
        assert weights
        assert abs(sum(weights.values()) - 1.0) < 1e-9
        assert all(weight > 0 for weight in weights.values())
        partial = Partial.of(action.combination.settings) or Partial(weights)
        if action.combination.settings.get(KEY):
            assert {*partial.weights, *([] if partial.fills_in is None else [partial.fills_in])} == set(weights)
            finals = [fold for fold, shape in enumerate(self.shapes) if not shape.scored]
            assert partial.fills_in is not None or not partial.uncovered(finals), "nobody forecasts some series"
        for trial in weights:
            assert self._is_ready(trial, partial.missing.get(trial, ())), "a model is delivered that was not fitted"

    @property
    def delivered(self) -> dict[int, float]:
        assert self.finish is not None
        assert self.finish.combination is not None, self.finish
        return dict(self.finish.combination.weights)

    @property
    def error_code(self) -> str:
        assert self.finish is not None
        assert self.finish.combination is None
        assert self.finish.error is not None
        return str(self.finish.error["code"])

    def starts(self, trial: int | None = None) -> list[tuple[int, int]]:
        return [(a.trial, a.fold) for a in self.started if trial is None or a.trial == trial]


def make(
    fate: Callable[[StartFold], Fate] = lambda action: Fate(),
    *,
    scored: int = 3,
    finals: int = 0,
    slots: int = 2,
    count: int | None = None,
    fixed: Iterable[Candidate] | None = None,
    adaptive: Any = None,
    ordered: bool | None = None,
    folds: list[FoldShape] | None = None,
    greater: bool = True,
    score: Callable[[int, int, Candidate], float] = by_number,
    combine_fate: Callable[[int], tuple[str, float]] = lambda nth: ("done", 0.05),
    choose: Callable[[Mapping[int, LeaderboardRow], tuple[int, ...], bool], Combination] = best_two,
    strategy: Strategy | None = None,
    pace: Any = None,
    recorded: Iterable[LeaderboardRow] = (),
    known: Any = None,
    memory_bytes: int | None = None,
    imports_s: float = 0.0,
    at: float = 0.0,
    **limits: Any,
) -> Cluster:
    """Return a cluster with a new schedule; ``limits`` are fields of `Limits`."""
    deadline = limits.get("deadline_at") is not None
    strategy = strategy or Strategy(ensemble=not finals, race=deadline)
    parts = folds if folds is not None else shapes(scored, finals)
    source = iter(fixed) if fixed is not None else numbered(count)
    proposals = Proposals(source, adaptive, ordered=not deadline if ordered is None else ordered)
    given = Limits(started_at=limits.pop("started_at", 0.0), **limits)
    schedule = Schedule(proposals, parts, greater, given, slots, strategy, pace, recorded, known, memory_bytes)
    return Cluster(schedule, parts, fate, score, combine_fate, choose, greater, now=at, imports_s=imports_s)
