"""The fourteen failures that a scattered switchover has (each with its number), and what rayctl does instead."""

from __future__ import annotations

import contextlib
import copy

import pytest

from rayctl.core.plan import Delete, Patch, Plan, SetStatus
from rayctl.service.plan import plan_service
from rayctl.service.seen import see
from tests.unit.service.world import (
    ConflictError,
    CrashError,
    World,
    cluster_spec,
    ray_service,
    running,
)


def upgrading(ready: bool = False, **more: object) -> tuple[World, str, str]:
    """A service in the middle of a switch whose new side is there; its old and its new side."""
    world = running(**more)
    old = world.active
    world.auto = ready
    world.edit("RayService", "chat", rayClusterConfig=cluster_spec("ray:2"))
    for _ in range(4):
        world.step()
    assert world.pending
    assert world.pending != old
    return world, old, world.pending


def until_half(world: World) -> None:
    """Run until the head service alone has moved."""
    for _ in range(20):
        world.operate()
        plan = world.plan()
        moves = [a for a in plan.writes if isinstance(a, Patch) and a.ref.name == "chat-head-svc"]
        if moves:
            with contextlib.suppress(CrashError):
                world.execute(plan)
            return
        world.execute(plan)
    raise AssertionError("the head service never moved")


@pytest.mark.parametrize("broken", ["no head", "deaf", "crashed"])
def test_1_a_broken_new_side_does_not_freeze_the_status_of_the_old_one(broken: str) -> None:
    world, old, new = upgrading()
    if broken != "no head":
        world.ready(new)
        world.rays[new].reachable = broken != "deaf"
        world.rays[new].status = "DEPLOYING"
    before = world.status["numServeEndpoints"]
    world.edit("RayCluster", old, workerGroupSpecs=[{**cluster_spec()["workerGroupSpecs"][0], "replicas": 4}])
    world.rays[old].status = "UNHEALTHY"
    world.step()
    assert world.status["numServeEndpoints"] == 5 != before
    assert world.status["activeServiceStatus"]["applicationStatuses"]["app"]["status"] == "UNHEALTHY"
    assert world.condition("Ready") == ("True", "NonZeroServeEndpoints")


@pytest.mark.parametrize("new_side_holds", [True, False])
def test_2_a_crash_between_the_two_services_is_ended_by_the_next_write(new_side_holds: bool) -> None:
    world, old, new = upgrading(ready=True)
    until_half(world)
    assert world.pointers == (new, old)
    if not new_side_holds:
        world.rays[new].head_ready = world.rays[new].workers_ready = False
        world.operate()
    plan = world.plan()  # a new controller, which knows nothing but the objects
    assert len(plan.writes) == 1
    world.execute(plan)
    assert world.pointers == ((new, new) if new_side_holds else (old, old))


def test_2_also_on_the_way_back() -> None:
    world, old, new = upgrading(ready=True)
    until_half(world)
    world.execute(world.plan())
    assert world.pointers == (new, new)
    world.rays[new].head_ready = world.rays[new].workers_ready = False
    while world.pointers == (new, new):
        world.operate()
        world.execute(world.plan())
    assert world.record["phase"] == "Back"
    assert world.pointers == (new, old)
    plan = world.plan()
    assert len(plan.writes) == 1
    world.execute(plan)
    assert world.pointers == (old, old)


def test_3_a_new_side_that_fails_before_the_commit_is_left_and_later_edits_do_not_drop_the_serving_side() -> None:
    world, old, new = upgrading(ready=True)
    until_half(world)
    world.execute(world.plan())
    assert world.pointers == (new, new)
    assert world.active == old, "not committed yet"
    world.rays[new].head_ready = world.rays[new].workers_ready = False
    world.settle(seconds=5)
    assert world.pointers == (old, old)
    assert world.record["phase"] == "RolledBack"
    assert world.record["reason"] == "Unhealthy"
    world.edit("RayService", "chat", rayClusterConfig=cluster_spec("ray:3"))
    world.settle(seconds=3)
    assert world.get("RayCluster", old) is not None
    assert world.pointers[1] in (old, world.active)


