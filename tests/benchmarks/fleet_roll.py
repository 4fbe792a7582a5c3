"""Rollouts of a fleet of three real Ray clusters, measured while a client calls their Serve application.

    python -m tests.benchmarks.fleet_roll roll      one environment to another (and a larger fleet on the way)
    python -m tests.benchmarks.fleet_roll steer     paused in the middle, taken back, resumed
    python -m tests.benchmarks.fleet_roll drain     one that still answers a long call is to go
    python -m tests.benchmarks.fleet_roll broken    a revision whose application does not start is rolled back

Minutes each; up to four Ray clusters side by side, each in network namespaces of its own (root). The client calls the
Service that selects the heads of the whole fleet, with a new connection for each request.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp

from rayctl.kube.calls import Call, Transport
from rayctl.kube.errors import KubernetesError
from rayctl.kube.http import HttpTransport, load_configuration
from rayctl.kube.kinds import FLEETS, PODS, RAY_CLUSTERS, SERVICES
from rayctl.replicaset.health import health_of
from tests.benchmarks.switchover import APP, Load

__all__ = ["Rolling", "Sizes", "fleet_document", "rolling_fleet"]

LABEL = "orchestration.aibrix.ai/raycluster-fleet-name"
RAYCTL = str(Path(sys.executable).parent / "rayctl")
NAME = "answer"


def fleet_document(
    answer: str, replicas: int = 3, deadline_s: int = 150, drain_s: int = 0, **rollout: Any
) -> dict[str, Any]:
    """A fleet of heads that deploy the application on themselves; ready when it answers."""
    env = [{"name": "PYTHONPATH", "value": str(APP)}, {"name": "ANSWER", "value": answer}]
    probe = {"httpGet": {"path": "/", "port": 8000}, "periodSeconds": 1, "timeoutSeconds": 5, "failureThreshold": 10}
    container = {
        "name": "ray-head",
        "image": "rayproject/ray:2.60.0",
        "args": [f"(python {APP}/deploying.py &)"],
        "env": env,
        "readinessProbe": probe,
        # The Service has forgotten the pod before its application ends.
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", "3"]}}},
        "resources": {"limits": {"cpu": "1", "memory": "2Gi"}, "requests": {"cpu": "500m", "memory": "1Gi"}},
    }
    pod = {"terminationGracePeriodSeconds": 15, "containers": [container]}
    params = {"num-cpus": "1", "object-store-memory": "100000000"}
    labels = {"app": NAME}
    spec: dict[str, Any] = {
        "replicas": replicas,
        "selector": {"matchLabels": labels},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "progressDeadlineSeconds": deadline_s,
        "template": {
            "metadata": {"labels": labels},
            "spec": {"rayVersion": "2.60.0", "headGroupSpec": {"rayStartParams": params, "template": {"spec": pod}}},
        },
    }
    if rollout:
        spec["rollout"] = rollout
    if drain_s:
        spec["drain"] = {"seconds": drain_s}
    return {
        "apiVersion": "orchestration.aibrix.ai/v1alpha1",
        "kind": "RayClusterFleet",
        "metadata": {"name": NAME, "namespace": "default"},
        "spec": spec,
    }


def service_document() -> dict[str, Any]:
    """The Service of the whole fleet."""
    spec = {"selector": {LABEL: NAME, "ray.io/node-type": "head"}, "ports": [{"port": 8000, "targetPort": 8000}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": NAME, "namespace": "default"}, "spec": spec}


class Sizes:
    """How many clusters there were, looked at four times a second."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.seen: list[tuple[float, int, int]] = []

    async def run(self) -> None:
        """Look until it is cancelled."""
        while True:
            with contextlib.suppress(KubernetesError):
                items = (await self._transport.request(Call.get(RAY_CLUSTERS.path("default"))))["items"]
                ready = sum(1 for item in items if health_of(item).ready)
                self.seen.append((time.time(), len(items), ready))
            await asyncio.sleep(0.25)

    def since(self, at: float) -> tuple[int, int]:
        """Return (most that existed, fewest that were ready) since a moment."""
        found = [(there, ready) for when, there, ready in self.seen if when >= at]
        return max(there for there, _ in found), min(ready for _, ready in found)


