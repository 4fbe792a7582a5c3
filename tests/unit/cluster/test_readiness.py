"""One answer to "is this cluster ready", for statuses of both controllers."""

from __future__ import annotations

from typing import Any

import pytest

from rayctl.cluster.status import readiness


def cluster(status: dict[str, Any] | None, generation: int = 1, **metadata: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"metadata": {"name": "c", "generation": generation, **metadata}}
    return {**found, "status": status} if status is not None else found


def condition(kind: str, status: str = "True", reason: str = "Because") -> dict[str, Any]:
    return {"type": kind, "status": status, "reason": reason, "message": f"{kind} is {status}"}


LIVE = {
    "state": "ready",
    "observedGeneration": 1,
    "desiredWorkerReplicas": 2,
    "readyWorkerReplicas": 2,
    "availableWorkerReplicas": 2,
    "conditions": [condition("HeadPodReady"), condition("RayClusterProvisioned")],
}


@pytest.mark.parametrize(
    ("document", "ready", "reason"),
    [
        (cluster(None), False, "NotObserved"),
        (cluster(LIVE), True, "Ready"),
        (cluster(LIVE, generation=2), False, "NotObserved"),
        (cluster(LIVE, deletionTimestamp="2026-01-01T00:00:00Z"), False, "Deleting"),
        # KubeRay's state stays ready when workers or the head have died.
        (cluster({**LIVE, "readyWorkerReplicas": 1}), False, "WorkersNotReady"),
        (
            cluster({**LIVE, "conditions": [condition("HeadPodReady", "False", "HeadPodNotFound")]}),
            False,
            "HeadPodNotFound",
        ),
        (
            cluster(
                {
                    **LIVE,
                    "conditions": [*LIVE["conditions"], condition("ReplicaFailure", reason="FailedCreateWorkerPod")],
                }
            ),
            False,
            "FailedCreateWorkerPod",
        ),
        (cluster({**LIVE, "state": ""}), False, "NotReady"),
        (cluster({**LIVE, "conditions": [condition("RayClusterSuspended")]}), False, "Suspended"),
        (cluster({**LIVE, "conditions": [condition("RayClusterSuspending")]}), False, "Suspending"),
        # Before conditions there were none.
        (
            cluster(
                {"state": "ready", "observedGeneration": 1, "desiredWorkerReplicas": 1, "availableWorkerReplicas": 1}
            ),
            True,
            "Ready",
        ),
        # rayctl's own summary decides.
        (
            cluster({**LIVE, "conditions": [*LIVE["conditions"], condition("Ready", "False", "HeadNotReady")]}),
            False,
            "HeadNotReady",
        ),
        (cluster({"observedGeneration": 1, "conditions": [condition("Ready")]}), True, "Ready"),
    ],
)
def test_readiness(document: dict[str, Any], ready: bool, reason: str) -> None:
    found = readiness(document)
    assert (found.ready, found.reason) == (ready, reason)
    assert found.ready or found.message


def test_provisioned_is_remembered_while_not_ready() -> None:
    found = readiness(cluster({**LIVE, "readyWorkerReplicas": 0}))
    assert found.provisioned
    assert not found.ready
