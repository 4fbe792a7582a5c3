"""What a RayClusterReplicaSet reports: counts of clusters that exist, conditions, and what must be remembered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from rayctl.core.conditions import Condition, merge_conditions, parse_conditions
from rayctl.core.plan import Emit, SetStatus
from rayctl.replicaset.replacement import Decision
from rayctl.replicaset.seen import Member, SetSeen
from rayctl.replicaset.spec import template_labels

__all__ = [
    "FAILURE",
    "QUARANTINED",
    "READY",
    "Counts",
    "available_at",
    "count",
    "failure_status",
    "invalid",
    "quarantine_condition",
    "ready_condition",
    "report",
    "rfc3339",
]

FAILURE = "ReplicaFailure"
QUARANTINED = "Quarantined"
READY = "Ready"
_MAX_UNSETTLED = 200
"""Entries in the status; with more broken clusters than that, one time for all of them is as good."""


@dataclass(frozen=True)
class Counts:
    """Clusters of a set. ``replicas``: those that exist and are not being deleted, healthy or not.

    ``check_at``: when a cluster will have been ready long enough; None if none waits for that. ``settling``: uids of
    those that wait for it.
    """

    replicas: int
    labeled: int
    ready: int
    available: int
    terminating: int
    draining: int
    check_at: float | None = None
    settling: frozenset[str] = frozenset()


def rfc3339(at: float) -> str:
    """Return seconds since the epoch as the API writes times, in whole seconds."""
    return datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def available_at(seen: SetSeen, member: Member, unsettled: Mapping[str, tuple[str, float]]) -> float:
    """Return when a ready cluster counts as available, in seconds since the epoch."""
    settling = unsettled.get(member.uid, ("", 0.0))[1]
    return max(member.health.since_at, settling) + seen.spec.min_ready_s


def count(seen: SetSeen, unsettled: Mapping[str, tuple[str, float]], now: float) -> Counts:
    """Count. A cluster that drains exists and is ready, but is not available: it takes no new work."""
    labels = template_labels(seen.spec.template).items()
    there = [member for member in seen.members if not member.terminating]
    ready = [member for member in there if member.health.ready]
    serving = [member for member in ready if not member.draining_at]
    times = {member.uid: available_at(seen, member, unsettled) for member in serving} if seen.spec.min_ready_s else {}
    waiting = {uid: at for uid, at in times.items() if at > now}
    return Counts(
        len(there),
        sum(1 for member in there if labels <= member.labels.items()),
        len(ready),
        len(serving) - len(waiting),
        len(seen.members) - len(there),
        sum(1 for member in there if member.draining_at),
        min(waiting.values(), default=None),
        frozenset(waiting),
    )


def report(
    seen: SetSeen,
    counts: Counts,
    decision: Decision,
    unsettled: Mapping[str, tuple[str, float]],
    next_ordinal: int,
    conditions: Iterable[Condition],
    observed: int,
    now: float,
) -> list[SetStatus]:
    """Return the write of the status, or nothing if it already says so. ``observed``: the generation it speaks of."""
    before = seen.document.get("status") or {}
    status: dict[str, Any] = {
        "replicas": counts.replicas,
        "fullyLabeledReplicas": counts.labeled,
        "readyReplicas": counts.ready,
        "availableReplicas": counts.available,
        "terminatingReplicas": counts.terminating,
        "observedGeneration": observed,
        "nextOrdinal": next_ordinal,
        "selector": str(seen.spec.selector),
        "conditions": _merged(before, conditions, now, observed),
    }
    if unsettled:
        names = {member.uid: member.name for member in seen.members}
        status["unsettled"] = [
            {"uid": uid, "name": names[uid], "phase": phase, "since": rfc3339(since)}
            for uid, (phase, since) in sorted(unsettled.items())[:_MAX_UNSETTLED]
        ]
    memory = decision.memory
    if memory.replaced or memory.replacing:
        status["replacement"] = {
            "count": memory.replaced,
            "lastTime": rfc3339(memory.replaced_at),
            "replacing": sorted(memory.replacing),
            "generation": memory.generation,
        }
    return _write(seen, before, status)


def ready_condition(seen: SetSeen, counts: Counts, waits_for: str) -> Condition:
    """Return the summary: as many clusters as wanted are available, and no more exist."""
    wanted = seen.spec.replicas
    if counts.available >= wanted and counts.replicas - counts.draining == wanted and not counts.terminating:
        return Condition(READY, "True", "AllAvailable", f"{counts.available} of {wanted} clusters are available")
    text = f"{counts.available} of {wanted} clusters are available"
    if counts.available >= wanted:
        return Condition(READY, "False", "ScalingDown", waits_for or text)
    return Condition(READY, "False", "NotAllAvailable", f"{text}; {waits_for}" if waits_for else text)


def quarantine_condition(quarantined: Iterable[Member]) -> list[Condition]:
    """Return the condition that says which broken clusters are left as they are."""
    names = [member.name for member in quarantined]
    if not names:
        return []
    text = (
        f"replacing did not help; left for inspection: {', '.join(names[:5])}{' …' if len(names) > 5 else ''}. "
        "Change the template, or delete the clusters by hand"
    )
    return [Condition(QUARANTINED, "True", "ReplacementDidNotHelp", text)]


def invalid(seen: SetSeen, now: float) -> tuple[list[SetStatus], list[Emit]]:
    """Return status and event of a set with which nothing can be done; counts stay as they were."""
    word, sentence = seen.spec.problems[0]
    condition = Condition(READY, "False", word, sentence)
    failure = Condition(FAILURE, "True", word, sentence)
    return _with_conditions(seen, [condition, failure], now)


def failure_status(seen: SetSeen, reason: str, message: str, now: float) -> tuple[list[SetStatus], list[Emit]]:
    """Return status and event for a write that the server refused."""
    text = f"{message}"[:1000]
    conditions = [Condition(FAILURE, "True", reason, text), Condition(READY, "False", reason, text)]
    return _with_conditions(seen, conditions, now)


def _with_conditions(seen: SetSeen, conditions: list[Condition], now: float) -> tuple[list[SetStatus], list[Emit]]:
    before = seen.document.get("status") or {}
    status = {
        "replicas": 0,
        **before,
        "observedGeneration": seen.generation,
        "conditions": _merged(before, conditions, now, seen.generation),
    }
    known = parse_conditions(before.get("conditions"))
    news = [
        Emit(seen.ref, "Warning", condition.reason, condition.message)
        for condition in conditions
        if condition.type == FAILURE
        and (condition.type not in known or known[condition.type].message != condition.message)
    ]
    return _write(seen, before, status), news


def _merged(
    before: Mapping[str, Any], conditions: Iterable[Condition], now: float, generation: int
) -> list[dict[str, Any]]:
    """Failures that are over disappear, as in Kubernetes' ReplicaSet; conditions of others stay."""
    known = parse_conditions(before.get("conditions"))
    for kind in (FAILURE, QUARANTINED):
        known_one = known.pop(kind, None)
        if known_one is not None and any(condition.type == kind for condition in conditions):
            known[kind] = known_one
    return [condition.document() for condition in merge_conditions(known, conditions, now, generation)]


def _write(seen: SetSeen, before: Mapping[str, Any], status: Mapping[str, Any]) -> list[SetStatus]:
    if before == status:
        return []
    revision = str(seen.document["metadata"].get("resourceVersion") or "")
    return [SetStatus(seen.ref, status, revision)]
