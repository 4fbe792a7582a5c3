"""The event stream of a run: from server-sent events to `Event` documents."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timezone

import httpx2

from rayctl.client.transport import Document
from rayctl.errors import RayctlError, from_problem

__all__ = ["KINDS", "events_of", "named_events"]

KINDS = frozenset({"state", "trial", "leaderboard", "ensemble", "log", "done"})

_PROBLEM = "problem"  # how the service says in the middle of a stream that it cannot go on
_MAX_EVENT_BYTES = 16 * 1024 * 1024


def events_of(response: httpx2.Response, run_id: str) -> Iterator[Document]:
    """Yield the events of one connection; ends where the connection ends.

    The stream does not carry the time of an event, so ``at`` is the time of arrival unless the data has one.
    Events of kinds that this client does not know (a newer server's) are passed over.

    Raises:
        RayctlError: what the service reported, or an event that is not what the protocol says (``bad-event``).
        httpx2.TransportError: the connection broke.
    """
    for event in httpx2.EventSource(response, max_event_size=_MAX_EVENT_BYTES):
        if event.event not in KINDS | {_PROBLEM} or not event.data:
            continue
        try:
            data = json.loads(event.data)
            seq = 0 if event.event == _PROBLEM else int(event.id)
        except ValueError as error:
            raise _bad(f"Event {event.id!r} of run {run_id} cannot be parsed: {error}.") from None
        if not isinstance(data, dict):
            raise _bad(f"Event {event.id!r} of run {run_id} is not a JSON object.")
        if event.event == _PROBLEM:
            raise from_problem(data)
        at = data.get("at")
        yield {
            "run_id": run_id,
            "seq": seq,
            "at": at if isinstance(at, str) else now_text(),
            "kind": event.event,
            "data": data,
        }


def named_events(response: httpx2.Response) -> Iterator[tuple[str, str, Document]]:
    """Yield (name, id, data) of the events of one connection.

    Raises:
        RayctlError: what the service reported, or an event that is not what the protocol says (``bad-event``).
        httpx2.TransportError: the connection broke.
    """
    for event in httpx2.EventSource(response, max_event_size=_MAX_EVENT_BYTES):
        if not event.data:
            continue
        try:
            data = json.loads(event.data)
        except ValueError as error:
            raise _bad(f"An event cannot be parsed: {error}.") from None
        if not isinstance(data, dict):
            raise _bad("An event is not a JSON object.")
        if event.event == _PROBLEM:
            raise from_problem(data)
        yield event.event, event.id, data


def now_text() -> str:
    """The current time as ISO 8601 in UTC, to the second."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _bad(message: str) -> RayctlError:
    return RayctlError(message, code="bad-event", hint="Client and server may be of versions that do not fit.")
