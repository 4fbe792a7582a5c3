"""Switches of RayServices, measured: real Ray clusters under load on the embedded server, and 200 services at once.

    python -m tests.benchmarks.switchover real [auto|netns|ports]
                                                    three switches under load (minutes; two Ray clusters side by side)
    python -m tests.benchmarks.switchover many      200 services switch at once; Ray is played

Everything runs on this machine, on loopback addresses.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp

from rayctl.core.host import ControllerHost, HostSettings
from rayctl.kube.calls import MERGE, Call, Transport
from rayctl.kube.errors import KubernetesError, WriteConflict
from rayctl.kube.http import HttpTransport, load_configuration
from rayctl.kube.kinds import CUSTOM_RESOURCE_DEFINITIONS, RAY_CLUSTERS, RAY_SERVICES, SERVICES
from rayctl.manifests import crd_documents
from rayctl.service.controller import RayServiceController

APP = Path(__file__).parent / "serving_app"
"""Where the application is. Not below /tmp: every pod has one of its own."""
RATE = 20.0


# Real clusters under load ------------------------------------------------------------------------------


def service(answer: str, words: str) -> dict[str, Any]:
    """A RayService with one head, which is all its cluster has."""
    config = {
        "proxy_location": "HeadOnly",
        "http_options": {"host": "0.0.0.0", "port": 8000},  # noqa: S104 - of a pod, in a network of its own
        "applications": [
            {
                "name": "answer",
                "route_prefix": "/",
                "import_path": "answering:app",
                "deployments": [
                    {
                        "name": "Answer",
                        "num_replicas": 2,
                        "ray_actor_options": {"num_cpus": 0.1},
                        "user_config": {"words": words},
                    }
                ],
            }
        ],
    }
    env = [{"name": "PYTHONPATH", "value": str(APP)}, {"name": "ANSWER", "value": answer}]
    container = {
        "name": "ray",
        "image": "rayproject/ray:2.60.0",
        "env": env,
        "resources": {"limits": {"cpu": "1", "memory": "2Gi"}, "requests": {"cpu": "500m", "memory": "1Gi"}},
    }
    params = {"num-cpus": "1", "object-store-memory": "100000000"}
    head = {"rayStartParams": params, "template": {"spec": {"containers": [container]}}}
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayService",
        "metadata": {"name": "answer", "annotations": {"rayctl.io/drain-timeout": "30s"}},
        "spec": {
            "serveConfigV2": json.dumps(config),
            "rayClusterConfig": {"rayVersion": "2.60.0", "headGroupSpec": head},
        },
    }


class Load:
    """Requests at a steady rate, whatever their answers take; each on a connection of its own, or on kept ones.

    Answers are JSON. Requests are POST: no client repeats those by itself, so that what is lost is seen.
    """

    def __init__(self, url: str, rate: float = RATE, kept: bool = False) -> None:
        self.url, self.rate, self.kept = url, rate, kept
        self.done: list[tuple[float, float, Any]] = []
        self.failed: list[tuple[float, str]] = []

    async def run(self, until: asyncio.Event) -> None:
        """Send until told to stop, then wait for the last answers."""
        tasks: set[asyncio.Task[None]] = set()
        kept: dict[str, Any] = {"keepalive_timeout": 600} if self.kept else {"force_close": True}
        connector = aiohttp.TCPConnector(limit=0, **kept)
        async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=30)) as session:
            due = time.monotonic()
            while not until.is_set():
                task = asyncio.ensure_future(self._one(session))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
                due += 1 / self.rate
                await asyncio.sleep(max(0.0, due - time.monotonic()))
            await asyncio.gather(*tasks)

    async def _one(self, session: aiohttp.ClientSession) -> None:
        began = time.time()
        try:
            async with session.post(self.url) as answer:
                text = await answer.text()
                if answer.status != 200:
                    self.failed.append((began, f"{answer.status} {text[:100]}"))
                    return
            self.done.append((began, time.time() - began, json.loads(text)))
        except (aiohttp.ClientError, OSError, asyncio.TimeoutError, ValueError) as error:
            self.failed.append((began, f"{type(error).__name__}: {error}"))

    def p99(self, begin: float, end: float) -> str:
        """Milliseconds, of the requests that began in a time; and the longest, and of how many."""
        took = sorted(took for at, took, _ in self.done if begin <= at < end)
        if not took:
            return "no answer"
        at = min(len(took) - 1, int(len(took) * 0.99))
        return f"p99 {1000 * took[at]:.0f} ms (longest {1000 * took[-1]:.0f}, {len(took)} requests)"


@contextlib.contextmanager
def processes(folder: Path, network: str = "auto") -> Iterator[Path]:
    """The server with its kubelet, and the controllers; ended together with all that they started."""
    kubeconfig = folder / "kubeconfig"
    rayctl = str(Path(sys.executable).parent / "rayctl")
    serve = [rayctl, "kube", "serve", "--port", "0", "--data-dir", str(folder / "kube"), "--kubelet"]
    serve += ["--network", network]
    commands = [
        [*serve, "--write-kubeconfig", str(kubeconfig), "--capacity", "cpu=8,memory=16Gi"],
        [rayctl, "kube", "controllers", "--kubeconfig", str(kubeconfig)],
    ]
    started: list[subprocess.Popen[bytes]] = []
    try:
        for number, command in enumerate(commands):
            log = (folder / f"process-{number}.log").open("wb")
            env = {**os.environ, "RAYCTL_HOME": str(folder)}
            started.append(subprocess.Popen(command, stdout=log, stderr=log, env=env, start_new_session=True))
            end = time.monotonic() + 60
            while not kubeconfig.exists() and time.monotonic() < end:
                time.sleep(0.1)  # another process writes the file
            time.sleep(1.0)  # it writes the file before it serves all kinds
        yield kubeconfig
    finally:
        for process in reversed(started):
            process.send_signal(signal.SIGINT)
        for process in started:
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


async def status_of(transport: Transport, name: str) -> dict[str, Any]:
    """The status of a service."""
    found = await transport.request(Call.get(RAY_SERVICES.path("default", name)))
    return dict(found.get("status") or {})


async def until(transport: Transport, wanted: str, limit_s: float, check: Any, name: str = "answer") -> dict[str, Any]:
    """Wait until a status is as wanted."""
    end = time.monotonic() + limit_s
    status: dict[str, Any] = {}
    while time.monotonic() < end:
        with contextlib.suppress(KubernetesError):
            status = await status_of(transport, name)
            if check(status):
                return status
        await asyncio.sleep(0.25)
    raise SystemExit(f"never {wanted}: {json.dumps(status, indent=1)[:6000]}")


async def real(kubeconfig: Path) -> None:
    """One service, three switches."""
    transport = HttpTransport(await load_configuration(str(kubeconfig)))
    for _ in range(100):
        try:
            body = service("one", "first")
            await transport.request(Call("POST", RAY_SERVICES.path("default"), body=body))
            break
        except KubernetesError:
            await asyncio.sleep(0.5)  # the definitions are not there yet
    began = time.monotonic()
    await until(transport, "ready", 280, lambda s: s.get("numServeEndpoints", 0) > 0)
    print(f"first start: {time.monotonic() - began:.1f} s", flush=True)
    found = await transport.request(Call.get(SERVICES.path("default", "answer-serve-svc")))
    url = f"http://{found['spec']['clusterIP']}:8000/"
    load, kept, stop = Load(url), Load(url, 5.0, kept=True), asyncio.Event()
    tasks = [asyncio.ensure_future(one.run(stop)) for one in (load, kept)]
    await asyncio.sleep(15)
    print(f"before: {load.p99(time.time() - 12, time.time())}, {len(load.failed)} failed", flush=True)
    try:
        await _switches(transport, load)
    finally:
        stop.set()
        await asyncio.gather(*tasks)
        for title, one in (("new connections", load), ("kept connections", kept)):
            print(f"{title}: {len(one.done)} answered, {len(one.failed)} failed", flush=True)
            for at, why in one.failed[:10]:
                print(f"  failed at {at:.3f}: {why}")
    await transport.request(Call("DELETE", RAY_SERVICES.path("default", "answer")))
    await asyncio.sleep(5)
    await transport.close()


async def _switches(transport: Transport, load: Load) -> None:
    steps = [
        ("environment", service("two", "first"), {"version": "two", "words": "first"}, "Switched"),
        ("configuration", service("two", "second"), {"version": "two", "words": "second"}, "Switched"),
        ("broken version", service("broken", "second"), {"version": "two", "words": "second"}, "RolledBack"),
    ]
    for title, document, answer, phase in steps:
        begin, failed = time.time(), len(load.failed)
        path = RAY_SERVICES.path("default", "answer")
        patched = await transport.request(Call("PATCH", path, body={"spec": document["spec"]}, content_type=MERGE))
        generation = patched["metadata"]["generation"]

        def ended(status: dict[str, Any], generation: int = generation, phase: str = phase, title: str = title) -> bool:
            record = status.get("switchover") or {}
            if status.get("observedGeneration") != generation or record.get("phase") != phase:
                return False
            return title == "configuration" or record.get("generation") == generation

        status = await until(transport, f"{phase} ({title})", 280, ended)
        for _ in range(300):
            if any(at > begin and found == answer for at, _, found in load.done):
                break
            await asyncio.sleep(0.1)
        record = status["switchover"]
        at = {line["step"]: line["at"] for line in record.get("trace") or ()}
        took = time.time() - begin
        await asyncio.sleep(max(0.0, 15 - took))  # the measured time: long enough for a 99th percentile
        print(
            f"{title}: {took:.1f} s, {len(load.failed) - failed} failed, "
            f"{load.p99(begin, time.time())}; trace {json.dumps(at)}",
            flush=True,
        )
        ended = time.time()
        await asyncio.sleep(15)  # the measured time
        print(f"  after: {load.p99(ended, time.time())}", flush=True)


# Many services ------------------------------------------------------------------------------------------


async def many(kubeconfig: Path, count: int) -> None:
    """``count`` services switch at once; clusters are ready as soon as they are there."""
    from tests.cli.test_service import Played, _operate
    from tests.unit.service.world import cluster_spec, ray_service

    transport = HttpTransport(await load_configuration(str(kubeconfig)))
    for document in crd_documents("RayCluster", "RayService"):
        await transport.request(Call("POST", CUSTOM_RESOURCE_DEFINITIONS.path(), body=document))
    played = Played()
    counted = _Counting(transport)
    settings = HostSettings("bench", "kube-system")
    host = ControllerHost(counted, [RayServiceController(played)], settings, time.time, played)
    tasks = [asyncio.ensure_future(host.run())]

    async def operator() -> None:
        while True:
            with contextlib.suppress(KubernetesError):
                await _operate(transport)
            await asyncio.sleep(0.2)

    tasks.append(asyncio.ensure_future(operator()))
    await asyncio.sleep(2)
    names = [f"s{number}" for number in range(count)]
    for name in names:
        body = ray_service(name, {"rayctl.io/drain-timeout": "1s"}, rayClusterConfig=cluster_spec(workers=0))
        await transport.request(Call("POST", RAY_SERVICES.path("default"), body=body))

    async def all_at(serial: int, limit_s: float) -> float:
        began = time.monotonic()
        while time.monotonic() - began < limit_s:
            items = (await transport.request(Call.get(RAY_SERVICES.path("default"))))["items"]
            records = [(item.get("status") or {}).get("switchover") or {} for item in items]
            if all(r.get("serial") == serial and r.get("phase") == "Switched" for r in records):
                clusters = (await transport.request(Call.get(RAY_CLUSTERS.path("default"))))["items"]
                if len(clusters) == count:
                    return time.monotonic() - began
            await asyncio.sleep(0.5)
        raise SystemExit("not all switched in time")

    print(f"{count} services started: {await all_at(1, 250):.1f} s", flush=True)
    counted.writes.clear()
    counted.conflicts = 0
    for name in names:
        body = {"spec": {"rayClusterConfig": cluster_spec("ray:2", workers=0)}}
        await transport.request(Call("PATCH", RAY_SERVICES.path("default", name), body=body, content_type=MERGE))
    took = await all_at(2, 250)
    items = (await transport.request(Call.get(RAY_SERVICES.path("default"))))["items"]
    spans = [_moved(item["status"]["switchover"]) for item in items]
    print(f"{count} services switched at once, old sides gone: {took:.1f} s")
    each = {what: number / count for what, number in sorted(counted.writes.items())}
    print(f"writes per switch: {sum(each.values()):.2f} (events not counted): {json.dumps(each)}")
    print(f"refused because the object had changed since: {counted.conflicts / count:.2f} per switch")
    print(f"first service moved to committed: median {statistics.median(spans):.3f} s, max {max(spans):.3f} s")
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await transport.close()


def _moved(record: dict[str, Any]) -> float:
    """Seconds from the gate being passed (the head service moves) to the commit."""
    from rayctl.service.record import parse_record

    found = parse_record({"switchover": record})
    assert found is not None
    at = {line.step: line.at for line in found.trace}
    return found.ended_at - at["promote-head"]


class _Counting:
    """A transport that counts writes, by what is written, and those that met a conflict apart."""

    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        self.writes: Counter[str] = Counter()
        self.conflicts = 0

    async def request(self, call: Call) -> Any:
        """See `Transport.request`."""
        try:
            answer = await self._inner.request(call)
        except WriteConflict:
            self.conflicts += 1
            raise
        if call.writes and "/leases" not in call.path and "/events" not in call.path:
            parts = call.path.split("/")
            at = parts.index("default")
            kind = "/".join([parts[at + 1], *parts[at + 3 :]])
            self.writes[f"{call.method} {kind}"] += 1
        return answer

    def watch(self, call: Call, silence_s: float) -> Any:
        """See `Transport.watch`."""
        return self._inner.watch(call, silence_s)

    async def close(self) -> None:
        """See `Transport.close`."""


def main() -> None:
    """Run one of the two parts."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is ended, whoever ends this
    what = sys.argv[1] if len(sys.argv) > 1 else "real"
    with tempfile.TemporaryDirectory(prefix="rayctl-switchover-") as name:
        folder = Path(name)
        if what == "real":
            with processes(folder, *sys.argv[2:3]) as kubeconfig:
                try:
                    asyncio.run(real(kubeconfig))
                except BaseException:
                    for log in sorted(folder.glob("process-*.log")):
                        print(f"--- {log.name}\n" + log.read_text(errors="replace")[-3000:])
                    raise
            return
        from tests.contract.servers import serving

        with serving(folder) as running:
            asyncio.run(many(running.kubeconfig, int(sys.argv[2]) if len(sys.argv) > 2 else 200))


if __name__ == "__main__":
    main()
