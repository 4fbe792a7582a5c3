"""Recreate, canary, blue/green, partitions, ceilings, draining: whole rollouts on an imagined world."""

import pytest

from rayctl.fleet.options import parse_options
from tests.unit.fleet.worlds import FleetWorld, rolling
from tests.unit.replicaset.worlds import BEGAN, NS, template

# Recreate --------------------------------------------------------------------------------------------


def test_recreate_waits_until_old_clusters_are_gone():
    # FL-6: AIBrix overlaps old and new.
    world = FleetWorld(replicas=2, strategy={"type": "Recreate"}, lingering=True)
    world.roll_out()
    world.set_image("ray:2.60")
    for _ in range(5):
        plan = world.settle()
        assert world.images() == {"ray:2.59": 2}
    assert plan.blocked_on.code == "WaitingForDeletion"
    world.let_go()
    world.roll_out()
    assert world.images() == {"ray:2.60": 2}


def test_recreate_waits_for_pods_that_outlive_their_cluster():
    world = FleetWorld(replicas=1, strategy={"type": "Recreate"})
    world.roll_out()
    old = world.clusters[0]["metadata"]["name"]
    world.pods = [{"cluster": old, "name": f"{old}-head"}]
    world.set_image("ray:2.60")
    plan = world.settle()
    assert world.clusters == []
    assert plan.blocked_on.code == "WaitingForPods"
    assert f"{old}-head" in plan.blocked_on.message
    world.pods = []
    world.roll_out()
    assert world.images() == {"ray:2.60": 1}


def test_recreate_waits_for_broken_clusters_too():
    world = FleetWorld(replicas=2, strategy={"type": "Recreate"}, lingering=True)
    world.settle()  # never ready
    world.set_image("ray:2.60")
    world.settle()
    assert world.images() == {"ray:2.59": 2}


# Canary ----------------------------------------------------------------------------------------------

STEPS = [{"setWeight": 20}, {"pause": {"seconds": 60}}, {"setReplicas": 3}, {"pause": {}}]


def test_undoing_a_canary_in_the_middle_takes_no_good_cluster_away():
    world = canary_world([{"setReplicas": 1}, {"pause": {}}])
    world.roll_out()
    assert world.images() == {"ray:2.59": 4, "ray:2.60": 1}
    world.annotate(**{"deprecated.deployment.rollback.to": "1"})
    least = 5
    for _ in range(20):
        world.turn()
        least = min(least, world.images().get("ray:2.59", 0))
        world.make_ready()
    assert least == 4
    assert world.images() == {"ray:2.59": 5}
    assert world.conditions["Ready"]["status"] == "True"


def test_a_smaller_share_waits_until_old_ones_are_back():
    world = canary_world([{"setReplicas": 4}, {"pause": {}}])
    world.roll_out()
    assert world.images() == {"ray:2.59": 1, "ray:2.60": 4}
    world.change(rollout={"steps": [{"setReplicas": 1}, {"pause": {}}]})
    world.settle()
    assert sum(world.images().values()) == 6
    world.roll_out()
    assert world.images() == {"ray:2.59": 4, "ray:2.60": 1}


@pytest.mark.parametrize("steps", [[{"setWeight": 20}, {"setWeight": 60}], [{"setReplicas": 1}, {"pause": {}}]])
def test_a_canary_is_not_ready_between_its_steps(steps):
    """All is as a step wants it, and the next one has not begun: that is not the end, nor the new revision good."""
    world = canary_world(steps)
    old = world.status["rollout"]["stableRevision"]
    for _ in range(60):
        world.fleet_pass()
        for found in world.sets:
            world.set_pass(found["metadata"]["name"])
        world.make_ready()
        if world.images() == {"ray:2.60": 5}:
            break
        if world.status["observedGeneration"] == world.fleet["metadata"]["generation"]:
            assert world.conditions["Ready"]["status"] == "False"
        assert world.status["rollout"]["stableRevision"] == old
        if world.conditions["Ready"]["reason"] == "Pausing":
            world.annotate(**{"rayctl.io/promote": f"{world.status['rollout']['revision']}:1"})
    world.roll_out()
    assert world.conditions["Ready"]["status"] == "True"
    assert world.status["rollout"]["stableRevision"] != old


