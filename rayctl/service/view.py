"""A RayService for people and for pages: verdict, both sides, traffic, the present switch and its trace. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rayctl.core.conditions import UP_TO_DATE, UPGRADE_DISABLED, Condition, parse_conditions
from rayctl.service.children import Owner, entry_name, selected
from rayctl.service.history import parse_revisions
from rayctl.service.record import Phase, Record, parse_record, reconstruct
from rayctl.service.spec import parse_spec
from rayctl.service.status import READY, SUSPENDED, SUSPENDING, VALID
from rayctl.service.up_to_date import FINAL

__all__ = ["EXIT_CODES", "history_rows", "lines", "service_view", "switch_rows"]

EXIT_CODES = {
    "serving": 0,
    "failed": 4,
    "rolled-back": 4,
    "invalid": 4,
    "initializing": 5,
    "switching": 5,
    "updating": 5,
    "rolling-back": 5,
    "suspended": 5,
    "unobserved": 5,
}
"""Of ``rayctl service status``, by verdict."""
_MARKS = {"active": "✔", "pending": "◌", "draining": "…"}


def service_view(
    service: Mapping[str, Any], clusters: Sequence[Mapping[str, Any]], services: Sequence[Mapping[str, Any]], now: float
) -> dict[str, Any]:
    """Return the view as JSON.

    Args:
        service: The RayService.
        clusters: Ray clusters of its namespace.
        services: Services of its namespace.
        now: Seconds since the epoch; ages are relative to it.
    """
    owner = Owner(service)
    status = service.get("status") or {}
    spec, _ = parse_spec(service["metadata"], service.get("spec") or {})
    generation = int(service["metadata"].get("generation") or 0)
    record = parse_record(status) or reconstruct(status, 1, spec.rules.deadline_s, generation, "")
    conditions = parse_conditions(status.get("conditions"))
    verdict, why = _verdict(status, conditions, record, generation)
    mine = {item["metadata"]["name"]: item for item in clusters if owner.owns(item)}
    names = {entry: entry_name(owner, entry, spec.serve_service) for entry in ("head", "serve")}
    by_name = {item["metadata"]["name"]: item for item in services if owner.owns(item)}
    ready = conditions.get(READY)
    return {
        "kind": "RayService",
        "namespace": owner.namespace,
        "name": owner.name,
        "verdict": verdict,
        "reason": why.reason if why else "",
        "message": why.message if why else "",
        "since_s": now - ready.transition_at if ready and ready.transition_at else None,
        "ready": bool(ready and ready.is_true),
        "endpoints": int(status.get("numServeEndpoints") or 0),
        "strategy": spec.strategy,
        "entries": {entry: selected(by_name.get(name)) for entry, name in names.items()},
        "sides": _sides(status, record, mine),
        "switch": _switch(record, now),
        "you_can": _you_can(owner.name, verdict, record),
    }


def _verdict(
    status: Mapping[str, Any], conditions: Mapping[str, Condition], record: Record | None, generation: int
) -> tuple[str, Condition | None]:
    ready, valid = conditions.get(READY), conditions.get(VALID)
    told = conditions.get("SwitchoverSucceeded")
    if ready is None or int(status.get("observedGeneration") or 0) < generation:
        text = "the service controller has not seen the newest specification yet"
        since = ready.transition_at if ready else 0
        return "unobserved", Condition(READY, "Unknown", "NotObserved", text, transition_at=since)
    for kind in (SUSPENDED, SUSPENDING):
        if kind in conditions and conditions[kind].is_true:
            return "suspended", conditions[kind]
    if valid is not None and valid.status == "False":
        return "invalid", valid
    if record is not None and record.phase is Phase.FORWARD:
        return ("switching" if record.source else "initializing"), told or ready
    if record is not None and record.phase is Phase.BACK:
        return "rolling-back", told
    if not ready.is_true:
        return "failed", ready
    if record is not None and record.refused:
        return "rolled-back", told
    newest = conditions.get(UP_TO_DATE)
    if newest is not None and not newest.is_true and newest.reason != UPGRADE_DISABLED:
        return ("failed" if newest.reason in FINAL else "updating"), newest
    return "serving", ready


def _sides(
    status: Mapping[str, Any], record: Record | None, clusters: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    if record is None:
        return []
    found = []
    roles = (("active", record.active), ("pending", record.pending), ("draining", record.retiring))
    told = {
        side.get("rayClusterName"): side
        for side in (status.get("activeServiceStatus") or {}, status.get("pendingServiceStatus") or {})
    }
    for role, name in roles:
        if not name or (role == "draining" and name not in clusters):
            continue
        side = told.get(name) or {}
        apps = side.get("applicationStatuses") or {}
        live = (clusters.get(name) or {}).get("status") or {}
        found.append(
            {
                "role": role,
                "cluster": name,
                "exists": name in clusters,
                "traffic": side.get("trafficRoutedPercent", _share(record, name)),
                "workers": f"{live.get('readyWorkerReplicas', 0)}/{live.get('desiredWorkerReplicas', 0)}",
                "applications": {app: str(found.get("status", "")) for app, found in sorted(apps.items())},
            }
        )
    return found


def _share(record: Record, name: str) -> int:
    if record.split is not None:
        return record.split.traffic if name == record.target else 100 - record.split.traffic
    return 100 if name == record.active else 0


def _switch(record: Record | None, now: float) -> dict[str, Any] | None:
    if record is None:
        return None
    found = record.document()
    found["took_s"] = (record.ended_at or now) - record.started_at if record.started_at else None
    found["left_s"] = record.deadline_at - now if record.deadline_at and not record.phase.ended else None
    found["steps"] = [
        {"step": line.step, "after_s": line.at - record.started_at, "message": line.message}
        for line in record.trace
        if record.started_at
    ]
    return found


def _you_can(name: str, verdict: str, record: Record | None) -> list[dict[str, str]]:
    commands = {
        "switching": [
            (f"rayctl service promote {name}", "move the traffic now, whatever the capacity gate says"),
            (f"rayctl service abort {name}", f"keep {record.source if record else ''}"),
        ],
        "rolled-back": [
            (f"rayctl service promote {name} --retry", "try the same change again"),
            (f"rayctl service rollback {name}", "make the specification what is serving"),
        ],
        "invalid": [(f"rayctl service rollback {name}", "return to the last valid specification")],
        "failed": [(f"rayctl explain rayservice/{name}", "the causes, down to the pods")],
        "initializing": [(f"rayctl explain rayservice/{name}", "what the first cluster waits for")],
        "suspended": [(f"rayctl resume rayservice/{name}", "start it again")],
    }
    return [{"command": command, "effect": effect} for command, effect in commands.get(verdict, [])]


def lines(view: Mapping[str, Any], duration: Callable[[float | None], str]) -> list[str]:
    """Return the view as lines of text."""
    since = f"   {duration(view['since_s'])}" if view["since_s"] is not None else ""
    found = [f"service/{view['name']}   {view['verdict']}   {view['endpoints']} endpoints{since}"]
    if view["message"]:
        found.append(f"  because  {view['message']}")
    for side in view["sides"]:
        apps = ", ".join(f"{app} {status}" for app, status in side["applications"].items()) or "no applications known"
        mark = _MARKS[side["role"]] if side["exists"] else "✖"
        found.append(
            f"├─ {mark} {side['role']:<8} {side['cluster']}   traffic {side['traffic']} %   "
            f"workers {side['workers']}   {apps}"
        )
    entries = view["entries"]
    found.append(f"└─ services   head → {entries['head'] or 'nothing'}   serve → {entries['serve'] or 'nothing'}")
    switch = view["switch"]
    if switch is not None and switch["steps"]:
        left = f", {duration(switch['left_s'])} left" if switch["left_s"] and switch["left_s"] > 0 else ""
        found.append(f"switch {switch['serial']}   {switch.get('from') or 'nothing'} → {switch['to']}   "
                     f"{switch['phase']} ({switch.get('reason', '')}) {duration(switch['took_s'])}{left}")  # fmt: skip
        for step in switch["steps"]:
            found.append(f"   +{duration(step['after_s']):<6} {step['step']:<14} {step['message']}".rstrip())
    for item in view["you_can"]:
        found.append(f"you can  {item['command']}   {item['effect']}")
    return found


def history_rows(service: Mapping[str, Any], config_maps: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the revisions of a service, newest first: number, generation, image, what the next one changed."""
    revisions = parse_revisions(Owner(service), config_maps)
    rows = []
    for index, revision in enumerate(revisions):
        before = revisions[index + 1].spec if index + 1 < len(revisions) else {}
        changed = sorted(key for key in {*revision.spec, *before} if revision.spec.get(key) != before.get(key))
        containers = (
            (((revision.spec.get("rayClusterConfig") or {}).get("headGroupSpec") or {}).get("template") or {}).get(
                "spec"
            )
            or {}
        ).get("containers") or [{}]
        rows.append(
            {
                "revision": revision.number,
                "generation": revision.generation,
                "image": str(containers[0].get("image", "")),
                "changed": changed if before else ["first"],
                "name": revision.name,
                "createdAt": revision.document["metadata"].get("creationTimestamp"),
                "spec": dict(revision.spec),
            }
        )
    return rows


def switch_rows(service: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the last switches of a service, newest first."""
    record = parse_record(service.get("status") or {})
    if record is None:
        return []
    found = record.document()
    present = {
        "serial": record.serial,
        "from": record.source,
        "to": record.target,
        "outcome": record.phase.value,
        "reason": record.reason,
        "startedAt": found.get("startedAt", ""),
        "endedAt": found.get("endedAt", ""),
    }
    return [present, *reversed(found.get("history") or [])]
