"""Rolling updates of fleets: what a Deployment does, and what AIBrix's fleet does wrong (aibrix 2.13, 5)."""

import pytest

from rayctl.core.plan import SetStatus
from tests.unit.fleet.worlds import FleetWorld, fleet, rolling
from tests.unit.replicaset.worlds import NS, template

HASH = "pod-template-hash"


def test_creates_one_set_with_all_clusters_and_then_writes_nothing():
    world = FleetWorld(replicas=2)
    world.roll_out()
    assert len(world.sets) == 1
    assert len(world.clusters) == 2
    found = world.status
    names = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas", "unavailableReplicas")
    assert [found[name] for name in names] == [2, 2, 2, 2, 0]
    assert found["observedGeneration"] == 1
    assert world.conditions["Progressing"]["reason"] == "NewReplicaSetAvailable"
    assert world.conditions["Available"]["reason"] == "MinimumReplicasAvailable"
    assert world.conditions["Ready"]["status"] == "True"
    assert found["scalingTargetSelector"] == ("orchestration.aibrix.ai/raycluster-fleet-name=llm,ray.io/node-type=head")
    revisions = [d["metadata"]["resourceVersion"] for d in world.world.objects.values()]
    world.pass_time(300)
    world.settle()
    assert [d["metadata"]["resourceVersion"] for d in world.world.objects.values()] == revisions  # I6


