"""The kubelet: a worker for each pod of the node, those of before included; scheduler, heartbeat, logs beside it."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Coroutine, Mapping
from typing import Any

from rayctl.embedded.kubelet.containers import Container
from rayctl.embedded.kubelet.deployments import Deployments
from rayctl.embedded.kubelet.host import ADDRESS, Host
from rayctl.embedded.kubelet.logserver import LogServer
from rayctl.embedded.kubelet.network.plan import free_address
from rayctl.embedded.kubelet.node import NodeFacts, beat, node_labels, register
from rayctl.embedded.kubelet.provisioner import Provisioner
from rayctl.embedded.kubelet.scheduler import Scheduler
from rayctl.embedded.kubelet.spec import PodSpec, parse_pod
from rayctl.embedded.kubelet.worker import PodWorker
from rayctl.kube.calls import MERGE, Call
from rayctl.kube.errors import KubernetesError
from rayctl.kube.kinds import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    SECRETS,
    SERVICES,
)
from rayctl.kube.store import Change, Object, key_of

__all__ = ["Kubelet"]

_log = logging.getLogger(__name__)

REFRESH_S = 0.1
"""Changes of names and volumes are gathered for so long."""


class Kubelet:
    """Args: the node; the network that headless Services get addresses of where names are not resolved (else empty)."""

    def __init__(self, host: Host, headless_network: str = "") -> None:
        self._host, self._headless = host, headless_network
        self._workers: dict[str, PodWorker] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._scheduler, self._provisioner, self._deployments = Scheduler(host), Provisioner(host), Deployments(host)
        self._stale = asyncio.Event()
        self._closing = False
        self._socket = host.short / "kubelet.sock"
        self._logs = LogServer(self._socket, self._find)
        self._facts = NodeFacts(
            host.node_name,
            host.capacity,
            host.network.mode,
            str(self._socket),
            node_labels(host.node_name, host.network.mode),
        )

    async def run(self) -> None:
        """Work until cancelled. Pods go on after that; see `end_pods`.

        Raises:
            OSError: Folders or the socket cannot be used.
        """
        await self._host.network.prepare()
        await self._logs.start()
        kinds = [self._host.informers.get(kind) for kind in (PODS, SERVICES, CONFIG_MAPS, SECRETS)]
        claims = [self._host.informers.get(kind) for kind in (PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES)]
        deployments = self._host.informers.get(DEPLOYMENTS)
        loops = [self._forever(self._host.informers.run()), self._forever(self._host.events.run())]
        loops.append(asyncio.create_task(self._heart()))
        try:
            for informer in (*kinds, *claims, deployments):
                await informer.reflector.synced.wait()
            self._adopt()
            kinds[0].listen(self._take_pod)
            kinds[0].listen(self._scheduler.take_pod)
            claims[0].listen(self._scheduler.take)
            for informer in (kinds[0], *claims):
                informer.listen(self._provisioner.take)
            for informer in (kinds[0], deployments):
                informer.listen(self._deployments.take)
            for informer in kinds:
                informer.listen(self._take_other)
            loops += [asyncio.create_task(self._scheduler.run()), asyncio.create_task(self._refresh())]
            loops += [asyncio.create_task(self._provisioner.run()), asyncio.create_task(self._deployments.run())]
            done, _ = await asyncio.wait(loops, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in [*loops, *self._tasks.values()]:
                task.cancel()
            await asyncio.gather(*loops, *self._tasks.values(), return_exceptions=True)
            for worker in self._workers.values():
                worker.release()
            await self._logs.stop()

    def _forever(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return asyncio.create_task(work)

    def _find(self, namespace: str, pod: str, container: str) -> Container | None:
        for worker in self._workers.values():
            if (worker.spec.namespace, worker.spec.name) == (namespace, pod):
                return worker.containers.get(container)
        return None

    def _adopt(self) -> None:
        """Take up the pods that an earlier kubelet left: those that the API no longer has are ended."""
        store = self._host.informers.get(PODS).store
        for file in sorted(self._host.pods.glob("*/pod.json")):
            document = json.loads(file.read_text())
            known = store.get(*key_of(document))
            worker = self._begin(document)
            if known is None or known["metadata"]["uid"] != worker.spec.uid:
                worker.take(None)

    def _begin(self, document: Mapping[str, Any]) -> PodWorker:
        spec = parse_pod(document)
        worker = PodWorker(self._host, spec)
        self._workers[spec.uid] = worker
        task = self._tasks[spec.uid] = asyncio.create_task(worker.run())
        task.add_done_callback(lambda done: self._ended(spec, done))
        return worker

    def _ended(self, spec: PodSpec, task: asyncio.Task[None]) -> None:
        self._tasks.pop(spec.uid, None)
        if task.cancelled():
            return
        self._workers.pop(spec.uid, None)
        error = task.exception()
        if error is not None:
            _log.error("pod %s/%s: the kubelet failed", spec.namespace, spec.name, exc_info=error)
            self._host.tell(spec, "Warning", "KubeletFailed", f"{type(error).__name__}: {error}")

    def _take_pod(self, change: Change, _: bool) -> None:
        document = change.object
        worker = self._workers.get(document["metadata"]["uid"])
        if worker is not None:
            if not self._closing:
                worker.take(change.new)
        elif not self._closing and change.new is not None and self._is_new(change.new):
            try:
                self._begin(change.new)
            except ValueError as error:
                _log.warning("a pod cannot be run: %s", error)

    def _is_new(self, pod: Object) -> bool:
        """Tell whether a pod that has no worker is to get one: it is this node's, and not at its end already."""
        if pod["spec"].get("nodeName") != self._host.node_name:
            return False
        if pod["metadata"].get("deletionTimestamp"):
            # Without grace we have said ourselves that nothing is left of it; others hold it.
            return bool(pod["metadata"].get("deletionGracePeriodSeconds"))
        return (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")

    def _take_other(self, _: Change, __: bool) -> None:
        self._stale.set()

    async def _refresh(self) -> None:
        while True:
            await self._stale.wait()
            self._stale.clear()
            try:
                await self._give_addresses()
            except (KubernetesError, ValueError) as error:
                _log.warning("headless Services: %s", error)
            for worker in list(self._workers.values()):
                worker.refresh()
            await asyncio.sleep(REFRESH_S)

    async def _give_addresses(self) -> None:
        """Give headless Services an address that stands for their name, where names are not resolved."""
        if not self._headless:
            return
        services = list(self._host.informers.get(SERVICES).store)
        taken = {(found["metadata"].get("annotations") or {}).get(ADDRESS, "") for found in services}
        for service in services:
            metadata, spec = service["metadata"], service.get("spec") or {}
            if spec.get("clusterIP") != "None" or (metadata.get("annotations") or {}).get(ADDRESS):
                continue
            address = free_address(self._headless, taken)
            taken.add(address)
            body = {"metadata": {"uid": metadata["uid"], "annotations": {ADDRESS: address}}}
            path = SERVICES.path(metadata["namespace"], metadata["name"])
            await self._host.transport.request(Call("PATCH", path, body=body, content_type=MERGE))

    async def _heart(self) -> None:
        registered = False
        while True:
            try:
                if not registered:
                    await register(self._host.transport, self._facts, time.time())
                    registered = True
                await beat(self._host.transport, self._facts.name, self._host.timing.lease_s, time.time())
            except KubernetesError as error:
                _log.warning("the node cannot be reported: %s", error)
            await asyncio.sleep(self._host.timing.heartbeat_s if registered else 1.0)

    async def end_pods(self) -> None:
        """End all pods of this machine while `run` runs, without telling the API: the next kubelet starts them anew."""
        self._closing = True
        for worker in self._workers.values():
            worker.end_here()
        while self._tasks:
            await asyncio.wait(list(self._tasks.values()))
        try:
            await register(self._host.transport, self._facts, time.time(), ready=False)
        except KubernetesError as error:
            _log.info("the node's end cannot be reported: %s", error)
        await self._host.network.close()
