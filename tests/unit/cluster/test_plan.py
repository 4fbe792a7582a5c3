"""What is done next, carried out in a small world (KubeRay's expectations 23 to 31, and where rayctl does better)."""

from __future__ import annotations

from typing import Any

import pytest

from rayctl.cluster import keys, names
from rayctl.cluster.status import readiness
from rayctl.core.plan import Create, Plan
from rayctl.views.ray import judge_cluster
from tests.unit.cluster.sample import World, cluster, group, moment, template


def settled(**asked: Any) -> World:
    world = World(cluster(**asked))
    world.settle()
    world.writes.clear()
    world.events.clear()
    return world


def kinds(plan: Plan) -> list[str]:
    return [type(action).__name__ for action in plan.writes]


def worker(index: int, name: str = "small") -> str:
    return names.worker_pod("sample", name, index)


def test_a_cluster_comes_up_and_then_nothing_is_written() -> None:
    world = World(cluster(groups=[group(replicas=3)]))
    first = world.plan()
    made = [action.ref.kind for action in first.singles if isinstance(action, Create)]
    assert made == ["Secret", "Service", "Pod", "Pod", "Pod", "Pod"]
    world.settle()
    assert world.names("head") == ["sample-head"]
    assert world.names("worker") == [worker(0), worker(1), worker(2)]
    status = world.cluster["status"]
    assert (status["state"], status["desiredWorkerReplicas"], status["readyWorkerReplicas"]) == ("ready", 3, 3)
    assert world.condition("HeadPodReady") == ("True", "HeadPodRunningAndReady")
    assert world.condition("RayClusterProvisioned") == ("True", "AllPodRunningAndReadyFirstTime")
    assert readiness(world.cluster).ready
    assert status["head"] == {
        "podIP": "10.0.0.1",
        "podName": "sample-head",
        "serviceIP": "10.0.0.1",
        "serviceName": "sample-head-svc",
    }
    assert status["endpoints"]["client"] == "10001"
    for _ in range(3):
        world.now += 1000
        assert world.plan().writes == ()
    assert len([write for write in world.writes if write.startswith("SetStatus")]) <= 3


@pytest.mark.parametrize("most", range(1, 9))
def test_a_crash_after_any_write_changes_nothing_about_the_end(most: int) -> None:
    world = World(cluster(groups=[group(replicas=2)]))
    world.apply(world.plan(), most)
    world.settle()
    assert world.names("head") == ["sample-head"]
    assert world.names("worker") == [worker(0), worker(1)]


# Scaling.


def test_scaling_up_and_down() -> None:
    world = settled(groups=[group(replicas=1)])
    world.change(workerGroupSpecs=[group(replicas=4)])
    world.settle()
    assert len(world.names("worker")) == 4
    world.run(worker(2), ready=False)
    world.change(workerGroupSpecs=[group(replicas=2)])
    world.settle(ready=False)
    assert world.names("worker") == [worker(0), worker(1)], "the one that was not ready went, then the highest number"


@pytest.mark.parametrize(
    ("replicas", "least", "most", "wanted"), [(3, 0, 2, 2), (1, 2, 5, 2), (None, 2, 5, 2), (None, None, None, 0)]
)
def test_replicas_stay_within_their_limits(replicas: Any, least: Any, most: Any, wanted: int) -> None:
    asked = {"enableInTreeAutoscaling": least is None}
    world = settled(groups=[group(replicas=replicas, minReplicas=least, maxReplicas=most)], **asked)
    assert len(world.names("worker")) == wanted


def test_named_workers_go_first_and_their_names_are_not_given_again() -> None:
    world = settled(groups=[group(replicas=3)])
    world.change(workerGroupSpecs=[group(replicas=2, scaleStrategy={"workersToDelete": [worker(0)]})])
    world.settle()
    assert world.names("worker") == [worker(1), worker(2)]
    world.change(workerGroupSpecs=[group(replicas=3, scaleStrategy={"workersToDelete": [worker(0)]})])
    world.settle()
    assert world.names("worker") == [worker(1), worker(2), worker(3)]