def test_the_hash_is_in_all_places_and_the_fleet_name_on_pods():
    # aibrix 1.4, 5.3 (b)
    world = FleetWorld(replicas=2)
    world.settle()
    found = world.sets[0]
    value = found["metadata"]["labels"][HASH]
    assert len(value) == 6
    assert found["metadata"]["name"] == f"llm-{value}"
    assert found["spec"]["selector"]["matchLabels"] == {"app": "llm", HASH: value}
    assert found["spec"]["template"]["metadata"]["labels"][HASH] == value
    for cluster in world.clusters:
        assert cluster["metadata"]["labels"] == {"app": "llm", HASH: value}
        for group in (cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"]):
            assert group["template"]["metadata"]["labels"] == {"orchestration.aibrix.ai/raycluster-fleet-name": "llm"}
    assert HASH not in str(world.fleet["spec"])
    notes = found["metadata"]["annotations"]
    assert notes["deployment.kubernetes.io/desired-replicas"] == "2"
    assert notes["deployment.kubernetes.io/max-replicas"] == "3"
    assert notes["deployment.kubernetes.io/revision"] == "1"


def test_annotations_are_copied_except_some():
    world = FleetWorld(
        annotations={"kubernetes.io/change-cause": "first", "kubectl.kubernetes.io/last-applied-configuration": "{}"}
    )
    world.settle()
    notes = world.sets[0]["metadata"]["annotations"]
    assert notes["kubernetes.io/change-cause"] == "first"
    assert "kubectl.kubernetes.io/last-applied-configuration" not in notes


@pytest.mark.parametrize(
    ("surge", "unavailable", "most", "fewest"), [(1, 0, 4, 3), (0, 1, 3, 2), ("25%", "25%", 4, 3), ("100%", 0, 6, 3)]
)
def test_rolls_within_the_bounds(surge, unavailable, most, fewest):
    world = FleetWorld(strategy=rolling(surge, unavailable))
    world.roll_out()
    world.set_image("ray:2.60")
    counts = []
    for _ in range(60):
        wrote, _ = world.turn()
        ready = sum(1 for c in world.clusters if c.get("status"))
        counts.append((len(world.clusters), ready))
        if not wrote:
            before = len(world.clusters), world.images()
            waiting = [c["metadata"]["name"] for c in world.clusters if not c.get("status")]
            world.make_ready(names=waiting[:1])
            if not waiting and before == (3, {"ray:2.60": 3}):
                break
    assert world.images() == {"ray:2.60": 3}
    assert max(count for count, _ in counts) <= most
    assert min(ready for _, ready in counts) >= fewest
    assert world.sizes() == [0, 3]


def test_every_revision_has_its_own_rising_number():
    world = FleetWorld(replicas=1)
    for image in ("ray:1", "ray:2", "ray:3"):
        world.set_image(image)
        world.roll_out()
    world.set_image("ray:1")  # back to the first
    world.roll_out()
    notes = {s["metadata"]["name"]: s["metadata"]["annotations"] for s in world.sets}
    numbers = sorted(int(n["deployment.kubernetes.io/revision"]) for n in notes.values())
    assert numbers == [2, 3, 4]
    assert [
        n.get("deployment.kubernetes.io/revision-history")
        for n in notes.values()
        if n["deployment.kubernetes.io/revision"] == "4"
    ] == ["1"]
    assert world.fleet["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "4"  # FL-5


def test_a_broken_new_revision_does_not_take_the_old_one_down():
    world = FleetWorld(strategy=rolling(1, 1))
    world.roll_out()
    world.set_image("broken")
    for _ in range(20):
        world.settle()
        world.pass_time(30)
    assert world.images() == {"ray:2.59": 2, "broken": 2}


def test_rollover_in_the_middle():
    world = FleetWorld(strategy=rolling(1, 0))
    world.roll_out()
    world.set_image("ray:2.60")
    world.settle()
    world.set_image("ray:2.61")
    world.roll_out()
    assert world.images() == {"ray:2.61": 3}
    assert len(world.sets) == 3


def test_unavailable_old_ones_go_first():
    world = FleetWorld(strategy=rolling(0, 1))
    world.roll_out()
    broken = world.clusters[0]
    world.world.set_status(broken, {})
    world.settle()
    world.set_image("ray:2.60")
    world.settle()
    assert broken["metadata"]["name"] not in [c["metadata"]["name"] for c in world.clusters]


# Scaling ---------------------------------------------------------------------------------------------


def test_scales_up_and_down():
    world = FleetWorld(replicas=1)
    world.roll_out()
    for replicas in (3, 1, 0, 2):
        world.change(replicas=replicas)
        world.roll_out()
        assert len(world.clusters) == replicas
    assert len(world.sets) == 1


def test_a_cluster_that_drains_is_what_the_fleet_waits_for():
    world = FleetWorld(replicas=2, drain={"seconds": 60})
    world.roll_out()
    world.change(replicas=1)
    plan = world.settle()
    assert plan.blocked_on.code == "WaitingForDeletion"
    assert "finish their work" in world.conditions["Ready"]["message"]


def test_scales_in_proportion_in_the_middle_of_a_rollout():
    # P18: 10 → 30, maxSurge 3, maxUnavailable 2, blocked
    world = FleetWorld(replicas=10, strategy=rolling(3, 2))
    world.roll_out()
    world.set_image("broken")
    world.settle()
    assert world.sizes() == [8, 5]
    world.change(replicas=30)
    world.settle()
    assert world.sizes() == [20, 13]


def test_clusters_that_are_still_going_count_when_it_grows():
    world = FleetWorld(strategy=rolling(1, 0), lingering=True)
    world.roll_out()
    world.set_image("ray:2.60")
    for _ in range(12):
        world.settle()
        world.make_ready()
        assert len(world.clusters) <= 4
    assert world.images() == {"ray:2.59": 3, "ray:2.60": 1}  # the old one lingers, so nothing more comes
    for _ in range(12):
        world.let_go()
        world.settle()
        world.make_ready()
        assert len(world.clusters) <= 4
    assert world.images() == {"ray:2.60": 3}


# aibrix 2.13 -----------------------------------------------------------------------------------------


def test_fl1_and_2_no_strategy_and_no_block_have_defaults():
    for strategy in (None, {}, {"type": "RollingUpdate"}, {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}):
        world = FleetWorld(fleet(strategy=strategy))
        world.roll_out()
        assert len(world.clusters) == 3


def test_fl3_the_deadline_has_a_timer():
    world = FleetWorld(replicas=1, progressDeadlineSeconds=60)
    plan = world.settle()
    assert plan.next_check_at == world.now + 60
    world.pass_time(59)
    world.settle()
    assert world.conditions["Progressing"]["status"] == "True"
    world.pass_time(1)
    world.settle()
    assert world.conditions["Progressing"]["reason"] == "ProgressDeadlineExceeded"
    assert world.conditions["Progressing"]["status"] == "False"
    assert world.conditions["Degraded"]["status"] == "True"
    world.make_ready()
    world.settle()
    assert world.conditions["Progressing"]["reason"] == "NewReplicaSetAvailable"
    assert "Degraded" not in world.conditions


def test_fl4_pausing_is_told_and_stops_the_deadline():
    world = FleetWorld(replicas=2, progressDeadlineSeconds=60, strategy=rolling(1, 0))
    world.roll_out()
    world.change(paused=True)
    world.set_image("ray:2.60")
    plan = world.settle()
    assert len(world.sets) == 1
    assert world.conditions["Paused"]["reason"] == "DeploymentPaused"
    assert plan.blocked_on.code == "Paused"
    world.pass_time(1000)
    world.settle()
    world.change(paused=False)
    world.settle()
    assert world.conditions["Progressing"]["status"] == "True"
    assert "Paused" not in world.conditions
    world.roll_out()
    assert world.images() == {"ray:2.60": 2}


def test_paused_from_the_beginning():
    world = FleetWorld(paused=True, replicas=1)
    world.settle()
    assert world.sets == []
    world.change(replicas=2)
    world.annotate(note="x")
    world.settle()
    assert world.sets == []
    world.change(paused=False)
    world.roll_out()
    assert len(world.clusters) == 2


def test_a_paused_fleet_is_scaled():
    world = FleetWorld(replicas=2, paused=False)
    world.roll_out()
    world.change(paused=True, replicas=4)
    world.roll_out()
    assert len(world.clusters) == 4


def test_fl7_a_changed_selector_is_refused():
    world = FleetWorld(replicas=1)
    world.roll_out()
    made = template(labels={"app": "other"})
    world.change(selector={"matchLabels": {"app": "other"}}, template=made)
    world.settle()
    assert world.conditions["Ready"]["reason"] == "SelectorChanged"
    assert len(world.sets) == 1
    assert world.sets[0]["metadata"]["ownerReferences"]


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"strategy": rolling("oops", 0)}, "InvalidStrategy"),
        ({"strategy": rolling(0, "x%")}, "InvalidStrategy"),
        ({"strategy": rolling(-1, 0)}, "InvalidStrategy"),
        ({"strategy": {"type": "Often"}}, "InvalidStrategy"),
        ({"strategy": {"type": "Recreate", "rollingUpdate": {"maxSurge": 1}}}, "InvalidStrategy"),
        ({"selector": {"matchLabels": {"app": "foo"}}}, "SelectorMismatch"),
        ({"selector": {}}, "SelectingAll"),
        ({"selector": {"matchExpressions": [{"key": "app", "operator": "Sometimes"}]}}, "SelectorInvalid"),
        ({"replicas": -1}, "InvalidSpec"),
        ({"progressDeadlineSeconds": 5, "minReadySeconds": 5}, "InvalidSpec"),
        ({"revisionHistoryLimit": -1}, "InvalidSpec"),
        ({"rollout": {"strategy": "Guess"}}, "InvalidSpec"),
        ({"template": {"metadata": {"labels": {"app": "llm"}}}}, "InvalidSpec"),
    ],
)
def test_fl8_what_is_wrong_is_told_and_nothing_is_made(spec, reason):
    document = fleet()
    document["spec"].update(spec)
    world = FleetWorld(document)
    plan = world.settle()
    assert world.sets == []
    assert world.conditions["Ready"]["reason"] == reason
    assert world.status["observedGeneration"] == 1
    assert plan.blocked_on.code == reason
    assert world.reasons() == [reason]  # once, not in every pass
    assert world.settle().writes == ()