def test_3_a_new_side_that_fails_after_the_commit_is_left_as_long_as_the_old_one_is_warm() -> None:
    world, old, new = upgrading(ready=True)
    for _ in range(6):
        world.step()
    assert (world.record["phase"], world.pointers) == ("Switched", (new, new))
    world.rays[new].status = "UNHEALTHY"
    world.settle(seconds=5)
    assert world.pointers == (old, old)
    assert world.active == old
    assert world.record["reason"] == "Unhealthy"
    world.settle(seconds=300, each=5)
    assert [c["metadata"]["name"] for c in world.all("RayCluster")] == [old], "what failed is not tried again"


def test_4_deadlines_and_what_was_submitted_survive_a_restart() -> None:
    world, _, new = upgrading(ready=True)
    world.settle(seconds=3)
    assert world.record["phase"] == "Switched"
    deadline = world.record["endedAt"]
    world.puts.clear()
    for ray in world.rays.values():
        ray.accepted = ""  # what the process remembers is gone with it
        ray.in_flight = None
    world.settle(seconds=56)
    assert world.record["endedAt"] == deadline
    assert world.puts == [], "nothing is submitted again that is there already"
    assert len(world.all("RayCluster")) == 2
    world.settle(seconds=5)
    assert [c["metadata"]["name"] for c in world.all("RayCluster")] == [new]


@pytest.mark.parametrize(("old", "fraction", "running_now", "moves"), [
    (4, "1.0", 1, False), (4, "1.0", 3, False), (4, "1.0", 4, True), (4, "0.5", 1, False), (4, "0.5", 2, True),
    (4, "0", 0, True),
])  # fmt: skip
def test_5_traffic_moves_only_to_a_side_that_can_take_it(
    old: int, fraction: str, running_now: int, moves: bool
) -> None:
    world = running(annotations={"rayctl.io/capacity-fraction": fraction})
    first = world.active
    world.rays[first].target = old
    world.edit("RayService", "chat", rayClusterConfig=cluster_spec("ray:2"))
    for _ in range(3):
        world.step()
    world.rays[world.pending].target, world.rays[world.pending].running = 4, running_now
    world.settle(seconds=10)
    assert (world.pointers[1] != first) is moves
    if not moves:
        message = world.plan().blocked_on
        assert message is not None
        assert message.code == "CapacityGate"
        assert "replicas" in message.message


def test_5_one_endpoint_is_not_enough_for_three() -> None:
    world = running(rayClusterConfig=cluster_spec(workers=3))
    world.auto = False
    world.edit("RayService", "chat", rayClusterConfig=cluster_spec("ray:2", workers=3))
    for _ in range(4):
        world.step()
    world.rays[world.pending].head_ready = True
    world.settle(seconds=10)
    blocker = world.plan().blocked_on
    assert blocker is not None
    assert blocker.code == "CapacityGate"
    assert "1 endpoints of the 4" in blocker.message
    world.ready(world.pending)
    world.settle(seconds=5)
    assert world.record["phase"] == "Switched"


@pytest.mark.parametrize(("policy", "phase"), [("rollback", "RolledBack"), ("pause", "Forward")])
def test_6_a_switch_has_a_deadline_and_a_policy(policy: str, phase: str) -> None:
    world, old, new = upgrading(annotations={"rayctl.io/switchover-timeout": "10m", "rayctl.io/on-timeout": policy})
    world.settle(seconds=590, each=10)
    assert world.record["phase"] == "Forward"
    world.settle(seconds=100, each=10)
    assert world.record["phase"] == phase
    assert world.pointers == (old, old)
    if policy == "rollback":
        assert world.condition("SwitchoverSucceeded") == ("False", "DeadlineExceeded")
        assert world.get("RayCluster", new) is None
        world.settle(seconds=3000, each=100)
        assert len(world.all("RayCluster")) == 1, "what failed is not tried again by itself"
        blocker = world.plan().blocked_on
        assert blocker is not None
        assert "retry" in blocker.hint
    else:
        blocker = world.plan().blocked_on
        assert blocker is not None
        assert "deadline has passed" in blocker.message


