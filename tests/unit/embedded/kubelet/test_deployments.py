"""Pods of Deployments on the embedded node: what is made, what ends, and what is said about it."""

from __future__ import annotations

from typing import Any

import pytest

from rayctl.embedded.kubelet.deployments import HASH, DeploymentPlan, plan_deployment

TEMPLATE: dict[str, Any] = {
    "metadata": {"labels": {"app": "web"}},
    "spec": {"containers": [{"name": "a", "image": "x"}]},
}


def deployment(replicas: int = 2, **more: Any) -> dict[str, Any]:
    metadata = {"name": "web", "namespace": "default", "uid": "u1", "generation": 3}
    return {"metadata": metadata, "spec": {"replicas": replicas, "template": TEMPLATE, **more}}


def made(found: DeploymentPlan, **more: Any) -> list[dict[str, Any]]:
    """Return the pods of a plan as if they were there."""
    status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    return [{**pod, "status": status, **more} for pod in found.create]


def names(pods: Any) -> list[str]:
    return [pod["metadata"]["name"] for pod in pods]


def test_pods_are_made_owned_and_then_left_alone() -> None:
    first = plan_deployment(deployment(), [], "now")
    assert len(first.create) == 2
    assert len(set(names(first.create))) == 2
    pod = first.create[0]
    assert (
        pod["metadata"]["ownerReferences"][0] | {"uid": "u1", "controller": True, "kind": "Deployment"}
        == (pod["metadata"]["ownerReferences"][0])
    )
    assert pod["metadata"]["labels"] == {"app": "web", HASH: pod["metadata"]["labels"][HASH]}
    assert pod["spec"] == TEMPLATE["spec"]
    then = plan_deployment(deployment(), made(first), "now")
    assert (then.create, then.delete) == ((), ())
    assert (then.status["readyReplicas"], then.status["observedGeneration"]) == (2, 3)
    assert then.status["conditions"][0]["status"] == "True"


def test_a_new_template_ends_the_old_pods_before_it_makes_new_ones() -> None:
    old = made(plan_deployment(deployment(), [], "now"))
    changed = deployment(template={**TEMPLATE, "spec": {"containers": [{"name": "a", "image": "y"}]}})
    found = plan_deployment(changed, old, "now")
    assert (found.create, names(found.delete)) == ((), names(old))
    assert found.status["updatedReplicas"] == 0
    going = [{**pod, "metadata": {**pod["metadata"], "deletionTimestamp": "now"}} for pod in old]
    assert plan_deployment(changed, going, "now").create == ()
    assert len(plan_deployment(changed, [], "now").create) == 2


@pytest.mark.parametrize(
    ("replicas", "phase", "create", "delete"), [(1, "Running", 0, 1), (3, "Running", 1, 0), (2, "Failed", 0, 2)]
)
def test_scaling_and_replacing(replicas: int, phase: str, create: int, delete: int) -> None:
    pods = made(plan_deployment(deployment(), [], "now"), status={"phase": phase})
    found = plan_deployment(deployment(replicas), pods, "now")
    assert (len(found.create), len(found.delete)) == (create, delete)
    assert not set(names(found.create)) & set(names(pods))
    assert found.status["conditions"][0]["status"] == "False"


def test_pods_of_others_are_not_touched() -> None:
    stranger = made(plan_deployment({**deployment(), "metadata": {**deployment()["metadata"], "uid": "u2"}}, [], "now"))
    found = plan_deployment(deployment(0), stranger, "now")
    assert (found.create, found.delete, found.status["replicas"]) == ((), (), 0)


def test_a_condition_keeps_its_time_until_it_changes() -> None:
    first = plan_deployment(deployment(), [], "then")
    pods = made(first)
    before = {**deployment(), "status": first.status}
    assert plan_deployment(before, [], "now").status["conditions"][0]["lastTransitionTime"] == "then"
    assert plan_deployment(before, pods, "now").status["conditions"][0]["lastTransitionTime"] == "now"
