"""Folds of milliseconds share tasks: how many, in which order, and what becomes of one that goes another way."""

from __future__ import annotations

import pytest

from rayctl.automl.actions import StartFold, StopTask
from rayctl.automl.batches import in_batches, most_in_flight
from rayctl.automl.engine import Candidate
from rayctl.automl.pace import Pace
from rayctl.automl.strategy import Strategy
from tests.unit.automl.simulated import Cluster, Fate, make

QUICK = Fate(seconds=0.002)


def start(trial: int, quick_s: float | None) -> StartFold:
    return StartFold(trial, 0, Candidate("m"), 0, quick_s=quick_s)


@pytest.mark.parametrize(
    ("count", "seconds", "slots", "sizes"),
    [
        (1, 0.001, 2, [1]),
        (2, 0.001, 2, [1, 1]),
        (10, 0.001, 2, [5, 5]),
        (11, 0.001, 2, [6, 5]),
        (64, 0.001, 2, [10, 9, 9, 9, 9, 9, 9]),
        (64, 0.0, 2, [13, 13, 13, 13, 12]),
        (4, 0.02, 1, [2, 1, 1]),
        (3, 0.001, 100, [1, 1, 1]),
    ],
)
def test_quick_folds_share_tasks_evenly_and_in_order(count: int, seconds: float, slots: int, sizes: list[int]) -> None:
    batches = list(in_batches([start(trial, seconds) for trial in range(count)], slots))
    assert [len(batch) for batch in batches] == sizes
    assert [fold.trial for batch in batches for fold in batch] == list(range(count))


def test_others_have_their_own_task() -> None:
    batches = list(in_batches([start(0, None), start(1, 0.001), start(2, None), start(3, 0.001)], 1))
    assert [[fold.trial for fold in batch] for batch in batches] == [[0], [2], [1, 3]]


@pytest.mark.parametrize(
    ("slots", "fold_s", "quick", "most"),
    [(2, 1.0, False, 2), (2, 0.002, False, 8), (2, 0.0, True, 48), (2, 0.018, True, 6), (100, 0.001, True, 256)],
)
def test_what_may_be_in_flight(slots: int, fold_s: float, quick: bool, most: int) -> None:
    assert most_in_flight(slots, fold_s, quick) == most


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
