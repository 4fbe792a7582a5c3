"""Which task begins next: folds wait in the trainer, and short ones share tasks as slots become free.

They do not wait in Ray: for a task that waits for a CPU, it starts a process as soon as another task waits for its
data. A new process takes longer than many quick folds. And how many folds should share a task shows only then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import TYPE_CHECKING

from rayctl.automl.actions import StartFold
from rayctl.automl.batches import share

if TYPE_CHECKING:
    import ray

__all__ = ["FoldTask", "Key", "Turns"]

Key = tuple[int, int]
"""(trial, fold)"""


@dataclass(eq=False)
class FoldTask:
    """A task of one or more folds.

    ``refs``: to their outcomes. ``unwanted``: its folds that are to be stopped. ``asked``: how the task itself was
    asked to stop (True: by force).
    """

    starts: tuple[StartFold, ...]
    refs: list[ray.ObjectRef] = field(default_factory=list)
    unwanted: set[Key] = field(default_factory=set)
    asked: set[bool] = field(default_factory=set)

    @property
    def keys(self) -> list[Key]:
        """Its folds."""
        return [(start.trial, start.fold) for start in self.starts]

    def stop(self, key: Key, force: bool) -> bool:
        """One of its folds is to be stopped. Returns whether the task is: when nothing in it is wanted any more."""
        self.unwanted.add(key)
        if len(self.unwanted) < len(self.starts) or force in self.asked:
            return False
        self.asked.add(force)
        return True


class Turns:
    """The tasks that run and the folds that wait for one.

    Args:
        slots: Returns how many tasks may run at once.
        longest_s: What the folds of one task may take together (`rayctl.automl.batches.longest_task_s`).
    """

    def __init__(self, slots: Callable[[], int], longest_s: float) -> None:
        self._slots = slots
        self._longest_s = longest_s
        self._running: set[FoldTask] = set()
        self._waiting: dict[Key, StartFold] = {}

    def begin(self, starts: Sequence[StartFold]) -> FoldTask:
        """Return a task of these folds that begins at once."""
        task = FoldTask(tuple(starts))
        self._running.add(task)
        return task

    def end(self, task: FoldTask) -> None:
        """A task has ended."""
        self._running.discard(task)

    def wait(self, start: StartFold) -> None:
        """A fold is to begin when it is its turn: alone, if it does not say what it takes (``quick_s``)."""
        self._waiting[(start.trial, start.fold)] = start

    def drop(self, key: Key) -> bool:
        """A fold is not to begin any more. Returns whether it was waiting."""
        return self._waiting.pop(key, None) is not None

    def next(self) -> FoldTask | None:
        """Return the next task of folds that waited, if there are any and a slot is free."""
        slots = max(1, self._slots())
        free = slots - len(self._running)
        if free <= 0 or not self._waiting:
            return None
        quick = takewhile(lambda start: start.quick_s is not None, self._waiting.values())
        seconds = [start.quick_s or 0.0 for start in quick]
        count = share(seconds, slots, free, self._longest_s) if seconds else 1
        return self.begin([self._waiting.pop(key) for key in list(self._waiting)[:count]])
