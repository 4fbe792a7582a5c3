"""Services that KubeRay has made, in rayctl's hands: the cluster that serves goes on serving."""

from __future__ import annotations

from rayctl.service.handover import KUBERAY_HASH, give_back_service, take_over_service
from rayctl.service.seen import ServiceSeen, see
from tests.unit.service.world import World, cluster_spec, running


def from_kuberay() -> World:
    """Return a service in KubeRay's hands: none of rayctl's marks, and its own hash on the cluster."""
    world = running()
    del world.objects["RayService", "chat"]["status"]["switchover"]
    for (kind, name), item in list(world.objects.items()):
        if kind == "ConfigMap":
            del world.objects[kind, name]
            continue
        annotations = item["metadata"].get("annotations") or {}
        item["metadata"]["annotations"] = {key: text for key, text in annotations.items() if "rayctl.io" not in key}
        if kind == "RayCluster":
            item["metadata"]["annotations"][KUBERAY_HASH] = "made-in-go"
    return world


def unasked(world: World) -> ServiceSeen:
    """What is seen from where the clusters' Serve APIs cannot be reached."""
    found = world.look()
    found["serve"] = {name: {"ok": False, "error": "was not asked"} for name in found["serve"]}
    found["in_flight"] = {}
    return see(found, lambda spec: ())


def test_a_service_goes_on_with_its_cluster() -> None:
    world = from_kuberay()
    active, clusters = world.active, len(world.all("RayCluster"))
    found = take_over_service(unasked(world), world.now)
    assert (found.state, found.changes, found.keeps) == ("kept", (), clusters)
    world.settle(seconds=60)
    assert world.active == active
    assert world.pointers == (active, active)
    assert len(world.all("RayCluster")) == clusters
    assert world.condition("Ready")[0] == "True"


def test_a_specification_that_no_cluster_fits_is_a_switch_and_said_before() -> None:
    world = from_kuberay()
    world.edit("RayService", "chat", rayClusterConfig=cluster_spec(image="ray:2"))
    found = take_over_service(unasked(world), world.now)
    assert found.state == "changes"
    assert "a switch to a new cluster begins" in found.changes[0]


def test_a_service_without_a_cluster_gets_one() -> None:
    world = World()
    world.add({**running().objects["RayService", "chat"], "status": {}})
    found = take_over_service(unasked(world), world.now)
    assert (found.state, found.changes) == ("changes", ("its first cluster is made",))


def test_an_invalid_service_is_not_taken_silently() -> None:
    world = from_kuberay()
    world.edit("RayService", "chat", serveConfigV2="applications: [")
    found = take_over_service(unasked(world), world.now)
    assert found.state == "refused"
    assert "serveConfigV2" in found.message


def test_given_back_its_own_cluster_is_kept_and_rayctls_is_replaced() -> None:
    world = from_kuberay()
    assert give_back_service(unasked(world)).state == "kept"
    found = give_back_service(unasked(running()))
    assert (found.state, found.keeps) == ("changes", 0)
    assert "KubeRay will make a new cluster" in found.changes[0]
