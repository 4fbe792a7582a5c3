"""How short folds are submitted: ahead of free workers, and several in one task. Pure.

The way of a fold to a worker and back costs some milliseconds of all processes together, and a worker that waits for
its next fold does nothing. So short folds wait in front of the workers, and a worker takes a part of what waits: the
fewer wait, the fewer it takes, so that all workers have something to do until the end.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

__all__ = ["longest_task_s", "most_in_flight", "share"]

PREFETCH_S = 0.05
"""Work that may wait in front of the workers, so that a result's way through the trainer costs no worker time."""
PREFETCH_QUICK_S = 0.06
MOST_PER_SLOT, MOST, MOST_PER_MANY_SLOTS = 24, 256, 9
"""The same for folds that may share a task: seconds per slot, how many per slot, how many, and, with many slots, again
how many per slot."""
TASK_S = 0.03
"""What the folds of one task may be predicted to take together whatever waits: short beside every bound of time."""
LONGEST_TASK_S, SHARE_OF_BUDGET = 0.32, 0.005
"""The same where many wait: so that a run that is cancelled ends soon, and a deadline finds few folds half done."""
ITEM_S = 0.001
"""What a fold costs beside fitting and predicting."""
MOST_OF_A_TASK = 16


def longest_task_s(budget_s: float | None, race: bool) -> float:
    """Return what the folds of one task may be predicted to take together.

    Args:
        budget_s: The time budget of the run, seconds; None: it has none.
        race: Trials that turn out to be hopeless are given up: their next folds should not have begun by then.
    """
    if race:
        return TASK_S
    return LONGEST_TASK_S if budget_s is None else min(LONGEST_TASK_S, max(TASK_S, SHARE_OF_BUDGET * budget_s))


def most_in_flight(slots: int, fold_s: float, shared_s: float | None, longest_s: float) -> int:
    """Return how many folds may be in flight.

    Args:
        slots: How many tasks run at once.
        fold_s: What folds take.
        shared_s: What the next one is predicted to take, if it may share a task with others.
        longest_s: See `longest_task_s`.
    """
    most = min(4 * slots, int(PREFETCH_S / max(fold_s, 1e-4)))
    if shared_s is not None:
        seconds = shared_s + ITEM_S
        # Of what runs and what waits: a worker takes half of its part of what waits (see `share`).
        per_slot = min(MOST_PER_SLOT, max(int(PREFETCH_QUICK_S / seconds), 3 * int(longest_s / seconds)))
        most = max(most, min(slots * per_slot, max(MOST, MOST_PER_MANY_SLOTS * slots)))
    return max(slots, most)


def share(waiting: Iterable[float], slots: int, free: int, longest_s: float) -> int:
    """Return how many of the folds that wait the next task takes, the first ones.

    Args:
        waiting: What each is predicted to take, seconds, in order.
        slots: How many tasks run at once.
        free: How many of them do not: each is to have a fold, if there are enough.
        longest_s: See `longest_task_s`.
    """
    seconds = [fold_s + ITEM_S for fold_s in waiting]
    bound_s = 1.001 * min(longest_s, max(TASK_S, sum(seconds) / (2 * slots)))
    most = min(MOST_OF_A_TASK, math.ceil(len(seconds) / max(1, min(free, len(seconds)))))
    count, taken_s = 0, 0.0
    for fold_s in seconds[:most]:
        taken_s += fold_s
        if count and taken_s > bound_s:
            break
        count += 1
    return count
