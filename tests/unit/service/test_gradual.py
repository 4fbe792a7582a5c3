"""Traffic in steps: monotone, spaced, within the surge; there and back; by weights on the service and on routes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rayctl.service.gradual import Gradual, next_split
from rayctl.service.record import Split
from tests.unit.service.world import World, cluster_spec, running


def gradual(surge: int, step: int, interval: int) -> dict[str, Any]:
    options = {
        "maxSurgePercent": surge,
        "stepSizePercent": step,
        "intervalSeconds": interval,
        "gatewayClassName": "istio",
    }
    return {"type": "NewClusterWithIncrementalUpgrade", "clusterUpgradeOptions": options}


def upgrading(surge: int = 50, step: int = 25, interval: int = 5, gateway_api: bool = False) -> World:
    config = cluster_spec(enableInTreeAutoscaling=True)
    world = running(rayClusterConfig=config, upgradeStrategy=gradual(surge, step, interval))
    world.gateway_api = gateway_api
    world.settle(seconds=3)
    world.edit("RayService", "chat", rayClusterConfig=cluster_spec("ray:2", enableInTreeAutoscaling=True))
    return world


@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize(("surge", "step", "interval"), [(100, 1, 100), (25, 5, 50), (5, 10, 25), (100, 100, 1)])
def test_42_the_sequence_of_moves(surge: int, step: int, interval: int, back: bool) -> None:
    step = min(step, surge)
    rules = Gradual(step, interval, surge)
    split, now = (Split(0, 100, 100, 0.0), 1000.0) if back else (Split(100, 0, 0, 0.0), 1000.0)
    traffic: list[tuple[float, int]] = [(now, split.traffic)]
    for _ in range(2000):
        found = next_split(split, rules, now, back)
        if found.through:
            break
        if found.wait_until is not None:
            assert found.wait_until > now
            now = found.wait_until
            continue
        before, split = split, found.split
        assert split != before
        assert split.source_capacity + split.target_capacity <= 100 + surge
        assert split.traffic <= split.target_capacity
        assert 100 - split.traffic <= split.source_capacity
        if split.traffic != before.traffic:
            assert abs(split.traffic - before.traffic) <= step
            assert now - traffic[-1][0] >= interval or len(traffic) == 1
            assert (split.traffic > before.traffic) is not back
            traffic.append((now, split.traffic))
    else:
        raise AssertionError("never through")
    assert (split.source_capacity, split.target_capacity, split.traffic) == ((100, 0, 0) if back else (0, 100, 100))


@pytest.mark.parametrize("gateway_api", [False, True])
def test_42_an_upgrade_in_steps(gateway_api: bool) -> None:
    world = upgrading(gateway_api=gateway_api)
    old = world.active
    shares: list[int] = []

    def note(w: World) -> None:
        service = w.get("Service", "chat-serve-svc")
        assert service is not None
        weights = json.loads((service["metadata"].get("annotations") or {}).get("rayctl.io/weights", "{}"))
        new = [name for name in weights if name != old]
        if new and (not shares or shares[-1] != weights[new[0]]):
            shares.append(weights[new[0]])
        route = w.get("HTTPRoute", "chat-httproute")
        if route is not None and new:
            # The stable service still leads to the old side, and is right at every moment.
            assert w.pointers[1] in (old, new[0])

    world.watchers.append(note)
    world.settle(seconds=60)
    assert shares == sorted(shares)
    assert shares[-1] == 100
    assert set(shares) <= {0, 25, 50, 75, 100}
    assert world.record["phase"] == "Switched"
    assert world.active != old
    service = world.get("Service", "chat-serve-svc")
    assert service is not None
    assert "rayctl.io/weights" not in service["metadata"]["annotations"]
    route = world.get("HTTPRoute", "chat-httproute")
    assert (route is not None) is gateway_api
    if route is not None:
        backends = route["spec"]["rules"][0]["backendRefs"]
        assert [(item["name"], item["weight"]) for item in backends] == [(f"{world.active}-serve-svc", 100)]
    assert (world.rays[world.active].config or {}).get("target_capacity") is None
    world.settle(seconds=100)
    assert len(world.all("RayCluster")) == 1


def test_42_the_status_says_how_traffic_is_divided() -> None:
    world = upgrading(interval=20)
    for _ in range(60):
        world.settle(seconds=1)
        if world.status["pendingServiceStatus"].get("trafficRoutedPercent") == 50:
            break
    active, pending = world.status["activeServiceStatus"], world.status["pendingServiceStatus"]
    assert (active["trafficRoutedPercent"], pending["trafficRoutedPercent"]) == (50, 50)
    assert active["targetCapacity"] + pending["targetCapacity"] <= 150
    assert pending["lastTrafficMigratedTime"]


@pytest.mark.parametrize("when", [0, 25, 50, 75])
def test_35_an_upgrade_that_is_taken_back_returns_in_steps(when: int) -> None:
    world = upgrading()
    old = world.active
    while (world.record.get("split") or {}).get("traffic", 0) < when or not world.pending:
        world.settle(seconds=1)
    world.edit("RayService", "chat", rayClusterConfig=cluster_spec(enableInTreeAutoscaling=True))
    shares = []
    for _ in range(40):
        world.settle(seconds=1)
        shares.append((world.record.get("split") or {}).get("traffic", 0))
        if world.record["phase"] == "Back":
            assert world.condition("RollbackInProgress") == ("True", "DesiredClusterSpecChanged")
    assert shares == sorted(shares, reverse=True)
    assert world.record["phase"] == "RolledBack"
    assert world.condition("RollbackInProgress") == ("", "")
    assert world.active == old
    assert world.pointers == (old, old)
    assert (world.rays[old].config or {}).get("target_capacity") is None
    world.settle(seconds=70)
    assert len(world.all("RayCluster")) == 1


def test_35_wanted_again_while_it_returns_it_goes_on() -> None:
    world = upgrading()
    while (world.record.get("split") or {}).get("traffic", 0) < 50:
        world.settle(seconds=1)
    new = world.pending
    world.edit("RayService", "chat", rayClusterConfig=cluster_spec(enableInTreeAutoscaling=True))
    world.settle(seconds=3)
    assert world.record["phase"] == "Back"
    world.edit("RayService", "chat", rayClusterConfig=cluster_spec("ray:2", enableInTreeAutoscaling=True))
    world.settle(seconds=60)
    assert world.record["phase"] == "Switched"
    assert world.active == new


def test_35_a_third_specification_first_returns_and_then_goes_on() -> None:
    world = upgrading()
    old = world.active
    while (world.record.get("split") or {}).get("traffic", 0) < 50:
        world.settle(seconds=1)
    second = world.pending
    world.edit("RayService", "chat", rayClusterConfig=cluster_spec("ray:3", enableInTreeAutoscaling=True))
    world.settle(seconds=240)
    assert world.record["phase"] == "Switched"
    assert world.active not in (old, second)
    history = [(item["to"], item["outcome"]) for item in world.record["history"]]
    assert (second, "RolledBack") in history


def test_a_new_side_that_fails_half_way_loses_its_traffic_at_once() -> None:
    world = upgrading(interval=30)
    old = world.active
    while (world.record.get("split") or {}).get("traffic", 0) < 25:
        world.settle(seconds=1)
    new = world.pending
    world.rays[new].status = "DEPLOY_FAILED"
    world.rays[new].config_at = world.now - 100
    world.settle(seconds=5)
    assert world.record["phase"] == "RolledBack"
    assert world.record["reason"] == "Failed"
    assert world.pointers == (old, old)


@pytest.mark.parametrize("wrong", [
    {"stepSizePercent": 0}, {"stepSizePercent": 60}, {"maxSurgePercent": 0}, {"maxSurgePercent": 101},
    {"intervalSeconds": 0}, {"gatewayClassName": ""}, {"stepSizePercent": "25"},
])  # fmt: skip
def test_21_options_that_would_never_get_anywhere_are_refused(wrong: dict[str, Any]) -> None:
    world = running()
    strategy = gradual(50, 25, 5)
    strategy["clusterUpgradeOptions"] |= wrong
    config = cluster_spec("ray:2", enableInTreeAutoscaling=True)
    world.edit("RayService", "chat", rayClusterConfig=config, upgradeStrategy=strategy)
    world.settle(seconds=3)
    assert world.condition("ConfigValid") == ("False", "ValidationFailed")
    assert len(world.all("RayCluster")) == 1


def test_21_without_an_autoscaler_it_is_refused() -> None:
    world = running()
    world.edit("RayService", "chat", rayClusterConfig=cluster_spec("ray:2"), upgradeStrategy=gradual(50, 25, 5))
    world.settle(seconds=3)
    assert world.condition("ConfigValid") == ("False", "ValidationFailed")


def test_a_weight_by_hand_is_held_and_let_go() -> None:
    world = running(annotations={"rayctl.io/promotion": "manual"})
    old = world.active
    world.edit("RayService", "chat", rayClusterConfig=cluster_spec("ray:2"))
    world.settle(seconds=5)
    new = world.pending
    blocker = world.plan().blocked_on
    assert blocker is not None
    assert blocker.code == "ManualGate"
    world.annotate("RayService", "chat", weight=f"{new}=30")
    world.settle(seconds=30)
    assert world.weights() == {old: 70, new: 30}
    assert world.pointers == (old, old)
    world.annotate("RayService", "chat", weight=f"{new}=10")
    world.settle(seconds=3)
    assert world.weights() == {old: 90, new: 10}
    world.annotate("RayService", "chat", abort=new)
    world.settle(seconds=5)
    assert world.record["phase"] == "RolledBack"
    assert world.weights() in ({}, {old: 100, new: 0})
    assert world.pointers == (old, old)


def test_that_a_person_is_waited_for_is_told_at_once_and_once() -> None:
    world = running(annotations={"rayctl.io/promotion": "manual"})
    world.edit("RayService", "chat", rayClusterConfig=cluster_spec("ray:2"))
    world.settle(seconds=2)
    (told,) = [item["message"] for item in world.status["conditions"] if item["type"] == "SwitchoverSucceeded"]
    assert "is ready and waits" in told
    before = world.revision
    world.settle(seconds=30)
    assert world.revision == before


@pytest.mark.parametrize("why", ["Reverted", "Unhealthy"])
def test_the_way_back_to_a_side_that_is_warm_waits_for_nobody(why: str) -> None:
    world = running(annotations={"rayctl.io/promotion": "manual"})
    old = world.active
    world.edit("RayService", "chat", rayClusterConfig=cluster_spec("ray:2"))
    world.settle(seconds=3)
    new = world.pending
    world.annotate("RayService", "chat", promote=new)
    world.settle(seconds=3)
    assert (world.record["phase"], world.pointers) == ("Switched", (new, new))
    if why == "Reverted":
        world.edit("RayService", "chat", rayClusterConfig=cluster_spec())
    else:
        world.rays[new].status = "UNHEALTHY"
    world.settle(seconds=5)
    assert world.pointers == (old, old)
    assert world.active == old
