"""The loop of one controller: changes become keys, each key is looked at, decided about, and acted upon; for ever."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from contextlib import suppress

from rayctl.core.controller import Controller, Key, Refusal
from rayctl.core.execute import Ending, Executor, Outcome
from rayctl.core.metrics import Metrics
from rayctl.core.plan import CallServe, Plan
from rayctl.core.queue import Backoff, QueueClosed, WorkQueue
from rayctl.core.record import Recorder
from rayctl.kube.deadline import within
from rayctl.kube.errors import KubernetesError
from rayctl.kube.informer import Informer, Informers, View
from rayctl.kube.own_writes import OwnWrites
from rayctl.kube.store import Change
from rayctl.telemetry.logs import about
from rayctl.telemetry.traces import span

__all__ = ["Loop"]

_log = logging.getLogger(__name__)

LOOK_S = 30.0
"""A look that takes longer is given up: one cluster that does not answer must not hold a worker for ever."""
CHECK_S = 300.0
"""The longest sleep before a planned check: clocks jump, and then the check is not missed by more than this."""
SOONEST_S = 0.1
"""The shortest: a planner that asks to be asked again at once must not keep a core busy."""
BEHIND_S = 0.05
"""How soon a key is tried again whose own writes the caches have not seen; their arrival brings it back sooner."""
REFUSED_S = 5.0
"""The shortest pause after a write that the server refused for good."""
TROUBLE_S = 15.0
"""How long writes for a key may fail (5xx, 429, no answer) before its object tells of it, as of a refused one. Attempts
come ever later, each after about twice the time, so that it is told within 30 s."""


class Loop:
    """One controller at work.

    Args:
        controller: Which one.
        informers: What this process watches; somebody else runs them.
        executor: What writes.
        own_writes: The executor's.
        wall: Seconds since the epoch: the planner's now.
        workers: Keys worked on side by side.
        metrics: What is counted.
        chance: Source of jitter.

    Attributes:
        recorder: The last passes.
        failing: Key → what went wrong with it last; keys that went well are not in it.
    """

    def __init__(
        self,
        controller: Controller,
        informers: Informers,
        executor: Executor,
        own_writes: OwnWrites,
        wall: Callable[[], float],
        workers: int = 8,
        metrics: Metrics | None = None,
        chance: random.Random | None = None,
    ) -> None:
        self.recorder = Recorder()
        self.failing: dict[Key, str] = {}
        self._passes = 0
        self._began: dict[Key, float] = {}
        self._troubled: dict[Key, float] = {}
        self._controller, self._executor, self._own_writes = controller, executor, own_writes
        self._wall, self._workers = wall, workers
        self._metrics = metrics or Metrics()
        self._queue: WorkQueue[Key] = WorkQueue(Backoff(), chance)
        self._watched: list[tuple[Informer, bool]] = []
        found: dict[object, Informer] = {}
        for watch in controller.watches:
            informer = informers.get(watch.resource, watch.selector, watch.labels)
            self._watched.append((informer, watch.optional))
            found[watch.resource] = informer
        if len(found) != len(controller.watches):
            raise ValueError(f"{controller.name} watches a kind twice")
        self._informers = [informer for informer, _ in self._watched]
        self._view = View(found)  # type: ignore[arg-type]

    @property
    def synced(self) -> bool:
        """Whether all that is watched has been listed; kinds that may be missing count if they are."""
        return all(informer.synced or (optional and informer.missing) for informer, optional in self._watched)

    @property
    def waiting(self) -> int:
        """Keys that could be worked on now."""
        return len(self._queue)

    def in_work_s(self) -> Sequence[float]:
        """Return for each key that is worked on how many seconds that has lasted so far."""
        now = asyncio.get_running_loop().time()
        return [now - began for began in self._began.values()]

    async def run(self) -> None:
        """Work until cancelled."""
        ends = [
            informer.listen(self._listener(watch.keys))
            for informer, watch in zip(self._informers, self._controller.watches, strict=True)
        ]
        workers: list[asyncio.Task[None]] = []
        self._metrics.workers(self._controller.name, self._workers)
        try:
            while not self.synced:
                await self._informers_moved()
            workers = [asyncio.ensure_future(self._work()) for _ in range(self._workers)]
            await asyncio.gather(*workers)
        finally:
            for end in ends:
                end()
            self._queue.close()
            for worker in workers:
                worker.cancel()
            if workers:
                await asyncio.wait(workers)

    async def _informers_moved(self) -> None:
        lacking = [informer for informer, optional in self._watched if not informer.synced]
        waits = [asyncio.ensure_future(informer.reflector.synced.wait()) for informer in lacking]
        try:
            # A kind that turns out to be missing sets no event: look again now and then.
            await asyncio.wait(waits, timeout=0.2, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _listener(self, keys: Callable[..., object]) -> Callable[[Change, bool], None]:
        def listen(change: Change, news: bool) -> None:
            for document in (change.old, change.new):
                if document is not None:
                    for key in keys(document):  # type: ignore[attr-defined]
                        self._metrics.added(self._controller.name)
                        self._queue.add(key, urgent=news)

        return listen

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            with suppress(QueueClosed):
                key = await self._queue.get()
                began = self._began[key] = loop.time()
                self._metrics.waited(self._controller.name, self._queue.last_wait_s)
                try:
                    self._passes += 1
                    fields = {
                        "controller": self._controller.name,
                        "kind": self._controller.resource.kind,
                        "namespace": key[0],
                        "name": key[1],
                        "reconcile_id": self._passes,
                        "attempt": self._queue.failures(key) + 1,
                    }
                    with about(**fields), span("reconcile", **fields) as traced:
                        result = await self._pass(key)
                        traced.set_attribute("result", result)
                finally:
                    del self._began[key]
                    self._queue.done(key)
                self._metrics.passed(self._controller.name, result, loop.time() - began)
                self._metrics.depth(self._controller.name, len(self._queue), self._queue.in_work)
                continue
            return

    async def _pass(self, key: Key) -> str:
        loop = asyncio.get_running_loop()
        behind = self._own_writes.behind(key, self._view, loop.time())
        if behind:
            self._metrics.stale(self._controller.name)
            self._queue.add_after(key, BEHIND_S)
            return "stale"
        found, plan, at = None, Plan(), self._wall()
        try:
            found = await within(LOOK_S, self._controller.look(key, self._view))
            if found is None:
                self._forget(key)
                return "nothing"
            at = self._wall()
            plan = self._controller.plan(found, at)
            outcome = await self._executor.perform(key, plan)
            self.recorder.add(self._controller, key, at, found, plan, outcome)
            refusal = outcome.refusal or self._lasting(key, outcome)
            if refusal is not None:
                told = self._controller.refused(found, refusal, at)
                self.recorder.add(
                    self._controller, key, at, found, told, await self._executor.perform(key, told), "after a refusal"
                )
        except Exception as error:
            # A defect, or a look that took too long: this key's trouble alone.
            _log.exception("%s: the pass of %s/%s failed", self._controller.name, *key)
            if isinstance(error, asyncio.TimeoutError):
                self._metrics.timed_out(self._controller.name)
            self.failing[key] = f"{type(error).__name__}: {error}"
            self.recorder.add(self._controller, key, at, found or {}, plan, None, self.failing[key])
            self._retry(key)
            return "crashed"
        self._after(key, plan, outcome)
        return outcome.ending.value

    def _lasting(self, key: Key, outcome: Outcome) -> Refusal | None:
        """Return what has failed, if writes for this key have failed for long."""
        if outcome.ending not in (Ending.TROUBLE, Ending.LATER):
            return None
        now = asyncio.get_running_loop().time()
        if now - self._troubled.setdefault(key, now) < TROUBLE_S:
            return None
        for result in outcome.results:
            # Calls of Serve fail as long as a cluster starts; their planners know better what that means.
            if isinstance(result.error, KubernetesError) and not isinstance(result.action, CallServe):
                error = result.error
                return Refusal(result.action, error.status, error.reason or error.title, error.message, trouble=True)
        return None

    def _after(self, key: Key, plan: Plan, outcome: Outcome) -> None:
        if outcome.ending is Ending.DONE:
            self._forget(key)
            if plan.next_check_at is not None:
                self._queue.add_after(key, min(CHECK_S, max(SOONEST_S, plan.next_check_at - self._wall())))
            return
        self.failing[key] = str(outcome.error)
        if outcome.ending is not Ending.AGAIN:
            _log.warning("%s: %s/%s: %s", self._controller.name, *key, outcome.error)
        if outcome.ending is Ending.LATER:
            self._retry(key, outcome.retry_after_s or 1.0)
        else:
            self._retry(key, REFUSED_S if outcome.ending is Ending.REFUSED else 0.0)

    def _retry(self, key: Key, at_least_s: float = 0.0) -> None:
        self._metrics.retried(self._controller.name)
        self._queue.retry(key, at_least_s)

    def _forget(self, key: Key) -> None:
        self._queue.forget(key)
        self.failing.pop(key, None)
        self._troubled.pop(key, None)
