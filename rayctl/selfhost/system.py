"""The part of ``rayctl up`` that is not in the cluster: ``python -m rayctl.selfhost.system``.

It makes the RayCluster ``rayctl-system`` and reconciles it, and hands the leases over to the actors that come up on
it. After that it looks on, says what it sees, and stands by: should the cluster that the controllers run on be lost,
somebody has to make it anew.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp

from rayctl.cluster.keys import TOKEN_KEY
from rayctl.core.actor import ActorOptions
from rayctl.core.host import ControllerHost
from rayctl.core.tasks import all_or_none
from rayctl.kube.calls import Call, Transport
from rayctl.kube.errors import KubernetesError, NoAnswer, ObjectNotFound
from rayctl.kube.http import HttpTransport, load_configuration
from rayctl.kube.kinds import LEASES, RAY_CLUSTERS, SERVICES
from rayctl.kube.lease import Terms
from rayctl.manifests import crd_documents
from rayctl.manifests.installation import NAME, Installation, documents
from rayctl.selfhost import kubecmd, moving
from rayctl.selfhost.controllers import build_controllers
from rayctl.selfhost.logs import tell_on_stdout
from rayctl.selfhost.mover import Mover
from rayctl.selfhost.ports import LOOPBACK
from rayctl.selfhost.system_view import ENVIRONMENT, RAY_TOKEN, SystemSeen, judge, leaders
from rayctl.selfhost.turns import FileTurns, Turns
from rayctl.selfhost.upfile import Report, ensure_token, read_json
from rayctl.state.turn import turn_file
from rayctl.telemetry.left_behind import keep_written, standby_file
from rayctl.telemetry.metrics import Metrics

__all__ = ["System", "main"]

log = logging.getLogger("rayctl.system")

LOOK_S = 0.5
"""Between two looks while something is missing; `CHECK_S` while everything is there."""
CHECK_S = 3.0
APPLY_AGAIN_S = 60.0
ANSWER_S = 5.0
MANAGER = "rayctl"


class System:
    """Args: the way to the API server; what is wanted; what is told how it is (``rayctl.selfhost.resident`` says what)
    at every look; where it is written down whose turn it is with the state; the token of the clusters."""

    def __init__(
        self,
        transport: Transport,
        chosen: Installation,
        report: Callable[[dict[str, Any]], object],
        turns: Turns,
        ray_token: str = "",
    ) -> None:
        self._transport, self._chosen, self._tell = transport, chosen, report
        self._ray_token = ray_token
        self._mover = Mover(transport, chosen, turns=turns)
        self._move = moving.parse_move(None)
        self._steps: dict[str, float] = {}
        self._applied_at: float | None = None
        self.seen = SystemSeen(chosen.cluster)

    async def run(self) -> None:
        """Work until cancelled; leases are given back then."""
        await all_or_none([asyncio.ensure_future(self._look_on()), asyncio.ensure_future(self._work())])

    async def _work(self) -> None:
        await self._installed()
        await all_or_none([asyncio.ensure_future(self._stand_by()), asyncio.ensure_future(self._move_on())])

    async def _installed(self) -> None:
        while True:
            try:
                await self.install()
                return
            except KubernetesError as error:
                if not isinstance(error, NoAnswer):
                    log.warning("the control plane's objects could not be applied: %s", error)
                self.seen = replace(self.seen, trouble=f"applying the control plane's objects: {error}")
            await asyncio.sleep(LOOK_S)

    async def install(self) -> None:
        """Apply everything; what is there already does not change."""
        wanted = documents(self._chosen)
        with contextlib.suppress(ObjectNotFound):  # not even the namespace
            self._move, _ = await self._mover.move()
            wanted = documents(self._mover.installation(self._move, self._move.record.active))
        # The namespace is first; the pods need the secrets.
        for document in [*crd_documents(), wanted[0], *self._secrets(), *wanted[1:]]:
            if moving.at_rest(self._move) or not is_moved(document):
                await self._apply(document)
        if moving.at_rest(self._move):
            await self._mover.take_over(self._move.record.active)
        self._applied()

    def _applied(self) -> None:
        self._applied_at = time.monotonic()
        self.seen = replace(self.seen, installed=True, trouble="")

    def _secrets(self) -> list[dict[str, Any]]:
        """Return what the head's pod is given and no document may say."""
        contents = {RAY_TOKEN: {TOKEN_KEY: self._ray_token}, ENVIRONMENT: kubecmd.tasks_env(os.environ)}
        return [
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": name, "namespace": self._chosen.namespace},
                "data": {key: base64.b64encode(os.fsencode(value)).decode() for key, value in content.items()},
            }
            for name, content in contents.items()
        ]

    async def _apply(self, document: dict[str, Any]) -> None:
        from rayctl.kube.kinds import kind_of

        resource = kind_of(document["apiVersion"], document["kind"])
        metadata = document["metadata"]
        path = resource.path(metadata.get("namespace", ""), metadata["name"])
        await self._transport.request(Call.apply(path, document, MANAGER, True))

    async def _stand_by(self) -> None:
        options = ActorOptions(terms=Terms(standby=True), side="standby", lease_namespace=self._chosen.namespace)
        built = build_controllers(self._transport)
        settings = options.host_settings()
        metrics = Metrics()
        host = ControllerHost(self._transport, built.controllers, settings, time.time, built.serve, metrics)

        def text() -> bytes:
            host.sample()
            return metrics.text()

        written = keep_written(standby_file(Path(self._chosen.home)), text)
        try:
            await all_or_none([asyncio.ensure_future(host.run()), asyncio.ensure_future(written)])
        finally:
            for one in built.close:
                await one.close()

    async def _move_on(self) -> None:
        """Beside the looking on, which waits for answers that may have to wait for the move."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_S)) as session:
            while True:
                try:
                    self._move = await self._mover.step(session)
                except KubernetesError as error:
                    log.warning("upgrade: %s", error)
                await asyncio.sleep(CHECK_S if moving.at_rest(self._move) else LOOK_S)

    async def _look_on(self) -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_S)) as session:
            while True:
                try:
                    await self._look(session)
                except KubernetesError as error:
                    how = "does not answer" if isinstance(error, NoAnswer) else "is in trouble"
                    self.seen = replace(self.seen, trouble=f"the Kubernetes API {how}: {error}")
                state = self._report()
                await asyncio.sleep(CHECK_S if state == "ready" else LOOK_S)

    async def _look(self, session: aiohttp.ClientSession) -> None:
        chosen, get = self._chosen, self._transport.request
        if not self.seen.installed:
            return
        await get(Call.get("/readyz"))
        cluster = service = None
        with contextlib.suppress(ObjectNotFound):
            service = await get(Call.get(SERVICES.path(chosen.namespace, "rayctl")))
        side = str(service["spec"]["selector"].get("ray.io/cluster", chosen.cluster)) if service else chosen.cluster
        with contextlib.suppress(ObjectNotFound):
            cluster = await get(Call.get(RAY_CLUSTERS.path(chosen.namespace, side)))
        leases = (await get(Call.get(LEASES.path(chosen.namespace))))["items"]
        missing = service is None or cluster is None
        if missing and self._applied_at is not None and time.monotonic() - self._applied_at > CHECK_S:
            log.warning("the control plane's objects are not all there; applying them again")
            await self.install()
        gateway = "its service is not there"
        if service is not None:
            gateway = await _asked(session, self._http_url(service))
        self.seen = replace(self.seen, side=side, cluster=cluster, leases=tuple(leases), gateway=gateway, trouble="")

    def _http_url(self, service: dict[str, Any]) -> str:
        """Return where the HTTP API is asked: as programs of this machine find it."""
        return f"http://{LOOPBACK}:{self._chosen.port}"

    def _report(self) -> str:
        state, reason, done = judge(self.seen)
        now = time.time()
        self._steps |= {step: now for step in done if step not in self._steps}
        self.seen = replace(self.seen, steps=frozenset(self._steps))
        status = (self.seen.cluster or {}).get("status") or {}
        self._tell(
            {
                "pid": os.getpid(),
                "state": state,
                "reason": reason,
                "at": now,
                "steps": self._steps,
                "system": {
                    "cluster": self.seen.side,
                    "state": status.get("state") or "not ready",
                    "leaders": leaders(self.seen.leases),
                    "move": None if moving.at_rest(self._move) else self._move.record.document(),
                },
            }
        )
        return state


def is_moved(document: dict[str, Any]) -> bool:
    """Whether an object is the matter of a move while one is under way."""
    return document["kind"] == "RayCluster" or (document["kind"], document["metadata"]["name"]) == ("Service", "rayctl")


async def _asked(session: aiohttp.ClientSession, url: str) -> str:
    """Return why the HTTP API is not ready, or nothing."""
    try:
        async with session.get(f"{url}/readyz") as answer:
            if answer.status == 200:
                return ""
            return f"it says {answer.status}"
    except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
        return f"{type(error).__name__}{': ' if str(error) else ''}{error}"


async def _run(kubeconfig: Path, chosen: Installation, status_file: Path, ray_token: str) -> None:
    transport = HttpTransport(await load_configuration(str(kubeconfig)))
    turns = FileTurns(turn_file(Path(chosen.home)))
    system = System(transport, chosen, Report(status_file).write, turns, ray_token)
    working = asyncio.ensure_future(system.run())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, working.cancel)
    try:
        with contextlib.suppress(asyncio.CancelledError):
            await working
    finally:
        await transport.close()


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="rayctl-system")
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--installation", type=Path, required=True)
    parser.add_argument("--status-file", type=Path, required=True)
    parser.add_argument("--ray-token-file", type=Path, required=True)
    arguments = parser.parse_args()
    tell_on_stdout()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    chosen = installation(read_json(arguments.installation) or {})
    while not arguments.kubeconfig.exists():
        time.sleep(LOOK_S / 5)  # the API server writes it when it answers
    try:
        ray_token = ensure_token(arguments.ray_token_file)
        asyncio.run(_run(arguments.kubeconfig, chosen, arguments.status_file, ray_token))
    except Exception:
        log.exception("the system's process failed")
        return 1
    return 0


def installation(document: dict[str, Any]) -> Installation:
    """Return what was written down as JSON."""
    known = {**document}
    for name in ("folders", "settings"):
        known[name] = tuple((str(first), str(second)) for first, second in known.get(name) or ())
    return Installation(**{"namespace": NAME, **known})


if __name__ == "__main__":
    raise SystemExit(main())
