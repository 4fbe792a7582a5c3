"""1,000 RayClusters of one head and three workers on the embedded API server, by one controller process.

``python tests/benchmarks/rayclusters.py``: prints figures and goals, never fails. There is no kubelet: a process of its
own marks pods as ready as soon as it sees them. ``--kubeconfig FILE`` measures another server (without such pods) with
the same load. Requests are counted where they leave the controller, so events and leases are told apart.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from rayctl.cluster.controller import RayClusterController
from rayctl.cluster.status import readiness
from rayctl.core.host import ControllerHost, HostSettings
from rayctl.kube.calls import Call, Transport
from rayctl.kube.errors import KubernetesError
from rayctl.kube.http import HttpTransport, load_configuration
from rayctl.kube.informer import Informers
from rayctl.kube.kinds import CUSTOM_RESOURCE_DEFINITIONS, PODS, RAY_CLUSTERS
from rayctl.kube.store import Change
from rayctl.manifests import crd_documents
from tests.contract.servers import serving

REST_S = 20.0


def cluster(number: int) -> dict[str, Any]:
    """One head, three workers, in the size of a usual manifest."""
    amounts = {"cpu": "1", "memory": "2Gi"}
    ray = {"name": "ray", "image": "rayproject/ray:2.60.0", "resources": {"limits": amounts, "requests": amounts}}
    template = {"spec": {"containers": [ray]}}
    group = {"groupName": "small", "replicas": 3, "minReplicas": 3, "maxReplicas": 3, "template": template}
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayCluster",
        "metadata": {"name": f"bench-{number:04d}"},
        "spec": {"rayVersion": "2.60.0", "headGroupSpec": {"template": template}, "workerGroupSpecs": [group]},
    }


class Counting:
    """A transport that counts requests by verb and kind."""

    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        self.counts: Counter[str] = Counter()

    async def request(self, call: Call) -> Any:
        """See `Transport.request`."""
        parts = call.path.split("/")
        kind = next((part for part in reversed(parts) if part in KINDS), "other")
        status = "/status" if parts[-1] == "status" else ""
        self.counts[f"{call.method} {kind}{status}"] += 1
        return await self._inner.request(call)

    async def watch(self, call: Call, silence_s: float) -> AsyncGenerator[dict[str, Any], None]:
        """See `Transport.watch`."""
        async for event in self._inner.watch(call, silence_s):
            yield event

    async def close(self) -> None:
        """See `Transport.close`."""
        await self._inner.close()


KINDS = ("pods", "services", "secrets", "rayclusters", "events", "leases")


def marker(kubeconfig: str) -> None:
    """The process that marks pods as ready."""
    asyncio.run(_mark(kubeconfig))


async def _mark(kubeconfig: str) -> None:
    transport = HttpTransport(await load_configuration(kubeconfig))
    waiting: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    def look(change: Change, news: bool) -> None:
        if change.new is not None and (change.new.get("status") or {}).get("phase") != "Running":
            waiting.put_nowait(change.new)  # type: ignore[arg-type]

    async def work() -> None:
        while True:
            metadata = (await waiting.get())["metadata"]
            status = {"phase": "Running", "podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]}
            path = PODS.path(metadata["namespace"], metadata["name"], "status")
            try:
                call = Call("PATCH", path, body={"status": status}, content_type="application/merge-patch+json")
                await transport.request(call)
            except KubernetesError as error:
                print(f"a pod was not marked: {error}", file=sys.stderr)

    informers = Informers(transport)
    informers.get(PODS).listen(look)
    await asyncio.gather(informers.run(), *(work() for _ in range(8)))


def controller(kubeconfig: str, pipe: Any) -> None:
    """The process under test: the controller as an actor would run it."""
    asyncio.run(_control(kubeconfig, pipe))


def memory_mb() -> float:
    """Return this process's resident memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


