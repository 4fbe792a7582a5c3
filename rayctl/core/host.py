"""What a controller's process runs: caches, an election per controller, and the loop of each that leads.

Whether that process is a Ray actor, a command in the foreground or a simulation makes no difference here.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rayctl.core.controller import Controller, Key, Measuring
from rayctl.core.execute import Executor, ServePort
from rayctl.core.loop import Loop
from rayctl.core.metrics import Metrics
from rayctl.core.plan import Emit
from rayctl.core.record import PassRecord
from rayctl.core.tasks import all_or_none
from rayctl.kube.calls import Transport
from rayctl.kube.counted import CountedTransport
from rayctl.kube.events import EventRecorder, Happening
from rayctl.kube.informer import Informers
from rayctl.kube.lease import Elector, Fence, FencedTransport, Terms
from rayctl.kube.own_writes import OwnWrites
from rayctl.kube.store import Change

__all__ = ["ControllerHost", "HostSettings", "event_sink"]

_log = logging.getLogger(__name__)

RESTART_S = 5.0
"""A controller that ended by a defect stands for election again after this."""


@dataclass(frozen=True)
class HostSettings:
    """How controllers are run.

    Args:
        identity: Unique for every process that ever runs.
        lease_namespace: Where the leases are; each has its controller's name.
        watch_namespace: Only objects in it are looked after; empty: in all.
        workers: Keys of a controller worked on side by side.
        terms: The leases' times.
    """

    identity: str
    lease_namespace: str = "rayctl-system"
    watch_namespace: str = ""
    workers: int = 32
    terms: Terms = field(default_factory=Terms)


def event_sink(recorder: EventRecorder) -> Callable[[Emit], None]:
    """Return what takes a planner's events to a recorder."""

    def emit(action: Emit) -> None:
        ref = action.ref
        recorder.add(
            Happening(
                ref.api_version, ref.kind, ref.namespace, ref.name, ref.uid, action.kind, action.reason, action.message
            )
        )

    return emit