def canary_world(steps=STEPS, replicas=5, **more):
    world = FleetWorld(
        replicas=replicas, strategy=rolling(1, 0), rollout={"strategy": "Canary", "steps": steps, **more}
    )
    world.roll_out()
    world.set_image("ray:2.60")
    return world


def test_the_first_revision_has_no_steps():
    world = FleetWorld(rollout={"strategy": "Canary", "steps": STEPS})
    world.roll_out()
    assert world.images() == {"ray:2.59": 3}
    assert world.conditions["Ready"]["status"] == "True"


def test_canary_goes_step_by_step():
    world = canary_world()
    plan = world.roll_out()
    assert world.images() == {"ray:2.59": 4, "ray:2.60": 1}
    assert plan.blocked_on.code == "Pausing"
    assert plan.next_check_at == BEGAN + 60
    assert world.status["rollout"]["step"] == 1
    world.pass_time(59)
    world.roll_out()
    assert world.images() == {"ray:2.59": 4, "ray:2.60": 1}
    world.pass_time(1)
    plan = world.roll_out()
    assert world.images() == {"ray:2.59": 2, "ray:2.60": 3}
    assert "rollout promote fleet/llm" in plan.blocked_on.hint
    world.pass_time(100_000)
    world.roll_out()
    assert world.images() == {"ray:2.59": 2, "ray:2.60": 3}
    assert world.conditions["Progressing"]["status"] == "True"  # a pause is not a failure
    world.annotate(**{"rayctl.io/promote": f"{world.status['rollout']['revision']}:3"})
    world.roll_out()
    assert world.images() == {"ray:2.60": 5}
    assert world.conditions["Ready"]["status"] == "True"


def test_promoting_fully_skips_all_that_is_left():
    world = canary_world()
    world.roll_out()
    world.annotate(**{"rayctl.io/promote": f"{world.status['rollout']['revision']}:full"})
    world.roll_out()
    assert world.images() == {"ray:2.60": 5}


def test_a_promotion_of_another_revision_means_nothing():
    world = canary_world()
    world.annotate(**{"rayctl.io/promote": "zzzzzz:full"})
    world.roll_out()
    assert world.images() == {"ray:2.59": 4, "ray:2.60": 1}


def test_aborting_a_canary_brings_all_back():
    world = canary_world()
    world.roll_out()
    world.annotate(**{"rayctl.io/abort": world.status["rollout"]["revision"]})
    world.roll_out()
    assert world.images() == {"ray:2.59": 5}


@pytest.mark.parametrize(
    ("seen", "passes"),
    [
        (None, False),
        ({"error": "timeout"}, False),
        ({"applications": {}}, False),
        ({"applications": {"llm": "DEPLOYING"}}, False),
        ({"applications": {"llm": "RUNNING"}}, True),
    ],
)
def test_a_gate_of_applications(seen, passes):
    world = canary_world([{"setReplicas": 1}, {"gate": {"type": "Serve"}}])
    world.roll_out()
    if seen is not None:
        world.observed = {"serve": {"some-cluster": seen}}
    plan = world.roll_out()
    assert (world.images() == {"ray:2.60": 5}) is passes
    if not passes:
        assert plan.blocked_on.code == "WaitingForGate"
        assert plan.next_check_at == world.now + 10


@pytest.mark.parametrize(("value", "passes"), [(0.5, True), (0.01, False), (None, False), (float("nan"), False)])
def test_a_gate_of_a_metric(value, passes):
    gate = {"type": "Metric", "query": "success", "min": 0.1, "max": 1}
    world = canary_world([{"setReplicas": 1}, {"gate": gate}])
    world.observed = {"metrics": {"success": {"value": value}}}
    world.roll_out()
    assert (world.images() == {"ray:2.60": 5}) is passes
    if value is not None and not passes:
        assert world.conditions["Progressing"]["reason"] == "GateFailed"