async def _control(kubeconfig: str, pipe: Any) -> None:
    transport = Counting(HttpTransport(await load_configuration(kubeconfig)))
    settings = HostSettings("bench", "default", workers=16)
    host = ControllerHost(transport, [RayClusterController(transport)], settings, time.time)
    task = asyncio.ensure_future(host.run())
    loop = asyncio.get_running_loop()
    while not task.done():
        await loop.run_in_executor(None, pipe.recv)
        pipe.send((dict(transport.counts), time.process_time(), memory_mb()))


async def measure(kubeconfig: str, count: int) -> None:
    """Create the clusters, wait until all are ready, then watch the controller do nothing."""
    transport = HttpTransport(await load_configuration(kubeconfig))
    for document in crd_documents("RayCluster"):
        await transport.request(Call("POST", CUSTOM_RESOURCE_DEFINITIONS.path(), body=document))
    await asyncio.sleep(1.0)  # definitions become kinds
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    processes = [
        context.Process(target=marker, args=(kubeconfig,), daemon=True),
        context.Process(target=controller, args=(kubeconfig, there), daemon=True),
    ]
    for process in processes:
        process.start()
    loop = asyncio.get_running_loop()

    async def ask() -> Any:
        here.send(None)
        return await loop.run_in_executor(None, here.recv)

    ready: set[str] = set()
    done = asyncio.Event()

    def look(change: Change, news: bool) -> None:
        if change.new is not None and readiness(change.new).ready:
            ready.add(change.new["metadata"]["name"])
            if len(ready) == count:
                done.set()

    informers = Informers(transport)
    informers.get(RAY_CLUSTERS).listen(look)
    task = asyncio.ensure_future(informers.run())
    _, _, empty_mb = await ask()
    await asyncio.sleep(3.0)  # the lease is taken, caches are filled
    began = time.perf_counter()
    _, cpu_before, _ = await ask()
    numbers = iter(range(count))

    async def create() -> None:
        for number in numbers:
            await transport.request(Call("POST", RAY_CLUSTERS.path("default"), body=cluster(number)))

    await asyncio.gather(*(create() for _ in range(8)))
    created_s = time.perf_counter() - began
    await asyncio.wait_for(done.wait(), 600)
    taken = time.perf_counter() - began
    counts, cpu, memory = await ask()
    await asyncio.sleep(5.0)
    counts, cpu_rest, memory = await ask()
    await asyncio.sleep(REST_S)
    after, cpu_end, _ = await ask()
    task.cancel()
    await transport.close()
    for process in processes:
        process.terminate()
        process.join()
    told = {name: round(value / count, 2) for name, value in sorted(counts.items()) if name.split()[0] != "other"}
    writes = sum(value for name, value in counts.items() if not name.startswith("GET"))
    plain = sum(value for name, value in counts.items() if name.split()[1].split("/")[0] not in ("events", "leases"))
    idle = {name: after[name] - counts.get(name, 0) for name in after if after[name] != counts.get(name, 0)}
    print(f"clusters                     {count} of 1 + 3 pods, created in {created_s:.1f} s")
    print(f"all ready after              {taken:.1f} s; {count * 4 / taken:.0f} pods/s (goal: 50)")
    print(f"requests per cluster         {plain / count:.2f} without events (goal: creates 6 + 3 status writes)")
    print(f"                             {told}")
    print(f"writes in all                {writes}")
    print(f"controller CPU               {(cpu - cpu_before) / count * 1e3:.1f} ms per cluster")
    print(f"controller memory            {empty_mb:.0f} MB at the beginning, {memory:.0f} MB with all")
    print(f"at rest                      {(cpu_end - cpu_rest) / REST_S * 100:.2f} % of a core (goal: 5 %), {idle}")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--kubeconfig")
    asked = parser.parse_args()
    if asked.kubeconfig:
        asyncio.run(measure(asked.kubeconfig, asked.count))
        return
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as server:
        asyncio.run(measure(str(server.kubeconfig), asked.count))


if __name__ == "__main__":
    main()
