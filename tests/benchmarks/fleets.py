"""How fast fleets are: 1,000 Ray clusters created, scaled, rolled and deleted against the embedded API server.

``python tests/benchmarks/fleets.py [--clusters N]``: prints figures and goals, never fails. Three processes: the API
server, an operator that only marks clusters ready, and the controllers of fleets and replica sets, which are measured.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from rayctl.core.host import ControllerHost, HostSettings
from rayctl.fleet.controller import FleetController
from rayctl.kube.calls import MERGE, OPENED, Call, Transport
from rayctl.kube.errors import KubernetesError
from rayctl.kube.http import HttpTransport, load_configuration
from rayctl.kube.kinds import CUSTOM_RESOURCE_DEFINITIONS, FLEETS, RAY_CLUSTERS
from rayctl.manifests import crd_documents
from rayctl.replicaset.controller import ReplicaSetController
from rayctl.replicaset.reader import TransportReader
from rayctl.replicaset.status import rfc3339
from tests.contract.servers import serving
from tests.unit.fleet.worlds import fleet, rolling
from tests.unit.replicaset.worlds import template

NAMESPACE = "default"
AT_ONCE = 16


class Counted:
    """A transport that counts writes by kind and notes when each was sent."""

    def __init__(self, inner: Transport) -> None:
        self.inner, self.writes = inner, Counter[str]()
        self.sent: list[tuple[float, str, Any]] = []

    async def request(self, call: Call) -> Any:
        if call.writes and "/leases" not in call.path:
            kind = next((k for k in ("rayclusters", "replicasets", "fleets", "events") if k in call.path), "other")
            self.writes[f"{kind}{'/status' if call.path.endswith('/status') else ''}"] += 1
            self.sent.append((time.perf_counter(), kind, call))
        return await self.inner.request(call)

    def watch(self, call: Call, silence_s: float) -> AsyncGenerator[dict[str, Any], None]:
        return self.inner.watch(call, silence_s)

    async def close(self) -> None:
        await self.inner.close()


def operator(kubeconfig: str) -> None:
    """A process that marks every cluster ready as soon as it sees it."""
    asyncio.run(_operate(kubeconfig))


async def _operate(kubeconfig: str) -> None:
    transport = HttpTransport(await load_configuration(kubeconfig))
    queue: asyncio.Queue[str] = asyncio.Queue()

    async def mark() -> None:
        while True:
            name = await queue.get()
            at = rfc3339(time.time())
            ready = [
                {"type": kind, "status": "True", "reason": "Ready", "message": "", "lastTransitionTime": at}
                for kind in ("HeadPodReady", "RayClusterProvisioned")
            ]
            status = {"state": "ready", "readyWorkerReplicas": 1, "conditions": ready}
            path = RAY_CLUSTERS.path(NAMESPACE, name, "status")
            try:
                await transport.request(Call("PATCH", path, body={"status": status}, content_type=MERGE))
            except KubernetesError:
                continue  # deleted meanwhile

    tasks = [asyncio.ensure_future(mark()) for _ in range(AT_ONCE)]
    call = Call.get(RAY_CLUSTERS.path()).asking(watch=True, resourceVersion="0")
    while True:
        try:
            async for event in transport.watch(call, 600.0):
                if event["type"] == "ADDED" and "status" not in event["object"]:
                    queue.put_nowait(event["object"]["metadata"]["name"])
        except KubernetesError:
            await asyncio.sleep(0.1)
    del tasks


class Bench:
    """One fleet, measured phase by phase."""

    def __init__(self, transport: HttpTransport, counted: Counted) -> None:
        self.user, self.counted = transport, counted
        self.seen: dict[str, Any] = {}
        self.changed = asyncio.Event()

    async def watch(self) -> None:
        """Keep the fleet's newest state."""
        call = Call.get(FLEETS.path(NAMESPACE)).asking(watch=True, resourceVersion="0")
        async for event in self.user.watch(call, 3600.0):
            if event["type"] != OPENED:
                self.seen = event["object"] if event["type"] != "DELETED" else {}
                self.changed.set()

    async def until(self, reached: Callable[[], bool], within_s: float = 900.0) -> None:
        async def wait() -> None:
            while not reached():
                self.changed.clear()
                await self.changed.wait()

        await asyncio.wait_for(wait(), within_s)

    def ready(self) -> bool:
        status = self.seen.get("status") or {}
        found = {c["type"]: c for c in status.get("conditions") or ()}.get("Ready") or {}
        generation = self.seen.get("metadata", {}).get("generation")
        return found.get("status") == "True" and found.get("observedGeneration") == generation

    async def phase(self, name: str, clusters: int, act: Callable[[], Any], done: Callable[[], bool]) -> float:
        self.counted.writes.clear()
        began, cpu = time.perf_counter(), time.process_time()
        await act()
        await self.until(done)
        took, used = time.perf_counter() - began, time.process_time() - cpu
        writes = self.counted.writes
        fleet_layer = sum(count for kind, count in writes.items() if kind != "events")
        print(
            f"{name:<28}{took:7.1f} s  {clusters / took:7.0f} clusters/s  {fleet_layer / clusters:5.2f} writes/cluster"
            f"  cpu {used:5.1f} s  {dict(sorted(writes.items()))}",
            flush=True,
        )
        return took

    async def patch(self, changes: dict[str, Any]) -> None:
        path = FLEETS.path(NAMESPACE, "bench")
        await self.user.request(Call("PATCH", path, body=changes, content_type=MERGE))