def test_only_own_pods_can_be_named() -> None:
    world = settled(groups=[group(replicas=1), group("other")])
    stranger = {**world.pods[worker(0)], "metadata": {**world.pods[worker(0)]["metadata"]}}
    stranger["metadata"] |= {"name": "stranger", "uid": "s", "ownerReferences": [{"uid": "x", "controller": True}]}
    world.pods["stranger"] = stranger
    named = ["stranger", "sample-head", worker(0, "other"), "nobody"]
    world.change(workerGroupSpecs=[group(scaleStrategy={"workersToDelete": named}), group("other")])
    world.settle()
    assert not [write for write in world.writes if write.startswith("Delete")]


def test_with_the_autoscaler_on_only_named_workers_go() -> None:
    world = settled(groups=[group(replicas=3)], enableInTreeAutoscaling=True)
    world.change(workerGroupSpecs=[group(replicas=2)])
    world.settle()
    assert len(world.names("worker")) == 3
    world.change(workerGroupSpecs=[group(replicas=2, scaleStrategy={"workersToDelete": [worker(1)]})])
    world.settle()
    assert world.names("worker") == [worker(0), worker(2)]


def test_workers_of_a_removed_group_and_of_a_suspended_one_go() -> None:
    world = settled(groups=[group(), group("other"), group("third")])
    world.change(workerGroupSpecs=[group(), group("third", suspend=True)])
    world.settle()
    assert world.names("worker") == [worker(0)]
    assert world.cluster["status"]["desiredWorkerReplicas"] == 1


# Health.


def test_a_worker_that_ended_is_replaced_but_not_in_a_loop() -> None:
    world = settled(groups=[group(replicas=1)])
    world.now += 100
    world.fail(worker(0))
    plan = world.plan()
    assert "Delete" in kinds(plan)
    world.apply(plan)
    assert world.names("worker") == [worker(1)]
    world.fail(worker(1))
    plan = world.plan()
    assert "Delete" not in kinds(plan)
    assert plan.next_check_at is not None
    assert plan.next_check_at > world.now
    world.settle()
    assert world.names("worker") == [worker(0)]
    assert readiness(world.cluster).ready


@pytest.mark.parametrize(("policy", "gone"), [("Never", True), ("Always", False), ("OnFailure", False), (None, False)])
def test_a_container_that_ended_counts_only_if_nobody_restarts_it(policy: str | None, gone: bool) -> None:
    pod = {"restartPolicy": policy} if policy else {}
    world = settled(groups=[group(template=template(pod=pod))])
    status = world.pods[worker(0)]["status"]
    status["containerStatuses"] = [{"name": "ray", "state": {"terminated": {"finishedAt": moment(world.now - 60)}}}]
    assert ("Delete" in kinds(world.plan())) is gone


def test_an_evicted_worker_is_replaced_at_once() -> None:
    world = settled()
    world.fail(worker(0), "Evicted")
    assert kinds(world.plan())[0] == "Delete"


def test_the_head_is_lost_and_comes_back() -> None:
    world = settled()
    world.remove("sample-head")
    world.now += 60
    plan = world.plan()
    world.apply(plan)
    assert world.condition("HeadPodReady") == ("False", "HeadPodNotFound")
    assert "state" not in world.cluster["status"], "ready goes back"
    assert not readiness(world.cluster).ready
    assert readiness(world.cluster).provisioned
    world.settle()
    assert world.names("head") == ["sample-head"]
    assert world.cluster["status"]["state"] == "ready"


