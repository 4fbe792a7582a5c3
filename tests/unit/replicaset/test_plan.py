"""A replica set keeps exactly as many clusters as wanted; what goes wrong in AIBrix's does not here (aibrix 1.5)."""

import pytest

from rayctl.core.plan import Create, Delete, Together
from rayctl.replicaset.plan import plan_replicaset, slow_start
from rayctl.views.readiness import judge
from tests.unit.replicaset.worlds import (
    BEGAN,
    NS,
    STARTING,
    cluster,
    clusters,
    look,
    make_ready,
    names,
    new_world,
    replica_set,
    settle,
    status,
    step,
    template,
)


def the_set(world, name="llm"):
    return world.get("RayClusterReplicaSet", NS, name)


def conditions(world, name="llm"):
    return {c["type"]: c for c in the_set(world, name)["status"]["conditions"]}


def test_creates_what_is_missing_and_then_writes_nothing():
    world = new_world(replicas=3)
    settle(world)
    assert names(world) == ["llm-0", "llm-1", "llm-2"]
    make_ready(world)
    settle(world)
    found = the_set(world)["status"]
    assert [found[n] for n in ("replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas")] == [3] * 4
    assert conditions(world)["Ready"]["status"] == "True"
    assert step(world).writes == ()


def test_owner_reference_labels_and_annotations():
    made = template()
    made["metadata"]["annotations"] = {"ray.io/overwrite-container-cmd": "true"}
    world = new_world(made=made, replicas=1)
    settle(world)
    found = clusters(world)[0]["metadata"]
    assert found["ownerReferences"][0]["uid"] == the_set(world)["metadata"]["uid"]
    assert found["ownerReferences"][0]["controller"] is True
    assert found["labels"] == {"app": "llm"}
    assert found["annotations"]["ray.io/overwrite-container-cmd"] == "true"


def test_names_are_never_used_again():
    world = new_world(replicas=2)
    settle(world)
    world.remove(clusters(world)[1])
    settle(world)
    assert names(world) == ["llm-0", "llm-2"]


def test_a_creation_without_an_answer_is_asked_for_again_under_its_own_name():
    world = new_world(replicas=3)
    plan = plan_replicaset(look(world), world.now)
    creations = [action for action in plan.singles if isinstance(action, Create)]
    for create in (creations[0], creations[2]):  # of the one between nobody knows
        world.act(create)
    again = [
        action.ref.name for action in plan_replicaset(look(world), world.now).singles if isinstance(action, Create)
    ]
    assert again == [creations[1].ref.name] == ["llm-1"]
    settle(world)
    world.act(Delete(look(world).members[2].ref))
    settle(world)
    assert names(world) == ["llm-0", "llm-1", "llm-3"]


def test_names_that_others_have_are_left_out():
    world = new_world(replicas=2)
    world.put(cluster("llm-0", labels={"app": "other"}))
    settle(world)
    assert names(world) == ["llm-0", "llm-1", "llm-2"]
    assert "ownerReferences" not in world.get("RayCluster", NS, "llm-0")["metadata"]


@pytest.mark.parametrize(
    ("count", "sizes"),
    [
        (1, [1]),
        (3, [1, 2]),
        (5, [1, 2, 2]),
        (20, [1, 2, 4, 8, 5]),
        (100, [1, 2, 4, 8, 16, 32, 37]),
    ],
)
def test_slow_start(count, sizes):
    groups = slow_start([Create({"apiVersion": "v1", "kind": "X", "metadata": {"name": str(i)}}) for i in range(count)])
    assert [len(g.actions) if isinstance(g, Together) else 1 for g in groups] == sizes


def test_at_most_five_hundred_at_once():
    world = new_world(replicas=700)
    step(world)
    assert len(clusters(world)) == 500
    step(world)
    assert len(clusters(world)) == 700


# aibrix 1.5 ------------------------------------------------------------------------------------------


def test_rs1_a_broken_cluster_is_counted_and_deleted_by_scaling_down():
    world = new_world(replicas=2)
    settle(world)
    make_ready(world)
    broken = clusters(world)[0]
    world.set_status(broken, status(head=False))
    world.now += 10
    settle(world)
    assert the_set(world)["status"]["replicas"] == 2
    assert len(clusters(world)) == 2  # nothing is created beside it
    world.change(the_set(world), {"spec": {"replicas": 0}})
    settle(world)
    assert names(world) == []


