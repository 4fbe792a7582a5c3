"""Suspending a RayService: everything that it has is stopped, and starts anew when it is resumed.

Suspending is atomic: once it is recorded it is carried through, even if it is no longer wanted meanwhile.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rayctl.clock import iso
from rayctl.core.conditions import UP_TO_DATE, Condition, merge_conditions, parse_conditions
from rayctl.core.plan import Blocker, Delete, Emit, Plan, Reason, Ref, SetStatus, Single
from rayctl.service.record import SUCCEEDED, Phase, Record
from rayctl.service.seen import ServiceSeen
from rayctl.service.status import READY, ROLLING_BACK, SUSPENDED, SUSPENDING, UPGRADING, differs

__all__ = ["plan_suspend"]

GATE = "suspend"


def plan_suspend(seen: ServiceSeen, now: float) -> Plan | None:
    """Return what suspending asks for; None if the service is to live and nothing of it is left to do."""
    wanted = bool((seen.document.get("spec") or {}).get("suspend"))
    conditions = parse_conditions(seen.status.get("conditions"))
    suspending = SUSPENDING in conditions and conditions[SUSPENDING].is_true
    suspended = SUSPENDED in conditions and conditions[SUSPENDED].is_true
    if suspending:
        return _carry_through(seen, now)
    if not wanted:
        return None
    if not suspended:
        return _begin(seen, now)
    status = _status(seen, seen.record, _complete(), now)
    return Plan(_written(seen, status), (Reason(GATE, "SuspendComplete", "it is suspended"),))


def _begin(seen: ServiceSeen, now: float) -> Plan:
    told = [
        Condition(SUSPENDING, "True", "SuspendRequested", "clusters and services are being deleted"),
        Condition(READY, "False", "SuspendInProgress", "it is being suspended"),
        Condition(UPGRADING, "False", "SuspendInProgress", "it is being suspended"),
    ]
    status = _status(seen, seen.record, told, now)
    event = Emit(seen.ref, "Normal", "Suspending", "The service is being suspended")
    return Plan((*_written(seen, status), event), (Reason(GATE, "SuspendRequested", "it is to be suspended"),))


def _carry_through(seen: ServiceSeen, now: float) -> Plan:
    children: list[Any] = [cluster.document for cluster in seen.clusters.values()]
    children += list(seen.entries.values())
    children += [other for (kind, _), other in seen.others.items() if kind in ("Gateway", "HTTPRoute")]
    if not children:
        record = seen.record or Record(0, "", "")
        done = replace(
            record.followed_by(Record(record.serial, "", "", phase=Phase.ROLLED_BACK, reason="Suspended")), step="done"
        )
        status = _status(seen, done, _complete(), now)
        event = Emit(seen.ref, "Normal", "Suspended", "The service is suspended")
        return Plan((*_written(seen, status), event), (Reason(GATE, "SuspendComplete", "everything is gone"),))
    deletes = [
        Delete(Ref.to(child), str(child["metadata"].get("resourceVersion", "")))
        for child in children
        if not child["metadata"].get("deletionTimestamp")
    ]
    waits = Blocker("SuspendInProgress", f"{len(children)} objects are being deleted", seen.ref)
    return Plan(tuple(deletes), (Reason(GATE, "SuspendInProgress", waits.message),), now + 5.0, waits)


def _complete() -> list[Condition]:
    return [
        Condition(SUSPENDED, "True", "SuspendComplete", "nothing of it runs"),
        Condition(SUSPENDING, "False", "SuspendComplete", "nothing of it runs"),
        Condition(READY, "False", "SuspendComplete", "it is suspended"),
        Condition(UPGRADING, "False", "SuspendComplete", "it is suspended"),
    ]


def _status(seen: ServiceSeen, record: Record | None, told: list[Condition], now: float) -> dict[str, Any]:
    before = parse_conditions(seen.status.get("conditions"))
    gone = any(condition.type == SUSPENDED for condition in told)
    for kind in (ROLLING_BACK, UP_TO_DATE, SUCCEEDED) if gone else (ROLLING_BACK, UP_TO_DATE):
        before.pop(kind, None)
    status = {
        **seen.status,
        "conditions": [found.document() for found in merge_conditions(before, told, now, seen.generation)],
        "observedGeneration": seen.generation,
        "lastUpdateTime": iso(now),
    }
    if gone:
        status |= {
            "activeServiceStatus": {},
            "pendingServiceStatus": {},
            "numServeEndpoints": 0,
            "serviceStatus": "",
        }
    if record is not None:
        status["switchover"] = record.document()
    return status


def _written(seen: ServiceSeen, status: dict[str, Any]) -> tuple[Single, ...]:
    return (SetStatus(seen.ref, status, seen.revision),) if differs(seen.status, status) else ()
