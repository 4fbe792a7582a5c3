"""The process under test: production code behind a transport on which a plan of faults is carried out; it can die."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

from rayctl.kube.calls import OPENED, Call, Transport
from rayctl.kube.errors import NoAnswer, from_status
from rayctl.testkit.plans import FaultPlan
from rayctl.testkit.world import World

__all__ = ["PROCESS", "WAY_S", "Process", "spared"]

PROCESS = "process"
"""The actor that all incarnations are in the history."""
HELD_S = 30.0
"""A change that is held back is told after this if nothing newer comes."""
CUTS = 5
"""Watches break so often at most: each time the client waits longer before it comes back."""

WAY_S = 0.01
"""A request and its answer are on their way so long at most, each."""
_LISTING = ("sendInitialEvents", "true")
_NO_CHANGE = (OPENED, "BOOKMARK", "ERROR")
Body = Callable[[Transport, Callable[[], float], str], Awaitable[None]]
"""What the process runs: (its transport, its wall clock, its identity)."""


def spared(call: Call) -> bool:
    """Whether a request is neither counted nor hit by numbered faults: leases and events."""
    return "/leases" in call.path or "/events" in call.path


class Process:
    """One process, again and again.

    Args:
        world: Where it lives.
        body: What it runs, until it is cancelled.
        plan: What goes wrong.

    Attributes:
        writes: Mutating requests that it has sent so far.
        requests: All requests that it has sent so far.
        told: Changes that its watches were told of, by plural.
        deaths: How often it died by the plan.
        failures: How its incarnations ended by themselves; a correct process never does.
        last_write_at: Virtual seconds.
    """

    def __init__(self, world: World, body: Body, plan: FaultPlan) -> None:
        self.writes = self.requests = self.deaths = self.cuts = 0
        self.told: Counter[str] = Counter()
        self.failures: list[str] = []
        self.last_write_at = 0.0
        self.world, self._body, self._plan = world, body, plan
        self.chance = random.Random(plan.seed)
        self._task: asyncio.Task[None] | None = None
        self._incarnation = 0
        self._late: set[asyncio.Task[Any]] = set()
        self._dying = asyncio.Event()

    def wall(self) -> float:
        """Its wall clock: the server's, with the plan's jumps."""
        now = self.world.time()
        return self.world.wall() + sum(by for at, by in self._plan.jumps if now >= at)

    async def run(self) -> None:
        """Live, die and live again until cancelled."""
        try:
            while True:
                self._incarnation += 1
                self._dying.clear()
                transport = _Faulty(self, self.world.transport(PROCESS), self._plan)
                identity = f"{PROCESS}-{self._incarnation}"
                self._task = asyncio.ensure_future(self._live(transport, identity))
                dying = asyncio.ensure_future(self._dying.wait())
                await asyncio.wait([self._task, dying], return_when=asyncio.FIRST_COMPLETED)
                dying.cancel()
                transport.dead = True
                await _end(self._task)
                await asyncio.sleep(self._plan.restart_s)
        finally:
            if self._task is not None:
                await _end(self._task)
            for task in list(self._late):
                task.cancel()

    async def _live(self, transport: Transport, identity: str) -> None:
        try:
            await self._body(transport, self.wall, identity)
            self.failures.append(f"{identity} ended by itself")
        except Exception as error:
            self.failures.append(f"{identity} ended by {type(error).__name__}: {error}")

    def die(self) -> None:
        """End this incarnation at once, wherever it is."""
        self.deaths += 1
        self._dying.set()

    def later(self, delay_s: float, send: Callable[[], Awaitable[Any]]) -> None:
        """Have something carried out although nobody waits for it."""

        async def late() -> None:
            await asyncio.sleep(delay_s)
            try:
                await send()
            except Exception:
                return  # refused: nobody hears of it

        task = asyncio.ensure_future(late())
        self._late.add(task)
        task.add_done_callback(self._late.discard)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


class _Faulty:
    """The transport of one incarnation."""

    def __init__(self, process: Process, inner: Transport, plan: FaultPlan) -> None:
        self.dead = False
        self._process, self._inner, self._plan = process, inner, plan

    async def request(self, call: Call) -> Any:
        await self._gates(call)
        process, plan = self._process, self._plan
        if spared(call):
            return await self._inner.request(call)
        await asyncio.sleep(process.chance.uniform(0.0, WAY_S))
        process.requests += 1
        number = 0
        if call.writes:
            process.writes += 1
            number = process.writes
            process.last_write_at = asyncio.get_running_loop().time()
        if number and number == plan.crash_before:
            await self._die()
        self._refuse(call, process.requests)
        if number and plan.late is not None and number == plan.late[0]:
            process.later(plan.late[1], lambda: self._inner.request(call))
            await asyncio.sleep(min(call.timeout_s, plan.late[1]))
            raise self._lost(call)
        answer = await self._inner.request(call)
        if number and number == plan.crash_after:
            await self._die()
        await asyncio.sleep(process.chance.uniform(0.0, WAY_S))
        if number and number == plan.lost_answer:
            raise self._lost(call)
        if call.method == "GET" and "items" in answer:
            process.world.knows(call.path.rsplit("/", 1)[-1], int(answer["metadata"]["resourceVersion"]))
        return answer

    async def _gates(self, call: Call) -> None:
        if self.dead:
            # Nothing of a dead process goes on. It is being cancelled, and what it still tries then (giving a lease
            # back) must not keep it from ending.
            raise asyncio.CancelledError
        if self._silent():
            await asyncio.sleep(call.timeout_s)
            raise self._lost(call)

    def _silent(self) -> bool:
        now = asyncio.get_running_loop().time()
        return self._plan.silent is not None and self._plan.silent[0] <= now < self._plan.silent[1]

    async def _die(self) -> None:
        self.dead = True
        self._process.die()
        await asyncio.Future()

    def _refuse(self, call: Call, number: int) -> None:
        plan = self._plan
        status = plan.answer[1] if plan.answer is not None and plan.answer[0] == number else 0
        if plan.storm is not None:
            begin, end, share, statuses = plan.storm
            if begin <= asyncio.get_running_loop().time() < end and self._process.chance.random() < share:
                status = self._process.chance.choice(statuses)
        if status == 409 and not call.writes:
            return
        if status:
            wait = 1.0 if status == 429 else None
            reason = {409: "Conflict", 429: "TooManyRequests", 504: "Timeout"}.get(status, "InternalError")
            raise from_status(status, {"reason": reason, "message": f"injected {status}"}, wait, call.writes)

    async def watch(self, call: Call, silence_s: float) -> AsyncGenerator[dict[str, Any], None]:
        plan, process = self._plan, self._process
        plural = call.path.rsplit("/", 1)[-1]
        count = 0
        async with aclosing(self._seen(call, silence_s, plural)) as stream:
            async for event, listed in stream:
                if event["type"] not in (OPENED, "ERROR") and not listed:
                    process.world.knows(plural, int(event["object"]["metadata"]["resourceVersion"]))
                yield event
                if event["type"] in _NO_CHANGE:
                    continue
                count += 1
                if plan.duplicate and process.chance.random() < plan.duplicate:
                    yield event
                if not listed and plan.expire_at == (plural, process.told[plural]):
                    gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}
                    yield {"type": "ERROR", "object": gone}
                    return
                if plan.cut_every and count % plan.cut_every == 0 and process.cuts < CUTS:
                    process.cuts += 1
                    raise NoAnswer(f"{call.path}: the watch broke")

    async def _seen(
        self, call: Call, silence_s: float, plural: str
    ) -> AsyncGenerator[tuple[dict[str, Any], bool], None]:
        """Yield the events that get through, when they do, and whether each is of the list that the watch begins with.

        Such a list is like one in pages: a request like others, and not stale.
        """
        await self._gates(call)
        listing = _LISTING in call.query
        if listing:
            await asyncio.sleep(self._process.chance.uniform(0.0, WAY_S))
            self._process.requests += 1
            self._refuse(call, self._process.requests)
        held: dict[str, Any] | None = None
        async with aclosing(_Pump(self._inner.watch(call, silence_s))) as stream:
            while True:
                event = await stream.next(HELD_S if held is not None else None)
                if event is None:
                    assert held is not None
                    yield held, False  # nothing newer came: late, not lost
                    held = None
                elif not event:
                    return
                elif listing:
                    await self._connected(call)
                    listing = event["type"] != "BOOKMARK"
                    if not listing:
                        await asyncio.sleep(self._process.chance.uniform(0.0, WAY_S))
                    yield event, listing
                elif event["type"] in _NO_CHANGE:
                    if held is None:
                        yield event, False
                else:
                    await self._arrive(call, plural, event)
                    if self._plan.suppress == (plural, self._process.told[plural]):
                        held = event
                        continue
                    if held is not None and held["object"]["metadata"]["uid"] != event["object"]["metadata"]["uid"]:
                        yield held, False  # only what happens between two changes of one object can go unseen
                    held = None
                    yield event, False

    async def _connected(self, call: Call) -> None:
        if self.dead:
            await asyncio.Future()
        if self._silent():
            # The connection is found broken when the network is back.
            assert self._plan.silent is not None
            await asyncio.sleep(self._plan.silent[1] - asyncio.get_running_loop().time())
            raise self._lost(call)

    async def _arrive(self, call: Call, plural: str, event: dict[str, Any]) -> None:
        await self._connected(call)
        self._process.told[plural] += 1
        lag = self._plan.lag.get(plural, self._plan.lag.get("*", 0.0))
        if lag:
            at = _made_at(self._process.world, event) + lag
            await asyncio.sleep(max(0.0, at - asyncio.get_running_loop().time()))

    async def close(self) -> None:
        """Nothing is kept open."""

    @staticmethod
    def _lost(call: Call) -> NoAnswer:
        failure = NoAnswer(f"{call.method} {call.path}: the answer was lost")
        failure.outcome_unknown = call.writes
        return failure


class _Pump:
    """A stream that can be waited on for a while without breaking it."""

    def __init__(self, stream: AsyncGenerator[dict[str, Any], None]) -> None:
        self._stream = stream
        self._coming: asyncio.Future[dict[str, Any]] | None = None

    async def next(self, within_s: float | None) -> dict[str, Any] | None:
        """Return the next event; None if none came in time; an empty one if the stream has ended."""
        if self._coming is None:
            self._coming = asyncio.ensure_future(self._next())
        done, _ = await asyncio.wait([self._coming], timeout=within_s)
        if not done:
            return None
        coming, self._coming = self._coming, None
        return coming.result()

    async def _next(self) -> dict[str, Any]:
        return await anext(self._stream, {})

    async def aclose(self) -> None:
        """End it."""
        if self._coming is not None:
            self._coming.cancel()
            await asyncio.wait([self._coming])
        await self._stream.aclose()


def _made_at(world: World, event: dict[str, Any]) -> float:
    revision = int(event["object"]["metadata"]["resourceVersion"])
    for happened in reversed(world.history):
        if happened.revision == revision:
            return happened.at
        if happened.revision < revision:
            break
    return world.time()