def test_a_failed_gate_rolls_back_where_that_is_wanted():
    gate = {"type": "Metric", "query": "errors", "max": 0}
    world = canary_world([{"setReplicas": 1}, {"gate": gate}], onFailure="RollBack")
    world.observed = {"metrics": {"errors": {"value": 3}}}
    world.roll_out()
    assert world.images() == {"ray:2.59": 5}
    assert "errors is 3, more than 0" in world.conditions["Degraded"]["message"]


def test_a_gate_that_does_not_answer_in_its_time_fails():
    gate = {"type": "Manual", "seconds": 100}
    world = canary_world([{"setReplicas": 1}, {"gate": gate}], onFailure="RollBack")
    world.roll_out()
    world.pass_time(100)
    world.roll_out()
    assert world.images() == {"ray:2.59": 5}


def test_scaling_in_the_middle_of_a_canary():
    world = canary_world()
    world.roll_out()
    world.change(replicas=10)
    world.roll_out()
    assert world.images() == {"ray:2.59": 8, "ray:2.60": 2}


# Blue/green ------------------------------------------------------------------------------------------


def service(name):
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": NS},
        "spec": {"selector": {"app": "llm"}},
    }


def blue_green_world(**blue_green):
    options = {"activeService": "live", "previewService": "next", "scaleDownDelaySeconds": 30, **blue_green}
    world = FleetWorld(replicas=2, rollout={"strategy": "BlueGreen", "blueGreen": options})
    world.world.put(service("live"))
    world.world.put(service("next"))
    world.roll_out()
    return world