def test_rs2_and_3_a_refused_creation_is_told():
    from rayctl.core.controller import Refusal
    from rayctl.replicaset.controller import ReplicaSetController

    world = new_world(replicas=1)
    found = {"set": the_set(world), "clusters": []}
    controller = ReplicaSetController()
    create = controller.plan(found, BEGAN).singles[0]
    plan = controller.refused(found, Refusal(create, 403, "Forbidden", "exceeded quota: gpus"), BEGAN)
    world.perform(plan)
    assert conditions(world)["ReplicaFailure"]["reason"] == "FailedCreate"
    assert "exceeded quota: gpus" in conditions(world)["ReplicaFailure"]["message"]
    assert [(e.kind, e.reason) for e in world.events] == [("Warning", "FailedCreate")]
    world.perform(
        controller.refused(
            {"set": the_set(world), "clusters": []}, Refusal(create, 403, "", "exceeded quota: gpus"), BEGAN + 5
        )
    )
    assert len(world.events) == 1  # the same failure is told once
    settle(world)
    assert "ReplicaFailure" not in conditions(world)


def test_rs4_only_own_clusters_are_counted_or_deleted():
    other = replica_set("other")
    world = new_world(replicas=1)
    owner = world.put(other)
    world.put(cluster("other-0", owner=owner))
    settle(world)
    assert the_set(world)["status"]["replicas"] == 1
    world.change(the_set(world), {"spec": {"replicas": 0}})
    settle(world)
    assert names(world) == ["other-0"]


def test_rs4_match_expressions_are_honoured():
    selector = {
        "matchExpressions": [
            {"key": "app", "operator": "In", "values": ["llm"]},
            {"key": "x", "operator": "DoesNotExist"},
        ]
    }
    world = new_world(selector=selector, replicas=1)
    world.put(cluster("stray", labels={"app": "llm", "x": "1"}))
    settle(world)
    assert names(world) == ["llm-0", "stray"]


@pytest.mark.parametrize(
    ("selector", "reason"),
    [
        ({"matchLabels": {"app": "foo"}}, "SelectorMismatch"),
        ({}, "SelectorMissing"),
        ({"matchExpressions": [{"key": "app", "operator": "Near"}]}, "SelectorInvalid"),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["llm"]}]}, "SelectorMismatch"),
    ],
)
def test_rs5_and_7_a_selector_that_cannot_work_creates_nothing_and_says_so(selector, reason):
    world = new_world(selector=selector)
    plan = settle(world)
    assert names(world) == []
    assert conditions(world)["Ready"]["reason"] == reason
    assert plan.blocked_on.code == reason
    assert [e.reason for e in world.events] == [reason]


def test_rs7_no_selector_at_all():
    document = replica_set()
    del document["spec"]["selector"]
    world = new_world(document)
    settle(world)
    assert names(world) == []
    assert conditions(world)["Ready"]["reason"] == "SelectorMissing"


def test_rs6_min_ready_seconds_have_a_timer():
    world = new_world(replicas=1, minReadySeconds=60)
    settle(world)
    make_ready(world)
    plan = settle(world)
    assert the_set(world)["status"]["availableReplicas"] == 0
    assert plan.next_check_at == BEGAN + 60
    world.now = BEGAN + 60
    settle(world)
    assert the_set(world)["status"]["availableReplicas"] == 1  # at the boundary, as in Kubernetes 1.36 (R10)


def test_rs6_a_worker_that_came_back_counts_anew():
    world = new_world(replicas=1, minReadySeconds=60)
    settle(world)
    make_ready(world)
    world.now += 100
    settle(world)
    world.set_status(clusters(world)[0], status(workers=0))
    settle(world)
    world.now += 100
    world.set_status(clusters(world)[0], status())
    plan = settle(world)
    assert the_set(world)["status"]["availableReplicas"] == 0
    assert plan.next_check_at == world.now + 60
    world.now += 60
    settle(world)
    assert the_set(world)["status"]["availableReplicas"] == 1


