"""How a Ray cluster is, as those see it who keep a number of them: starting, ready, broken, suspended or going.

Works on the status of KubeRay (with and without conditions) and of rayctl. A cluster that was ready and is not any more
stays a cluster: it exists, it is counted, and what becomes of it is a matter of policy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from rayctl.core.conditions import Condition, parse_conditions

__all__ = ["Health", "Phase", "health_of", "moment", "wanted_workers"]


class Phase(Enum):
    """STARTING: never ready so far. READY. UNREADY: it was ready. SUSPENDED: by wish. TERMINATING: being deleted."""

    STARTING = "Starting"
    READY = "Ready"
    UNREADY = "Unready"
    SUSPENDED = "Suspended"
    TERMINATING = "Terminating"


@dataclass(frozen=True)
class Health:
    """A verdict.

    Args:
        phase: See `Phase`.
        reason: A word, for conditions.
        message: A sentence for people; empty if ready.
        since_at: Since when, in seconds since the epoch, as far as the status says so; 0 if it does not.
        workers: Ready workers.
        wanted: Workers that it must have to count as ready.
    """

    phase: Phase
    reason: str
    message: str = ""
    since_at: float = 0.0
    workers: int = 0
    wanted: int = 0

    @property
    def ready(self) -> bool:
        """Whether the cluster can be used."""
        return self.phase is Phase.READY


def moment(text: Any) -> float:
    """Return a time of the API (RFC 3339) in seconds since the epoch; 0 if it is none."""
    try:
        return datetime.fromisoformat(str(text).replace("Z", "+00:00")).timestamp()
    except ValueError:
        return 0.0


def wanted_workers(document: Mapping[str, Any]) -> int:
    """Return how many ready workers a cluster needs to be ready.

    What its specification wants; where Ray's autoscaler sets the number, only the least, so that a cluster which just
    grows stays ready.
    """
    spec = document.get("spec") or {}
    autoscaled = bool(spec.get("enableInTreeAutoscaling"))
    total = 0
    for group in spec.get("workerGroupSpecs") or ():
        if group.get("suspend"):
            continue
        least = int(group.get("minReplicas") or 0)
        most = group.get("maxReplicas")
        wanted = least if autoscaled else max(least, int(group.get("replicas") or 0))
        if most is not None:
            wanted = min(wanted, int(most))
        total += wanted * int(group.get("numOfHosts") or 1)
    return total


def health_of(document: Mapping[str, Any]) -> Health:
    """Judge a RayCluster as the API returns it. Pure."""
    metadata, status = document.get("metadata") or {}, document.get("status") or {}
    if metadata.get("deletionTimestamp"):
        at = moment(metadata["deletionTimestamp"])
        held = ", ".join(metadata.get("finalizers") or ())
        return Health(Phase.TERMINATING, "Deleting", f"held by {held}" if held else "its parts are being deleted", at)
    conditions = parse_conditions(status.get("conditions"))
    suspended = conditions.get("RayClusterSuspended") or conditions.get("RayClusterSuspending")
    if (document.get("spec") or {}).get("suspend") or (suspended is not None and suspended.is_true):
        return Health(Phase.SUSPENDED, "Suspended", "the cluster is suspended")
    wanted, workers = wanted_workers(document), int(status.get("readyWorkerReplicas") or 0)
    if "HeadPodReady" not in conditions and "Ready" not in conditions:
        return _by_state(status, wanted)
    return _by_conditions(conditions, workers, wanted)


def _by_conditions(conditions: Mapping[str, Condition], workers: int, wanted: int) -> Health:
    provisioned, head = conditions.get("RayClusterProvisioned"), conditions.get("HeadPodReady")
    was_ready = provisioned is not None and provisioned.is_true
    behind = Phase.UNREADY if was_ready else Phase.STARTING
    if head is None or not head.is_true:
        why, at = ("NotObserved", 0.0) if head is None else (head.reason, float(head.transition_at))
        message = (head.message if head else "") or "the head is not ready"
        return Health(behind, why, message, at, workers, wanted)
    if not was_ready:
        message = (provisioned.message if provisioned else "") or f"{workers} of {wanted} workers are ready"
        return Health(behind, "Provisioning", message, 0.0, workers, wanted)
    if workers < wanted:
        return Health(behind, "WorkersNotReady", f"{workers} of {wanted} workers are ready", 0.0, workers, wanted)
    since = max(_times(provisioned, head))
    return Health(Phase.READY, "Ready", "", since, workers, wanted)


def _times(*conditions: Condition | None) -> Iterable[float]:
    return [float(condition.transition_at) for condition in conditions if condition is not None]


def _by_state(status: Mapping[str, Any], wanted: int) -> Health:
    """Judge a status without conditions (KubeRay before 1.3, or with the feature switched off)."""
    times = status.get("stateTransitionTimes") or {}
    at = moment(times.get("ready") or status.get("lastUpdateTime"))
    workers = int(status.get("readyWorkerReplicas", status.get("availableWorkerReplicas")) or 0)
    if status.get("state") == "ready":
        if workers < wanted:
            return Health(
                Phase.UNREADY, "WorkersNotReady", f"{workers} of {wanted} workers are ready", 0.0, workers, wanted
            )
        return Health(Phase.READY, "Ready", "", at, workers, wanted)
    if not status:
        return Health(Phase.STARTING, "NotObserved", "no controller has looked at the cluster yet", 0.0, 0, wanted)
    was_ready = bool(times.get("ready"))
    message = str(status.get("reason") or f"{workers} of {wanted} workers are ready")
    return Health(Phase.UNREADY if was_ready else Phase.STARTING, "NotReady", message, 0.0, workers, wanted)