def test_6_a_clock_that_jumps_ends_no_switch_and_holds_none_up() -> None:
    world, old, new = upgrading()
    world.now += 3600
    world.settle(seconds=10)
    assert world.record["step"] == "overdue"
    world.ready(new)
    world.settle(seconds=3)
    assert world.record["phase"] == "Switched"
    world.now -= 3600
    world.settle(seconds=70)
    assert world.get("RayCluster", old) is None


def test_6_an_application_that_cannot_be_deployed_is_given_up_before_the_deadline() -> None:
    world, old, new = upgrading(ready=True)
    world.rays[new].status = "DEPLOY_FAILED"
    world.settle(seconds=59)
    assert world.record["phase"] == "Forward"
    world.settle(seconds=5)
    assert (world.record["phase"], world.record["reason"]) == ("RolledBack", "Failed")
    assert "because" in world.record["message"]
    assert world.active == old


@pytest.mark.parametrize(("flying", "gone_after"), [(0, 15), (7, 120), (None, 120)])
def test_7_the_old_side_stays_until_its_requests_are_answered_up_to_a_limit(
    flying: int | None, gone_after: int
) -> None:
    world, old, new = upgrading(ready=True, annotations={"rayctl.io/drain-timeout": "2m"})
    for _ in range(6):
        world.step()
    assert world.record["phase"] == "Switched"
    world.rays[old].in_flight = flying
    world.settle(seconds=gone_after - 2)
    assert world.get("RayCluster", old) is not None
    world.settle(seconds=5)
    assert world.get("RayCluster", old) is None
    assert world.active == new


def test_8_both_sides_are_reported_and_the_old_one_is_kept_up_during_an_upgrade() -> None:
    world, old, new = upgrading(ready=True)
    world.rays[new].status = "DEPLOYING"
    world.settle(seconds=15)
    for side, name, state in (("active", old, "RUNNING"), ("pending", new, "DEPLOYING")):
        told = world.status[f"{side}ServiceStatus"]
        assert told["rayClusterName"] == name
        assert told["applicationStatuses"]["app"]["status"] == state
    world.rays[old].config = None  # its head lost what it had
    world.puts.clear()
    world.settle(seconds=3)
    assert world.puts == [old]
    assert world.rays[old].config is not None


def test_9_taking_the_edit_back_returns_to_the_warm_side_without_a_third_cluster() -> None:
    world, old, new = upgrading()
    world.edit("RayService", "chat", rayClusterConfig=cluster_spec())
    created = [write for write in world.writes if write[0] == "create" and write[1] == "RayCluster"]
    world.settle(seconds=10)
    assert (world.record["phase"], world.record["reason"]) == ("RolledBack", "Reverted")
    assert [c["metadata"]["name"] for c in world.all("RayCluster")] == [old]
    assert [write for write in world.writes if write[0] == "create" and write[1] == "RayCluster"] == created
    assert new not in world.pointers


def test_9_also_after_the_traffic_has_moved_as_long_as_the_old_side_is_warm() -> None:
    world, old, new = upgrading(ready=True)
    for _ in range(6):
        world.step()
    assert world.pointers == (new, new)
    world.edit("RayService", "chat", rayClusterConfig=cluster_spec())
    world.settle(seconds=5)
    assert world.pointers == (old, old)
    assert world.active == old
    world.settle(seconds=100)
    assert [c["metadata"]["name"] for c in world.all("RayCluster")] == [old]


@pytest.mark.parametrize("entry", ["head", "serve"])
def test_10_services_that_lead_elsewhere_are_repaired_and_told(entry: str) -> None:
    world = running()
    service = world.get("Service", f"chat-{entry}-svc")
    assert service is not None
    service["spec"]["selector"]["ray.io/cluster"] = "somebody-else"
    plan = world.step()
    assert any(reason.code == "Repaired" for reason in plan.because)
    assert world.pointers == (world.active, world.active)


