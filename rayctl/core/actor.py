"""What all controller actors are: a host of controllers that starts, and starts again, by itself, and can be asked.

The classes are plain; whoever creates the actors makes Ray classes of them (`rayctl.selfhost.controllers`).
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from rayctl.core.controller import Controller, Key
from rayctl.core.execute import ServePort
from rayctl.core.host import ControllerHost, HostSettings
from rayctl.kube.calls import Transport
from rayctl.kube.lease import Terms
from rayctl.telemetry.metrics import Metrics

__all__ = ["ActorOptions", "Built", "ControllerActor"]

_log = logging.getLogger(__name__)

AGAIN_S = (1.0, 30.0)
"""Waiting after a failure to start: the first time, at most."""


@dataclass(frozen=True)
class ActorOptions:
    """Where the API server is, and how controllers are run.

    Args:
        kubeconfig, context: None: in a pod its service account, else the usual places.
        lease_namespace: Where the leases are.
        watch_namespace: Only this one is looked after; empty: all.
        workers: Keys worked on side by side.
        terms: The leases' times.
        accounts_namespace: Each controller acts as the service account of its name there; None: as whoever starts it.
        side: What the identities begin with: the Ray cluster that they run on, so that leases can be given to it.
    """

    kubeconfig: str | None = None
    context: str | None = None
    lease_namespace: str = "rayctl-system"
    watch_namespace: str = ""
    workers: int = 32
    terms: Terms = field(default_factory=Terms)
    accounts_namespace: str | None = None
    side: str = ""

    def host_settings(self) -> HostSettings:
        """Return how a host in this process is run; its identity is new every time."""
        identity = f"{os.uname().nodename}-{os.getpid()}-{uuid4().hex[:8]}"
        if self.side:
            identity = f"{self.side}_{identity}"
        return HostSettings(identity, self.lease_namespace, self.watch_namespace, self.workers, self.terms)


@dataclass(frozen=True)
class Built:
    """Controllers, and what they need beside the API server. ``close``: what has to be closed after them."""

    controllers: Sequence[Controller]
    serve: ServePort | None = None
    close: Sequence[Any] = ()


class ControllerActor(ABC):
    """An async actor. Its work begins when it is made, and so also when Ray makes it anew."""

    def __init__(self, options: ActorOptions) -> None:
        self._options = options
        self._settings = options.host_settings()
        self._host: ControllerHost | None = None
        self._trouble = ""
        self._metrics = Metrics()
        self._task = asyncio.ensure_future(self._run())

    @abstractmethod
    async def connect(self) -> Transport:
        """Return a way to the API server."""

    @abstractmethod
    def build(self, transport: Transport) -> Built:
        """Return the controllers to run on it."""

    async def _run(self) -> None:
        pause_s = AGAIN_S[0]
        while True:
            began = time.monotonic()
            try:
                await self._live()
            except Exception as error:
                self._trouble = f"{type(error).__name__}: {error}"
                _log.exception("%s ended; it starts again in %.0f s", type(self).__name__, pause_s)
            finally:
                self._host = None
            if time.monotonic() - began > 2 * AGAIN_S[1]:
                pause_s = AGAIN_S[0]
            await asyncio.sleep(pause_s)
            pause_s = min(AGAIN_S[1], 2 * pause_s)

    async def _live(self) -> None:
        transport = await self.connect()
        try:
            built = self.build(transport)
            host = ControllerHost(transport, built.controllers, self._settings, time.time, built.serve, self._metrics)
            self._host, self._trouble = host, ""
            try:
                await host.run()
            finally:
                for one in built.close:
                    await one.close()
        finally:
            await transport.close()

    # What can be asked --------------------------------------------------------------------------------

    async def ping(self) -> str:
        """Return who this process is; new whenever it was made anew."""
        return self._settings.identity

    async def status(self) -> dict[str, Any]:
        """Return what its controllers do (`ControllerHost.status`), and its last trouble."""
        found = {} if self._host is None else self._host.status()
        return {"identity": self._settings.identity, "trouble": self._trouble, **found}

    async def metrics_text(self) -> bytes:
        """Return its metrics in Prometheus' text format."""
        if self._host is not None:
            self._host.sample()
        return self._metrics.text()

    async def records(self, controller: str, namespace: str = "", name: str = "") -> list[str]:
        """Return the last passes of a controller (of one key), as JSON lines."""
        if self._host is None:
            return []
        key: Key | None = (namespace, name) if name else None
        return [record.to_json() for record in self._host.records(controller, key)]

    async def stop(self) -> None:
        """Give the leases back and end the work, before the actor is killed."""
        self._task.cancel()
        await asyncio.wait([self._task])
