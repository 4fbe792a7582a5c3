"""The work queue: keys wait once, are worked on by one worker at a time, and come back later after failures.

Time is that of the event loop, so that simulations with virtual time need nothing else.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["Backoff", "QueueClosed", "WorkQueue"]

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Backoff:
    """How long a key waits after its n-th failure in a row: ``first_s * 2**(n-1)``, at most ``most_s``.

    ``jitter``: the share by which it is stretched at random, so that many keys do not come back together. The first
    value and the doubling are those of Kubernetes' controllers (5 ms, at most 1000 s).
    """

    first_s: float = 0.005
    most_s: float = 1000.0
    jitter: float = 0.1

    def delay_s(self, failures: int, chance: random.Random) -> float:
        """Return the seconds to wait after so many failures (at least one)."""
        base = min(self.most_s, self.first_s * 2 ** min(failures - 1, 60))
        return min(self.most_s, base * (1 + self.jitter * chance.random()))


class QueueClosed(Exception):
    """The queue was closed and is empty."""


class WorkQueue(Generic[Key]):
    """Keys with two priorities.

    A key that waits already is not added again. A key that is added while it is worked on comes back once, when that
    is done. So no key is ever in the hands of two workers, and no change is lost.

    Args:
        backoff: The waiting after failures.
        chance: Source of the jitter.

    Attributes:
        last_wait_s: How long the key that was handed out last had waited.
    """

    def __init__(self, backoff: Backoff | None = None, chance: random.Random | None = None) -> None:
        self._backoff = backoff or Backoff()
        self._chance = chance or random.Random()
        self._ready: tuple[deque[Key], deque[Key]] = (deque(), deque())
        self._waiting: dict[Key, bool] = {}
        self._since: dict[Key, float] = {}
        self.last_wait_s = 0.0
        self._working: set[Key] = set()
        self._again: dict[Key, bool] = {}
        self._failures: dict[Key, int] = {}
        self._later: list[tuple[float, int, Key]] = []
        self._due: dict[Key, float] = {}
        self._count = 0
        self._changed = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def __len__(self) -> int:
        """Keys that could be worked on now."""
        return len(self._waiting)

    @property
    def in_work(self) -> int:
        """Keys in the hands of workers."""
        return len(self._working)

    def add(self, key: Key, urgent: bool = True) -> None:
        """Have a key worked on. Those that are not urgent (a first listing, say) come after all that are."""
        if self._closed:
            return
        if key in self._working:
            self._again[key] = self._again.get(key, False) or urgent
        elif key not in self._waiting:
            self._waiting[key] = urgent
            self._since[key] = asyncio.get_running_loop().time()
            self._ready[0 if urgent else 1].append(key)
            self._changed.set()
        elif urgent and not self._waiting[key]:
            self._waiting[key] = True
            self._ready[0].append(key)  # the place among the others stays, and is skipped

    def add_after(self, key: Key, delay_s: float) -> None:
        """Have a key worked on after some seconds; the earliest of several wishes counts."""
        if delay_s <= 0:
            self.add(key)
            return
        at = asyncio.get_running_loop().time() + delay_s
        if at >= self._due.get(key, float("inf")):
            return
        self._due[key] = at
        self._count += 1
        heapq.heappush(self._later, (at, self._count, key))
        self._set_timer()

    def retry(self, key: Key, at_least_s: float = 0.0) -> float:
        """Have a key worked on again after a failure; returns the seconds until then (``at_least_s`` or more)."""
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        delay_s = max(at_least_s, self._backoff.delay_s(failures, self._chance))
        self.add_after(key, delay_s)
        return delay_s

    def forget(self, key: Key) -> None:
        """Forget a key's failures: it went well."""
        self._failures.pop(key, None)

    def failures(self, key: Key) -> int:
        """How often a key has failed in a row."""
        return self._failures.get(key, 0)

    async def get(self) -> Key:
        """Return the next key; `done` must be called with it afterwards.

        Raises:
            QueueClosed: There is nothing left to do.
        """
        while True:
            for level, line in enumerate(self._ready):
                while line:
                    key = line.popleft()
                    if self._waiting.get(key) is (level == 0):
                        del self._waiting[key]
                        self.last_wait_s = asyncio.get_running_loop().time() - self._since.pop(key)
                        self._working.add(key)
                        return key
            if self._closed:
                raise QueueClosed
            self._changed.clear()
            await self._changed.wait()

    def done(self, key: Key) -> None:
        """Give a key back; if it was added meanwhile, it waits again."""
        self._working.discard(key)
        urgent = self._again.pop(key, None)
        if urgent is not None:
            self.add(key, urgent)

    def close(self) -> None:
        """Take nothing more; workers get what is there, then `QueueClosed`."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._changed.set()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._later and not self._closed:
            self._timer = asyncio.get_running_loop().call_at(self._later[0][0], self._wake)

    def _wake(self) -> None:
        now = asyncio.get_running_loop().time()
        while self._later and self._later[0][0] <= now:
            at, _, key = heapq.heappop(self._later)
            if self._due.get(key) == at:
                del self._due[key]
                self.add(key)
        self._set_timer()