def test_11_replicas_and_their_limits_are_changed_in_place() -> None:
    world = running()
    group = cluster_spec()["workerGroupSpecs"][0]
    changed = cluster_spec()
    changed["workerGroupSpecs"] = [{**group, "replicas": 3, "minReplicas": 2, "maxReplicas": 7}]
    world.edit("RayService", "chat", rayClusterConfig=changed)
    world.settle(seconds=5)
    clusters = world.all("RayCluster")
    assert len(clusters) == 1
    live = clusters[0]["spec"]["workerGroupSpecs"][0]
    assert (live["replicas"], live["minReplicas"], live["maxReplicas"]) == (3, 2, 7)


@pytest.mark.parametrize("wrong", [
    {"serveConfigV2": "applications: ["}, {"upgradeStrategy": {"type": "Sideways"}},
    {"rayClusterDeletionDelaySeconds": -1}, {"rayClusterConfig": {"headGroupSpec": None}},
])  # fmt: skip
def test_12_an_invalid_edit_is_told_and_the_last_valid_one_is_kept_up(wrong: dict[str, object]) -> None:
    world = running()
    name = world.active
    world.edit("RayService", "chat", **wrong)
    world.settle(seconds=3)
    assert world.condition("ConfigValid") == ("False", "ValidationFailed")
    assert world.condition("Ready") == ("True", "NonZeroServeEndpoints")
    ready = next(item for item in world.status["conditions"] if item["type"] == "Ready")
    assert ready["observedGeneration"] == 1, "what is ready is the generation before"
    assert any(event.reason == "InvalidRayServiceSpec" for event in world.events)
    # Upkeep goes on: configuration, head label, number of endpoints, services.
    world.rays[name].config = None
    world.rays[name].proxy = "UNHEALTHY"
    service = world.get("Service", "chat-serve-svc")
    assert service is not None
    service["spec"]["selector"]["ray.io/cluster"] = "nowhere"
    world.settle(seconds=3)
    assert world.rays[name].config is not None
    assert world.pointers == (name, name)
    assert world.status["numServeEndpoints"] == 1
    right = {**ray_service()["spec"], "upgradeStrategy": {}, "rayClusterDeletionDelaySeconds": 0}
    world.edit("RayService", "chat", **right)
    world.settle(seconds=3)
    assert world.condition("ConfigValid") == ("True", "Valid")


@pytest.mark.parametrize("more", [{}, {"capacity-fraction": "much"}], ids=["spec", "annotation too"])
def test_12_the_rules_of_a_switch_hold_although_an_edit_is_invalid(more: dict[str, str]) -> None:
    """An invalid edit in the middle of a switch ends neither its policy nor the way back."""
    world, old, new = upgrading(annotations={"rayctl.io/switchover-timeout": "10m", "rayctl.io/on-timeout": "pause"})
    world.edit("RayService", "chat", serveConfigV2="applications: [")
    world.annotate("RayService", "chat", **more)
    world.settle(seconds=690, each=10)
    assert world.pointers == (old, old)
    assert world.record["phase"] == "Forward"
    world.ready(new)
    world.settle(seconds=5)
    assert world.record["phase"] == "Switched"


def test_13_without_spare_capacity_the_old_side_is_stopped_first() -> None:
    world = running(annotations={"rayctl.io/strategy": "StopThenStart"})
    old = world.active
    most = []
    world.watchers.append(
        lambda w: most.append(sum(1 for c in w.all("RayCluster") if not c["metadata"].get("deletionTimestamp")))
    )
    world.edit("RayService", "chat", rayClusterConfig=cluster_spec("ray:2"))
    world.settle(seconds=30)
    assert max(most) == 1
    assert world.record["phase"] == "Switched"
    assert world.active != old
    assert world.pointers == (world.active, world.active)