def test_no_second_head_beside_one_that_is_still_going() -> None:
    world = settled()
    world.lingering.add("sample-head")
    world.remove("sample-head")
    for _ in range(5):
        plan = world.plan()
        world.apply(plan)
        world.now += 100
    assert not any(write.startswith("Create") for write in world.writes)
    assert plan.blocked_on is not None
    assert plan.blocked_on.code == "HeadTerminating"
    assert "--force" in plan.blocked_on.hint
    assert world.condition("Ready") == ("False", "HeadTerminating")


def test_a_worker_that_never_ends_does_not_hold_up_its_replacement() -> None:
    world = settled()
    world.lingering.add(worker(0))
    world.remove(worker(0))
    world.settle()
    assert world.names("worker") == [worker(0), worker(1)]
    assert world.cluster["status"]["state"] == "ready"


def test_a_foreign_head_with_the_clusters_labels_is_not_joined_by_a_second_one() -> None:
    world = World(cluster())
    labels = {keys.CLUSTER: "sample", keys.NODE_TYPE: "head", keys.GROUP: "headgroup"}
    world.pods["left-over"] = {"metadata": {"name": "left-over", "namespace": "default", "uid": "x", "labels": labels}}
    plan = world.plan()
    assert plan.blocked_on is not None
    assert plan.blocked_on.code == "ForeignHead"
    assert not [action for action in plan.singles if isinstance(action, Create) and action.ref.kind == "Pod"]


def test_a_head_that_must_not_come_back() -> None:
    world = settled(annotations={keys.NO_HEAD_RESTART: "true"})
    assert world.names("head") == ["sample-head"]
    world.remove("sample-head")
    world.settle()
    assert world.names("head") == []
    assert world.condition("Ready")[1] == "HeadNotRestarted"


def test_workers_that_die_take_ready_back() -> None:
    world = settled(groups=[group(replicas=2)])
    world.run(worker(1), ready=False)
    world.now += 60
    world.apply(world.plan())
    assert "state" not in world.cluster["status"]
    assert world.condition("Ready") == ("False", "WorkersNotReady")
    assert "1 of 2 workers of small are ready" in world.cluster["status"]["reason"]


# Several hosts.


def hosts(world: World) -> list[tuple[str, str]]:
    labels = [world.pods[name]["metadata"]["labels"] for name in world.names("worker")]
    return sorted((found[keys.REPLICA_INDEX], found[keys.HOST_INDEX]) for found in labels)


def test_replicas_of_several_hosts_come_and_go_as_a_whole() -> None:
    world = settled(groups=[group(replicas=2, numOfHosts=3)])
    assert hosts(world) == [(replica, host) for replica in "01" for host in "012"]
    assert world.cluster["status"]["desiredWorkerReplicas"] == 6
    world.change(workerGroupSpecs=[group(replicas=1, numOfHosts=3)])
    world.settle()
    assert hosts(world) == [("0", host) for host in "012"]
    named = {"workersToDelete": [worker(1)]}
    world.change(workerGroupSpecs=[group(replicas=1, numOfHosts=3, scaleStrategy=named)])
    world.settle()
    assert hosts(world) == [("1", host) for host in "012"]


def test_a_lost_host_takes_its_replica_with_it() -> None:
    world = settled(groups=[group(replicas=2, numOfHosts=2)])
    world.remove(worker(1))
    world.apply(world.plan())
    assert [write for write in world.writes if write.startswith("Delete")] == [f"Delete Pod default/{worker(0)}"]
    world.settle()
    assert hosts(world) == [("1", "0"), ("1", "1"), ("2", "0"), ("2", "1")]


def test_a_replica_that_is_still_being_made_is_completed() -> None:
    world = World(cluster(groups=[group(replicas=1, numOfHosts=4)]))
    world.apply(world.plan(), most=6)
    assert 0 < len(world.names("worker")) < 4
    world.settle()
    assert hosts(world) == [("0", host) for host in "0123"]
    assert not [write for write in world.writes if write.startswith("Delete")]


# Suspension.


