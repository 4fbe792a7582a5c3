"""Short folds share tasks: how many, in which order, and what becomes of one that goes another way."""

from __future__ import annotations

import pytest

from rayctl.automl.actions import StartFold, StopTask
from rayctl.automl.batches import LONGEST_TASK_S, TASK_S, longest_task_s, most_in_flight, share
from rayctl.automl.engine import Candidate, Cost
from rayctl.automl.pace import Pace
from rayctl.automl.strategy import Strategy
from tests.unit.automl.simulated import Cluster, Fate, make

QUICK = Fate(seconds=0.002)


@pytest.mark.parametrize(
    ("waiting", "slots", "free", "taken"),
    [
        ([0.001], 2, 2, 1),
        ([0.001] * 2, 2, 2, 1),  # each slot gets one
        ([0.001] * 11, 2, 2, 6),
        ([0.001] * 11, 2, 1, 11),
        ([0.001] * 64, 2, 1, 16),
        ([0.014] * 64, 2, 1, 16),
        ([0.1] * 64, 2, 1, 3),
        ([0.1] * 64, 100, 1, 1),  # the fewer wait, the fewer are taken
        ([0.1] * 500, 100, 1, 2),
        ([0.1] * 900, 100, 100, 3),
        ([0.1] * 8, 2, 1, 2),
        ([0.1] * 5, 2, 1, 1),
        ([0.15, 0.001, 0.001, 0.15], 1, 1, 2),
        ([5.0, 0.001], 1, 1, 1),  # always at least one
    ],
)
def test_a_task_takes_a_part_of_the_folds_that_wait(waiting: list[float], slots: int, free: int, taken: int) -> None:
    assert share(waiting, slots, free, LONGEST_TASK_S) == taken


@pytest.mark.parametrize("slots", [1, 2, 16, 100])
@pytest.mark.parametrize("fold_s", [0.001, 0.02, 0.1, 0.15])
def test_the_last_tasks_are_small_so_that_no_slot_waits_long_for_another(slots: int, fold_s: float) -> None:
    """All folds take what was predicted: the slots end within one fold, or the time that a task may always take."""
    waiting, ends = [fold_s] * (slots * 40 + 7), [0.0] * slots
    while waiting:
        count = share(waiting, slots, 1, LONGEST_TASK_S)
        ends[ends.index(min(ends))] += fold_s * count
        del waiting[:count]
    assert max(ends) - min(ends) <= max(TASK_S, fold_s) + 1e-9


@pytest.mark.parametrize(
    ("budget_s", "race", "seconds"),
    [(None, False, LONGEST_TASK_S), (None, True, TASK_S), (3.0, False, TASK_S), (20.0, False, 0.1), (60.0, True, 0.03)],
)
def test_tasks_are_short_where_trials_are_given_up_or_little_time_is_there(
    budget_s: float | None, race: bool, seconds: float
) -> None:
    assert longest_task_s(budget_s, race) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("slots", "fold_s", "shared_s", "most"),
    [
        (2, 1.0, None, 2),
        (2, 0.002, None, 8),
        (2, 0.0, 0.0, 48),
        (2, 0.1, 0.1, 18),
        (2, 1.0, 0.15, 12),
        (16, 0.1, 0.1, 144),
        (100, 0.001, 0.001, 900),
    ],
)
def test_what_may_be_in_flight(slots: int, fold_s: float, shared_s: float | None, most: int) -> None:
    assert most_in_flight(slots, fold_s, shared_s, LONGEST_TASK_S) == most


def quick_cluster(fate: object = lambda a: QUICK, **limits: object) -> Cluster:
    return make(fate, scored=1, max_trials=40, strategy=Strategy(prefetch=True), pace=Pace(lambda _: None), **limits)  # type: ignore[arg-type]