def points_to(world, name):
    selector = world.world.get("Service", NS, name)["spec"]["selector"]
    value = selector.get("rayctl.io/revision-hash")
    found = [s for s in world.sets if s["metadata"]["labels"]["pod-template-hash"] == value]
    container = found[0]["spec"]["template"]["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    assert selector["app"] == "llm"
    return container["image"]


def test_blue_green_takes_over_at_once_and_keeps_the_old_one_for_a_while():
    world = blue_green_world()
    assert points_to(world, "live") == "ray:2.59"
    world.set_image("ray:2.60")
    world.settle()
    assert world.images() == {"ray:2.59": 2, "ray:2.60": 2}
    assert points_to(world, "live") == "ray:2.59"
    assert points_to(world, "next") == "ray:2.60"
    plan = world.roll_out()
    assert points_to(world, "live") == "ray:2.60"
    assert world.images() == {"ray:2.59": 2, "ray:2.60": 2}
    assert plan.blocked_on.code == "KeepingOld"
    assert plan.next_check_at == world.now + 30
    world.pass_time(30)
    world.roll_out()
    assert world.images() == {"ray:2.60": 2}
    assert world.conditions["Ready"]["status"] == "True"


def test_pods_carry_what_the_services_select():
    world = blue_green_world()
    value = world.world.get("Service", NS, "live")["spec"]["selector"]["rayctl.io/revision-hash"]
    for cluster in world.clusters:
        for group in (cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"]):
            assert group["template"]["metadata"]["labels"]["rayctl.io/revision-hash"] == value


def test_blue_green_waits_for_promotion():
    world = blue_green_world(autoPromote=False, previewReplicas=1)
    world.set_image("ray:2.60")
    plan = world.roll_out()
    assert world.images() == {"ray:2.59": 2, "ray:2.60": 1}
    assert plan.blocked_on.code == "WaitingForPromotion"
    world.annotate(**{"rayctl.io/promote": f"{world.status['rollout']['revision']}:0"})
    world.roll_out()
    world.pass_time(30)
    world.roll_out()
    assert world.images() == {"ray:2.60": 2}


def test_a_colour_that_is_overtaken_goes_before_the_next_one_comes():
    world = blue_green_world(autoPromote=False)
    world.set_image("ray:2.60")
    world.roll_out()
    world.lingering = True
    world.set_image("ray:2.61")
    world.settle()
    assert world.images() == {"ray:2.59": 2, "ray:2.60": 2}
    assert world.conditions["Ready"]["reason"] == "WaitingForDeletion"
    world.let_go()
    world.roll_out()
    assert world.images() == {"ray:2.59": 2, "ray:2.61": 2}
    assert points_to(world, "live") == "ray:2.59"


def test_a_change_while_the_old_colour_is_kept_leaves_the_one_in_use():
    world = blue_green_world()
    world.set_image("ray:2.60")
    world.roll_out()
    assert points_to(world, "live") == "ray:2.60"
    assert world.images() == {"ray:2.59": 2, "ray:2.60": 2}
    world.set_image("broken")
    for _ in range(6):
        world.turn()
        assert points_to(world, "live") == "ray:2.60"
    assert world.images() == {"ray:2.60": 2, "broken": 2}


def test_undoing_while_the_old_colour_is_kept_is_done_at_once():
    world = blue_green_world(autoPromote=False)
    world.set_image("ray:2.60")
    world.roll_out()
    world.annotate(**{"rayctl.io/promote": f"{world.status['rollout']['revision']}:0"})
    world.settle()
    assert points_to(world, "live") == "ray:2.60"
    world.annotate(**{"deprecated.deployment.rollback.to": "1"})
    world.settle()
    assert points_to(world, "live") == "ray:2.59"
    assert world.images()["ray:2.59"] == 2


def test_a_bad_colour_never_takes_over():
    world = blue_green_world()
    world.set_image("broken")
    world.settle()
    world.pass_time(10_000)
    world.settle()
    assert points_to(world, "live") == "ray:2.59"
    assert world.conditions["Progressing"]["reason"] == "ProgressDeadlineExceeded"
    world.annotate(**{"rayctl.io/abort": world.status["rollout"]["revision"]})
    world.roll_out(image="ray:2.59")
    assert world.images() == {"ray:2.59": 2}
    assert points_to(world, "live") == "ray:2.59"


def test_going_back_after_the_takeover_is_immediate():
    world = blue_green_world()
    world.set_image("ray:2.60")
    world.roll_out()
    assert points_to(world, "live") == "ray:2.60"
    world.annotate(**{"rayctl.io/abort": world.status["rollout"]["revision"]})
    world.settle()
    assert points_to(world, "live") == "ray:2.59"


def test_a_blue_green_fleet_is_scaled_in_both_colours():
    world = blue_green_world(autoPromote=False)
    world.set_image("ray:2.60")
    world.roll_out()
    world.change(replicas=3)
    world.roll_out()
    assert world.images() == {"ray:2.59": 3, "ray:2.60": 3}
    world.change(replicas=1, paused=True)
    world.roll_out()
    assert world.images() == {"ray:2.59": 1, "ray:2.60": 1}


# Partition -------------------------------------------------------------------------------------------


def test_a_partition_keeps_members_with_the_old_revision():
    world = FleetWorld(replicas=4, strategy=rolling(1, 0), rollout={"partition": 3})
    world.roll_out()
    assert world.images() == {"ray:2.59": 4}
    world.set_image("ray:2.60")
    world.roll_out()
    assert world.images() == {"ray:2.59": 3, "ray:2.60": 1}
    world.change(rollout={"partition": 1})
    world.roll_out()
    assert world.images() == {"ray:2.59": 1, "ray:2.60": 3}
    world.change(rollout={"partition": 2})
    world.roll_out()
    assert world.images() == {"ray:2.59": 2, "ray:2.60": 2}
    world.change(rollout=None)
    world.roll_out()
    assert world.images() == {"ray:2.60": 4}


# Ceilings --------------------------------------------------------------------------------------------


def gpu_template(image="ray:2.59", gpus=4):
    made = template(image=image)
    container = made["spec"]["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]
    container["resources"] = {"limits": {"nvidia.com/gpu": gpus}}
    return made


def gpus_of(world):
    return sum(
        c["spec"]["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"]
        for c in world.clusters
    )


def capacity_world(limit, full="Replace", strategy=None, **rollout):
    capacity = {"limits": {"nvidia.com/gpu": limit}, "whenFull": full}
    world = FleetWorld(
        made=gpu_template(),
        strategy=strategy or rolling(1, 0),
        rollout={"capacity": capacity, **rollout},
        lingering=True,
    )
    world.roll_out()
    world.change(template=gpu_template("ray:2.60"))
    return world


def roll_with_lingering(world, rounds=20):
    most, fewest = 0, 99
    for _ in range(rounds):
        world.settle()
        most = max(most, gpus_of(world))
        fewest = min(
            fewest, sum(1 for c in world.clusters if c.get("status") and not c["metadata"].get("deletionTimestamp"))
        )
        world.let_go()
        world.settle()
        most = max(most, gpus_of(world))
        world.make_ready()
    return most, fewest


def test_a_surge_that_fits_is_used():
    world = capacity_world(16)
    assert roll_with_lingering(world) == (16, 3)
    assert world.images() == {"ray:2.60": 3}


def test_without_room_an_old_cluster_goes_before_a_new_one_comes():
    world = capacity_world(12)
    assert roll_with_lingering(world) == (12, 2)
    assert world.images() == {"ray:2.60": 3}


def test_or_the_rollout_waits():
    world = capacity_world(12, full="Wait")
    assert roll_with_lingering(world) == (12, 3)
    plan = world.settle()
    assert world.images() == {"ray:2.59": 3}
    assert plan.blocked_on.code == "WaitingForCapacity"
    assert "nvidia.com/gpu" in plan.blocked_on.message
    world.change(rollout={"capacity": {"limits": {"nvidia.com/gpu": 16}}})
    roll_with_lingering(world)
    assert world.images() == {"ray:2.60": 3}


def test_blue_green_says_that_there_is_no_room():
    capacity = {"limits": {"nvidia.com/gpu": 16}}
    world = FleetWorld(made=gpu_template(), rollout={"strategy": "BlueGreen", "capacity": capacity})
    world.roll_out()
    world.change(template=gpu_template("ray:2.60"))
    plan = world.settle()
    assert world.images() == {"ray:2.59": 3}
    assert plan.blocked_on.code == "WaitingForCapacity"


# Draining --------------------------------------------------------------------------------------------


def test_old_clusters_drain_and_keep_their_place_meanwhile():
    world = FleetWorld(replicas=2, strategy=rolling(1, 0), drain={"seconds": 600})
    world.roll_out()
    world.set_image("ray:2.60")
    world.roll_out()
    assert world.images() == {"ray:2.59": 2, "ray:2.60": 1}  # one drains; never more than three
    marked = [c for c in world.clusters if "rayctl.io/draining-since" in c["metadata"]["annotations"]]
    assert len(marked) == 1
    assert world.status["availableReplicas"] == 2
    world.pass_time(600)
    world.roll_out()
    world.pass_time(600)
    world.roll_out()
    assert world.images() == {"ray:2.60": 2}


# Options ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"strategy": "Guess"}, r"rollout\.strategy"),
        ({"steps": [{"setWeight": 5}]}, "need rollout.strategy: Canary"),
        ({"strategy": "Canary", "steps": [{}]}, "exactly one of"),
        ({"strategy": "Canary", "steps": [{"jump": 1}]}, "exactly one of"),
        ({"strategy": "Canary", "steps": [{"setWeight": 101}]}, "more than 100"),
        ({"strategy": "Canary", "steps": [{"setWeight": "5"}]}, "setWeight"),
        ({"strategy": "Canary", "steps": [{"pause": {"seconds": -1}}]}, "pause.seconds"),
        ({"strategy": "Canary", "steps": [{"gate": {"type": "Luck"}}]}, "gate.type"),
        (
            {"strategy": "Canary", "steps": [{"gate": {"type": "Metric", "query": "x"}}]},
            "needs a query, and min or max",
        ),
        ({"strategy": "Canary", "steps": [{"gate": {"type": "Metric", "query": "x", "min": "0"}}]}, "gate.min"),
        ({"partition": -1}, "partition"),
        ({"capacity": {"limits": {"cpu": "many"}}}, "capacity.limits.cpu"),
        ({"capacity": {"whenFull": "Cry"}}, "whenFull"),
        ({"onFailure": "Cry"}, "onFailure"),
        ("fast", "not an object"),
    ],
)
def test_wrong_options_are_named(value, text):
    with pytest.raises(ValueError, match=text):
        parse_options(value)
