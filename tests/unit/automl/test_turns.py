"""Short folds wait for a free slot and share tasks; a task ends early only if nothing in it is wanted any more."""

from __future__ import annotations

import pytest

from rayctl.automl.actions import StartFold
from rayctl.automl.engine import Candidate
from rayctl.automl.turns import FoldTask, Turns


def start(trial: int, quick_s: float | None = 0.001) -> StartFold:
    return StartFold(trial, 0, Candidate("m"), 0, quick_s=quick_s)


def trials(task: FoldTask | None) -> list[int]:
    assert task is not None
    return [trial for trial, _ in task.keys]


def test_folds_begin_in_order_as_slots_become_free() -> None:
    slots = [2]
    turns = Turns(lambda: slots[0], longest_s=0.3)
    other = turns.begin([start(99, None)])  # not a short one: it takes a slot without waiting
    for trial in range(3):
        turns.wait(start(trial))
    first = turns.next()
    assert trials(first) == [0, 1, 2]
    turns.wait(start(3))
    assert turns.next() is None
    turns.end(other)
    assert trials(turns.next()) == [3]
    slots[0] = 4
    assert turns.next() is None
    for trial in range(4, 8):
        turns.wait(start(trial))
    assert [trials(turns.next()), trials(turns.next())] == [[4, 5], [6, 7]]
    assert turns.next() is None


def test_a_fold_that_is_dropped_does_not_begin() -> None:
    turns = Turns(lambda: 1, longest_s=0.3)
    for trial in range(3):
        turns.wait(start(trial))
    assert turns.drop((1, 0))
    assert not turns.drop((1, 0))
    assert trials(turns.next()) == [0, 2]
    assert not turns.drop((0, 0))


def test_a_fold_that_does_not_say_what_it_takes_goes_alone_in_its_turn() -> None:
    turns = Turns(lambda: 1, longest_s=0.3)
    for trial, quick_s in enumerate([0.001, 0.001, None, None, 0.001]):
        turns.wait(start(trial, quick_s))
    order = []
    while (task := turns.next()) is not None:
        order.append(trials(task))
        turns.end(task)
    assert order == [[0, 1], [2], [3], [4]]


def test_without_a_slot_one_task_runs() -> None:
    turns = Turns(lambda: 0, longest_s=0.3)
    turns.wait(start(0))
    assert trials(turns.next()) == [0]


@pytest.mark.parametrize("forced", [False, True])
def test_a_task_is_stopped_when_the_last_of_its_folds_is(forced: bool) -> None:
    """So nobody repeats what others did in it, and one that hangs is killed once for all."""
    task = FoldTask((start(0), start(1)))
    assert not task.stop((0, 0), force=False)
    assert not task.stop((0, 0), force=True)
    assert task.stop((1, 0), forced)
    assert not task.stop((1, 0), forced)
    assert task.stop((0, 0), not forced)
