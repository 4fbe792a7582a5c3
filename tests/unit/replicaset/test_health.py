"""What the status of a RayCluster means, KubeRay's with and without conditions."""

import pytest

from rayctl.replicaset.health import Phase, health_of, wanted_workers
from rayctl.replicaset.selectors import parse_selector
from rayctl.replicaset.template import in_place_hash, same_template, without_in_place
from tests.unit.replicaset.worlds import STARTING, cluster, condition, status, template


def judged(given, **spec):
    document = cluster("c")
    document["spec"] = {**document["spec"], **spec}
    return health_of({**document, "status": given})


@pytest.mark.parametrize(
    ("given", "phase", "reason"),
    [
        ({}, Phase.STARTING, "NotObserved"),
        (STARTING, Phase.STARTING, "Because"),
        (status(), Phase.READY, "Ready"),
        (status(workers=5), Phase.READY, "Ready"),
        (status(workers=0), Phase.UNREADY, "WorkersNotReady"),
        (status(head=False), Phase.UNREADY, "Because"),
        (status(provisioned=False), Phase.STARTING, "Provisioning"),
        ({"state": "ready", "readyWorkerReplicas": 1}, Phase.READY, "Ready"),
        ({"state": "ready", "availableWorkerReplicas": 1}, Phase.READY, "Ready"),
        ({"state": "ready", "readyWorkerReplicas": 0}, Phase.UNREADY, "WorkersNotReady"),
        ({"state": "failed", "reason": "no quota"}, Phase.STARTING, "NotReady"),
        ({"state": "", "stateTransitionTimes": {"ready": "2026-01-01T00:00:00Z"}}, Phase.UNREADY, "NotReady"),
        ({"conditions": [condition("RayClusterSuspended", "True")]}, Phase.SUSPENDED, "Suspended"),
    ],
)
def test_verdicts(given, phase, reason):
    found = judged(given)
    assert (found.phase, found.reason) == (phase, reason)
    assert found.ready is (phase is Phase.READY)
    assert bool(found.message) is not found.ready


def test_early_provisioned_does_not_count():
    # KubeRay may say so while it has only seen the head.
    assert not judged(status(workers=0)).ready


def test_times():
    assert judged(status(at=1000)).since_at == 1000
    assert (
        judged({"state": "ready", "readyWorkerReplicas": 1, "lastUpdateTime": "1970-01-01T00:10:00Z"}).since_at == 600
    )


def test_deletion_names_what_holds_it():
    document = cluster("c", deletionTimestamp="2026-01-01T00:00:00Z", finalizers=["ray.io/gcs-ft-redis-cleanup"])
    found = health_of(document)
    assert found.phase is Phase.TERMINATING
    assert "ray.io/gcs-ft-redis-cleanup" in found.message


@pytest.mark.parametrize(
    ("groups", "autoscaled", "wanted"),
    [
        ([{"replicas": 3}], False, 3),
        ([{"replicas": 3, "numOfHosts": 4}], False, 12),
        ([{"replicas": 3, "minReplicas": 1}], True, 1),
        ([{"replicas": 0, "minReplicas": 2}], False, 2),
        ([{"replicas": 9, "maxReplicas": 4}], False, 4),
        ([{"replicas": 2, "suspend": True}, {"replicas": 1}], False, 1),
        ([], False, 0),
        ([{}], False, 0),
    ],
)
def test_wanted_workers(groups, autoscaled, wanted):
    assert wanted_workers({"spec": {"workerGroupSpecs": groups, "enableInTreeAutoscaling": autoscaled}}) == wanted


# Templates -------------------------------------------------------------------------------------------


def changed(**spec):
    return template(**spec)


def test_what_the_api_drops_or_adds_makes_no_difference():
    one, other = template(), template()
    other["metadata"]["creationTimestamp"] = None
    other["metadata"]["labels"]["pod-template-hash"] = "abc"
    other["metadata"]["annotations"] = {}
    other["spec"]["headGroupSpec"]["template"]["metadata"] = {"creationTimestamp": None, "labels": {}}
    other["spec"]["workerGroupSpecs"][0]["template"]["metadata"] = {
        "labels": {"orchestration.aibrix.ai/raycluster-fleet-name": "f"}
    }
    assert same_template(one, other)


def test_quantities_are_numbers():
    def with_cpu(value):
        made = template()
        made["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["resources"] = {"limits": {"cpu": value}}
        return made

    assert same_template(with_cpu("1000m"), with_cpu("1"))
    assert same_template(with_cpu(1), with_cpu("1"))
    assert not same_template(with_cpu("1"), with_cpu("2"))


def test_labels_and_annotations_of_pods_make_a_difference():
    other = template()
    other["spec"]["headGroupSpec"]["template"]["metadata"] = {"labels": {"a": "b"}}
    assert not same_template(template(), other)


@pytest.mark.parametrize(
    ("other", "in_place"),
    [
        (template(workers=4), True),
        (template(labels={"app": "llm", "team": "a"}), True),
        (template(labels={"app": "llm", "kueue.x-k8s.io/queue-name": "q"}), False),
        (template(image="ray:2.60"), False),
        (template(enableInTreeAutoscaling=True), False),
    ],
)
def test_in_place(other, in_place):
    assert (without_in_place(template()) == without_in_place(other)) is in_place
    if in_place:
        assert in_place_hash(template()) != in_place_hash(other)


def test_annotations_need_new_clusters():
    other = template()
    other["metadata"]["annotations"] = {"rayctl.io/restarted-at": "now"}
    assert without_in_place(template()) != without_in_place(other)


# Selectors -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("selector", "labels", "expected"),
    [
        ({"matchLabels": {"a": "1"}}, {"a": "1", "b": "2"}, True),
        ({"matchLabels": {"a": "1"}}, {"a": "2"}, False),
        ({"matchLabels": {"a": "1"}}, None, False),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1", "2"]}]}, {"a": "2"}, True),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1"]}]}, {}, False),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, {}, True),
        ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, {"a": ""}, True),
        ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, {"a": ""}, False),
    ],
)
def test_selectors(selector, labels, expected):
    assert parse_selector(selector).matches(labels) is expected


def test_selector_as_text():
    selector = {
        "matchLabels": {"b": "2", "a": "1"},
        "matchExpressions": [
            {"key": "c", "operator": "NotIn", "values": ["y", "x"]},
            {"key": "d", "operator": "DoesNotExist"},
            {"key": "e", "operator": "Exists"},
        ],
    }
    assert str(parse_selector(selector)) == "a=1,b=2,c notin (x,y),!d,e"
    assert parse_selector(None).empty
