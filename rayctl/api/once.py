"""Idempotency keys for calls whose service has none: a repeated call gets the first one's answer.

Kept in this process only, so a gateway that restarts forgets them. Requests for new runs do not go through here: their
keys are stored with the run.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable

from rayctl.errors import IdempotencyConflict

__all__ = ["Once"]

_MAX_KEYS = 10_000


class Once:
    """Remembers, per key, what was asked and the answer that it had or is still waiting for."""

    def __init__(self, most: int = _MAX_KEYS) -> None:
        self._most = most
        self._known: OrderedDict[Hashable, tuple[Hashable, asyncio.Task[str]]] = OrderedDict()

    async def run(self, key: Hashable, asked: Hashable, call: Callable[[], Awaitable[str]]) -> str:
        """Return what ``call`` returns; with a known key what it returned then. A failed call is not remembered.

        The call goes on when its caller goes away, so that the repetition finds what it did.

        Raises:
            IdempotencyConflict: the key is known with something else that was asked.
        """
        known = self._known.get(key)
        if known is None:
            task = asyncio.ensure_future(_started(call))
            self._known[key] = (asked, task)
            task.add_done_callback(lambda done: self._forget_failed(key, done))
            while len(self._known) > self._most:
                self._known.popitem(last=False)
        elif known[0] != asked:
            raise IdempotencyConflict(
                "The idempotency key was used with another request.", hint="Use a new key for a new request."
            )
        else:
            task = known[1]
        return await asyncio.shield(task)

    def _forget_failed(self, key: Hashable, task: asyncio.Task[str]) -> None:
        failed = task.cancelled() or task.exception() is not None
        if failed and self._known.get(key, (None, None))[1] is task:
            del self._known[key]


async def _started(call: Callable[[], Awaitable[str]]) -> str:
    return await call()