def test_suspend_and_resume() -> None:
    world = settled()
    world.change(suspend=True)
    plan = world.plan()
    assert kinds(plan)[0] == "SetStatus", "that it is going on is written before pods are deleted"
    world.settle()
    assert world.pods == {}
    assert world.condition("RayClusterSuspended")[0] == "True"
    assert world.condition("RayClusterSuspending")[0] == "False"
    assert world.condition("RayClusterProvisioned")[0] == "False"
    assert world.cluster["status"]["state"] == "suspended"
    assert ("Service", "sample-head-svc") in world.children
    del world.cluster["spec"]["suspend"]
    world.change()
    world.settle()
    assert len(world.pods) == 2, "leaving the field out resumes as well"
    assert world.condition("RayClusterSuspended")[0] == "False"
    assert world.cluster["status"]["state"] == "ready"


def test_a_suspension_that_has_begun_is_finished() -> None:
    world = settled(groups=[group(replicas=2)])
    world.change(suspend=True)
    world.apply(world.plan(), most=2)
    world.change(suspend=False)
    plan = world.plan()
    assert "Create" not in kinds(plan)
    world.apply(plan)
    assert world.pods == {}
    world.settle()
    assert len(world.pods) == 3


def test_a_cluster_that_begins_suspended_has_no_pods() -> None:
    world = settled(suspend=True)
    assert world.pods == {}
    assert world.condition("RayClusterSuspended")[0] == "True"


# Changed templates.

NEW = template(image="ray:new")


def images(world: World) -> set[str]:
    return {pod["spec"]["containers"][0]["image"] for pod in world.pods.values()}


def test_without_a_strategy_running_pods_stay() -> None:
    world = settled()
    world.change(headGroupSpec={"template": NEW}, workerGroupSpecs=[group(template=NEW)])
    world.settle()
    assert images(world) == {"ray:2.60.0"}


def not_head(pod: dict[str, Any]) -> bool:
    return bool(pod["metadata"]["labels"][keys.NODE_TYPE] != keys.HEAD)


def test_recreate_replaces_all_pods_and_makes_none_before_the_old_are_gone() -> None:
    world = settled(upgradeStrategy={"type": "Recreate"})
    world.lingering.add("sample-head")
    world.change(workerGroupSpecs=[group(template=NEW)], headGroupSpec={"template": NEW})
    world.apply(world.plan())
    assert "Create" not in kinds(world.plan())
    del world.pods["sample-head"]
    world.settle()
    assert images(world) == {"ray:new"}


@pytest.mark.parametrize(
    "change",
    [
        {"workerGroupSpecs": [group(replicas=2)]},
        {"workerGroupSpecs": [group(template=template(pod={"tolerations": [{"key": "a"}]}))]},
        {"workerGroupSpecs": [group(), group("new")]},
        {"headGroupSpec": {"template": template(), "serviceType": "NodePort"}},
        {"headGroupSpec": {"template": {**template(), "metadata": {}}, "rayStartParams": {}}},
    ],
)
def test_what_is_no_reason_to_recreate(change: dict[str, Any]) -> None:
    world = settled(upgradeStrategy={"type": "Recreate"})
    world.change(**change)
    world.settle()
    assert not [write for write in world.writes if write.startswith("Delete")]


def test_rolling_replaces_the_head_and_then_one_worker_at_a_time() -> None:
    world = settled(groups=[group(replicas=3)], annotations={keys.UPGRADE_STRATEGY: "RollingUpdate"})
    world.change(headGroupSpec={"template": NEW}, workerGroupSpecs=[group(replicas=3, template=NEW)])
    fewest = 3
    deleted = []
    for _ in range(40):
        plan = world.plan()
        if not plan.writes:
            break
        world.apply(plan)
        fewest = min(fewest, len(world.names("worker")))
        deleted += [write for write in world.writes if write.startswith("Delete")]
        world.writes.clear()
        world.run()
        world.now += 10
    assert images(world) == {"ray:new"}
    assert fewest == 2
    assert deleted[0] == "Delete Pod default/sample-head"
    assert len(deleted) == 4


