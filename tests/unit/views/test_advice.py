"""What `rayctl explain` tells to do about the commonest failures: the true cause, and a command that leads on."""

from __future__ import annotations

from typing import Any

import pytest

from rayctl.views.events import happened
from rayctl.views.explanation import Surroundings, explain
from rayctl.views.family import family

NOW = 1_700_000_000.0
AT = "2023-11-14T22:12:20Z"
OWNER = {"apiVersion": "ray.io/v1", "kind": "RayCluster", "name": "demo", "uid": "1", "controller": True}


def cluster(**more: Any) -> dict[str, Any]:
    metadata = {"name": "demo", "namespace": "team", "uid": "1", "generation": 1, "creationTimestamp": AT}
    head = {
        "type": "HeadPodReady",
        "status": "False",
        "reason": "HeadPodNotFound",
        "message": "",
        "lastTransitionTime": AT,
    }
    status = {"observedGeneration": 1, "conditions": [head], **more.pop("status", {})}
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayCluster",
        "metadata": {**metadata, **more.pop("metadata", {})},
        "spec": {"headGroupSpec": {}, **more},
        "status": status,
    }


def pod(reason: str, message: str = "", **more: Any) -> dict[str, Any]:
    state = {
        "name": "ray",
        "ready": False,
        "restartCount": 2,
        "state": {"waiting": {"reason": reason, "message": message}},
    }
    metadata = {
        "name": "demo-head",
        "namespace": "team",
        "uid": "2",
        "ownerReferences": [OWNER],
        "creationTimestamp": AT,
    }
    status = {"phase": "Pending", "containerStatuses": [{**state, **more}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {}, "status": status}


def unplaced(message: str) -> dict[str, Any]:
    found = pod("")
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return {**found, "status": {"phase": "Pending", "conditions": [condition]}}


def ended(code: int, reason: str) -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason}}


FINALIZER = {"deletionTimestamp": AT, "finalizers": ["ray.io/gcs-ft-redis-cleanup-finalizer"]}
QUOTA = 'pods "demo-head" is forbidden: exceeded quota: q, requested: pods=1'
INVALID = "The RayCluster spec is invalid: headGroupSpec has no container"
SUSPENDED = {
    "state": "suspended",
    "conditions": [{"type": "RayClusterSuspended", "status": "True", "reason": "Suspended"}],
}


@pytest.mark.parametrize(
    ("document", "others", "event", "cause", "command"),
    [
        (
            cluster(),
            [pod("ImagePullBackOff", 'image "ray:9"')],
            "",
            'image "ray:9"',
            "rayctl describe po/demo-head -n team",
        ),
        (cluster(), [unplaced("3 Insufficient cpu.")], "", "Insufficient cpu", "rayctl get nodes -o wide"),
        (
            cluster(),
            [pod("CrashLoopBackOff", lastState=ended(1, "Error"))],
            "",
            "exit code 1, 2 restarts",
            "rayctl logs demo-head -c ray --previous -n team",
        ),
        (
            cluster(),
            [pod("CrashLoopBackOff", lastState=ended(137, "OOMKilled"))],
            "",
            "OOMKilled",
            "rayctl describe po/demo-head -n team",
        ),
        (
            cluster(),
            [pod("CreateContainerConfigError", 'secret "x" not found')],
            "",
            'secret "x" not found',
            "rayctl get secrets,configmaps -n team",
        ),
        (cluster(), [], QUOTA, "exceeded quota: q", "rayctl get resourcequotas -n team"),
        (
            cluster(status={"state": "failed"}),
            [],
            INVALID,
            "has no container",
            "rayctl get raycluster/demo -o yaml -n team",
        ),
        ({**cluster(), "status": {}}, [], "", "no controller has looked", "rayctl doctor"),
        (cluster(suspend=True, status=SUSPENDED), [], "", "is suspended", "rayctl resume raycluster/demo -n team"),
        (cluster(metadata=FINALIZER), [], "", "gcs-ft-redis-cleanup-finalizer", "rayctl doctor"),
    ],
    ids=["image", "room", "crash", "memory", "reference", "quota", "invalid", "nobody", "suspended", "deletion"],
)
def test_the_cause_and_what_to_do(
    document: dict[str, Any], others: list[dict[str, Any]], event: str, cause: str, command: str
) -> None:
    events = []
    if event:
        regarding = {"kind": "RayCluster", "name": "demo", "namespace": "team", "uid": "1"}
        reason = "InvalidRayClusterSpec" if event == INVALID else "FailedToCreateHeadPod"
        told = {"regarding": regarding, "type": "Warning", "note": event, "reason": reason, "eventTime": AT}
        events.append(happened({"kind": "Event", "metadata": {"name": "e", "namespace": "team"}, **told}))
    found = explain(family(document, [document, *others]), Surroundings(tuple(events)), NOW)
    assert found.ready is False
    assert cause in found.causes[-1].text
    assert found.advice[0].command == command
    assert found.advice[0].effect
