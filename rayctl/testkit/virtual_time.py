"""An event loop whose time jumps to the next timer: hours pass in milliseconds, and the same every time."""

from __future__ import annotations

import asyncio
import math
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["BusyForEver", "NothingLeftToHappen", "VirtualTimeLoop", "run_virtual"]

T = TypeVar("T")


class NothingLeftToHappen(RuntimeError):
    """Everything waits, and for nothing: no timer is set and nothing is ready."""


class BusyForEver(RuntimeError):
    """Something is done again and again at one moment: in real time, it would keep a core busy."""


BUSY = 200_000
"""Turns of the loop at one moment of virtual time that are too many."""


class _Selector(selectors.SelectSelector):
    loop: VirtualTimeLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.loop.turns += 1
        if self.loop.turns > BUSY:
            raise BusyForEver(f"{BUSY} turns of the loop, and no time has passed since {self.loop.now:.3f} s")
        found = super().select(0)
        if found or timeout == 0:
            return found
        if timeout is None:
            raise NothingLeftToHappen("all tasks wait, and no timer is set")
        self.loop.jump(timeout)
        return []


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Sleeps cost nothing. For code without threads and sockets: from outside, nothing would come in time."""

    def __init__(self) -> None:
        selector = _Selector()
        selector.loop = self
        self.now = 0.0
        self.turns = 0
        super().__init__(selector)

    def jump(self, timeout: float) -> None:
        """Go to the moment of the next timer, to the last bit: code that asks whether it has come must not spin."""
        next_at: float = self._scheduled[0].when() if self._scheduled else self.now + timeout  # type: ignore[attr-defined]
        self.now = max(self.now, next_at)
        self._clock_resolution = math.ulp(self.now)
        self.turns = 0

    def time(self) -> float:
        """Return the virtual seconds since the loop was made."""
        return self.now


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on a loop of its own; whatever else it started is cancelled."""
    loop = VirtualTimeLoop()
    try:
        try:
            return loop.run_until_complete(main)
        finally:
            left = asyncio.all_tasks(loop)
            for task in left:
                task.cancel()
            if left:
                loop.run_until_complete(asyncio.wait(left))
            loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()
