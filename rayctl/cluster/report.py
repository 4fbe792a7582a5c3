"""The status of a cluster, from what was seen: KubeRay's fields, conditions and reasons, but always of now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from rayctl.cluster import keys
from rayctl.cluster.amounts import resource_totals, worker_counts
from rayctl.cluster.seen import ClusterSeen, PodSeen, seconds
from rayctl.cluster.status import HEAD_READY, PROVISIONED, READY, REPLICA_FAILURE, SUSPENDED, SUSPENDING
from rayctl.cluster.upgrade import outdated
from rayctl.core.conditions import UP_TO_DATE, UPGRADE_DISABLED, Condition, merge_conditions
from rayctl.core.plan import Blocker, SetStatus

__all__ = ["SETTLE_S", "WARNED", "derive_status", "is_complete", "set_status", "unready_groups"]

WARNED = "SpecWarned"
"""Something in the specification works, but should be changed."""
SETTLE_S = 2.0
"""How long changes of mere counts wait for each other."""
Document = Mapping[str, Any]


def unready_groups(seen: ClusterSeen) -> list[str]:
    """Return a sentence for each group that lacks ready workers."""
    found = []
    for group in seen.spec.groups:
        wanted = group.wanted * group.hosts
        ready = sum(pod.ready and pod.running for pod in seen.workers(group.name))
        if ready < wanted:
            found.append(f"{ready} of {wanted} workers of {group.name} are ready{_why(seen.workers(group.name))}")
    return found


def _why(pods: Sequence[PodSeen]) -> str:
    """Return the most frequent reason why pods of a group are not ready."""
    reasons: dict[str, int] = {}
    for pod in pods:
        if not (pod.ready and pod.running):
            reason = "Terminating" if pod.terminating else pod.over or pod.waiting[0] or pod.phase
            reasons[reason] = reasons.get(reason, 0) + 1
    if not reasons:
        return ""
    most = max(sorted(reasons), key=lambda reason: reasons[reason])
    return f" ({most})"


def is_complete(seen: ClusterSeen) -> bool:
    """Return whether the head and all wanted workers are there and ready."""
    return any(pod.ready and pod.running for pod in seen.heads) and not unready_groups(seen)


def _head_condition(seen: ClusterSeen) -> Condition:
    heads = seen.heads
    if not heads:
        return Condition(HEAD_READY, "False", "HeadPodNotFound", "there is no head")
    head = heads[0]
    if head.terminating:
        return Condition(HEAD_READY, "False", "Terminating", f"the head {head.name} is being deleted")
    if head.ready and head.running:
        return Condition(HEAD_READY, "True", "HeadPodRunningAndReady", "")
    reason, message = head.waiting
    if head.over:
        reason = head.over
    words = "".join(character for character in reason if character.isalnum()) or "Unknown"
    return Condition(HEAD_READY, "False", words, message or f"the head {head.name} is {head.phase}")


def _summary(
    seen: ClusterSeen,
    head: Condition,
    suspend: Mapping[str, bool],
    blocked_on: Blocker | None,
    problem: Condition | None,
) -> Condition:
    """Return the condition Ready: the first thing that is in the way."""
    if problem is not None:
        return problem
    if suspend.get(SUSPENDED):
        return Condition(READY, "False", "Suspended", "the cluster is suspended (spec.suspend)")
    if suspend.get(SUSPENDING):
        return Condition(READY, "False", "Suspending", "pods are being deleted (spec.suspend)")
    if is_complete(seen):
        return Condition(READY, "True", "AllPodsReady", "")
    if blocked_on is not None:
        hint = f"; {blocked_on.hint}" if blocked_on.hint else ""
        return Condition(READY, "False", blocked_on.code, f"{blocked_on.message}{hint}")
    if not head.is_true:
        return Condition(READY, "False", "HeadNotReady", f"{head.reason}: {head.message}")
    return Condition(READY, "False", "WorkersNotReady", "; ".join(unready_groups(seen)))


def derive_status(
    seen: ClusterSeen,
    now: float,
    suspend: Mapping[str, bool] | None = None,
    blocked_on: Blocker | None = None,
    problem: Condition | None = None,
    failure: Condition | None = None,
    warnings: Sequence[tuple[str, str]] = (),
) -> dict[str, Any]:
    """Return the whole status, without ``lastUpdateTime``.

    Args:
        seen: What was seen.
        now: Seconds since the epoch.
        suspend: New values of the two conditions of suspension; those left out stay.
        blocked_on: What progress waits for.
        problem: A condition Ready that counts whatever was seen (an invalid specification).
        failure: The condition ReplicaFailure, if pods could not be made or deleted.
        warnings: What should be changed: (reason, sentence).
    """
    before = seen.conditions
    suspension = {kind: before[kind].is_true for kind in (SUSPENDING, SUSPENDED) if kind in before}
    suspension.update(suspend or {})
    head = _head_condition(seen)
    summary = _summary(seen, head, suspension, blocked_on, problem)
    wanted = [head, summary, _provisioned(seen, suspension), _up_to_date(seen)]
    wanted += [_suspension(kind, held) for kind, held in suspension.items()]
    wanted += [failure] if failure is not None else []
    if warnings:
        wanted.append(Condition(WARNED, "True", warnings[0][0], "; ".join(text for _, text in warnings)))
    kept = {
        kind: found for kind, found in before.items() if kind not in (REPLICA_FAILURE, WARNED) or _is_in(kind, wanted)
    }
    conditions = merge_conditions(kept, wanted, now, seen.spec.generation)
    workers = [pod for pod in seen.pods if pod.node_type == keys.WORKER]
    state = "suspended" if suspension.get(SUSPENDED) else "ready" if summary.is_true else ""
    status: dict[str, Any] = {
        **worker_counts(seen.spec),
        "availableWorkerReplicas": sum(pod.running for pod in workers),
        "readyWorkerReplicas": sum(pod.running and pod.ready for pod in workers),
        **resource_totals(seen.spec),
        "endpoints": _endpoints(seen),
        "head": _head(seen),
        "conditions": [condition.document() for condition in conditions],
        "observedGeneration": seen.spec.generation,
        "stateTransitionTimes": _transitions(seen, state, now),
    }
    if state:
        status["state"] = state
    if not summary.is_true:
        status["reason"] = summary.message
    return status


def _is_in(kind: str, conditions: Sequence[Condition]) -> bool:
    return any(condition.type == kind for condition in conditions)


def _provisioned(seen: ClusterSeen, suspension: Mapping[str, bool]) -> Condition:
    """Return whether all pods were ready at least once since the cluster was made or resumed."""
    gone = suspension.get(SUSPENDED) or suspension.get(SUSPENDING)
    if not gone and (seen.holds(PROVISIONED) or is_complete(seen)):
        return Condition(PROVISIONED, "True", "AllPodRunningAndReadyFirstTime", "")
    return Condition(PROVISIONED, "False", "RayClusterPodsProvisioning", "not all pods have been ready yet")


def _up_to_date(seen: ClusterSeen) -> Condition:
    """Return whether no pod is of an older template, and who is going to do something about those that are."""
    old = outdated(seen)
    if not old:
        return Condition(UP_TO_DATE, "True", "RolledOut", "")
    names = ", ".join(pod.name for pod in old[:3]) + (", …" if len(old) > 3 else "")
    if seen.spec.upgrade in ("Recreate", "RollingUpdate"):
        return Condition(UP_TO_DATE, "False", seen.spec.upgrade, f"pods of an older template are replaced: {names}")
    text = f"of an older template: {names}; spec.upgradeStrategy is not set, so they stay until they are deleted"
    return Condition(UP_TO_DATE, "False", UPGRADE_DISABLED, text)


def _suspension(kind: str, held: bool) -> Condition:
    return Condition(kind, "True" if held else "False", "UserRequestSuspend" if held else "NotSuspended", "")


def _transitions(seen: ClusterSeen, state: str, now: float) -> dict[str, str]:
    times = dict(seen.status.get("stateTransitionTimes") or {})
    if state and (seen.status.get("state") or "") != state:
        times[state] = _moment(now)
    return times


def _moment(now: float) -> str:
    return datetime.fromtimestamp(int(now), timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _service(seen: ClusterSeen) -> Document:
    return seen.children.get(("Service", seen.spec.head_service)) or {}


def _endpoints(seen: ClusterSeen) -> dict[str, str]:
    ports = (_service(seen).get("spec") or {}).get("ports") or ()
    return {
        str(port.get("name") or port["port"]): str(port.get("nodePort") or port.get("targetPort") or port["port"])
        for port in ports
    }


def _head(seen: ClusterSeen) -> dict[str, str]:
    found: dict[str, str] = {}
    service = _service(seen)
    if service:
        found["serviceName"] = seen.spec.head_service
    address = (service.get("spec") or {}).get("clusterIP") or ""
    if address and address != "None":
        found["serviceIP"] = address
    heads = [pod for pod in seen.heads if not pod.terminating]
    if heads:
        found["podName"] = heads[0].name
        if heads[0].address:
            found["podIP"] = heads[0].address
            found.setdefault("serviceIP", heads[0].address)
    return found


def set_status(seen: ClusterSeen, wanted: Document, now: float) -> tuple[SetStatus | None, float | None]:
    """Return the write of a status, or when it will be due, or neither if it is written already.

    Counts change often while pods come up; a write of nothing but them waits until `SETTLE_S` after the last one.
    """
    status, before = seen.status, {name: value for name, value in seen.status.items() if name != "lastUpdateTime"}
    if before == wanted:
        return None, None
    if _decisive(before) == _decisive(wanted):
        due = seconds(status.get("lastUpdateTime")) + SETTLE_S
        if now < due:
            return None, due
    return SetStatus(seen.spec.ref, {**wanted, "lastUpdateTime": _moment(now)}, seen.revision), None


def _decisive(status: Document) -> object:
    """Return what others act upon."""
    conditions = sorted((item["type"], item["status"]) for item in status.get("conditions") or ())
    return status.get("state"), status.get("observedGeneration"), conditions
