"""The status of a RayService: KubeRay's fields, conditions and reasons, told truthfully, of both sides at all times."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from rayctl.clock import iso
from rayctl.core.conditions import UP_TO_DATE, Condition, merge_conditions, parse_conditions
from rayctl.core.plan import Blocker
from rayctl.service.record import OVERDUE, SUCCEEDED, Phase, Record
from rayctl.service.seen import ServiceSeen
from rayctl.service.sides import ClusterSeen
from rayctl.service.up_to_date import up_to_date

__all__ = ["Told", "build_status", "differs", "only_pending_differs", "seconds_since_written"]

READY = "Ready"
UPGRADING = "UpgradeInProgress"
ROLLING_BACK = "RollbackInProgress"
SUSPENDING = "Suspending"
SUSPENDED = "Suspended"
VALID = "ConfigValid"

_CLUSTER_FIELDS = (
    "state",
    "desiredCPU",
    "desiredMemory",
    "desiredGPU",
    "desiredTPU",
    "desiredWorkerReplicas",
    "minWorkerReplicas",
    "maxWorkerReplicas",
    "readyWorkerReplicas",
    "availableWorkerReplicas",
    "endpoints",
    "head",
    "reason",
    "observedGeneration",
)
"""What is repeated of a RayCluster's status; not what moves without meaning anything."""

Told = Blocker | None


def build_status(seen: ServiceSeen, record: Record | None, blocked_on: Told, now: float) -> dict[str, Any]:
    """Return the whole status. ``record``: as it is to be recorded; ``blocked_on``: what progress waits for."""
    active = seen.clusters.get(record.active) if record else None
    pending = seen.clusters.get(record.pending) if record else None
    at = _serving(seen)
    endpoints = at.endpoints if at is not None and not at.going else 0
    status = {
        **{name: value for name, value in seen.status.items() if name not in ("switchover", "pendingServiceStatus")},
        "serviceStatus": "Running" if endpoints else "",
        "numServeEndpoints": endpoints,
        "observedGeneration": seen.generation,
        "activeServiceStatus": _side(seen, record, record.active if record else "", active, now),
        "pendingServiceStatus": _side(seen, record, record.pending if record else "", pending, now),
        "conditions": [found.document() for found in _conditions(seen, record, endpoints, blocked_on, now)],
        "lastUpdateTime": iso(now),
    }
    if record is not None:
        status["switchover"] = record.document()
    return status


def _serving(seen: ServiceSeen) -> ClusterSeen | None:
    """Return the cluster that the serve service leads to."""
    world = {entry.name: entry.at for entry in seen.world(0.0).entries}
    return seen.clusters.get(world.get("serve", ""))


def _side(
    seen: ServiceSeen, record: Record | None, name: str, cluster: ClusterSeen | None, now: float
) -> dict[str, Any]:
    if not name:
        return {}
    before = next(
        (
            side
            for side in (seen.status.get("activeServiceStatus"), seen.status.get("pendingServiceStatus"))
            if isinstance(side, Mapping) and side.get("rayClusterName") == name
        ),
        {},
    )
    found: dict[str, Any] = {"rayClusterName": name}
    if cluster is not None:
        known = cluster.document.get("status") or {}
        found["rayClusterStatus"] = {field: known[field] for field in _CLUSTER_FIELDS if field in known}
        conditions = [dict(item) for item in known.get("conditions") or ()]
        if conditions:
            found["rayClusterStatus"]["conditions"] = conditions
        if cluster.serve.known:
            found["applicationStatuses"] = {app: state.document for app, state in sorted(cluster.serve.apps.items())}
        elif before.get("applicationStatuses"):
            found["applicationStatuses"] = before["applicationStatuses"]  # nobody can ask: what was true last
    found.update(_traffic(seen, record, name))
    return found


def _traffic(seen: ServiceSeen, record: Record | None, name: str) -> dict[str, Any]:
    if record is None or seen.spec is None:
        return {}
    split = record.split
    if split is None:
        if seen.spec.rules.gradual is None:
            return {}
        share = 100 if name == record.active else 0
        return {"targetCapacity": share, "trafficRoutedPercent": share}
    source = name == record.source
    return {
        "targetCapacity": split.source_capacity if source else split.target_capacity,
        "trafficRoutedPercent": 100 - split.traffic if source else split.traffic,
        "lastTrafficMigratedTime": iso(split.moved_at),
    }


# Conditions -------------------------------------------------------------------------------------------


def _conditions(
    seen: ServiceSeen, record: Record | None, endpoints: int, blocked_on: Told, now: float
) -> tuple[Condition, ...]:
    before = parse_conditions(seen.status.get("conditions"))
    told = [_ready(seen, record, endpoints, blocked_on), _upgrading(record)]
    if record is not None and record.target:
        told.append(_succeeded(record, blocked_on))
    if record is not None and record.phase is Phase.BACK:
        again = record.reason in ("Reverted", "Superseded")
        reason = "DesiredClusterSpecChanged" if again else record.reason or "RolledBack"
        told.append(Condition(ROLLING_BACK, "True", reason, record.message))
    else:
        before.pop(ROLLING_BACK, None)
    if before.get(SUSPENDED) is not None and before[SUSPENDED].is_true:
        told.append(Condition(SUSPENDED, "False", "RayServiceResumed", "it was resumed"))
    # What was not valid is not what is being served.
    generation = seen.generation
    if seen.problems and seen.spec is not None and seen.revisions:
        generation = seen.revisions[0].generation
    merged = {found.type: found for found in merge_conditions(before, told, now, generation)}
    newest = (
        Condition(UP_TO_DATE, "False", "ValidationFailed", _problems(seen))
        if seen.problems
        else up_to_date(seen, record, blocked_on)
    )
    for found in merge_conditions(before, [_valid(seen), newest], now, seen.generation):
        if found.type in (VALID, UP_TO_DATE):
            merged[found.type] = found
    return tuple(merged[kind] for kind in sorted(merged))