def test_rolling_waits_until_the_last_new_worker_is_ready() -> None:
    world = settled(groups=[group(replicas=2)], annotations={keys.UPGRADE_STRATEGY: "RollingUpdate"})
    world.change(workerGroupSpecs=[group(replicas=2, template=NEW)])
    world.apply(world.plan())
    world.apply(world.plan())
    assert len(world.names("worker")) == 2
    for _ in range(3):
        world.now += 100
        plan = world.plan()
        assert "Delete" not in kinds(plan)
        world.apply(plan)


@pytest.mark.parametrize(
    "strategy",
    [{}, {"upgradeStrategy": {"type": "Recreate"}}, {"annotations": {keys.UPGRADE_STRATEGY: "RollingUpdate"}}],
)
def test_one_with_pods_of_an_older_template_is_not_called_rolled_out(strategy: dict[str, Any]) -> None:
    world = settled(groups=[group(replicas=2)], **strategy)
    assert judge_cluster(world.cluster).ready
    world.change(workerGroupSpecs=[group(replicas=2, template=NEW)])
    for _ in range(40):
        plan = world.plan()
        world.apply(plan)
        found = judge_cluster(world.cluster)
        worker_images = {pod["spec"]["containers"][0]["image"] for pod in world.pods.values() if not_head(pod)}
        assert not found.ready or found.outdated or worker_images == {"ray:new"}
        if not plan.writes:
            break
        world.run()
        world.now += 10
    assert found.ready
    assert ("stay until they are deleted" in found.outdated) is (not strategy)


def test_one_that_has_workers_too_many_is_not_ready_until_they_are_gone() -> None:
    world = settled(groups=[group(replicas=3)])
    world.change(workerGroupSpecs=[group(replicas=1)])
    world.apply(world.plan())
    assert judge_cluster(world.cluster).reason == "ScalingDown"
    world.settle()
    assert judge_cluster(world.cluster).ready


# Refusals, others' clusters.


def test_an_invalid_specification_is_told_once_and_harms_nothing() -> None:
    world = settled()
    world.change(workerGroupSpecs=[group(minReplicas=3, maxReplicas=2)])
    world.settle()
    assert world.condition("Ready") == ("False", "InvalidRayClusterSpec")
    assert "greater than maxReplicas" in world.cluster["status"]["reason"]
    assert len(world.pods) == 2
    assert [event.reason for event in world.events] == ["InvalidRayClusterSpec"]
    plan = world.plan()
    assert (plan.writes, plan.next_check_at) == ((), None), "no storm of retries"
    world.change(workerGroupSpecs=[group()])
    world.settle()
    assert world.cluster["status"]["state"] == "ready"


def test_a_quota_that_refuses_workers_is_seen_in_the_status() -> None:
    world = World(cluster(groups=[group(replicas=2)]))
    plan = world.plan()
    workers = [a for a in plan.singles if isinstance(a, Create) and "-worker-" in a.ref.name]
    world.apply(plan, most=3)
    world.run()
    told = world.refuse(workers[0], 403, "exceeded quota: pods=1")
    world.apply(told)
    assert world.condition("ReplicaFailure") == ("True", "FailedCreateWorkerPod")
    assert world.condition("Ready") == ("False", "FailedCreateWorkerPod")
    assert world.condition("RayClusterProvisioned")[0] == "False"
    assert "exceeded quota" in world.cluster["status"]["reason"]
    world.now += 60
    assert world.refuse(workers[0], 403, "exceeded quota: pods=1").writes == ()
    world.settle()
    assert world.condition("ReplicaFailure") == ("", "")
    assert world.cluster["status"]["state"] == "ready"


