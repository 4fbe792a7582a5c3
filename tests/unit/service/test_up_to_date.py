"""The condition UpToDate of a RayService, and what those are told who wait for a change of one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from rayctl.views.readiness import judge
from tests.unit.service.world import World, cluster_spec, running, serve_config

Change = Callable[[World], None]


def image(name: str) -> Change:
    return lambda world: world.edit("RayService", "chat", rayClusterConfig=cluster_spec(name))


def workers(number: int) -> Change:
    return lambda world: world.edit("RayService", "chat", rayClusterConfig=cluster_spec(workers=number))


def config(world: World) -> None:
    world.edit("RayService", "chat", serveConfigV2=serve_config(route_prefix="/new"))


def refused(world: World) -> None:
    world.rays[world.active].rejects = True
    config(world)


def invalid(world: World) -> None:
    world.edit("RayService", "chat", rayClusterConfig={"headGroupSpec": None})


def verdict(world: World) -> tuple[bool | None, bool]:
    found = judge(world.objects["RayService", "chat"])
    return found.ready, found.failed


def as_specified(world: World) -> bool:
    """Whether all traffic goes to a cluster of the newest image, size and Serve configuration, from the objects."""
    spec = world.objects["RayService", "chat"]["spec"]
    serving = set(world.pointers)
    cluster = world.get("RayCluster", world.pointers[1])
    if cluster is None or len(serving) != 1 or world.active not in serving:
        return False
    wanted = spec["rayClusterConfig"]

    def shape(found: dict[str, Any]) -> Any:
        images = found["headGroupSpec"]["template"]["spec"]["containers"][0]["image"]
        return images, [group.get("replicas") for group in found["workerGroupSpecs"]]

    config = yaml.safe_load(spec["serveConfigV2"])
    return shape(cluster["spec"]) == shape(wanted) and world.rays[world.active].config == config


@pytest.mark.parametrize("change", [image("ray:2"), workers(3), config])
def test_a_change_is_ready_when_it_is_rolled_out_and_not_before(change: Change) -> None:
    world = running()
    world.settle(seconds=5)
    assert verdict(world) == (True, False)
    before = len(world.puts)
    change(world)
    assert verdict(world) == (False, False), "the controller has not even seen it"
    early = []

    def looked(now: World) -> None:
        if verdict(now)[0] and not as_specified(now):
            early.append(now.status["conditions"])

    world.watchers.append(looked)
    world.settle(seconds=60)
    assert not early
    assert verdict(world) == (True, False)
    assert world.condition("UpToDate") == ("True", "RolledOut")
    assert len(world.puts) > before or change is not config


def test_a_switch_that_waits_is_not_ready_although_the_old_side_serves() -> None:
    world = running()
    world.auto = False
    image("ray:2")(world)
    world.settle(seconds=30)
    assert world.condition("Ready") == ("True", "NonZeroServeEndpoints")
    assert world.condition("UpToDate") == ("False", "Switching")
    found = judge(world.objects["RayService", "chat"])
    assert found.ready is False
    assert "waits: " in found.message


@pytest.mark.parametrize(("change", "reason"), [(refused, "ConfigRejected"), (invalid, "ValidationFailed")])
def test_what_will_not_come_has_failed(change: Change, reason: str) -> None:
    world = running()
    change(world)
    world.settle(seconds=20)
    assert world.condition("Ready") == ("True", "NonZeroServeEndpoints")
    assert world.condition("UpToDate") == ("False", reason)
    assert verdict(world) == (False, True)


def test_what_was_rolled_back_has_failed_until_it_is_taken_back() -> None:
    world = running(annotations={"rayctl.io/switchover-timeout": "1m"})
    world.auto = False
    image("ray:2")(world)
    world.settle(seconds=120)
    assert world.condition("UpToDate") == ("False", "RolledBack")
    assert verdict(world) == (False, True)
    image("ray:1")(world)
    world.settle(seconds=20)
    assert verdict(world) == (True, False)


def test_what_nobody_will_change_is_told_of_one_that_is_ready() -> None:
    world = running(upgradeStrategy={"type": "None"})
    image("ray:2")(world)
    world.settle(seconds=20)
    found = judge(world.objects["RayService", "chat"])
    assert (found.ready, found.failed) == (True, False)
    assert "not acted upon" in found.outdated


def test_what_breaks_later_does_not_take_it_back() -> None:
    world = running()
    world.settle(seconds=5)
    pod = next(pod for pod in world.all("Pod") if pod["metadata"]["labels"]["ray.io/node-type"] == "worker")
    world.auto = False
    world.remove("Pod", pod["metadata"]["name"])
    world.step()
    assert world.condition("UpToDate") == ("True", "RolledOut")


def status(**more: Any) -> dict[str, Any]:
    ready = {"type": "Ready", "status": "True", "reason": "NonZeroServeEndpoints", "message": "2 endpoints"}
    return {"observedGeneration": 2, "conditions": [ready, *more.pop("conditions", ())], **more}


UPGRADING = {"type": "UpgradeInProgress", "status": "True", "reason": "BothActivePendingClustersExist", "message": ""}


@pytest.mark.parametrize(("found", "reason"), [
    (status(), "NonZeroServeEndpoints"),
    (status(pendingServiceStatus={"rayClusterName": "chat-b"}), "UpgradeInProgress"),
    (status(conditions=[UPGRADING]), "UpgradeInProgress"),
    (status(observedGeneration=1), "NotObserved"),
])  # fmt: skip
def test_statuses_of_kuberay(found: dict[str, Any], reason: str) -> None:
    metadata = {"name": "chat", "namespace": "default", "generation": 2}
    verdict = judge({"apiVersion": "ray.io/v1", "kind": "RayService", "metadata": metadata, "status": found})
    assert (verdict.ready, verdict.reason) == (reason == "NonZeroServeEndpoints", reason)
