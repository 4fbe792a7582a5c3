"""Explanations of fleets and services: the chain, and what only they know."""

from __future__ import annotations

from typing import Any

from rayctl.views.explanation import Surroundings, explain
from rayctl.views.family import family
from rayctl.views.readiness import judge

NOW = 1_800_000_000.0


def thing(api: str, kind: str, name: str, owner: Any = None, **rest: Any) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, "namespace": "n", "uid": f"uid-{name}", "generation": 1}
    metadata |= {"creationTimestamp": "2026-01-01T00:00:00Z", "labels": {"app": "x"}}
    if owner is not None:
        reference = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"]}
        metadata["ownerReferences"] = [{**reference, "uid": owner["metadata"]["uid"], "controller": True}]
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **rest}


def condition(kind: str, status: str, reason: str, message: str = "") -> dict[str, Any]:
    return {"type": kind, "status": status, "reason": reason, "message": message, "observedGeneration": 1}


def test_a_paused_fleet_says_how_to_go_on() -> None:
    template = {"metadata": {"labels": {"app": "x"}}, "spec": {"headGroupSpec": {"template": {}}}}
    spec = {"replicas": 2, "paused": True, "selector": {"matchLabels": {"app": "x"}}, "template": template}
    status = {
        "observedGeneration": 1,
        "readyReplicas": 1,
        "updatedReplicas": 1,
        "replicas": 2,
        "conditions": [
            condition("Ready", "False", "Paused", "1 of 2"),
            condition("Paused", "True", "Paused", "by you"),
        ],
    }
    fleet = thing("orchestration.aibrix.ai/v1alpha1", "RayClusterFleet", "embed", spec=spec, status=status)
    found = explain(family(fleet, []), Surroundings(), NOW)
    assert found.summary == "rayclusterfleet/embed is paused"
    assert found.causes[0].text == "rayclusterfleet/embed: by you"
    assert ("clusters", "1 ready, 2 wanted, 1 of the newest revision") in found.facts
    assert found.advice[0].command == "rayctl rollout resume embed -n n"


def test_a_service_says_where_its_traffic_goes() -> None:
    status = {
        "observedGeneration": 1,
        "activeServiceStatus": {"rayClusterName": "chat-a", "applicationStatuses": {"app": {"status": "RUNNING"}}},
        "conditions": [condition("Ready", "False", "WaitingForCapacity", "8 GPUs are missing")],
    }
    service = thing("ray.io/v1", "RayService", "chat", spec={"rayClusterConfig": {}}, status=status)
    cluster = thing(
        "ray.io/v1", "RayCluster", "chat-a", service, status={"readyWorkerReplicas": 1, "desiredWorkerReplicas": 1}
    )
    found = explain(family(service, [cluster]), Surroundings(), NOW)
    assert found.ready is False
    assert ("traffic", "100% on chat-a (active, 1/1 workers)") in found.facts
    assert found.document()["facts"]["traffic"].startswith("100%")


def test_what_cannot_come_to_be_has_failed() -> None:
    group = "orchestration.aibrix.ai/v1alpha1"
    waiting = [
        condition("Progressing", "True", "ReplicaSetUpdated"),
        condition("Ready", "False", "WaitingForAvailable"),
    ]
    over = [condition("Progressing", "False", "RolledBack"), condition("Ready", "False", "GateFailed", "a gate")]
    for conditions, failed in ((waiting, False), (over, True)):
        status = {"observedGeneration": 1, "conditions": conditions}
        verdict = judge(thing(group, "RayClusterFleet", "embed", status=status))
        assert (verdict.ready, verdict.failed) == (False, failed)
    template = {"metadata": {"labels": {"app": "x"}}, "spec": {}}
    spec = {"selector": {"matchLabels": {"app": "x"}}, "template": template}
    status = {"observedGeneration": 1, "conditions": [condition("Ready", "False", "NotAllAvailable")]}
    assert not judge(thing(group, "RayClusterReplicaSet", "set", spec=spec, status=status)).failed
    foreign = {**spec, "selector": {"matchLabels": {"app": "y"}}}
    assert judge(thing(group, "RayClusterReplicaSet", "set", spec=foreign, status=status)).failed
    status["conditions"].append(condition("Quarantined", "True", "ReplacementDidNotHelp"))
    assert judge(thing(group, "RayClusterReplicaSet", "set", spec=spec, status=status)).failed
