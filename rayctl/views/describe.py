"""What describes an object: what it is, its conditions, its family, its last events. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rayctl.clock import format_duration, iso
from rayctl.telemetry.redaction import Redactor
from rayctl.views.events import Happened
from rayctl.views.family import Node
from rayctl.views.readiness import judge, moment
from rayctl.views.tree import draw

__all__ = ["description", "lines"]

_NOISE = ("kubectl.kubernetes.io/last-applied-configuration",)
_SECRET = ("data", "stringData")
_REDACTOR = Redactor()


def description(node: Node, events: Sequence[Happened]) -> dict[str, Any]:
    """Return the description as JSON: object, verdict, conditions, children, events. Secrets' values are left out, also
    those that somebody has written into variables or passwords of a spec."""
    document, verdict = node.document, judge(node.document)
    metadata = {name: value for name, value in document["metadata"].items() if name != "managedFields"}
    if metadata.get("annotations"):
        metadata["annotations"] = {key: value for key, value in metadata["annotations"].items() if key not in _NOISE}
    rest = {
        name: value
        for name, value in document.items()
        if name not in ("metadata", "apiVersion", "kind", "status", *(_SECRET if node.kind == "Secret" else ()))
    }
    if node.kind == "Secret":
        rest["keys"] = {key: f"{len(str(value)) * 3 // 4} bytes" for key, value in (document.get("data") or {}).items()}
    # As they are: conditions of pods have no reason, and need none to be shown.
    conditions = {
        item["type"]: item
        for item in (document.get("status") or {}).get("conditions") or ()
        if isinstance(item, Mapping) and item.get("type") and item.get("status")
    }
    return {
        "object": node.label,
        "apiVersion": document.get("apiVersion"),
        "kind": document.get("kind"),
        "metadata": metadata,
        "ready": verdict.ready,
        "reason": verdict.reason,
        "message": verdict.message,
        "content": _REDACTOR.value(rest),
        "conditions": [conditions[kind] for kind in sorted(conditions)],
        "status": {key: value for key, value in (document.get("status") or {}).items() if key != "conditions"},
        "children": [
            {"object": child.label, "ready": judge(child.document).ready, "reason": judge(child.document).reason}
            for child in node.walk()
            if child is not node
        ],
        "events": [
            {
                "last": iso(event.last_at),
                "type": event.type,
                "reason": event.reason,
                "count": event.count,
                "message": event.message,
                "source": event.source,
            }
            for event in events
        ],
    }


def lines(node: Node, events: Sequence[Happened], now: float) -> list[str]:
    """Return the description for people."""
    found = description(node, events)
    metadata = found["metadata"]
    made_at = moment(metadata.get("creationTimestamp"))
    age = "" if made_at is None else f"   ({format_duration(now - made_at)} ago)"
    shown = [
        f"Name:        {metadata['name']}",
        *([f"Namespace:   {metadata['namespace']}"] if metadata.get("namespace") else []),
        f"Kind:        {found['kind']} ({found['apiVersion']})",
        f"Created:     {metadata.get('creationTimestamp', '–')}{age}",
        *_pairs("Labels", metadata.get("labels") or {}),
        *_pairs("Annotations", metadata.get("annotations") or {}),
    ]
    owners = [f"{owner['kind'].lower()}/{owner['name']}" for owner in metadata.get("ownerReferences") or ()]
    shown += [f"Owned by:    {', '.join(owners)}"] if owners else []
    if found["ready"] is not None:
        text = "yes" if found["ready"] else f"no   {found['reason']}: {found['message']}"
        shown.append(f"Ready:       {text}")
    shown += _conditions(found["conditions"], now)
    for title, part in (("Content", found["content"]), ("Status", found["status"])):
        if part:
            shown += [f"{title}:", *_indented(part)]
    if node.children:
        shown += ["Tree:", *("  " + line for line in draw(node))]
    return [*shown, *_events(found["events"], now)]


def _pairs(title: str, pairs: Mapping[str, Any]) -> list[str]:
    head = f"{title}:".ljust(13)
    return [(head if number == 0 else " " * 13) + f"{key}={value}" for number, (key, value) in enumerate(pairs.items())]


def _conditions(conditions: Sequence[Mapping[str, Any]], now: float) -> list[str]:
    if not conditions:
        return []
    width = max(len(condition["type"]) for condition in conditions)
    shown = ["Conditions:"]
    for condition in conditions:
        at = moment(condition.get("lastTransitionTime"))
        since = format_duration(now - at) if at else "–"
        text = f"  {condition['type'].ljust(width)}  {condition['status'].ljust(7)}  {since.rjust(7)}  "
        said = (str(condition.get("reason") or ""), str(condition.get("message") or ""))
        shown.append((text + "  ".join(word for word in said if word)).rstrip())
    return shown


def _indented(value: Any, depth: int = 1) -> list[str]:
    pad = "  " * depth
    if isinstance(value, Mapping):
        found = []
        for key, item in value.items():
            if isinstance(item, (Mapping, list)) and item:
                found += [f"{pad}{key}:", *_indented(item, depth + 1)]
            else:
                found.append(f"{pad}{key}: {_scalar(item)}")
        return found
    found = []
    for item in value:
        if isinstance(item, (Mapping, list)) and item:
            first, *others = _indented(item, depth + 1)
            found += [f"{pad}- {first.lstrip()}", *others]
        else:
            found.append(f"{pad}- {_scalar(item)}")
    return found


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "–" if value is None or value in ({}, []) else str(value)


def _events(events: Sequence[Mapping[str, Any]], now: float) -> list[str]:
    if not events:
        return ["Events:      none"]
    shown = ["Events:"]
    for event in events:
        at = moment(event["last"])
        age = format_duration(now - at) if at else "–"
        times = f" (x{event['count']})" if event["count"] > 1 else ""
        shown.append(f"  {age.rjust(7)}  {event['type'].ljust(7)}  {event['reason']}{times}  {event['message']}")
    return shown