def _ready(seen: ServiceSeen, record: Record | None, endpoints: int, blocked_on: Told) -> Condition:
    why = blocked_on.message if blocked_on else ""
    if seen.spec is None:
        return Condition(READY, "False", "ValidationFailed", _problems(seen))
    if endpoints:
        return Condition(READY, "True", "NonZeroServeEndpoints", f"{endpoints} endpoints answer requests")
    if record is not None and record.active:
        side = seen.sides(0.0).get(record.active)
        deeper = side.waits_for.message if side is not None and side.waits_for else why
        return Condition(READY, "False", "ZeroServeEndpoints", deeper or "no endpoint answers requests")
    if record is not None and record.phase.ended and record.reason == "InitializingTimeout":
        return Condition(READY, "False", "InitializingTimeout", record.message)
    return Condition(READY, "False", "Initializing", why or "the first cluster is being made")


def _upgrading(record: Record | None) -> Condition:
    if record is None or not record.active:
        return Condition(UPGRADING, "Unknown", "NoActiveCluster", "no cluster serves yet")
    if record.pending:
        message = f"from {record.source} to {record.target}"
        return Condition(UPGRADING, "True", "BothActivePendingClustersExist", message)
    return Condition(UPGRADING, "False", "NoPendingCluster", f"{record.active} serves")


def _succeeded(record: Record, blocked_on: Told) -> Condition:
    between = f"{record.source or 'nothing'} to {record.target}"
    if record.phase is Phase.FORWARD:
        waits = f", waits: {blocked_on.message}" if blocked_on else ""
        reason = OVERDUE if record.reason == OVERDUE else "InProgress"
        return Condition(SUCCEEDED, "Unknown", reason, f"{between}: {record.step}{waits}")
    if record.phase is Phase.BACK:
        return Condition(SUCCEEDED, "Unknown", "RollingBack", f"{between}: {record.message}")
    if record.phase is Phase.SWITCHED and record.reason == "Unhealthy":
        return Condition(SUCCEEDED, "False", record.reason, f"{between} after {record.source} failed: {record.message}")
    if record.phase is Phase.SWITCHED and record.refused:
        # Read from KubeRay's fields: the condition itself is the memory.
        return Condition(SUCCEEDED, "False", record.reason or "RolledBack", record.message)
    if record.phase is Phase.SWITCHED:
        return Condition(SUCCEEDED, "True", record.reason or "Switched", between)
    return Condition(SUCCEEDED, "False", record.reason or "RolledBack", f"{between}: {record.message}")


def _valid(seen: ServiceSeen) -> Condition:
    if seen.problems:
        return Condition(VALID, "False", "ValidationFailed", _problems(seen))
    for cluster in seen.clusters.values():
        side = seen.sides(0.0)[cluster.name]
        if side.waits_for is not None and side.waits_for.code == "ConfigRejected":
            return Condition(VALID, "False", "ConfigRejected", side.waits_for.message)
    return Condition(VALID, "True", "Valid", "")


def _problems(seen: ServiceSeen) -> str:
    more = f" (and {len(seen.problems) - 3} more)" if len(seen.problems) > 3 else ""
    kept = "; the last valid specification is kept up" if seen.spec is not None else ""
    return "; ".join(str(problem) for problem in seen.problems[:3]) + more + kept


# Comparison -------------------------------------------------------------------------------------------


def differs(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether a status says something else than the one before; the time of writing says nothing.

    Where the record is not there it was pruned (KubeRay's definition), and writing it again changes nothing.
    """
    old, new = _bare(before), _bare(after)
    if "switchover" not in old:
        new.pop("switchover", None)
    return old != new


def only_pending_differs(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether nothing is new but details of the side that is coming up (and sentences about it)."""
    return _terse(before) == _terse(after)


def _bare(status: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in status.items() if name != "lastUpdateTime" and value not in ({}, [], None)}


def _terse(status: Mapping[str, Any]) -> dict[str, Any]:
    found = _bare(status)
    name = (found.pop("pendingServiceStatus", None) or {}).get("rayClusterName")
    conditions = [
        (item["type"], item["status"], item["reason"], item.get("observedGeneration"))
        for item in found.get("conditions") or ()
    ]
    return {**found, "conditions": conditions, "pending": name}


def seconds_since_written(status: Mapping[str, Any], now: float) -> float:
    """Return how long ago a status was written; very long if that is unknown."""
    try:
        at = datetime.fromisoformat(str(status.get("lastUpdateTime")).replace("Z", "+00:00")).timestamp()
    except ValueError:
        return 1e9
    return now - at