@pytest.mark.parametrize("spec", [{"managedBy": "kueue.x-k8s.io/multikueue"}])
def test_clusters_of_other_controllers_are_left_alone(spec: dict[str, Any]) -> None:
    plan = World(cluster(**spec)).plan()
    assert plan.actions == ()
    assert plan.blocked_on is not None
    assert plan.blocked_on.code == "ManagedElsewhere"


def test_the_operators_own_name_is_ours_where_there_is_no_operator() -> None:
    world = settled(managedBy="ray.io/kuberay-operator")
    assert len(world.pods) == 2


def test_where_kuberay_runs_nothing_is_written_and_that_is_said() -> None:
    world = World(cluster())
    world.operator = "kuberay/kuberay-operator"
    plan = world.plan()
    assert plan.actions == ()
    assert plan.blocked_on is not None
    assert "kuberay/kuberay-operator looks after" in plan.blocked_on.message
    assert plan.next_check_at is not None


# Other objects.


def test_a_service_that_was_changed_is_mended_and_one_of_others_is_not_touched() -> None:
    world = settled()
    world.children["Service", "sample-head-svc"]["spec"]["selector"] = {"x": "y"}
    assert kinds(world.plan()) == ["Apply"]
    world.settle()
    assert world.plan().writes == ()
    other = World(cluster())
    metadata = {"name": "sample-head-svc", "namespace": "default", "uid": "s"}
    other.children["Service", "sample-head-svc"] = {"apiVersion": "v1", "kind": "Service", "metadata": metadata}
    plan = other.plan()
    assert plan.blocked_on is not None
    assert plan.blocked_on.code == "NameTaken"
    other.apply(plan)
    assert other.pods == {}
    assert other.condition("Ready") == ("False", "NameTaken")


def test_what_an_earlier_cluster_of_the_name_has_left_is_waited_for() -> None:
    world = World(cluster())
    old = {"kind": "RayCluster", "name": "sample", "uid": "old", "controller": True}
    metadata = {"name": "sample-head-svc", "namespace": "default", "uid": "s", "ownerReferences": [old]}
    world.children["Service", "sample-head-svc"] = {"apiVersion": "v1", "kind": "Service", "metadata": metadata}
    plan = world.plan()
    assert plan.blocked_on is not None
    assert plan.blocked_on.code == "WaitingForObjects"
    assert plan.next_check_at is not None
    world.apply(plan)
    assert world.pods == {}
    del world.children["Service", "sample-head-svc"]
    world.settle()
    assert world.cluster["status"]["state"] == "ready"


def test_the_token_is_made_once_and_not_where_the_user_has_his_own() -> None:
    world = settled()
    assert world.secret
    assert world.plan().writes == ()
    for own in ({"authOptions": {"mode": "token", "secretName": "mine"}}, {"authOptions": {"mode": "disabled"}}):
        world = settled(**own)
        assert not world.secret


def test_an_autoscaler_whose_account_is_missing() -> None:
    asked = {"template": template(pod={"serviceAccountName": "mine"})}
    world = World(cluster(head=asked, enableInTreeAutoscaling=True))
    world.apply(world.plan())
    assert world.condition("Ready") == ("False", "AutoscalerServiceAccountNotFound")
    assert world.pods == {}
    assert "AutoscalerServiceAccountNotFound" in [event.reason for event in world.events]


def test_an_ingress_that_is_not_wanted_any_more_goes() -> None:
    world = settled(head={"enableIngress": True})
    assert ("Ingress", "sample-head-ingress") in world.children
    world.change(headGroupSpec={"template": template()})
    world.settle()
    assert ("Ingress", "sample-head-ingress") not in world.children


def test_resource_totals() -> None:
    amounts = {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"cpu": "2", "nvidia.com/gpu": "1"}}
    world = settled(groups=[group(replicas=3, template=template(resources=amounts))])
    status = world.cluster["status"]
    assert status["desiredCPU"] == "1500m"
    assert status["desiredMemory"] == "3Gi"
    assert (status["desiredGPU"], status["desiredTPU"]) == ("3", "0")
