"""Real Ray in pods: clusters side by side, each with its own token; a worker that is killed; nothing that stays."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import psutil
import pytest

from rayctl.kube.kinds import SERVICES
from tests.kubelet.node import MODES, Node, is_ready, marked, node, status_of
from tests.kubelet.ray_pods import make_cluster

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]


async def address_of(here: Node, cluster: str) -> str:
    service = await here.get(f"{cluster}-head-svc", SERVICES)
    head = await here.get(f"{cluster}-head")
    assert service is not None
    assert head is not None
    return str((service["metadata"].get("annotations") or {}).get("rayctl.io/address") or head["status"]["podIP"])


def run_task(address: str, token: str) -> str:
    """Return what a task on the cluster's worker says."""
    env = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token, "RAY_CLIENT_RECONNECT_GRACE_PERIOD": "0"}
    command = [sys.executable, str(Path(__file__).parent / "client.py"), f"ray://{address}:10001"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()


def refused(address: str, token: str) -> int:
    """Return the code with which the dashboard answers somebody with this token; 0 if it lets them in."""
    asked = urllib.request.Request(f"http://{address}:8265/api/jobs/", headers={"Authorization": f"Bearer {token}"})
    try:
        urllib.request.urlopen(asked, timeout=20).read()  # noqa: S310
    except urllib.error.HTTPError as error:
        return error.code
    return 0


async def delete_all(here: Node, *names: str) -> None:
    pods: list[dict[str, Any]] = []
    for name in names:
        pod = await here.get(name)
        assert pod is not None
        pods.append(pod)
    await asyncio.gather(*(here.delete(name) for name in names))
    for pod in pods:
        assert marked(pod["metadata"]["uid"]) == []
        assert not (here.folder / "pods" / pod["metadata"]["uid"]).exists()


async def test_two_clusters_on_one_network(tmp_path: Path) -> None:
    async with node(tmp_path, "ports", timing={}) as here:
        here.start_proxy()
        tokens = {cluster: await make_cluster(here, cluster) for cluster in ("one", "two")}
        pods = [f"{cluster}-{part}" for cluster in tokens for part in ("head", "worker")]
        for name in pods:
            await here.until(name, is_ready, 200)
        addresses = {cluster: await address_of(here, cluster) for cluster in tokens}
        assert refused(addresses["one"], tokens["one"]) == 0
        assert refused(addresses["one"], tokens["two"]) in (401, 403)
        for cluster, token in tokens.items():
            said = await asyncio.to_thread(run_task, addresses[cluster], token)
            assert said == f"{cluster} {cluster}-worker"
        for name in pods:
            listening = await asyncio.to_thread(listeners, await here.get(name))
            assert len(listening) > 3
            assert all(ip_address(address).is_loopback for address, _ in listening), (name, listening)
        await delete_all(here, *pods)
        assert sockets_below(here) == []


@pytest.mark.slow
@pytest.mark.skipif("netns" not in MODES, reason="needs root and iproute2")
async def test_a_worker_is_killed_and_comes_back(tmp_path: Path) -> None:
    async with node(tmp_path, "netns", timing={}) as here:
        token = await make_cluster(here, "one")
        for name in ("one-head", "one-worker"):
            pod = await here.until(name, is_ready, 200)
        supervisor = next(pid for pid in marked(pod["metadata"]["uid"]) if b"--resources" in command_of(pid))
        os.kill(supervisor, signal.SIGKILL)
        await here.until("one-worker", lambda pod: status_of(pod, "ray-worker")["restartCount"] == 1)
        await here.until("one-worker", is_ready, 100)
        said = await asyncio.to_thread(run_task, await address_of(here, "one"), token)
        assert said == "one one-worker"
        await delete_all(here, "one-head", "one-worker")


def listeners(pod: dict[str, Any] | None) -> set[tuple[str, int]]:
    """Return address and port of all at which a pod's processes listen."""
    assert pod is not None
    found: set[tuple[str, int]] = set()
    known = [psutil.Process(pid) for pid in marked(pod["metadata"]["uid"])]
    for process in {*known, *(child for each in known for child in each.children(recursive=True))}:
        with contextlib.suppress(psutil.NoSuchProcess):
            connections = process.net_connections("inet")
            open_ones = [seen.laddr for seen in connections if seen.status == psutil.CONN_LISTEN]
            found |= {(address.ip.removeprefix("::ffff:"), address.port) for address in open_ones}
    return found


def sockets_below(here: Node) -> list[str]:
    short = (here.folder / "short").read_text()
    lines = Path("/proc/net/unix").read_text().splitlines()
    return [line for line in lines if short in line and not line.endswith("kubelet.sock")]


def command_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()
