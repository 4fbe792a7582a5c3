"""Ray clusters that keep their state: a detached actor outlives the head's pod, and nothing is left in the end."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.machine import Machine, cluster
from tests.kubelet.node import MODES
from tests.ray.helpers import wait_until

REDIS = shutil.which("redis-server")
CLI = shutil.which("redis-cli")
pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(400),
    pytest.mark.skipif("netns" not in MODES, reason="needs root and iproute2"),
]
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


def keys(machine: Machine) -> list[str]:
    """What Redis holds."""
    address = machine.pods()["redis"]["status"]["podIP"]
    command = [str(CLI), "-h", address, "--raw", "keys", "*"]
    env = machine.env | {"REDISCLI_AUTH": PASSWORD}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=True, timeout=20).stdout.split()


def claims(machine: Machine) -> list[Path]:
    """The folders of volumes."""
    return list((machine.folder / "d" / "node" / "claims").glob("*"))


def count(machine: Machine) -> int:
    """Add one to the counter through the head's service."""
    return int(machine.run("ft", COUNT))


@pytest.mark.skipif(not (REDIS and CLI), reason="needs redis-server and redis-cli")
def test_a_detached_actor_outlives_the_head(machine: Machine) -> None:
    secret = {"valueFrom": {"secretKeyRef": {"name": "redis", "key": "password"}}}
    options = {"redisAddress": "redis:6379", "redisPassword": secret}
    machine.apply(*redis(), cluster("ft", gcsFaultToleranceOptions=options))
    assert count(machine) == 1
    assert keys(machine), "the cluster's state is in Redis"
    machine.lose_the_head("ft")
    assert count(machine) == 2, "a counter that had begun again would say 1"
    machine.rayctl("delete", "raycluster", "ft", "--wait", "--timeout", "2m")
    assert keys(machine) == []
    wait_until(lambda: set(machine.pods()) == {"redis"}, 30)


@pytest.mark.slow
def test_a_detached_actor_outlives_the_head_with_the_state_on_a_volume(machine: Machine) -> None:
    machine.apply(cluster("ft", gcsFaultToleranceOptions={"backend": "rocksdb"}))
    assert count(machine) == 1
    assert len(claims(machine)) == 1
    machine.lose_the_head("ft")
    assert count(machine) == 2, "a counter that had begun again would say 1"
    machine.rayctl("delete", "raycluster", "ft", "--wait", "--timeout", "2m")
    wait_until(lambda: not machine.pods() and not claims(machine), 60)