def test_names_too_long_for_kuberay():
    world = FleetWorld(fleet(name="a" * 41))
    world.settle()
    assert world.conditions["Ready"]["reason"] == "InvalidName"
    assert world.sets == []
    world = FleetWorld(fleet(name="a" * 40))
    world.settle()
    assert len(world.clusters) == 3
    assert max(len(c["metadata"]["name"]) for c in world.clusters) <= 53


def test_fl9_equal_fleets_share_nothing():
    # aibrix 5.3 (e)
    world = FleetWorld(replicas=2)
    world.world.put(fleet(name="other", replicas=2))
    world.settle()
    other = FleetWorld(replicas=2)
    other.world, other.name = world.world, "other"
    other.settle()
    world.settle()
    assert len(world.sets) == 2
    assert len(world.clusters) == 4
    hashes = {s["metadata"]["labels"][HASH] for s in world.sets}
    assert len(hashes) == 2


def test_fl10_sizes_of_worker_groups_change_in_place():
    world = FleetWorld(replicas=2)
    world.roll_out()
    before = [c["metadata"]["uid"] for c in world.clusters]
    world.change(template=template(workers=3))
    world.settle()
    assert [c["metadata"]["uid"] for c in world.clusters] == before
    assert [c["spec"]["workerGroupSpecs"][0]["replicas"] for c in world.clusters] == [3, 3]
    assert len(world.sets) == 1
    assert world.sizes() == [2]