class Rolling:
    """A fleet of three that is called, and what changes it as its users do: by commands."""

    def __init__(self, folder: Path, kubeconfig: Path, transport: Transport, load: Load, sizes: Sizes) -> None:
        self.folder, self.transport, self.load, self.sizes = folder, transport, load, sizes
        self.env = {**os.environ, "KUBECONFIG": str(kubeconfig), "RAYCTL_HOME": str(folder), "NO_COLOR": "1"}

    async def fleet(self) -> dict[str, Any]:
        """The fleet as it is."""
        return dict(await self.transport.request(Call.get(FLEETS.path("default", NAME))))

    async def command(self, *words: str, codes: tuple[int, ...] = (0,)) -> str:
        """Run a command, show what it says and return that."""
        begun = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            *words, env=self.env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        said = (await asyncio.wait_for(process.communicate(), 240))[0].decode()
        line = " ".join(["rayctl" if words[0] == RAYCTL else words[0], *words[1:]])
        print(f"$ {line.replace(str(self.folder), '.')}   [{process.returncode}, {time.monotonic() - begun:.1f} s]")
        print(said.rstrip(), flush=True)
        if process.returncode not in codes:
            raise SystemExit(f"exit code {process.returncode}, not one of {codes}")
        return said

    async def rayctl(self, *words: str, codes: tuple[int, ...] = (0,)) -> str:
        """Run ``rayctl``."""
        return await self.command(RAYCTL, *words, codes=codes)

    async def apply(self, document: dict[str, Any], codes: tuple[int, ...] = (0,), wait: bool = True) -> str:
        """Apply a fleet and wait until its rollout has ended."""
        import json

        path = self.folder / "fleet.json"
        path.write_text(json.dumps(document), encoding="utf-8")
        return await self.rayctl(
            "apply", "-f", str(path), *(["--wait", "--timeout", "4m"] if wait else []), codes=codes
        )

    async def until(self, what: str, check: Any, limit_s: float = 200.0) -> dict[str, Any]:
        """Wait until the fleet is as wanted."""
        end, found = time.monotonic() + limit_s, {}
        while time.monotonic() < end:
            found = await self.fleet()
            if check(found):
                return found
            await asyncio.sleep(0.25)
        raise SystemExit(f"never {what}: {found.get('status')}")

    @contextlib.asynccontextmanager
    async def step(self, title: str) -> AsyncIterator[None]:
        """Measure what is done in it."""
        begin, failed, done = time.time(), len(self.load.failed), len(self.load.done)
        yield
        most, fewest = self.sizes.since(begin)
        print(
            f"== {title}: {time.time() - begin:.1f} s, {len(self.load.done) - done} calls answered, "
            f"{len(self.load.failed) - failed} failed, {self.load.p99(begin, time.time())}, "
            f"at most {most} clusters, at least {fewest} ready",
            flush=True,
        )

    def answers(self, since: float) -> dict[str, int]:
        """Return how many answers each version gave since a moment."""
        found: dict[str, int] = {}
        for at, _, text in self.load.done:
            if at >= since:
                found[text.split("/")[0]] = found.get(text.split("/")[0], 0) + 1
        return found


@contextlib.contextmanager
def _server(folder: Path) -> Iterator[Path]:
    """Server, kubelet and controllers in one process, ended with all that they started."""
    kubeconfig = folder / "kubeconfig"
    words = [RAYCTL, "kube", "serve", "--port", "0", "--kubelet", "--controllers", "--network", "netns"]
    words += ["--capacity", "cpu=8,memory=16Gi", "--data-dir", str(folder / "kube")]
    words += ["--write-kubeconfig", str(kubeconfig)]
    env = {key: value for key, value in os.environ.items() if not key.startswith("RAY")} | {"RAYCTL_HOME": str(folder)}
    log = folder / "server.log"
    with log.open("wb") as out:
        process = subprocess.Popen(words, stdout=out, stderr=out, env=env, start_new_session=True)
    try:
        end = time.monotonic() + 60
        while b"Controllers run" not in log.read_bytes():
            if process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"the server did not start: {log.read_text()[-2000:]}")
            time.sleep(0.1)  # another process writes the line
        yield kubeconfig
    except BaseException:
        print(log.read_text(errors="replace")[-3000:])
        raise
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


@contextlib.asynccontextmanager
async def rolling_fleet(folder: Path, called: bool = True, **options: Any) -> AsyncIterator[Rolling]:
    """Have a fleet of three that is ready and (unless not ``called``) called twenty times a second, until the end."""
    with _server(folder) as kubeconfig:
        transport = HttpTransport(await load_configuration(str(kubeconfig)))
        sizes = Sizes(transport)
        made = await transport.request(Call("POST", SERVICES.path("default"), body=service_document()))
        load, stop = Load(f"http://{made['spec']['clusterIP']}:8000/"), asyncio.Event()
        here = Rolling(folder, kubeconfig, transport, load, sizes)
        begin = time.monotonic()
        await here.apply(fleet_document("one", **options))
        print(f"three clusters ready after {time.monotonic() - begin:.1f} s", flush=True)
        if not called:
            stop.set()
        tasks = [asyncio.ensure_future(load.run(stop)), asyncio.ensure_future(sizes.run())]
        try:
            await asyncio.sleep(3.0)  # some calls before anything changes
            yield here
        finally:
            stop.set()
            await tasks[0]
            tasks[1].cancel()
            print(f"in all: {len(load.done)} answered, {len(load.failed)} failed", flush=True)
            for at, why in load.failed[:10]:
                print(f"  failed at {at:.3f}: {why}")
            await transport.close()


