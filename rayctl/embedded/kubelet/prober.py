"""Asks a running container how it is, as often as its probes say, and tells when an answer changes the verdict."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from rayctl.embedded.kubelet.network.plan import LOOPBACK
from rayctl.embedded.kubelet.probing import ProbeState, next_at, seen
from rayctl.embedded.kubelet.spec import ContainerSpec, ProbeSpec

__all__ = ["Health", "Prober"]

Exec = Callable[[list[str], float], Awaitable[tuple[int, str]]]
"""(command, seconds) → exit code and output."""


@dataclass
class Health:
    """The verdicts so far: `started`, `ready` as in the API; ``unhealthy``: the sentence that ends the container."""

    started: bool = False
    ready: bool = False
    unhealthy: str = ""


@dataclass
class Prober:
    """The probes of one run of one container.

    Args:
        spec: The container.
        started_at: When the run began, seconds since 1970.
        address: Where the pod is.
        ports: Ports that are at another number.
        execute: Runs a command in the container.
        changed: Called when a verdict changed.
        told: Called with each failure's sentence.
        ready_before: After a restart of the kubelet: what the API says; a probe may change it.
    """

    spec: ContainerSpec
    started_at: float
    address: str
    ports: Mapping[int, int]
    execute: Exec
    changed: Callable[[], None]
    told: Callable[[str], None]
    ready_before: bool = False
    started_before: bool = False
    health: Health = field(default_factory=Health)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def start(self) -> None:
        """Begin to ask."""
        self.health.started = self.spec.startup is None or self.started_before
        self.health.ready = self.health.started and (self.spec.readiness is None or self.ready_before)
        self._tasks.append(asyncio.create_task(self._run()))

    def stop(self) -> None:
        """Ask no more."""
        for task in self._tasks:
            task.cancel()
        self._tasks = []

    async def _run(self) -> None:
        if self.spec.startup is not None and not self.health.started:
            await self._follow(self.spec.startup, "Startup", lambda verdict: verdict is True)
            if self.health.unhealthy:
                return
            self.health.started = True
            self.health.ready = self.spec.readiness is None
            self.changed()
        if self.spec.liveness is not None:
            self._tasks.append(asyncio.create_task(self._follow(self.spec.liveness, "Liveness", lambda _: False)))
        if self.spec.readiness is not None:
            self._tasks.append(asyncio.create_task(self._follow(self.spec.readiness, "Readiness", self._take_ready)))

    def _take_ready(self, verdict: bool | None) -> bool:
        if verdict is not None and verdict != self.health.ready:
            self.health.ready = verdict
            self.changed()
        return False

    async def _follow(self, probe: ProbeSpec, kind: str, done: Callable[[bool | None], bool]) -> None:
        state = ProbeState()
        while True:
            wait = next_at(state, probe, self.started_at) - time.time()
            await asyncio.sleep(max(0.0, wait))
            ok, text = await self.ask(probe)
            state = seen(state, probe, ok, text, time.time())
            if not ok:
                self.told(f"{kind} probe failed: {text}")
            if kind != "Readiness" and state.verdict is False:
                self.health.unhealthy = f"Container {self.spec.name} failed {kind.lower()} probe, will be restarted"
                self.health.ready = False
                self.changed()
                return
            if done(state.verdict):
                return

    async def ask(self, probe: ProbeSpec) -> tuple[bool, str]:
        """Ask once; return whether all is well, and what was said."""
        try:
            if probe.kind == "exec":
                code, text = await self.execute(
                    [str(word) for word in probe.action.get("command") or ()], probe.timeout_s
                )
                return code == 0, text.strip()[:400]
            if probe.kind == "tcp":
                return await self._connect(probe)
            return await self._get(probe)
        except asyncio.TimeoutError:
            return False, f"command timed out after {probe.timeout_s:g}s" if probe.kind == "exec" else "timed out"
        except (OSError, aiohttp.ClientError, ValueError) as error:
            return False, str(error)[:400] or type(error).__name__

    def _place(self, action: Mapping[str, Any]) -> tuple[str, int]:
        """Return the host and the port to ask."""
        wanted = action["port"]
        named = isinstance(wanted, str) and not wanted.isdigit()
        number = _named_port(self.spec.document, str(wanted)) if named else int(wanted)
        if number in self.ports:
            return LOOPBACK, self.ports[number]
        host = action.get("host") or self.address
        # "This pod" from inside; the kubelet asks from outside.
        return self.address if host in ("localhost", LOOPBACK) else host, number

    async def _connect(self, probe: ProbeSpec) -> tuple[bool, str]:
        opening = asyncio.open_connection(*self._place(probe.action))
        _, writer = await asyncio.wait_for(opening, probe.timeout_s)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        return True, ""

    async def _get(self, probe: ProbeSpec) -> tuple[bool, str]:
        action = probe.action
        scheme = str(action.get("scheme", "HTTP")).lower()
        path = str(action.get("path", "/"))
        host, port = self._place(action)
        url = f"{scheme}://{host}:{port}/{path.removeprefix('/')}"
        headers = {header["name"]: header["value"] for header in action.get("httpHeaders") or ()}
        headers.setdefault("User-Agent", "kube-probe/1.32")
        timeout = aiohttp.ClientTimeout(total=probe.timeout_s)
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=False) as session,
            session.get(url, headers=headers, ssl=False, allow_redirects=False) as response,
        ):
            if 200 <= response.status < 400:
                return True, ""
            return False, f"HTTP probe failed with statuscode: {response.status}"


def _named_port(container: Mapping[str, Any], name: str) -> int:
    for port in container.get("ports") or ():
        if port.get("name") == name:
            return int(port["containerPort"])
    raise ValueError(f"couldn't find port: {name}")