def test_fl10_unless_it_is_switched_off():
    world = FleetWorld(replicas=1, rollout={"inPlace": False})
    world.roll_out()
    world.change(template=template(workers=3))
    world.roll_out()
    assert len(world.sets) == 2


# aibrix 5 --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stamp", [None, "2026-01-01T00:00:00Z"])
def test_a_creation_timestamp_in_templates_makes_no_difference(stamp):
    # 5.2 (a): a server keeps it, drops it, or drops it in one of the two objects.
    made = template()
    made["metadata"]["creationTimestamp"] = stamp
    for group in (made["spec"]["headGroupSpec"], *made["spec"]["workerGroupSpecs"]):
        group["template"]["metadata"] = {"creationTimestamp": stamp, "labels": {"keep": "me"}}
    world = FleetWorld(made=made)
    world.roll_out()
    assert len(world.sets) == 1
    assert world.clusters[0]["spec"]["headGroupSpec"]["template"]["metadata"]["labels"]["keep"] == "me"
    pruned = world.sets[0]
    pruned["spec"]["template"]["metadata"].pop("creationTimestamp", None)
    world.settle()
    assert len(world.sets) == 1


def test_a_hash_that_is_taken_is_counted():
    # TestDeploymentHashCollision
    world = FleetWorld(replicas=1)
    world.roll_out()
    world.world.change(world.sets[0], {"spec": {"template": {"spec": {"rayVersion": "other"}}}})
    world.roll_out()
    assert world.status["collisionCount"] == 1
    assert len(world.sets) == 2
    assert world.sizes() == [0, 1]


def test_a_name_that_a_stranger_has_is_left_alone():
    world = FleetWorld(replicas=1)
    world.settle()
    name = world.sets[0]["metadata"]["name"]
    again = FleetWorld(replicas=1)
    stranger = {
        "apiVersion": "orchestration.aibrix.ai/v1alpha1",
        "kind": "RayClusterReplicaSet",
        "metadata": {"name": name, "namespace": NS, "labels": {"app": "else"}},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"app": "else"}},
            "template": template(labels={"app": "else"}),
        },
    }
    again.world.put(stranger)
    again.settle()
    assert again.status["collisionCount"] == 1
    assert again.world.get("RayClusterReplicaSet", NS, name)["spec"]["selector"] == {"matchLabels": {"app": "else"}}


def test_orphaned_sets_are_adopted_and_lost_ones_released():
    world = FleetWorld(replicas=1)
    world.roll_out()
    world.world.change(world.sets[0], {"metadata": {"ownerReferences": None}})
    world.roll_out()
    assert len(world.sets) == 1
    assert world.sets[0]["metadata"]["ownerReferences"][0]["uid"] == world.fleet["metadata"]["uid"]
    world.world.change(world.sets[0], {"metadata": {"labels": {"app": "debug"}}})
    world.settle()
    loose = [s for s in world.sets if not s["metadata"].get("ownerReferences")]
    assert len(loose) == 1


def test_history_is_limited():
    world = FleetWorld(replicas=1, revisionHistoryLimit=1)
    for number in range(5):
        world.set_image(f"ray:{number}")
        world.roll_out()
    assert len(world.sets) == 2


def test_status_is_not_written_with_the_fleet_itself():
    # A patch of the fleet moves its resourceVersion; a status for the old one would be refused.
    world = FleetWorld()
    for _ in range(10):
        plan = world.fleet_pass()
        kinds = [type(a).__name__ for a in plan.writes if getattr(a, "ref", None) == world.look().ref]
        assert kinds.count("Patch") == 0 or kinds.count("SetStatus") == 0
        for document in world.sets:
            world.set_pass(document["metadata"]["name"])
    assert any(isinstance(a, SetStatus) for a in world.world.writes)


# Going back ------------------------------------------------------------------------------------------


def test_rollback_by_annotation():
    world = FleetWorld(replicas=1)
    for image in ("ray:1", "ray:2", "ray:3"):
        world.set_image(image)
        world.roll_out()
    world.annotate(**{"deprecated.deployment.rollback.to": "2"})
    world.roll_out()
    assert world.images() == {"ray:2": 1}
    assert "deprecated.deployment.rollback.to" not in world.fleet["metadata"]["annotations"]
    assert "fleet-name" not in str(world.fleet["spec"]["template"])
    world.annotate(**{"deprecated.deployment.rollback.to": "0"})
    world.roll_out()
    assert world.images() == {"ray:3": 1}
    assert world.reasons().count("DeploymentRollback") == 2


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("9", "DeploymentRollbackRevisionNotFound"),
        ("last", "DeploymentRollbackRevisionNotFound"),
        ("1", "DeploymentRollbackTemplateUnchanged"),
    ],
)
def test_rollback_that_is_not_possible(text, reason):
    world = FleetWorld(replicas=1)
    world.roll_out()
    world.annotate(**{"deprecated.deployment.rollback.to": text})
    world.roll_out()
    assert reason in world.reasons()
    assert len(world.sets) == 1
    assert "deprecated.deployment.rollback.to" not in world.fleet["metadata"]["annotations"]


