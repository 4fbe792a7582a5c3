"""How the controller looks: what it asks for, when, and whose clusters it finds; and that tokens are real ones."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest

from rayctl.cluster.auth import token_secret
from rayctl.cluster.controller import operator_of
from rayctl.core.execute import Ending, Executor
from rayctl.core.plan import FRESH_TOKEN, Create, Plan
from rayctl.core.record import plan_document
from rayctl.kube.kinds import PODS, RAY_CLUSTERS
from rayctl.kube.own_writes import OwnWrites
from rayctl.manifests import crd_documents
from rayctl.testkit.simulation import simulate
from rayctl.testkit.virtual_time import run_virtual
from rayctl.testkit.world import World
from tests.sim.clusters import NAME, all_workloads, cluster, group
from tests.unit.cluster.sample import spec_of

KUSTOMIZED = {"app.kubernetes.io/name": "kuberay"}


def operator(**more: Any) -> dict[str, Any]:
    labels = {"app.kubernetes.io/name": "kuberay-operator"}
    container = {"args": more.pop("args", [])}
    spec = {"replicas": more.pop("replicas", 1), "template": {"spec": {"containers": [container]}}}
    return {
        "metadata": {"name": "kuberay-operator", "namespace": "kuberay", "labels": more.pop("labels", labels)},
        "spec": spec,
    }


@pytest.mark.parametrize(
    ("deployment", "found"),
    [
        (operator(), True),
        (operator(replicas=0), False),
        (
            operator(labels={"app.kubernetes.io/name": "kuberay", "app.kubernetes.io/component": "kuberay-operator"}),
            True,
        ),
        (operator(labels={"app.kubernetes.io/name": "kuberay", "app.kubernetes.io/component": "apiserver"}), False),
        (operator(args=["--watch-namespace=a,default"]), True),
        (operator(args=["--watch-namespace=a,b"]), False),
        (operator(args=["--watch-namespace", "b"]), False),
        (operator(args=["--watch-namespace="]), True),
    ],
)
def test_where_kuberay_is_at_work(deployment: dict[str, Any], found: bool) -> None:
    assert operator_of(deployment, "default") == ("kuberay/kuberay-operator" if found else "")


def test_kuberay_beside_us_is_left_alone_and_takes_over_nothing() -> None:
    """The whole controller, beside the operator's Deployment: it writes nothing but its lease."""

    async def script(world: World) -> None:
        await world.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kuberay"}})
        template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "o", "image": "o"}]}}
        labels = {"app.kubernetes.io/name": "kuberay-operator"}
        metadata = {"name": "kuberay-operator", "namespace": "kuberay", "labels": labels}
        spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
        await world.create({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec})
        await asyncio.sleep(10)
        await world.create(cluster([group(1)]))
        await asyncio.sleep(100)

    def goal(world: World) -> str:
        found = world.object(RAY_CLUSTERS, NAME) or {}
        return "" if not world.objects(PODS) and not found.get("status") else "something was written"

    workload = all_workloads()[0]
    report = simulate(type(workload)("beside KubeRay", workload.definitions, workload.controllers, script, goal))
    assert report.violations == ()
    assert report.writes == 0


def test_a_token_is_drawn_when_it_is_written_and_is_in_no_plan() -> None:
    async def tokens() -> tuple[str, str]:
        world = await World(0, crd_documents("RayCluster")).start()
        found = []
        for name in ("one", "two"):
            plan = Plan((Create(token_secret(spec_of(name=name), name)),))
            assert FRESH_TOKEN in str(plan_document(plan))
            executor = Executor(world.transport("test"), "test", OwnWrites(), lambda event: None)
            assert (await executor.perform(("default", name), plan)).ending is Ending.DONE
            # The garbage collector removes it at once: its owner does not exist here.
            secrets = [item.new for item in world.history if item.plural == "secrets"]
            made = next(secret for secret in secrets if secret["metadata"]["name"] == name)
            found.append(base64.b64decode(made["data"]["auth_token"]).decode())
        return found[0], found[1]

    first, second = run_virtual(tokens())
    assert len(first) == len(second) == 64
    assert int(first, 16) != int(second, 16)
