"""What a RayClusterFleet reports: counts, conditions in AIBrix's words, and where its rollout is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rayctl.core.conditions import Condition, merge_conditions, parse_conditions
from rayctl.core.plan import SetStatus
from rayctl.fleet.progress import Totals
from rayctl.fleet.seen import FleetSeen, RolloutState, SetView
from rayctl.replicaset.names import FLEET_LABEL
from rayctl.replicaset.status import rfc3339

__all__ = [
    "AVAILABLE",
    "DEGRADED",
    "FAILURE",
    "PAUSED",
    "PROGRESSING",
    "READY",
    "count_sets",
    "failure_of",
    "report",
    "totals_before",
    "with_conditions",
]

AVAILABLE = "Available"
PROGRESSING = "Progressing"
FAILURE = "ReplicaFailure"
READY = "Ready"
PAUSED = "Paused"
DEGRADED = "Degraded"
_ONLY_WHILE_TRUE = (FAILURE, PAUSED, DEGRADED)


def count_sets(sets: Sequence[SetView], target: SetView | None) -> Totals:
    """Return the counts of a fleet: clusters that exist, those of the newest revision, ready, available."""
    return Totals(
        sum(view.existing for view in sets),
        target.existing if target else 0,
        sum(view.ready for view in sets),
        sum(view.available for view in sets),
    )


def totals_before(seen: FleetSeen) -> Totals:
    """Return the counts that the status has."""
    names = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
    return Totals(*(int(seen.status.get(name) or 0) for name in names))


def failure_of(target: SetView | None, sets: Iterable[SetView]) -> Condition | None:
    """Return the failure that a set reports: the newest one's first."""
    for view in [*([target] if target else []), *sets]:
        status = view.document.get("status") or {}
        found = parse_conditions(status.get("conditions")).get(FAILURE)
        if found is not None and found.is_true:
            return Condition(FAILURE, "True", found.reason, f"{view.name}: {found.message}")
    return None


def report(
    seen: FleetSeen,
    totals: Totals,
    state: RolloutState,
    conditions: Iterable[Condition],
    revision: int,
    now: float,
) -> list[SetStatus]:
    """Return the write of the status, or nothing if it already says so. ``now``: seconds since the epoch."""
    wanted = sum(view.replicas for view in seen.sets)
    status: dict[str, Any] = {
        "replicas": totals.replicas,
        "updatedReplicas": totals.updated,
        "readyReplicas": totals.ready,
        "availableReplicas": totals.available,
        "unavailableReplicas": max(0, wanted - totals.available),
        "terminatingReplicas": sum(view.terminating for view in seen.sets),
        "observedGeneration": seen.generation,
        "scalingTargetSelector": f"{FLEET_LABEL}={seen.name},ray.io/node-type=head",
        "conditions": _merged(seen, conditions, now),
    }
    if revision:
        status["revision"] = revision
    if seen.collisions:
        status["collisionCount"] = seen.collisions
    rollout = _rollout(seen, state)
    if rollout:
        status["rollout"] = rollout
    return _write(seen, status)


def _rollout(seen: FleetSeen, state: RolloutState) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if state.revision:
        found["revision"] = state.revision
    steps = len(seen.spec.options.steps)
    if seen.spec.strategy in ("Canary", "BlueGreen"):
        found["step"] = state.step
        found["steps"] = steps or 1
        if state.step_at:
            found["stepStartedAt"] = rfc3339(state.step_at)
    if state.progressed_at:
        found["progressedAt"] = rfc3339(state.progressed_at)
    if state.stable:
        found["stableRevision"] = state.stable
    if state.aborted:
        found["aborted"] = {
            "revision": state.aborted,
            "reason": state.aborted_reason,
            "message": state.aborted_message,
        }
    return found


def with_conditions(seen: FleetSeen, conditions: Iterable[Condition], now: float, **more: Any) -> list[SetStatus]:
    """Return the write of conditions alone; everything else stays as it was."""
    status = {
        **seen.status,
        "observedGeneration": seen.generation,
        **more,
        "conditions": _merged(seen, conditions, now),
    }
    return _write(seen, status)


def _merged(seen: FleetSeen, conditions: Iterable[Condition], now: float) -> list[dict[str, Any]]:
    wanted = list(conditions)
    kinds = {condition.type for condition in wanted}
    known = {
        kind: condition
        for kind, condition in parse_conditions(seen.status.get("conditions")).items()
        if kind in kinds or kind not in _ONLY_WHILE_TRUE
    }
    return [condition.document() for condition in merge_conditions(known, wanted, now, seen.generation)]


def _write(seen: FleetSeen, status: Mapping[str, Any]) -> list[SetStatus]:
    if seen.status == status:
        return []
    return [SetStatus(seen.ref, status, str(seen.document["metadata"].get("resourceVersion") or ""))]