def test_rs9_a_cluster_that_the_autoscaler_grows_stays_ready():
    world = new_world(made=template(enableInTreeAutoscaling=True), replicas=1)
    settle(world)
    make_ready(world)
    world.change(
        clusters(world)[0],
        {"spec": {"workerGroupSpecs": [{"groupName": "gpu", "replicas": 4, "minReplicas": 1, "maxReplicas": 8}]}},
    )
    world.set_status(clusters(world)[0], status(desired=4, workers=1))
    settle(world)
    assert the_set(world)["status"]["readyReplicas"] == 1
    assert names(world) == ["llm-0"]


@pytest.mark.parametrize("replicas", [-1, "3", True])
def test_rs13_nonsense_replicas_are_refused(replicas):
    world = new_world(replicas=replicas)
    settle(world)
    assert names(world) == []
    assert conditions(world)["Ready"]["reason"] == "InvalidSpec"


def test_names_too_long_for_kuberay_create_nothing():
    world = new_world(replica_set("a" * 48))
    settle(world, "a" * 48)
    assert names(world) == []
    assert conditions(world, "a" * 48)["Ready"]["reason"] == "InvalidName"
    assert settle(new_world(replica_set("a" * 47)), "a" * 47)


# Ownership -------------------------------------------------------------------------------------------


def test_orphans_are_adopted_and_count():
    world = new_world(replicas=2)
    world.put(cluster("mine-already"))
    settle(world)
    assert names(world) == ["llm-0", "mine-already"]
    assert clusters(world)[1]["metadata"]["ownerReferences"][0]["kind"] == "RayClusterReplicaSet"


def test_a_cluster_without_the_label_is_released_and_taken_back():
    world = new_world(replicas=2)
    settle(world)
    world.change(clusters(world)[0], {"metadata": {"labels": {"app": "debug"}}})
    settle(world)
    assert len(clusters(world)) == 3
    assert "ownerReferences" not in clusters(world)[0]["metadata"]
    world.change(clusters(world)[0], {"metadata": {"labels": {"app": "llm"}}})
    settle(world)
    assert len(clusters(world)) == 2