def test_folds_are_quick_when_folds_of_their_model_were_and_only_at_the_first_attempt() -> None:
    def fate(action: StartFold) -> Fate:
        return Fate("lost", 0.002) if action.trial == 20 and not action.attempt else QUICK

    one_model = [Candidate("m", {"x": number}) for number in range(40)]
    cluster = quick_cluster(fate, fixed=one_model).run()
    quick = {(action.trial, action.attempt) for action in cluster.started if action.quick_s is not None}
    assert quick == {(trial, 0) for trial in range(2, 40)}
    assert cluster.most_in_flight > 8
    assert len(cluster.recorded) == 40


def test_a_fold_that_was_not_begun_is_run_alone_and_that_is_no_loss() -> None:
    cluster = quick_cluster(fixed=[Candidate("m", {"x": number}) for number in range(40)]).run(until=0.0021)
    [key] = [key for key in cluster.alive if key[0] == 5]
    cluster.schedule.fold_left(*key)
    del cluster.alive[key]
    cluster.run()
    first, second = [action for action in cluster.started if action.trial == 5]
    assert first.quick_s is not None
    assert (second.quick_s, second.attempt) == (None, 0)
    assert len(cluster.recorded) == 40


def test_folds_of_a_task_that_hangs_are_tried_by_themselves_before_their_trials_fail() -> None:
    """Only one of them hangs; the others waited for it."""

    def fate(action: StartFold) -> Fate:
        if action.quick_s is None:
            return Fate("hangs") if action.trial == 5 else QUICK
        return Fate("hangs") if 3 <= action.trial <= 9 else QUICK

    one_model = [Candidate("m", {"x": number}) for number in range(40)]
    cluster = quick_cluster(fate, fixed=one_model, fold_timeout_s=10.0).run()
    assert {row.trial for row in cluster.recorded if row.error} == {5}
    killed = {stop.trial for _, stop in cluster.stops if stop.force}
    assert killed == set(range(3, 10))
    assert all(isinstance(stop, StopTask) for _, stop in cluster.stops)


def test_folds_of_a_tenth_of_a_second_share_tasks_too_unless_trials_may_be_given_up() -> None:
    def most(race: bool) -> int:
        strategy = Strategy(prefetch=True, race=race)
        one_model = [Candidate("m", {"x": number}) for number in range(40)]
        cluster = make(lambda a: Fate(seconds=0.1), scored=1, max_trials=40, fixed=one_model, strategy=strategy)
        return cluster.run().most_in_flight

    assert most(race=False) == 18
    assert most(race=True) == 2


@pytest.mark.parametrize(("lost", "state"), [(1, "done"), (4, "failed")])
def test_a_death_of_a_worker_under_several_folds_of_a_trial_is_one_loss(lost: int, state: str) -> None:
    def fate(action: StartFold) -> Fate:
        return Fate("lost", 0.002) if action.trial == 3 and action.attempt < lost else QUICK

    one_model = [Candidate("m", {"x": number}) for number in range(6)]
    strategy = Strategy(prefetch=True)
    cluster = make(fate, scored=8, max_trials=6, fixed=one_model, strategy=strategy, pace=Pace(lambda _: None)).run()
    assert [row.state.value for row in cluster.recorded if row.trial == 3] == [state]
    alone = [action for action in cluster.started if action.trial == 3 and action.quick_s is None]
    assert alone


def test_folds_that_are_predicted_to_be_long_are_not_handed_over_ahead_because_others_were_short() -> None:
    costs = {"short": 0.002, "long": 1.0}
    pace = Pace(lambda candidate: Cost(costs[candidate.model], 1e6))
    models = [Candidate("short", {"x": 0}), *(Candidate("long", {"x": number}) for number in range(6))]

    def fate(action: StartFold) -> Fate:
        return Fate(seconds=costs[action.candidate.model])

    cluster = make(fate, scored=2, max_trials=7, fixed=models, strategy=Strategy(prefetch=True), pace=pace).run()
    assert cluster.most_in_flight == 2