def test_abort_goes_back_to_the_last_good_revision_and_stays_there():
    world = FleetWorld(strategy=rolling(1, 0))
    world.roll_out()
    world.set_image("broken")
    world.settle()
    value = next(s["metadata"]["labels"][HASH] for s in world.sets if s["spec"]["replicas"] == 1)
    world.annotate(**{"rayctl.io/abort": value})
    world.fleet_pass()
    world.fleet_pass()
    progress = world.conditions["Progressing"]
    assert (progress["status"], progress["reason"]) == ("True", "RollingBack")  # not back before it is
    world.roll_out()
    assert world.images() == {"ray:2.59": 3}
    assert world.conditions["Progressing"]["reason"] == "RolledBack"
    assert world.conditions["Ready"]["status"] == "False"
    world.set_image("ray:2.60")
    world.roll_out()
    assert world.images() == {"ray:2.60": 3}
    assert world.conditions["Ready"]["status"] == "True"


def test_a_bad_revision_is_rolled_back_by_itself():
    world = FleetWorld(strategy=rolling(1, 0), rollout={"onFailure": "RollBack"}, progressDeadlineSeconds=60)
    world.roll_out()
    world.set_image("broken")
    world.roll_out(image="ray:2.59")
    world.pass_time(61)
    world.roll_out(image="ray:2.59")
    assert world.images() == {"ray:2.59": 3}
    assert "RollingBack" in world.reasons()
    assert world.conditions["Progressing"]["reason"] == "RolledBack"
    assert "nothing has moved for 60 s" in world.conditions["Degraded"]["message"]
    world.pass_time(1000)
    assert world.settle().writes == ()  # it does not try again


@pytest.mark.parametrize("limit", [0, 10])
def test_what_was_given_up_does_not_come_again_when_its_set_is_deleted(limit):
    world = FleetWorld(revisionHistoryLimit=limit, strategy=rolling(1, 0))
    world.roll_out()
    world.set_image("broken")
    world.settle()
    value = next(s["metadata"]["labels"][HASH] for s in world.sets if s["spec"]["replicas"] == 1)
    world.annotate(**{"rayctl.io/abort": value})
    world.roll_out()
    for found in world.sets:
        if found["metadata"]["labels"][HASH] == value:
            world.world.remove(found)
    world.roll_out()
    assert world.images() == {"ray:2.59": 3}
    assert world.conditions["Progressing"]["reason"] == "RolledBack"


def test_going_back_has_a_deadline_too():
    world = FleetWorld(
        replicas=2, strategy=rolling(0, 1), rollout={"onFailure": "RollBack"}, progressDeadlineSeconds=60
    )
    world.roll_out()
    world.set_image("broken")
    world.roll_out(image="ray:2.59")
    world.pass_time(61)
    world.settle()  # the old set gets its second cluster again, which nobody makes ready
    assert world.conditions["Progressing"]["reason"] == "RollingBack"
    world.pass_time(61)
    world.settle()
    progress = world.conditions["Progressing"]
    assert (progress["status"], progress["reason"]) == ("False", "ProgressDeadlineExceeded")
    assert "going back to" in progress["message"]


def test_the_first_revision_has_nothing_to_go_back_to():
    world = FleetWorld(rollout={"onFailure": "RollBack"}, progressDeadlineSeconds=60)
    world.settle()
    world.pass_time(61)
    world.settle()
    assert world.conditions["Progressing"]["reason"] == "ProgressDeadlineExceeded"
    assert len(world.clusters) == 3


def test_a_startup_probe_extends_the_default_deadline():
    # aibrix 2.8: the samples allow 1680 s for loading a model.
    made = template()
    container = made["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    container["startupProbe"] = {"initialDelaySeconds": 180, "failureThreshold": 150, "periodSeconds": 10}
    world = FleetWorld(made=made)
    plan = world.settle()
    assert plan.next_check_at == world.now + 1980