async def roll(folder: Path) -> None:
    """One environment to another; scaled up and down in the middle of it."""
    async with rolling_fleet(folder) as here:
        async with here.step("another environment"):
            begin = time.time()
            await here.apply(fleet_document("two"))
        await here.rayctl("rollout", "status", "fleet/answer")
        print(here.answers(begin), here.answers(time.time() - 1.0))


async def steer(folder: Path) -> None:
    """Paused in the middle, scaled while paused, taken back."""
    async with rolling_fleet(folder) as here:
        async with here.step("begun and paused"):
            await here.apply(fleet_document("two"), wait=False)
            await here.until("one new cluster", lambda f: (f["status"].get("updatedReplicas") or 0) >= 1)
            await here.rayctl("rollout", "pause", "fleet/answer")
            await here.until("a new one ready", lambda f: (f["status"].get("availableReplicas") or 0) >= 4)
            await here.rayctl("rollout", "status", "fleet/answer", codes=(5,))
        async with here.step("scaled while paused"):
            scale = shutil.which("kubectl")
            if scale:
                await here.command("kubectl", "scale", "rayclusterfleet/answer", "--replicas=2")
            else:
                await here.rayctl("scale", "fleet/answer", "--replicas", "2")
            await here.until("two and a surge", lambda f: f["status"].get("replicas") == 3)
        async with here.step("undone and resumed"):
            await here.rayctl("rollout", "undo", "fleet/answer", "--no-wait")
            await here.rayctl("rollout", "resume", "fleet/answer", "--wait", "--timeout", "3m")
        async with here.step("scaled to three"):
            await here.rayctl("scale", "fleet/answer", "--replicas", "3", "--wait", "--timeout", "2m")
        await here.rayctl("rollout", "status", "fleet/answer")
        await here.rayctl("rollout", "history", "fleet/answer")


async def drain(folder: Path) -> None:
    """Scaled down while the one that goes answers a call that takes half a minute."""
    async with rolling_fleet(folder, called=False, replicas=2, drain_s=120) as here:
        pods = (await here.transport.request(Call.get(PODS.path("default"))))["items"]
        ip = next(pod["status"]["podIP"] for pod in pods if pod["metadata"]["name"].endswith("-1-head"))
        async with aiohttp.ClientSession() as session:
            begin = time.monotonic()
            call = asyncio.ensure_future(_text(session, f"http://{ip}:8000/?seconds=40"))
            await asyncio.sleep(1.0)  # it is under way
            await here.rayctl("scale", "fleet/answer", "--replicas", "1")
            await asyncio.sleep(3.0)
            await here.rayctl("rollout", "status", "fleet/answer", codes=(0, 5))
            await here.rayctl("explain", "fleet/answer", codes=(0, 4))
            said = await call
            print(f"== answered after {time.monotonic() - begin:.1f} s: {said}", flush=True)
        await here.until("one", lambda f: f["status"].get("replicas") == 1)
        print(f"== gone after {time.monotonic() - begin:.1f} s (limit 120)", flush=True)


async def _text(session: aiohttp.ClientSession, url: str) -> str:
    async with session.post(url) as answer:
        return f"{answer.status} {await answer.text()}"


async def broken(folder: Path) -> None:
    """The application of the new revision does not start: it is rolled back by itself."""
    async with rolling_fleet(folder, deadline_s=60, onFailure="RollBack") as here:
        async with here.step("a broken revision"):
            document = fleet_document("broken", deadline_s=60, onFailure="RollBack")
            await here.apply(document, wait=False)
            await asyncio.sleep(40.0)  # until Ray is up and only the application is not
            await here.rayctl("explain", "fleet/answer", codes=(0, 4))
            await here.rayctl("rollout", "status", "fleet/answer", "--wait", "--timeout", "3m", codes=(4,))
        await here.rayctl("events", "rcf/answer")


def main() -> None:
    """Run one of the parts."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is ended, whoever ends this
    parts = {"roll": roll, "steer": steer, "drain": drain, "broken": broken}
    part = parts[sys.argv[1] if len(sys.argv) > 1 else "roll"]
    with tempfile.TemporaryDirectory(prefix="rayctl-roll-") as name:
        asyncio.run(part(Path(name)))


if __name__ == "__main__":
    main()
