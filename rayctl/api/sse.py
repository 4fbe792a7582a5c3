"""Server-sent events of a run: its event log from a given place on, as it grows, up to the end.

Built on `events` long-polls, so a reader holds nothing in the service: one that goes away is noticed here, and the
run never is. A reader that comes back says which event it had last, and gets the rest.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from rayctl.api.documents import dump
from rayctl.automl.model import RunState
from rayctl.automl.port import AutoMLService
from rayctl.errors import MalformedRequest, RayctlError, Unavailable

__all__ = ["KEEP_ALIVE_S", "StreamSlots", "event_stream", "last_seen"]

KEEP_ALIVE_S = 15.0
_RECONNECT_MS = 2000
_MAX_SEQ_DIGITS = 15


class StreamSlots:
    """How many readers may follow at a time. A Serve replica handles a fixed number of requests at once, and readers
    stay for hours: without a bound they would lock everyone else out."""

    def __init__(self, limit: int) -> None:
        self._free = limit

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[None]:
        """Hold one slot; it was checked with `check` just before the answer began."""
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1

    def check(self) -> None:
        """Raise Unavailable if there is no slot left."""
        if self._free <= 0:
            raise Unavailable("Too many readers follow runs at the moment.", code="too-many-readers", retry_after_s=5)


def last_seen(header: str | None, query: int) -> int:
    """Return the seq after which to go on. The header wins: a reconnecting reader repeats the first URL.

    Raises:
        MalformedRequest: the header is not a number of ours.
    """
    if header is None or not header.strip():
        return query
    text = header.strip()
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_SEQ_DIGITS):
        raise MalformedRequest("The Last-Event-ID header is not the id of an event.")
    return int(text)


def is_ended(view: Mapping[str, Any]) -> bool:
    """Whether a run's view says that it will never change again."""
    return RunState(view["state"]).is_terminal


def _frame(event: Mapping[str, Any]) -> bytes:
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (event["seq"], str(event["kind"]).encode(), dump(event["data"]))


async def event_stream(
    service: AutoMLService,
    run_id: str,
    *,
    first: list[dict[str, Any]],
    after: int,
    ended: bool,
    tenant: str | None,
    slots: StreamSlots,
    instance: str,
    trace_id: str,
) -> AsyncIterator[bytes]:
    """Yield frames: ``first`` (events already read), then the rest until the done event.

    ``ended``: the run had ended before ``first`` was read, so an empty batch means that there is no more.
    A failure in the middle ends the stream with an event ``problem``; the reader may come back and resume.
    """
    async with slots.hold():
        yield b"retry: %d\n\n" % _RECONNECT_MS
        batch = first
        try:
            while True:
                for event in batch:
                    after = event["seq"]
                    yield _frame(event)
                    if event["kind"] == "done":
                        return
                batch = await service.events(run_id, after=after, wait_s=0.0 if ended else KEEP_ALIVE_S, tenant=tenant)
                if not batch:
                    if ended:
                        return
                    yield b": keep-alive\n\n"
                    # Also ends streams that were opened behind the done event of a run that ended just now.
                    ended = is_ended(await service.get_run(run_id, tenant=tenant))
        except RayctlError as exc:
            problem = exc.to_problem() | {"instance": instance, "trace_id": trace_id}
            yield b"event: problem\ndata: %s\n\n" % dump(problem)