class ControllerHost:
    """Controllers that share caches. Each is led by one process at a time; the others keep their caches warm.

    Args:
        transport: The way to the server; not closed here.
        controllers: Which ones.
        settings: How.
        wall: Seconds since the epoch.
        serve: The way to Ray clusters' Serve APIs, for controllers that need it.
        metrics: What is counted.
        chance: Source of jitter.
    """

    def __init__(
        self,
        transport: Transport,
        controllers: Sequence[Controller],
        settings: HostSettings,
        wall: Callable[[], float],
        serve: ServePort | None = None,
        metrics: Metrics | None = None,
        chance: random.Random | None = None,
    ) -> None:
        self._metrics = metrics or Metrics()
        self._transport = CountedTransport(transport, self._metrics.requested)
        self._settings, self._wall = settings, wall
        self._controllers = {controller.name: controller for controller in controllers}
        self._serve = serve
        self._chance = chance or random.Random()
        self._informers = Informers(self._transport, settings.watch_namespace, self._chance, self._count)
        self._loops: dict[str, Loop] = {}
        self._epochs: dict[str, int] = {}
        for controller in controllers:
            for watch in controller.watches:
                self._informers.get(watch.resource, watch.selector, watch.labels)

    async def run(self) -> None:
        """Work until cancelled; leases are given back then.

        Raises:
            Exception: The caches ended by a defect. A controller's own defects are logged, and it starts again.
        """
        tasks = [asyncio.ensure_future(self._informers.run())]
        tasks += [asyncio.ensure_future(self._stand(controller)) for controller in self._controllers.values()]
        await all_or_none(tasks)

    async def _stand(self, controller: Controller) -> None:
        settings = self._settings

        async def lead(fence: Fence) -> None:
            await self._lead(controller, fence)

        while True:
            key = (settings.lease_namespace, controller.name)
            elector = Elector(self._transport, key, settings.identity, lead, self._wall, settings.terms, self._chance)
            try:
                await elector.run()
            except Exception:
                _log.exception("%s ended; it starts again in %.0f s", controller.name, RESTART_S)
            await asyncio.sleep(RESTART_S)

    async def _lead(self, controller: Controller, fence: Fence) -> None:
        _log.info("%s leads %s (epoch %d)", self._settings.identity, controller.name, fence.epoch)
        transport = FencedTransport(self._transport, fence, lambda: self._metrics.fenced(controller.name))
        recorder = EventRecorder(transport, controller.name, self._settings.identity, self._wall)
        own_writes = OwnWrites()
        executor = Executor(transport, controller.name, own_writes, event_sink(recorder), self._serve)
        loop = Loop(
            controller,
            self._informers,
            executor,
            own_writes,
            self._wall,
            self._settings.workers,
            self._metrics,
            self._chance,
        )
        self._loops[controller.name], self._epochs[controller.name] = loop, fence.epoch
        tasks = [asyncio.ensure_future(loop.run()), asyncio.ensure_future(recorder.run())]
        end = self._informers.get(controller.resource).listen(self._measuring(controller))
        self._metrics.leads(controller.name, True)
        try:
            await asyncio.gather(*tasks)
        finally:
            end()
            self._metrics.leads(controller.name, False)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            self._loops.pop(controller.name, None)
            self._epochs.pop(controller.name, None)

    def _count(self, what: str, plural: str, reason: str) -> None:
        told = self._metrics.relisted if what == "list" else self._metrics.watch_restarted
        told(plural, reason)

    def _measuring(self, controller: Controller) -> Callable[[Change, bool], None]:
        def listen(change: Change, news: bool) -> None:
            if news and change.old is not None and change.new is not None and isinstance(controller, Measuring):
                controller.measure(change.old, change.new, self._metrics)

        return listen

    def sample(self) -> None:
        """Tell the metrics what the caches have now: to be called before they are read."""
        found = self._informers.found()
        for plural, objects, revision, heard_s in found:
            self._metrics.cached(plural, objects, revision, heard_s)
        for controller in self._controllers.values():
            self._sample_kind(controller)
            loop = self._loops.get(controller.name)
            lasting = () if loop is None else loop.in_work_s()
            self._metrics.unfinished(controller.name, sum(lasting), max(lasting, default=0.0))

    def _sample_kind(self, controller: Controller) -> None:
        counts: Counter[tuple[str, str]] = Counter()
        desired = ready = 0
        for document in self._informers.get(controller.resource).store:
            status = document.get("status") or {}
            counts.update((item.get("type", ""), item.get("status", "")) for item in status.get("conditions") or ())
            desired += int((document.get("spec") or {}).get("replicas") or 0)
            ready += int(status.get("readyReplicas") or 0)
        self._metrics.conditions(controller.resource.kind, counts)
        self._metrics.replicas(controller.resource.kind, desired, ready)

    def status(self) -> dict[str, Any]:
        """Return, as JSON, what each controller does now: whether it leads, its epoch, its keys in trouble."""
        found = {}
        for name in self._controllers:
            loop = self._loops.get(name)
            failing = {} if loop is None else loop.failing
            found[name] = {
                "leads": loop is not None,
                "epoch": self._epochs.get(name),
                "synced": loop is not None and loop.synced,
                "waiting": 0 if loop is None else loop.waiting,
                "failing": {f"{namespace}/{item}": text for (namespace, item), text in sorted(failing.items())},
            }
        troubles = {plural: str(error) for plural, error in self._informers.troubles().items()}
        return {"identity": self._settings.identity, "controllers": found, "caches": troubles}

    def records(self, controller: str, key: Key | None = None) -> list[PassRecord]:
        """Return the last passes of a controller that leads here."""
        loop = self._loops.get(controller)
        return [] if loop is None else loop.recorder.records(key)
