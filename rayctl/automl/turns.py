"""When the trainer submits a task: at once, or, for one of quick folds, when it will not have to wait for a CPU.

For a task that waits for a CPU, Ray starts a process as soon as another task waits for its data. A new process takes
longer than many quick folds.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ray

__all__ = ["FoldTask", "Turns"]


@dataclass(eq=False)
class FoldTask:
    """A task of one or more folds: references to their outcomes, and how it was asked to stop (True: by force)."""

    refs: list[ray.ObjectRef] = field(default_factory=list)
    asked: set[bool] = field(default_factory=set)


class Turns:
    """Counts the tasks that run and lets those of quick folds begin in order.

    Args:
        slots: Returns how many tasks may run at once.
    """

    def __init__(self, slots: Callable[[], int]) -> None:
        self._slots = slots
        self._running: set[FoldTask] = set()
        self._waiting: deque[tuple[FoldTask, asyncio.Event]] = deque()

    def begin(self, task: FoldTask) -> None:
        """A task begins at once."""
        self._running.add(task)

    async def wait(self, task: FoldTask) -> None:
        """Return when it is a task's turn, or when it was dropped."""
        turn = asyncio.Event()
        self._waiting.append((task, turn))
        self._next()
        await turn.wait()

    def drop(self, task: FoldTask) -> None:
        """A task that waits for its turn is not to begin any more; nothing happens if it does not wait."""
        for place, (waiting, turn) in enumerate(self._waiting):
            if waiting is task:
                del self._waiting[place]
                turn.set()
                return

    def end(self, task: FoldTask) -> None:
        """A task has ended, or did not begin."""
        self._running.discard(task)
        self._next()

    def _next(self) -> None:
        while self._waiting and len(self._running) < max(1, self._slots()):
            task, turn = self._waiting.popleft()
            self._running.add(task)
            turn.set()