def test_13_and_when_the_new_one_fails_the_old_one_is_made_again() -> None:
    world = running(annotations={"rayctl.io/strategy": "StopThenStart"})
    old = world.active
    world.auto = False
    world.edit("RayService", "chat", rayClusterConfig=cluster_spec("ray:2"))
    world.settle(seconds=1700, each=100)
    assert world.get("RayCluster", old) is None
    world.auto = True
    world.settle(seconds=300, each=10)
    assert world.record["phase"] == "RolledBack"
    assert world.active == old
    assert world.pointers == (old, old)
    image = world.all("RayCluster")[0]["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["image"]
    assert image == "ray:1"


def test_14_a_settled_service_is_not_written_to() -> None:
    gradual = {
        "type": "NewClusterWithIncrementalUpgrade",
        "clusterUpgradeOptions": {"gatewayClassName": "x", "stepSizePercent": 25, "intervalSeconds": 5},
    }
    for more in ({}, {"upgradeStrategy": gradual, "rayClusterConfig": cluster_spec(enableInTreeAutoscaling=True)}):
        world = running(**more)
        world.settle(seconds=20)
        before = world.revision
        world.settle(seconds=300, each=2)
        assert world.revision == before


def test_a_new_side_that_cannot_be_asked_is_not_taken_for_a_broken_one() -> None:
    world, old, new = upgrading(ready=True)
    for _ in range(6):
        world.step()
    assert (world.record["phase"], world.pointers) == ("Switched", (new, new))
    world.rays[new].reachable = False
    world.settle(seconds=200)
    assert world.pointers == (new, new)
    assert world.get("RayCluster", old) is not None, "kept warm: it may be needed yet"
    world.rays[new].reachable = True
    world.settle(seconds=5)
    assert world.get("RayCluster", old) is None


def test_a_late_write_of_a_switch_that_was_taken_back_fails() -> None:
    """A first controller is about to move traffic and stalls; a second one moves it, and back; the first wakes up."""
    world, old, new = upgrading(ready=True)
    stalled = world.plan()
    while not any(isinstance(write, Patch) and write.ref.kind == "Service" for write in stalled.writes):
        world.execute(stalled)
        world.operate()
        stalled = world.plan()
    world.rays[new].head_ready = world.rays[new].workers_ready = False
    world.edit("RayService", "chat", rayClusterConfig=cluster_spec())
    world.settle(seconds=5)
    assert (world.record["phase"], world.pointers) == ("RolledBack", (old, old))
    with pytest.raises(ConflictError):
        world.execute(stalled)
    assert world.pointers == (old, old)


def test_a_side_that_a_later_switch_returns_to_is_safe_from_those_that_would_delete_it() -> None:
    """A first controller is about to delete the drained side and stalls; meanwhile the edit is taken back."""
    world, old, new = upgrading(ready=True)
    deletes: tuple[Delete, ...] = ()
    while not deletes:
        world.now += 5
        world.operate()
        plan = world.plan()
        deletes = tuple(write for write in plan.writes if isinstance(write, Delete) and write.ref.name == old)
        if not deletes:
            world.execute(plan)
    world.edit("RayService", "chat", rayClusterConfig=cluster_spec())
    for _ in range(6):
        world.step()
    assert world.pointers == (old, old)
    with pytest.raises(ConflictError):
        world.execute(Plan(deletes))
    assert world.active == old
    assert [c["metadata"]["name"] for c in world.all("RayCluster") if "deletionTimestamp" in c["metadata"]] in (
        [],
        [new],
    )


def test_a_cluster_that_no_switch_knows_of_goes_when_it_is_known_to_be_one() -> None:
    """It was created by a write whose switch was superseded before the answer came."""
    world = running()
    stray = copy.deepcopy(world.all("RayCluster")[0])
    stray["metadata"] = {**stray["metadata"], "name": "chat-stray"}
    world.add(stray)
    world.settle(seconds=50, each=5)
    assert len(world.all("RayCluster")) == 2
    world.settle(seconds=20, each=5)
    assert [c["metadata"]["name"] for c in world.all("RayCluster")] == [world.active]


def test_two_controllers_and_a_stale_status_never_win() -> None:
    world, _, _ = upgrading(ready=True)
    old_look, at = world.look(), world.now
    world.settle(seconds=5)
    assert world.record["phase"] == "Switched"
    stale = plan_service(see(old_look, lambda spec: ()), at)
    assert any(isinstance(action, (Patch, SetStatus)) for action in stale.writes)
    with pytest.raises(ConflictError):
        world.execute(stale)
    assert world.pointers == (world.active, world.active)
