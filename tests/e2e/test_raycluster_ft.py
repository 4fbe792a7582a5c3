"""Ray clusters that keep their state: a detached actor outlives the head's pod, and nothing is left in the end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kubelet.node import MODES
from tests.ray.helpers import wait_until

REDIS = shutil.which("redis-server")
CLI = shutil.which("redis-cli")
pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(400),
    pytest.mark.skipif(not (REDIS and CLI), reason="needs redis-server and redis-cli"),
    pytest.mark.skipif("netns" not in MODES, reason="needs root and iproute2"),
]
RAYCTL = str(Path(sys.executable).parent / "rayctl")
PASSWORD = "only-for-this-test"  # noqa: S105
COUNT = """
import ray
ray.init(namespace="test", log_to_driver=False)
@ray.remote(num_cpus=0.5)
class Counter:
    def __init__(self): self.value = 0
    def add(self):
        self.value += 1
        return self.value
counter = Counter.options(name="counter", lifetime="detached", get_if_exists=True).remote()
print(ray.get(counter.add.remote(), timeout=60))
"""


def container(name: str) -> dict[str, Any]:
    limits = {"cpu": "1", "memory": "2Gi"}
    return {"name": name, "image": "rayproject/ray:2.60.0", "resources": {"limits": limits}}


def group(name: str, **more: Any) -> dict[str, Any]:
    pod = {"terminationGracePeriodSeconds": 5, "containers": [container(name)]}
    return {"rayStartParams": {}, "template": {"spec": pod}, **more}


def cluster(options: dict[str, Any]) -> dict[str, Any]:
    head, worker = group("ray-head"), group("ray-worker", groupName="w", replicas=1, minReplicas=1, maxReplicas=1)
    head["rayStartParams"] = {"num-cpus": "0"}
    spec = {"headGroupSpec": head, "workerGroupSpecs": [worker], "gcsFaultToleranceOptions": options}
    return {"apiVersion": "ray.io/v1", "kind": "RayCluster", "metadata": {"name": "ft"}, "spec": spec}


def redis() -> list[dict[str, Any]]:
    """Redis as a pod, with its Service and password."""
    command = [REDIS, "--bind", "0.0.0.0", "--protected-mode", "no", "--requirepass", PASSWORD, "--save", ""]  # noqa: S104
    container = {"name": "redis", "image": "redis:7", "command": command, "ports": [{"containerPort": 6379}]}
    service = {"selector": {"app": "redis"}, "ports": [{"port": 6379}]}
    labelled = {"name": "redis", "labels": {"app": "redis"}}
    return [
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "redis"}, "stringData": {"password": PASSWORD}},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "redis"}, "spec": service},
        {"apiVersion": "v1", "kind": "Pod", "metadata": labelled, "spec": {"containers": [container]}},
    ]


class Machine:
    """A server with kubelet and controllers, and the command line that talks to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        env = {key: value for key, value in os.environ.items() if not key.startswith("RAY")}
        self.env = env | {
            "RAYCTL_HOME": str(folder / "home"),
            "KUBECONFIG": str(folder / "kubeconfig"),
            "NO_COLOR": "1",
        }
        words = ["kube", "serve", "--port", "0", "--kubelet", "--controllers", "--network", "netns"]
        words += ["--capacity", "cpu=8,memory=16Gi", "--data-dir", str(folder / "d")]
        words += ["--write-kubeconfig", str(folder / "kubeconfig")]
        self.server = subprocess.Popen([RAYCTL, *words], env=self.env, stdout=subprocess.PIPE, text=True)
        assert self.server.stdout is not None
        assert any(line.startswith("Controllers run") for line in self.server.stdout)

    def rayctl(self, *words: str) -> str:
        done = subprocess.run([RAYCTL, *words], env=self.env, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        return done.stdout

    def pods(self) -> dict[str, Any]:
        found = json.loads(self.rayctl("get", "pods", "-o", "json"))
        return {pod["metadata"]["name"]: pod for pod in found["items"]}

    def count(self) -> int:
        """Add one to the counter, in a process of its own, through the head's service."""
        said = self.rayctl("cluster", "connect", "ft", "--write-token", str(self.folder / "token"))
        exports = [line.removeprefix("export ") for line in said.splitlines() if line.startswith("export ")]
        env = self.env | dict(line.split("=", 1) for line in exports)
        command = [sys.executable, "-c", COUNT]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, cwd=self.folder)
        assert done.returncode == 0, done.stderr[-3000:]
        return int(done.stdout)

    def claims(self) -> list[Path]:
        """The folders of volumes."""
        return list((self.folder / "d" / "node" / "claims").glob("*"))

    def apply(self, *documents: dict[str, Any]) -> None:
        manifest = self.folder / "all.json"
        manifest.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": documents}))
        self.rayctl("apply", "-f", str(manifest), "--wait", "--timeout", "3m")

    def lose_the_head(self) -> None:
        """Delete the head's pod, and wait for the next one."""
        old = self.pods()["ft-head"]["metadata"]["uid"]
        self.rayctl("delete", "pod", "ft-head")

        def healed() -> bool:
            head = self.pods().get("ft-head")
            return head is not None and head["metadata"]["uid"] != old and ready(head)

        wait_until(healed, 150)

    def keys(self) -> list[str]:
        """What Redis holds."""
        address = self.pods()["redis"]["status"]["podIP"]
        env = self.env | {"REDISCLI_AUTH": PASSWORD}
        command = [str(CLI), "-h", address, "--raw", "keys", "*"]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=True, timeout=20).stdout.split()


@pytest.fixture
def machine() -> Iterator[Machine]:
    with tempfile.TemporaryDirectory(prefix="rft-") as name:
        here = Machine(Path(name))
        try:
            yield here
        finally:
            here.server.send_signal(signal.SIGTERM)
            here.server.wait(60)


def ready(pod: dict[str, Any]) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod.get("status", {}).get("conditions", []))


def test_a_detached_actor_outlives_the_head(machine: Machine) -> None:
    secret = {"valueFrom": {"secretKeyRef": {"name": "redis", "key": "password"}}}
    machine.apply(*redis(), cluster({"redisAddress": "redis:6379", "redisPassword": secret}))
    assert machine.count() == 1
    assert machine.keys(), "the cluster's state is in Redis"
    machine.lose_the_head()
    assert machine.count() == 2, "a counter that had begun again would say 1"
    machine.rayctl("delete", "raycluster", "ft", "--wait", "--timeout", "2m")
    assert machine.keys() == []
    wait_until(lambda: set(machine.pods()) == {"redis"}, 30)


@pytest.mark.slow
def test_a_detached_actor_outlives_the_head_with_the_state_on_a_volume(machine: Machine) -> None:
    machine.apply(cluster({"backend": "rocksdb"}))
    assert machine.count() == 1
    assert len(machine.claims()) == 1
    machine.lose_the_head()
    assert machine.count() == 2, "a counter that had begun again would say 1"
    machine.rayctl("delete", "raycluster", "ft", "--wait", "--timeout", "2m")
    wait_until(lambda: not machine.pods() and not machine.claims(), 60)
