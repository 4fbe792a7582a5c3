"""Whether a RayCluster is ready, from its own status: one answer for all who wait for clusters.

It understands what rayctl writes and what KubeRay writes, whose ``state`` stays ``ready`` when pods have died.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rayctl.core.conditions import Condition, parse_conditions

__all__ = [
    "HEAD_READY",
    "PROVISIONED",
    "READY",
    "REPLICA_FAILURE",
    "SUSPENDED",
    "SUSPENDING",
    "Readiness",
    "provisioned_s",
    "readiness",
]

READY = "Ready"
"""rayctl's own summary; KubeRay does not write it."""
HEAD_READY = "HeadPodReady"
PROVISIONED = "RayClusterProvisioned"
REPLICA_FAILURE = "ReplicaFailure"
SUSPENDING = "RayClusterSuspending"
SUSPENDED = "RayClusterSuspended"


@dataclass(frozen=True)
class Readiness:
    """Whether a cluster can be used now, and whether it once was complete.

    Args:
        ready: Now: head and all wanted workers are there and ready, for the newest specification.
        provisioned: All pods were ready at least once since it was made or resumed.
        reason: A word; ``Ready`` if it is.
        message: A sentence that says what is missing.
    """

    ready: bool
    provisioned: bool
    reason: str
    message: str = ""


def provisioned_s(old: Mapping[str, Any], new: Mapping[str, Any]) -> float | None:
    """Return how many seconds after its creation a RayCluster was complete, if that is what changed; else None."""
    before, after = (
        parse_conditions((document.get("status") or {}).get("conditions")).get(PROVISIONED) for document in (old, new)
    )
    if after is None or not after.is_true or (before is not None and before.is_true):
        return None
    created = datetime.fromisoformat(str(new["metadata"]["creationTimestamp"]).replace("Z", "+00:00"))
    return max(0.0, float(after.transition_at) - created.timestamp())


def readiness(document: Mapping[str, Any]) -> Readiness:
    """Judge a RayCluster as the API returns it. Pure; a status that is missing or damaged is not ready."""
    metadata = document.get("metadata") or {}
    status = document.get("status") or {}
    conditions = parse_conditions(status.get("conditions"))
    generation = int(metadata.get("generation") or 0)
    provisioned = PROVISIONED in conditions and conditions[PROVISIONED].is_true

    def not_ready(reason: str, message: str) -> Readiness:
        return Readiness(False, provisioned, reason, message)

    if metadata.get("deletionTimestamp"):
        return not_ready("Deleting", "the cluster is being deleted")
    if not status:
        return not_ready("NotObserved", "no controller has looked at the cluster yet")
    # A controller that had nothing to do for a new generation may not have said so; KubeRay does, since 1.3.
    if int(status.get("observedGeneration") or 0) < generation:
        return not_ready("NotObserved", f"generation {generation} of the specification has not been observed yet")
    for kind in (SUSPENDED, SUSPENDING):
        if kind in conditions and conditions[kind].is_true:
            return not_ready("Suspended" if kind == SUSPENDED else "Suspending", "the cluster is suspended")
    summary = conditions.get(READY)
    if summary is not None:
        if summary.is_true:
            return Readiness(True, provisioned, "Ready")
        return not_ready(summary.reason, summary.message)
    return _without_summary(status, conditions, provisioned)


def _without_summary(status: Mapping[str, Any], conditions: Mapping[str, Condition], provisioned: bool) -> Readiness:
    """Judge a status of KubeRay's: the head's condition and the counts are live, the state is not."""
    failure = conditions.get(REPLICA_FAILURE)
    if failure is not None and failure.is_true:
        return Readiness(False, provisioned, failure.reason, failure.message)
    head = conditions.get(HEAD_READY)
    if head is not None and not head.is_true:
        return Readiness(False, provisioned, head.reason, head.message or "the head is not ready")
    wanted = int(status.get("desiredWorkerReplicas") or 0)
    # Before 1.3 there were no conditions and no count of ready workers.
    seen = status.get("readyWorkerReplicas", status.get("availableWorkerReplicas") if head is None else 0)
    there = int(seen or 0)
    if there < wanted:
        return Readiness(False, provisioned, "WorkersNotReady", f"{there} of {wanted} workers are ready")
    if status.get("state") != "ready":
        return Readiness(False, provisioned, "NotReady", str(status.get("reason") or "the state is not ready yet"))
    return Readiness(True, provisioned or head is None, "Ready")
