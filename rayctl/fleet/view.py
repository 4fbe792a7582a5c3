"""A fleet for people and for pages: verdict, revisions, their clusters, what is waited for. Pure, from documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rayctl.core.conditions import Condition, parse_conditions
from rayctl.fleet.seen import ABORT, FleetSeen, SetView, parse_fleet
from rayctl.fleet.status import DEGRADED, PAUSED, PROGRESSING, READY
from rayctl.replicaset.health import health_of, moment
from rayctl.replicaset.names import DRAINING_SINCE
from rayctl.replicaset.seen import controller_of

__all__ = ["EXIT_CODES", "fleet_view", "history", "step_text", "tree"]

EXIT_CODES = {
    "complete": 0,
    "failed": 4,
    "rolled-back": 4,
    "invalid": 4,
    "progressing": 5,
    "paused": 5,
    "unobserved": 5,
}
"""Of ``rayctl rollout status``, by verdict. Rolled back: what is wanted was given up, what was good before runs."""
_MARKS = {"Ready": "✔", "Unready": "✖", "Starting": "◌", "Suspended": "‖", "Terminating": "…"}
_FINAL = ("ProgressDeadlineExceeded", "GateFailed", "ReplicaSetCreateError", "WriteRefused")


def fleet_view(
    fleet: Mapping[str, Any], sets: Sequence[Mapping[str, Any]], clusters: Sequence[Mapping[str, Any]], now: float
) -> dict[str, Any]:
    """Return the view as JSON.

    Args:
        fleet: The fleet.
        sets: Replica sets of its namespace.
        clusters: Ray clusters of its namespace.
        now: Seconds since the epoch; ages are relative to it.
    """
    seen = parse_fleet({"fleet": fleet, "sets": sets})
    conditions = parse_conditions(seen.status.get("conditions"))
    verdict, why = _verdict(seen, conditions)
    by_set: dict[str, list[Mapping[str, Any]]] = {}
    for cluster in clusters:
        uid = (controller_of(cluster) or {}).get("uid", "")
        by_set.setdefault(str(uid), []).append(cluster)
    rows = [
        _revision(view, by_set.get(view.ref.uid) or [], seen, now)
        for view in sorted(seen.sets, key=lambda item: -item.revision)
    ]
    ready = conditions.get(READY)
    status = seen.status
    return {
        "kind": "RayClusterFleet",
        "namespace": seen.ref.namespace,
        "name": seen.name,
        "verdict": verdict,
        "reason": why.reason if why else "",
        "message": why.message if why else "",
        "since_s": now - ready.transition_at if ready and ready.transition_at else None,
        "strategy": seen.spec.strategy,
        "paused": seen.spec.paused,
        "wanted": seen.spec.replicas,
        "replicas": int(status.get("replicas") or 0),
        "updated": int(status.get("updatedReplicas") or 0),
        "ready": int(status.get("readyReplicas") or 0),
        "available": int(status.get("availableReplicas") or 0),
        "revision": int(status.get("revision") or 0),
        "step": _step(seen),
        "revisions": [row for row in rows if row["clusters"] or row["wanted"] or row["newest"]],
    }


def _verdict(seen: FleetSeen, conditions: Mapping[str, Condition]) -> tuple[str, Condition | None]:
    observed = int(seen.status.get("observedGeneration") or 0)
    if observed < seen.generation:
        text = "the fleet controller has not seen the newest specification yet"
        return "unobserved", Condition(READY, "Unknown", "NotObserved", text)
    asked = seen.annotations.get(ABORT, "")
    if asked and asked == seen.state.revision and asked not in (seen.state.aborted, seen.state.stable):
        # Annotations do not move the generation.
        return "unobserved", Condition(READY, "Unknown", "NotObserved", f"revision {asked} is being given up")
    if seen.spec.problems:
        return "invalid", Condition(READY, "False", *seen.spec.problems[0])
    ready = conditions.get(READY)
    if ready is not None and ready.is_true:
        return "complete", ready
    progress = conditions.get(PROGRESSING)
    if progress is not None and progress.status == "False" and progress.reason == "RolledBack":
        return "rolled-back", progress
    if progress is not None and progress.status == "False" and progress.reason in _FINAL:
        return "failed", progress
    if progress is not None and progress.status == "False":
        return "invalid", progress
    paused = conditions.get(PAUSED)
    if seen.spec.paused or (paused is not None and paused.is_true):
        return "paused", paused or ready
    if progress is not None and progress.reason == "RollingBack":
        return "progressing", progress
    bad = conditions.get(DEGRADED)
    return "progressing", bad if bad is not None and bad.is_true else ready


def _step(seen: FleetSeen) -> dict[str, Any] | None:
    steps = seen.spec.options.steps
    if seen.spec.strategy != "Canary" or not steps:
        return None
    at = min(seen.state.step, len(steps))
    return {"at": at, "of": len(steps), "text": str(steps[at]) if at < len(steps) else "all steps are done"}


def step_text(step: Mapping[str, Any]) -> str:
    """Return where a canary is, for people. ``step``: of the view; ``at``: steps that are done."""
    return f"step {min(step['at'] + 1, step['of'])} of {step['of']}: {step['text']}"


def _revision(view: SetView, clusters: Sequence[Mapping[str, Any]], seen: FleetSeen, now: float) -> dict[str, Any]:
    newest = view.hash == seen.state.revision or (not seen.state.revision and view.revision > 0)
    return {
        "set": view.name,
        "number": view.revision,
        "hash": view.hash,
        "newest": newest,
        "wanted": view.replicas,
        "clusters": [_cluster(item, now) for item in sorted(clusters, key=lambda item: str(item["metadata"]["name"]))],
    }


def _cluster(document: Mapping[str, Any], now: float) -> dict[str, Any]:
    health, metadata = health_of(document), document["metadata"]
    draining = DRAINING_SINCE in (metadata.get("annotations") or {})
    created = moment(metadata.get("creationTimestamp"))
    return {
        "name": metadata["name"],
        "phase": health.phase.value,
        "draining": draining,
        "reason": health.reason,
        "message": health.message,
        "workers": health.workers,
        "workers_wanted": health.wanted,
        "age_s": max(0.0, now - created) if created else None,
    }


def tree(view: Mapping[str, Any], age: Any) -> list[str]:
    """Return a view as lines of a tree. ``age``: seconds → text."""
    marks = {"complete": "✔", "failed": "✖", "invalid": "✖", "paused": "‖", "rolled-back": "↩"}
    head = (
        f"fleet/{view['name']}  rev {view['revision'] or '–'}   {marks.get(view['verdict'], '◌')} "
        f"{view['verdict'].capitalize().replace('-', ' ')} {view['updated']}/{view['wanted']}"
    )
    if view["step"]:
        head += f"   {step_text(view['step'])}"
    lines = [head]
    rows = view["revisions"]
    for number, row in enumerate(rows):
        last = number == len(rows) - 1
        word = "new" if row["newest"] else "old"
        lines.append(f"{'└─' if last else '├─'} rev {row['number']}  {word}  {row['set']}  {row['wanted']} wanted")
        bar = "   " if last else "│  "
        for index, item in enumerate(row["clusters"]):
            corner = "└─" if index == len(row["clusters"]) - 1 else "├─"
            lines.append(f"{bar}{corner} {_line(item, age)}")
    if view["verdict"] != "complete" and view["message"]:
        lines.append(f"{view['reason']}: {view['message']}")
    return lines


def _line(item: Mapping[str, Any], age: Any) -> str:
    phase = "Draining" if item["draining"] and item["phase"] == "Ready" else item["phase"]
    text = f"{_MARKS[item['phase']]} {item['name']}  {phase}"
    if item["age_s"] is not None:
        text += f"  {age(item['age_s'])}"
    if item["phase"] == "Ready":
        return (
            f"{text}  {item['workers']} workers" if item["workers"] or item["workers_wanted"] else f"{text}  head only"
        )
    return f"{text}  {item['message']}" if item["message"] else text


def history(fleet: Mapping[str, Any], sets: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the revisions of a fleet, newest first."""
    seen = parse_fleet({"fleet": fleet, "sets": sets})
    rows = []
    for view in sorted(seen.sets, key=lambda item: -item.revision):
        rows.append(
            {
                "revision": view.revision,
                "set": view.name,
                "hash": view.hash,
                "wanted": view.replicas,
                "ready": view.ready,
                "images": sorted(set(_images(view.template))),
                "cause": view.annotations.get("kubernetes.io/change-cause", ""),
                "created_at": view.document["metadata"].get("creationTimestamp"),
                "state": "given up"
                if view.hash == seen.state.aborted
                else "stable"
                if view.hash == seen.state.stable
                else "",
            }
        )
    return rows


def _images(template: Mapping[str, Any]) -> list[str]:
    spec = template.get("spec") or {}
    groups = [spec.get("headGroupSpec") or {}, *(spec.get("workerGroupSpecs") or ())]
    return [
        str(container.get("image"))
        for group in groups
        for container in ((group.get("template") or {}).get("spec") or {}).get("containers") or ()
        if container.get("image")
    ]
