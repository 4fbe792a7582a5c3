"""The trainer's schedule, driven by a small simulated cluster: no Ray, no clock."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rayctl.automl.engine import Candidate
from rayctl.automl.model import LeaderboardRow, TrialState
from rayctl.automl.schedule import FinishRun, FitFinal, Limits, RecordTrial, Schedule, StartFold, StopTask

ERROR = {"code": "model-error", "message": "it broke"}


def candidates(count: int | None = None) -> Iterator[Candidate]:
    numbers = itertools.count() if count is None else range(count)
    return (Candidate(f"model-{number}", {"x": number}) for number in numbers)


@dataclass
class Cluster:
    """Performs the actions of a schedule in simulated time. ``fate`` says what becomes of each task."""

    schedule: Schedule
    fate: Callable[[int, int | None, int], tuple[str, float]]
    score: Callable[[int, int], float] = lambda trial, fold: float(trial * 10 + fold)
    now: float = 0.0
    finish: FinishRun | None = None
    started: list[tuple[int, int]] = field(default_factory=list)
    recorded: list[LeaderboardRow] = field(default_factory=list)
    most_in_flight: int = 0
    _ends: list[tuple[float, int, tuple[int, int | None], str]] = field(default_factory=list)
    _alive: dict[tuple[int, int | None], int] = field(default_factory=dict)
    _ids: Iterator[int] = field(default_factory=itertools.count)

    def run(self, steps: int = 5000, until: float = float("inf")) -> Cluster:
        for _ in range(steps):
            for action in self.schedule.plan(self.now):
                self._perform(action)
            self.most_in_flight = max(self.most_in_flight, len(self._alive))
            if self.finish is not None or not self._advance(until):
                return self
        raise AssertionError("the schedule does not come to an end")

    def _perform(self, action: object) -> None:
        if isinstance(action, StartFold):
            self.started.append((action.trial, action.fold))
            self._start(action.trial, action.fold, action.attempt)
        elif isinstance(action, FitFinal):
            self._start(action.trial, None, 0)
        elif isinstance(action, StopTask):
            key = (action.trial, action.fold)
            if action.force and key in self._alive:
                heapq.heappush(self._ends, (self.now + 0.01, self._alive[key], key, "lost"))
        elif isinstance(action, RecordTrial):
            self.recorded.append(action.row)
        elif isinstance(action, FinishRun):
            assert self.finish is None
            self.finish = action

    def _start(self, trial: int, fold: int | None, attempt: int) -> None:
        key = (trial, fold)
        assert key not in self._alive, f"{key} runs twice at once"
        end, seconds = self.fate(trial, fold, attempt)
        number = self._alive[key] = next(self._ids)
        if end != "hangs":
            heapq.heappush(self._ends, (self.now + seconds, number, key, end))

    def _advance(self, until: float) -> bool:
        check = self.schedule.next_check(self.now)
        event = self._ends[0][0] if self._ends else None
        times = [t for t in (check, event) if t is not None]
        assert times, "nothing will ever happen again"
        if min(times) > until:
            self.now = until
            return False
        if event is None or (check is not None and check < event):
            assert check is not None
            self.now = max(check, self.now + 1e-6)
            return True
        at, number, key, end = heapq.heappop(self._ends)
        self.now = max(self.now, at)
        if self._alive.get(key) == number:
            del self._alive[key]
            self._tell(key, end)
        return True

    def _tell(self, key: tuple[int, int | None], end: str) -> None:
        trial, fold = key
        if fold is None:
            tell = {
                "done": lambda: self.schedule.final_done(trial, 0.5),
                "failed": lambda: self.schedule.final_failed(trial, ERROR),
            }
            tell.get(end, lambda: self.schedule.final_lost(trial, {"code": "worker-died", "message": "gone"}))()
        elif end == "done":
            self.schedule.fold_done(trial, fold, self.score(trial, fold), 1.0, 0.1)
        elif end == "failed":
            self.schedule.fold_failed(trial, fold, ERROR, self.now)
        else:
            self.schedule.fold_lost(trial, fold, {"code": "worker-died", "message": "gone"}, self.now)


def one_second(trial: int, fold: int | None, attempt: int) -> tuple[str, float]:
    return "done", 1.0


def make(
    fate: object = one_second, *, folds: int = 3, slots: int = 2, count: int | None = None, **limits: object
) -> Cluster:
    recorded = limits.pop("recorded", ())
    schedule = Schedule(candidates(count), folds, True, Limits(started_at=0.0, **limits), slots, recorded)  # type: ignore[arg-type]
    return Cluster(schedule, fate)  # type: ignore[arg-type]


def test_max_trials_runs_exactly_that_many_and_delivers_the_best() -> None:
    cluster = make(max_trials=4).run()
    assert cluster.finish == FinishRun(3, "completed")
    assert [row.trial for row in cluster.recorded] == [0, 1, 2, 3]
    assert cluster.recorded[3].fold_scores == [30.0, 31.0, 32.0]
    assert cluster.recorded[3].score == 31.0
    assert cluster.most_in_flight <= 2


def test_a_finite_search_space_ends_by_itself() -> None:
    cluster = make(count=3).run()
    assert cluster.finish is not None
    assert cluster.finish.trial == 2


def test_a_deadline_is_kept_and_a_model_exists_at_it() -> None:
    cluster = make(deadline_at=20.0).run()
    assert cluster.finish is not None
    assert cluster.finish.reason == "deadline"
    assert cluster.finish.trial is not None
    assert cluster.now <= 20.0
    assert {row.state for row in cluster.recorded} == {TrialState.DONE, TrialState.SKIPPED}


def test_with_a_deadline_the_model_belongs_to_the_best_trial_when_there_is_time_to_fit_it() -> None:
    cluster = make(deadline_at=60.0).run()
    assert cluster.finish is not None
    best = max((row for row in cluster.recorded if row.state is TrialState.DONE), key=lambda row: row.score or 0)
    assert cluster.finish.trial == best.trial


def test_final_fit_that_never_ends_still_meets_the_deadline() -> None:
    cluster = make(lambda t, f, a: ("hangs", 0.0) if f is None else ("done", 1.0), deadline_at=20.0).run()
    assert cluster.finish is not None
    assert cluster.now <= 20.0 + 1e-3
    assert cluster.finish.trial is None
    assert cluster.finish.error is not None
    assert cluster.finish.error["code"] == "no-trial-finished"


def test_hanging_folds_are_stopped_at_the_deadline_by_force() -> None:
    cluster = make(lambda t, f, a: ("hangs", 0.0) if f is not None else ("done", 0.1), deadline_at=10.0).run()
    assert cluster.finish is not None
    assert cluster.finish.trial is None
    assert cluster.now <= 10.0 + 1e-3


def test_a_failing_fold_fails_its_trial_and_stops_the_others() -> None:
    cluster = make(lambda t, f, a: ("failed", 0.5) if t == 1 and f == 0 else ("done", 1.0), max_trials=3).run()
    failed = [row for row in cluster.recorded if row.state is TrialState.FAILED]
    assert [row.trial for row in failed] == [1]
    assert failed[0].error == ERROR
    assert cluster.finish is not None
    assert cluster.finish.trial == 2


def test_all_trials_failing_is_a_failed_run_with_the_first_reason() -> None:
    cluster = make(lambda t, f, a: ("failed", 0.5), max_trials=3).run()
    assert cluster.finish is not None
    assert cluster.finish.trial is None
    assert cluster.finish.error is not None
    assert cluster.finish.error["code"] == "all-trials-failed"
    assert "it broke" in cluster.finish.error["message"]


def test_a_lost_worker_is_repeated_but_not_for_ever() -> None:
    once = make(lambda t, f, a: ("lost", 0.3) if t == 0 and a == 0 else ("done", 1.0), max_trials=1, slots=1).run()
    assert once.recorded[0].state is TrialState.DONE
    always = make(lambda t, f, a: ("lost", 0.3) if t == 0 else ("done", 1.0), max_trials=2).run()
    assert always.recorded[0].state is TrialState.FAILED
    assert always.recorded[0].error == {"code": "worker-died", "message": "gone"}
    assert always.finish is not None
    assert always.finish.trial == 1


def test_a_trial_that_has_shown_that_it_works_survives_more_losses() -> None:
    lost_often = make(lambda t, f, a: ("lost", 0.3) if f == 2 and a < 7 else ("done", 1.0), max_trials=1, slots=1).run()
    assert lost_often.recorded[0].state is TrialState.DONE


def test_a_fold_that_outlives_its_cap_fails_its_trial() -> None:
    cluster = make(
        lambda t, f, a: ("hangs", 0.0) if t == 0 and f == 1 else ("done", 1.0), max_trials=2, fold_timeout_s=5.0
    ).run()
    rows = {row.trial: row for row in cluster.recorded}
    assert rows[0].state is TrialState.FAILED
    assert rows[0].error is not None
    assert rows[0].error["code"] == "trial-timeout"
    assert cluster.finish is not None
    assert cluster.finish.trial == 1


def test_when_the_winner_cannot_be_fitted_the_next_best_is_delivered() -> None:
    cluster = make(lambda t, f, a: ("failed", 0.1) if f is None and t == 2 else ("done", 1.0), max_trials=3).run()
    assert cluster.finish == FinishRun(1, "completed")


def test_cancelling_stops_everything_and_delivers_nothing() -> None:
    cluster = make(lambda t, f, a: ("hangs", 0.0), max_trials=5).run(until=3.0)
    cluster.schedule.cancel()
    cluster.run()
    assert cluster.finish == FinishRun(None, "cancelled")
    assert cluster.now < 4.0
    assert not cluster._alive


def test_recorded_trials_are_not_repeated() -> None:
    first = make(max_trials=6).run(until=5.0)
    again = make(max_trials=6, recorded=tuple(first.recorded)).run()
    done_before = {row.trial for row in first.recorded}
    assert done_before
    assert done_before.isdisjoint({trial for trial, _ in again.started})
    whole = make(max_trials=6).run()
    assert again.schedule.rows == whole.schedule.rows
    assert again.finish == whole.finish


def test_fewer_slots_are_respected_at_once() -> None:
    cluster = make(max_trials=8, slots=6).run(until=1.5)
    cluster.schedule.slots = 1
    running = len(cluster._alive)
    cluster.most_in_flight = 0
    cluster.run()
    assert cluster.most_in_flight <= running
    assert cluster.finish is not None


def deterministic_fate(seed: int, lost: float) -> Callable[[int, int | None, int], tuple[str, float]]:
    def fate(trial: int, fold: int | None, attempt: int) -> tuple[str, float]:
        own = random.Random(f"{trial}/{fold}")
        if fold is not None and own.random() < 0.15:
            return "failed", 0.2
        noise = random.Random(f"{seed}/{trial}/{fold}/{attempt}")
        if attempt < 2 and noise.random() < lost:
            return "lost", noise.random()
        return "done", 0.1 + noise.random()

    return fate


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), slots=st.integers(1, 9), lost=st.sampled_from([0.0, 0.2]), kill=st.floats(0, 12))
def test_max_trials_gives_the_same_trials_whatever_the_parallelism_and_the_losses(
    seed: int, slots: int, lost: float, kill: float
) -> None:
    """Trials end alike with any number of slots, with workers dying, and with the trainer dying at ``kill``."""

    def verdicts(cluster: Cluster) -> list[tuple[int, TrialState, float | None]]:
        return [(row.trial, row.state, row.score) for row in cluster.schedule.rows]

    calm = make(deterministic_fate(0, 0.0), max_trials=7, slots=1).run()
    before = make(deterministic_fate(seed, lost), max_trials=7, slots=slots).run(until=kill)
    after = make(deterministic_fate(seed + 1, lost), max_trials=7, slots=slots, recorded=tuple(before.recorded)).run()
    if lost == 0.0:
        assert verdicts(after) == verdicts(calm)
    # With losses a trial may have been given up as dead; all others must agree.
    died = {row.trial for row in after.schedule.rows if row.error and row.error["code"] == "worker-died"}
    assert [v for v in verdicts(after) if v[0] not in died] == [v for v in verdicts(calm) if v[0] not in died]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), slots=st.integers(1, 6), budget=st.floats(0.5, 40), hang=st.floats(0, 1))
def test_the_deadline_is_kept_whatever_happens(seed: int, slots: int, budget: float, hang: float) -> None:
    def fate(trial: int, fold: int | None, attempt: int) -> tuple[str, float]:
        chance = random.Random(f"{seed}/{trial}/{fold}/{attempt}")
        end = "hangs" if chance.random() < hang else chance.choice(["done", "done", "done", "failed", "lost"])
        return end, chance.random() * 5

    cluster = make(fate, slots=slots, deadline_at=budget).run(steps=50_000)
    assert cluster.finish is not None
    assert cluster.now <= budget + 1e-3
    if cluster.finish.trial is None:
        assert cluster.finish.error is not None


def test_no_task_is_started_after_the_end() -> None:
    cluster = make(max_trials=2).run()
    assert cluster.schedule.plan(cluster.now + 100) == []


@pytest.mark.parametrize("budget", [1.0, 10.0, 1000.0])
def test_the_reserve_for_the_final_fit_never_eats_more_than_half_of_the_budget(budget: float) -> None:
    limits = Limits(started_at=0.0, deadline_at=budget)
    assert limits.final_reserve_s(1e9) <= 0.5 * budget
    assert limits.final_reserve_s(None) > 0
