"""`rayctl adopt` beside an operator of KubeRay, with rayctl's controllers running: taken over, and given back."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from rayctl.cli.context import Settings
from rayctl.cli.kubernetes import Kube
from rayctl.cli.main import cli
from rayctl.client.kube.connection import KubeConnection
from rayctl.client.kube.locate import Where, locate
from rayctl.cluster.options import ClusterOptions
from rayctl.kube.calls import MERGE, Call
from rayctl.kube.kinds import DEPLOYMENTS, LEASES, PODS, RAY_CLUSTERS, kind_of
from rayctl.selfhost.controllers import install_definitions
from tests.contract.servers import serving
from tests.unit.cluster.sample import World, cluster, made_by_kuberay

OPERATOR: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "kuberay-operator", "labels": {"app.kubernetes.io/name": "kuberay-operator"}},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"app.kubernetes.io/name": "kuberay-operator"}},
        "template": {
            "metadata": {"labels": {"app.kubernetes.io/name": "kuberay-operator"}},
            "spec": {"containers": [{"name": "operator", "image": "operator:1"}]},
        },
    },
}


class Place:
    """A server with definitions, an operator, and one cluster that it has made."""

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig
        self.connection = KubeConnection(locate(Where(str(kubeconfig))))
        self.kube = Kube(Settings(), lambda: self.connection)

    def run(self, *words: str, code: int = 0) -> Result:
        result = CliRunner().invoke(cli, [words[0], "--kubeconfig", str(self.kubeconfig), *words[1:]])
        assert result.exit_code == code, (result.stdout, result.stderr, result.exception)
        return result

    def make(self, document: dict[str, Any]) -> dict[str, Any]:
        resource = kind_of(document["apiVersion"], document["kind"])
        made = self.connection.request(Call("POST", resource.path("default"), body=document))
        return {"apiVersion": document["apiVersion"], "kind": document["kind"], **made}

    def cluster_of_kuberay(self) -> list[str]:
        """Make a RayCluster, and its objects as the operator makes them; returns the uids of its pods."""
        wanted = cluster()
        wanted["metadata"] = {"name": wanted["metadata"]["name"]}
        world = World(self.make(wanted), ClusterOptions(token_by_default=False))
        world.settle()
        made_by_kuberay(world)
        for document in (*world.children.values(), *world.pods.values()):
            status = document.pop("status", None)
            for name in ("uid", "creationTimestamp"):
                document["metadata"].pop(name)
            self.make(document)
            if status is not None:
                path = PODS.path("default", document["metadata"]["name"], "status")
                self.connection.request(Call("PATCH", path, body={"status": status}, content_type=MERGE))
        return self.pods()

    def until_led(self, *controllers: str) -> None:
        """Wait until these controllers have their leases: they say that they run before they stand for election."""
        ends = time.monotonic() + 30
        while True:
            leases = self.connection.request(Call.get(LEASES.path("rayctl-system")))["items"]
            if set(controllers) <= {lease["metadata"]["name"] for lease in leases if lease["spec"]["holderIdentity"]}:
                return
            assert time.monotonic() < ends, leases
            time.sleep(0.05)  # another process' election: there is nothing of it in this one to wait on

    def pods(self) -> list[str]:
        found = self.connection.request(Call.get(PODS.path("default")))["items"]
        return sorted(pod["metadata"]["uid"] for pod in found)

    def operator(self) -> dict[str, Any]:
        return dict(self.connection.request(Call.get(DEPLOYMENTS.path("default", "kuberay-operator"))))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with serving(tmp_path, durability="memory") as running:
        found = Place(running.kubeconfig)
        found.kube.run(lambda transport: install_definitions(transport, "rayctl-system"))
        found.make(OPERATOR)
        yield found
        found.connection.close()


@pytest.fixture
def controllers(place: Place) -> Iterator[None]:
    """The controllers as a process of their own, until the test ends."""
    command = [sys.executable, "-c", "from rayctl.cli.main import main; main()", "kube", "controllers"]
    process = subprocess.Popen(
        [*command, "--kubeconfig", str(place.kubeconfig)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("Controllers run as")
    place.until_led("raycluster-controller", "rayservice-controller")
    yield
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)


def test_nothing_is_stopped_while_nobody_would_go_on(place: Place) -> None:
    place.cluster_of_kuberay()
    told = json.loads(place.run("adopt", "--dry-run", "-o", "json").stdout)
    assert told["operator"] == "default/kuberay-operator"
    assert [(item["name"], item["state"], item["keeps"]) for item in told["objects"]] == [("sample", "kept", 2)]
    failed = place.run("adopt", "--yes", code=8)
    assert "nobody would go on, so nothing was changed" in failed.stderr
    assert place.operator()["spec"]["replicas"] == 2


def test_taken_over_and_given_back(place: Place, controllers: None) -> None:
    pods = place.cluster_of_kuberay()
    done = place.run("adopt", "--yes", "--timeout", "60s")
    assert "RayClusters: 1, RayServices: 0; 2 of 2 pods are the same." in done.stdout
    assert place.pods() == pods
    operator = place.operator()
    assert operator["spec"]["replicas"] == 0
    live = place.connection.request(Call.get(RAY_CLUSTERS.path("default", "sample")))
    assert live["metadata"]["annotations"]["rayctl.io/started-without-token"] == "true"
    assert {item["type"]: item["status"] for item in live["status"]["conditions"]}["RayClusterProvisioned"] == "True"
    assert "No operator of KubeRay runs here" in place.run("adopt", "--yes", code=3).stderr

    done = place.run("adopt", "--give-back", "--yes", "--no-wait")
    assert "The operator has 2 replicas again" in done.stdout
    operator = place.operator()
    assert operator["spec"]["replicas"] == 2
    assert "rayctl.io/replicas-before-adoption" not in (operator["metadata"].get("annotations") or {})
    assert place.pods() == pods


def test_what_would_be_touched_is_left_to_the_operator(place: Place) -> None:
    place.cluster_of_kuberay()
    worker = next(
        pod["metadata"]["name"]
        for pod in place.connection.request(Call.get(PODS.path("default")))["items"]
        if pod["metadata"]["labels"]["ray.io/node-type"] == "worker"
    )
    path = PODS.path("default", worker)
    place.connection.request(Call("DELETE", path, body={"gracePeriodSeconds": 0}))
    told = place.run("adopt", "--dry-run", code=10).stdout
    assert "is created" in told
    assert "would not go on as they are" in place.run("adopt", "--yes", code=6).stderr
    assert place.operator()["spec"]["replicas"] == 2
