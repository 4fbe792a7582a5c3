"""Events of the API in one form, whichever of its two it uses. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rayctl.views.readiness import moment

__all__ = ["Happened", "about", "happened"]


@dataclass(frozen=True)
class Happened:
    """One event. ``last_at``: seconds since the epoch; ``count``: how often so far; ``subject``: ``pod/x``."""

    last_at: float
    type: str
    reason: str
    subject: str
    namespace: str
    message: str
    count: int
    source: str
    uid: str


def happened(document: Mapping[str, Any]) -> Happened:
    """Read an Event of ``v1`` or of ``events.k8s.io/v1``."""
    about = document.get("regarding") or document.get("involvedObject") or {}
    series = document.get("series") or {}
    times = (
        series.get("lastObservedTime"),
        document.get("deprecatedLastTimestamp") or document.get("lastTimestamp"),
        document.get("eventTime"),
        document["metadata"].get("creationTimestamp"),
    )
    at = next((found for found in map(moment, times) if found is not None), 0.0)
    count = series.get("count") or document.get("deprecatedCount") or document.get("count") or 1
    source = document.get("reportingController") or (document.get("deprecatedSource") or {}).get("component") or ""
    return Happened(
        at,
        str(document.get("type") or "Normal"),
        str(document.get("reason") or ""),
        f"{str(about.get('kind', '')).lower()}/{about.get('name', '')}",
        str(about.get("namespace") or document["metadata"].get("namespace") or ""),
        " ".join(str(document.get("note") or document.get("message") or "").split()),
        int(count),
        str(source or (document.get("source") or {}).get("component") or ""),
        str(about.get("uid") or ""),
    )


def about(events: Iterable[Happened], document: Mapping[str, Any]) -> list[Happened]:
    """Return the events about an object, the oldest first."""
    metadata = document["metadata"]
    subject = f"{str(document.get('kind')).lower()}/{metadata['name']}"
    found = [
        event
        for event in events
        if (event.uid == metadata.get("uid"))
        or (not event.uid and event.subject == subject and event.namespace == metadata.get("namespace", ""))
    ]
    return sorted(found, key=lambda event: event.last_at)