def test_a_set_that_is_being_deleted_touches_nothing():
    document = replica_set()
    document["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    world = new_world(document)
    world.put(cluster("orphan"))
    assert step(world).writes == ()


# Deletion --------------------------------------------------------------------------------------------


def test_a_cluster_that_is_being_deleted_keeps_its_place():
    world = new_world(replicas=2, keeps=lambda document: document["kind"] == "RayCluster")
    settle(world)
    make_ready(world)
    world.delete(clusters(world)[0])
    plan = settle(world)
    assert len(clusters(world)) == 2
    assert plan.blocked_on.code == "WaitingForDeletion"
    found = the_set(world)["status"]
    assert (found["replicas"], found["terminatingReplicas"]) == (1, 1)
    world.remove(clusters(world)[0])
    settle(world)
    assert names(world) == ["llm-1", "llm-2"]


def test_deletions_name_the_uid():
    world = new_world(replicas=1)
    settle(world)
    world.change(the_set(world), {"spec": {"replicas": 0}})
    deletes = [a for a in step(world).singles if isinstance(a, Delete)]
    assert all(delete.ref.uid for delete in deletes)
    assert len(deletes) == 1


def test_events_per_pass_not_per_cluster():
    world = new_world(replicas=100)
    settle(world)
    assert [e.reason for e in world.events] == ["SuccessfulCreate"]
    assert world.events[0].message == "Created clusters llm-0, llm-1, llm-2, llm-3, llm-4 and 95 more"


# In place --------------------------------------------------------------------------------------------


def test_sizes_and_labels_change_in_place_once():
    world = new_world(replicas=2)
    settle(world)
    changed = template(workers=3, labels={"app": "llm", "team": "a"})
    world.change(the_set(world), {"spec": {"template": changed}})
    settle(world)
    for document in clusters(world):
        assert document["spec"]["workerGroupSpecs"][0]["replicas"] == 3
        assert document["metadata"]["labels"] == {"app": "llm", "team": "a"}
    world.change(clusters(world)[0], {"spec": {"workerGroupSpecs": [{"groupName": "gpu", "replicas": 5}]}})
    assert settle(world).writes == ()  # what a user does to one cluster is left alone
    assert names(world) == ["llm-0", "llm-1"]


def test_a_change_in_place_is_observed_when_the_clusters_have_it():
    world = new_world(replicas=2)
    settle(world)
    make_ready(world)
    settle(world)
    assert judge(the_set(world)).ready
    world.change(the_set(world), {"spec": {"template": template(workers=3)}})
    step(world)
    assert judge(the_set(world)).reason == "NotObserved"
    settle(world)
    assert judge(the_set(world)).reason == "NotAllAvailable"


# Draining --------------------------------------------------------------------------------------------


def test_drains_before_deleting():
    world = new_world(replicas=2, drain={"seconds": 600})
    settle(world)
    make_ready(world)
    world.change(the_set(world), {"spec": {"replicas": 1}})
    step(world)
    assert len(clusters(world)) == 2
    marked = [c for c in clusters(world) if "rayctl.io/draining-since" in c["metadata"]["annotations"]]
    assert [c["metadata"]["name"] for c in marked] == ["llm-1"]
    busy = {marked[0]["metadata"]["uid"]: {"jobs": 1, "requests": 0}}
    plan = settle(world, work=busy)
    assert plan.blocked_on.code == "Draining"
    assert plan.next_check_at <= world.now + 10
    found = the_set(world)["status"]
    assert (found["replicas"], found["readyReplicas"], found["availableReplicas"]) == (2, 2, 1)
    settle(world, work={marked[0]["metadata"]["uid"]: {"jobs": 0, "requests": 0}})
    assert names(world) == ["llm-0"]


@pytest.mark.parametrize(
    ("work", "gone_after"),
    [
        ({"jobs": 0, "serving": False, "requests": 0}, 0),
        ({"jobs": 0, "serving": True, "requests": 0}, 15),  # what began just now is not counted yet
        ({"jobs": 0, "serving": True, "requests": 3}, 600),
        ({"jobs": 0, "serving": True, "requests": None}, 600),
        ({"jobs": 2, "serving": False, "requests": 0}, 600),
        ({"error": "nobody answers"}, 600),
    ],
)
def test_a_cluster_drains_until_its_work_is_known_to_be_done(work, gone_after):
    world = new_world(replicas=1, drain={"seconds": 600})
    settle(world)
    make_ready(world)
    world.change(the_set(world), {"spec": {"replicas": 0}})
    step(world)
    began, uid = world.now, clusters(world)[0]["metadata"]["uid"]
    while clusters(world) and world.now < began + 1000:
        plan = settle(world, work={uid: work})
        if clusters(world):
            assert plan.next_check_at > world.now
            world.now = plan.next_check_at
    assert gone_after <= world.now - began <= gone_after + 10


def test_draining_ends_with_its_time():
    world = new_world(replicas=1, drain={"seconds": 600})
    settle(world)
    make_ready(world)
    world.change(the_set(world), {"spec": {"replicas": 0}})
    settle(world)
    world.now += 599
    settle(world)
    assert len(clusters(world)) == 1
    world.now += 1
    settle(world)
    assert names(world) == []


def test_a_draining_cluster_is_taken_back_before_a_new_one_is_made():
    world = new_world(replicas=2, drain={"seconds": 600})
    settle(world)
    make_ready(world)
    world.change(the_set(world), {"spec": {"replicas": 1}})
    settle(world)
    world.change(the_set(world), {"spec": {"replicas": 2}})
    settle(world)
    assert names(world) == ["llm-0", "llm-1"]
    assert not any("rayctl.io/draining-since" in c["metadata"]["annotations"] for c in clusters(world))


def test_a_cluster_that_is_not_ready_has_nothing_to_drain():
    world = new_world(replicas=1, drain={"seconds": 600})
    settle(world)
    world.set_status(clusters(world)[0], STARTING)
    world.change(the_set(world), {"spec": {"replicas": 0}})
    settle(world)
    assert names(world) == []


def test_nothing_is_decided_by_what_was_not_seen():
    world = new_world(replicas=0)
    assert look(world).members == ()
    assert settle(world).blocked_on is None