async def reactions(bench: Bench, count: int) -> list[float]:
    """Milliseconds from asking for a change of a fleet of one cluster to the controllers' first write."""
    found = []
    for number in range(count):
        await asyncio.sleep(0.05)
        at = time.perf_counter()
        await bench.patch({"spec": {"replicas": 2 if number % 2 == 0 else 1}})
        while not any(sent > at for sent, _, _ in bench.counted.sent[-50:]):  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        first = min(sent for sent, _, _ in bench.counted.sent[-50:] if sent > at)
        found.append((first - at) * 1e3)
        await bench.until(bench.ready, 30)
    return sorted(found)


async def run(kubeconfig: str, clusters: int) -> None:
    user = HttpTransport(await load_configuration(kubeconfig))
    counted = Counted(HttpTransport(await load_configuration(kubeconfig)))
    for document in crd_documents("RayCluster", "RayClusterFleet", "RayClusterReplicaSet"):
        await user.request(Call("POST", CUSTOM_RESOURCE_DEFINITIONS.path(), body=document))
    await asyncio.sleep(1.0)  # until they are served
    reader = TransportReader(counted)
    controllers = [FleetController(reader), ReplicaSetController(None, reader)]
    host = ControllerHost(counted, controllers, HostSettings("bench", "kube-system"), time.time)
    tasks = [asyncio.ensure_future(host.run())]
    process = multiprocessing.get_context("spawn").Process(target=operator, args=(kubeconfig,), daemon=True)
    process.start()
    bench = Bench(user, counted)
    tasks.append(asyncio.ensure_future(bench.watch()))
    made = template(image="ray:1")
    for group in (made["spec"]["headGroupSpec"], *made["spec"]["workerGroupSpecs"]):
        group["template"]["spec"]["containers"][0]["name"] = "ray"
    document = fleet("bench", replicas=1, made=made, strategy=rolling("25%", 0))
    try:
        path = FLEETS.path(NAMESPACE)
        await user.request(Call("POST", path, body=document))
        await bench.until(bench.ready, 120)  # the operator runs, the leases are held
        await bench.phase("create", clusters - 1, lambda: bench.patch({"spec": {"replicas": clusters}}), bench.ready)
        half = clusters // 2
        await bench.phase("scale down by half", half, lambda: bench.patch({"spec": {"replicas": half}}), bench.ready)
        await bench.phase("scale up again", half, lambda: bench.patch({"spec": {"replicas": clusters}}), bench.ready)
        made["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["image"] = "ray:2"
        await bench.phase("roll (surge 25%)", clusters, lambda: bench.patch({"spec": {"template": made}}), bench.ready)
        await bench.phase("scale to one", clusters - 1, lambda: bench.patch({"spec": {"replicas": 1}}), bench.ready)
        found = await reactions(bench, 60)
        print(f"reaction, change to first write: p50 {found[30]:.0f} ms, p99 {found[-1]:.0f} ms (goal 200)")
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(f"memory of the controllers' process at most: {most} MB")
    finally:
        process.kill()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await counted.close()
        await user.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--clusters", type=int, default=1000)
    asked = parser.parse_args()
    print(f"{asked.clusters} clusters; goals: at least 200 clusters/s, at most 2 writes per cluster")
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as server:
        asyncio.run(run(str(server.kubeconfig), asked.clusters))


if __name__ == "__main__":
    main()
