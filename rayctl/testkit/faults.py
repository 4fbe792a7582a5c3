"""What can happen between a client and its API server, to be injected at the one door between them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from rayctl.kube.calls import Call, Transport
from rayctl.kube.errors import NoAnswer, from_status

__all__ = ["Answer", "Cut", "End", "Expire", "Fault", "FaultTransport", "Hang", "LostAnswer", "Stall", "Unreachable"]


@dataclass(frozen=True)
class Unreachable:
    """No connection: nothing was sent."""


@dataclass(frozen=True)
class LostAnswer:
    """Carried out, but the answer never comes."""


@dataclass(frozen=True)
class Answer:
    """The server answers this, and does nothing."""

    status: int
    reason: str = ""
    retry_after_s: float | None = None


@dataclass(frozen=True)
class Hang:
    """Nothing happens until the request's time is over; ``late_s`` seconds later it is carried out all the same."""

    late_s: float | None = 0.0


@dataclass(frozen=True)
class Cut:
    """A watch breaks after so many events."""

    events: int


@dataclass(frozen=True)
class End:
    """A watch is ended by the server after so many events, properly."""

    events: int


@dataclass(frozen=True)
class Expire:
    """A watch tells after so many events that its resourceVersion is too old."""

    events: int


@dataclass(frozen=True)
class Stall:
    """Of a watch nothing comes after so many events, until its silence is over."""

    events: int


Fault = Unreachable | LostAnswer | Answer | Hang | Cut | End | Expire | Stall


class FaultTransport:
    """A transport with faults.

    Args:
        inner: The one that works.
        decide: Asked at every request and every watch with its number (from 0): what goes wrong, or None.

    Attributes:
        calls: What was asked for so far, with the loop's time.
    """

    def __init__(self, inner: Transport, decide: Callable[[int, Call], Fault | None]) -> None:
        self.calls: list[tuple[float, Call]] = []
        self._inner, self._decide = inner, decide
        self._late: set[asyncio.Task[Any]] = set()

    def _next(self, call: Call) -> Fault | None:
        fault = self._decide(len(self.calls), call)
        self.calls.append((asyncio.get_running_loop().time(), call))
        return fault

    async def request(self, call: Call) -> Any:
        """See `Transport.request`."""
        fault = self._next(call)
        if isinstance(fault, LostAnswer):
            await self._inner.request(call)
            raise self._lost(call)
        if isinstance(fault, Hang):
            await asyncio.sleep(call.timeout_s)
            if fault.late_s is not None:
                task = asyncio.ensure_future(self._later(fault.late_s, call))
                self._late.add(task)
                task.add_done_callback(self._forget)
            raise self._lost(call)
        self._refuse(fault, call)
        return await self._inner.request(call)

    async def _later(self, delay_s: float, call: Call) -> Any:
        await asyncio.sleep(delay_s)
        return await self._inner.request(call)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._late.discard(task)
        if not task.cancelled():
            task.exception()  # nobody waits for it any more

    async def watch(self, call: Call, silence_s: float) -> AsyncGenerator[dict[str, Any], None]:
        """See `Transport.watch`."""
        fault = self._next(call)
        if isinstance(fault, Hang):
            await asyncio.sleep(silence_s)
            raise self._lost(call)
        self._refuse(fault, call)
        left = fault.events if isinstance(fault, (Cut, End, Expire, Stall)) else -1
        async with aclosing(self._inner.watch(call, silence_s)) as stream:
            yield await anext(stream)
            if left != 0:
                async for event in stream:
                    yield event
                    left -= 1
                    if left == 0:
                        break
                else:
                    return
        if isinstance(fault, Expire):
            gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}
            yield {"type": "ERROR", "object": gone}
            return
        if isinstance(fault, Stall):
            await asyncio.sleep(silence_s)
        if isinstance(fault, (Cut, Stall)):
            raise NoAnswer(f"{call.path}: the watch broke")

    async def close(self) -> None:
        """See `Transport.close`."""
        await self._inner.close()

    @staticmethod
    def _refuse(fault: Fault | None, call: Call) -> None:
        if isinstance(fault, Answer):
            raise from_status(fault.status, {"reason": fault.reason}, fault.retry_after_s, call.writes)
        if isinstance(fault, Unreachable):
            raise NoAnswer(f"{call.method} {call.path}: no connection")

    @staticmethod
    def _lost(call: Call) -> NoAnswer:
        failure = NoAnswer(f"{call.method} {call.path}: the answer was lost")
        failure.outcome_unknown = call.writes
        return failure
