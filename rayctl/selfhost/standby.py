"""The part of a control plane on Kubernetes that is not on its Ray cluster: ``python -m rayctl.selfhost.standby``.

It makes the RayCluster that rayctl runs on, leads while nobody else can (at first, and whenever that cluster is lost),
gives the leases to the actors that come up there, and moves rayctl to another cluster when that is wanted. All that it
knows is in ConfigMaps: it may end at any time, and the next one goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import time
from typing import Any

from rayctl.core.actor import ActorOptions
from rayctl.core.tasks import all_or_none
from rayctl.kube.calls import Call, Transport
from rayctl.kube.errors import AlreadyExists, KubernetesError, ObjectNotFound
from rayctl.kube.http import HttpTransport, load_configuration
from rayctl.kube.kinds import CONFIG_MAPS, RAY_CLUSTERS, SERVICES
from rayctl.kube.lease import Terms
from rayctl.manifests.access import INSTALLATION, STATUS
from rayctl.manifests.installation import NAME, Installation, chosen_fields, cluster, entry, installed
from rayctl.selfhost import moving
from rayctl.selfhost.controllers import ACTORS
from rayctl.selfhost.logs import tell_on_stdout
from rayctl.selfhost.system import System
from rayctl.selfhost.turns import MapTurns

__all__ = ["Standby", "main", "status_data"]

log = logging.getLogger("rayctl.system")

AGAIN_S = 2.0
Document = dict[str, Any]


class Standby(System):
    """Args: the way to the API server, as rayctl's standby; what was installed."""

    def __init__(self, transport: Transport, chosen: Installation) -> None:
        super().__init__(transport, chosen, self._note, MapTurns(transport, chosen.namespace))
        self._status: dict[str, str] = {}
        self._said = asyncio.Event()

    async def run(self) -> None:
        """See `System.run`."""
        await all_or_none([asyncio.ensure_future(super().run()), asyncio.ensure_future(self._publish())])

    async def install(self) -> None:
        """Make the cluster and its service if they are not there; what is there is left as it is, however it was made.

        What was chosen is remembered for the first cluster: a move back has to know it.
        """
        self._chosen = await read_installation(self._transport, self._chosen.namespace)
        self._mover.rebase(self._chosen)
        self._move, found = await self._mover.move()
        if moving.unwritten(found):
            changes = {self._move.record.active: chosen_fields(self._chosen)}
            self._move = moving.with_changes(self._move, changes)
            await self._mover.keep(self._move, found)
        side = self._mover.installation(self._move, self._move.record.active or self._move.record.source)
        if moving.at_rest(self._move):  # else the switchover makes what it wants
            await self._ensure(RAY_CLUSTERS.path(side.namespace), side.cluster, cluster(side))
            await self._mover.take_over(side.cluster)
        await self._ensure(SERVICES.path(side.namespace), "rayctl", entry(side))
        self._applied()

    async def _ensure(self, folder: str, name: str, document: Document) -> None:
        try:
            await self._transport.request(Call.get(f"{folder}/{name}"))
        except ObjectNotFound:
            log.info("making %s %s", document["kind"], name)
            with contextlib.suppress(AlreadyExists):
                await self._transport.request(Call("POST", folder, body=document))

    async def _stand_by(self) -> None:
        namespace = self._chosen.namespace
        options = ActorOptions(
            terms=Terms(standby=True),
            side="standby",
            lease_namespace=namespace,
            accounts_namespace=namespace,
            watch_namespace=self._chosen.watch_namespace,
        )
        hosts = [made(options) for made in ACTORS.values()]
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.gather(*(host.stop() for host in hosts))

    def _http_url(self, service: Document) -> str:
        return f"http://{service['spec']['clusterIP']}:{service['spec']['ports'][0]['port']}"

    # Telling ------------------------------------------------------------------------------------------

    def _note(self, document: Document) -> None:
        status = status_data(document)
        if status != self._status:
            self._status = status
            log.info("%s%s", status["state"], f": {status['reason']}" if status["reason"] else "")
            self._said.set()

    async def _publish(self) -> None:
        while True:
            await self._said.wait()
            self._said.clear()
            try:
                await self._write_status(self._status)
            except KubernetesError as error:
                log.info("the status could not be written: %s", error)
                self._said.set()
                await asyncio.sleep(AGAIN_S)

    async def _write_status(self, status: dict[str, str]) -> None:
        path = CONFIG_MAPS.path(self._chosen.namespace, STATUS)
        found = await self._transport.request(Call.get(path))
        if found.get("data") != status:
            metadata = {name: value for name, value in found["metadata"].items() if name != "managedFields"}
            document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": status}
            await self._transport.request(Call("PUT", path, body=document))


def status_data(report: Document) -> dict[str, str]:
    """Return what is published of a report: only what changes with the state. Pure."""
    system = report["system"]
    steps = {name: round(at, 1) for name, at in report["steps"].items()}
    found = {"state": report["state"], "reason": report["reason"], "cluster": system["cluster"]}
    return {**found, "leaders": json.dumps(system["leaders"]), "steps": json.dumps(steps)}


async def read_installation(transport: Transport, namespace: str) -> Installation:
    """Return what was installed. Raises KubernetesError."""
    return installed(namespace, await transport.request(Call.get(CONFIG_MAPS.path(namespace, INSTALLATION))))


async def run(namespace: str) -> None:
    """Work until SIGTERM or SIGINT; leases are given back then."""
    transport = HttpTransport(await load_configuration())
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    waiting = asyncio.ensure_future(ended.wait())
    try:
        await all_or_none([waiting, asyncio.ensure_future(_work(transport, namespace))])
    finally:
        await transport.close()


async def _work(transport: Transport, namespace: str) -> None:
    while True:
        try:
            chosen = await read_installation(transport, namespace)
            break
        except KubernetesError as error:
            log.info("what was installed cannot be read yet: %s", error)
            await asyncio.sleep(AGAIN_S)
    await Standby(transport, chosen).run()


def main() -> int:
    """Entry point."""
    tell_on_stdout()
    try:
        asyncio.run(run(os.environ.get("RAYCTL_NAMESPACE") or NAME))
    except Exception:
        log.exception("the standby failed")
        time.sleep(AGAIN_S)  # it is started again: not without a pause
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
