"""Server-sent events of changes: several selections of objects in one stream, each resumed where the reader was.

The id of an event names the version that each selection had reached, so a reader that comes back gets what it missed.
If the API server has forgotten that far back, the stream says ``reset`` and begins with what is there now.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any

from rayctl.api.documents import dump
from rayctl.api.kube.door import Door
from rayctl.api.sse import KEEP_ALIVE_S, StreamSlots
from rayctl.errors import MalformedRequest, RayctlError, Unavailable
from rayctl.kube.calls import OPENED, Call, Resource
from rayctl.kube.errors import Expired, NoAnswer, ServerTrouble, from_status

__all__ = ["Followed", "follow", "resumed_at"]

_WATCH_S = 240
_SILENCE_S = 30.0
_PAUSE_S = 1.0
_MOST_FAILURES = 5
_RECONNECT_MS = 2000
_QUEUED = 500
_ID = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20}){0,7}")

Document = dict[str, Any]
Shown = tuple[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Followed:
    """A selection. ``shown``: (change, object) → the event's name and data, or None to leave it out."""

    resource: Resource
    shown: Callable[[str, Document], Shown | None]
    namespace: str = ""
    labels: str = ""
    fields: str = ""
    history: bool = True
    """Whether what is there at the beginning is told, too."""


def resumed_at(header: str | None, query: str, selections: int) -> list[str] | None:
    """Return the version that each selection had reached; None: the reader is new.

    Raises:
        MalformedRequest: it is no id of this stream.
    """
    text = (header or "").strip() or query.strip()
    if not text:
        return None
    parts = text.split(".")
    if not _ID.fullmatch(text) or len(parts) != selections:
        raise MalformedRequest("This is not the id of an event of this stream.", code="bad-event-id")
    return parts


@dataclass(frozen=True)
class _News:
    """What a pump found: an event, or the end of the stream (``failure``)."""

    index: int
    revision: str
    shown: Shown | None
    failure: RayctlError | None = None


async def follow(
    door: Door, selections: Sequence[Followed], since: list[str] | None, slots: StreamSlots
) -> AsyncIterator[bytes]:
    """Yield frames until the reader goes away."""
    reached = list(since) if since is not None else ["0"] * len(selections)
    news: asyncio.Queue[_News] = asyncio.Queue(_QUEUED)
    async with slots.hold():
        pumps = [
            asyncio.ensure_future(_pump(door, selection, index, since[index] if since else "", news))
            for index, selection in enumerate(selections)
        ]
        try:
            yield b"retry: %d\n\n" % _RECONNECT_MS
            while True:
                try:
                    item = await asyncio.wait_for(news.get(), KEEP_ALIVE_S)
                except asyncio.TimeoutError:
                    yield b": keep-alive\n\n"
                    continue
                if item.failure is not None:
                    yield b"event: problem\ndata: %s\n\n" % dump(item.failure.to_problem())
                    return
                reached[item.index] = item.revision
                if item.shown is not None:
                    name, data = item.shown
                    # Without an id while a first look goes on: half of it is no place to resume at.
                    head = b"id: %s\n" % ".".join(reached).encode() if "0" not in reached else b""
                    yield b"%sevent: %s\ndata: %s\n\n" % (head, name.encode(), dump(data))
        finally:
            for pump in pumps:
                pump.cancel()
            for pump in pumps:
                with suppress(asyncio.CancelledError):
                    await pump


async def _pump(door: Door, selection: Followed, index: int, revision: str, news: asyncio.Queue[_News]) -> None:
    failures = 0
    told = bool(revision)
    while True:
        try:
            if not revision:
                items, revision = await door.listed(
                    selection.resource, selection.namespace, selection.labels, selection.fields
                )
                if told:
                    await news.put(_News(index, "0", ("reset", {"kind": selection.resource.plural})))
                if selection.history or told:
                    for item in items:
                        await news.put(_News(index, "0", selection.shown("ADDED", item)))
                await news.put(_News(index, revision, ("synced", {"kind": selection.resource.plural})))
                told = True
            async with aclosing(_events(door, selection, revision)) as events:
                async for kind, item in events:
                    failures = 0
                    revision = str(item["metadata"]["resourceVersion"])
                    shown = None if kind == "BOOKMARK" else selection.shown(kind, item)
                    await news.put(_News(index, revision, shown))
        except Expired:
            revision = ""
        except (NoAnswer, ServerTrouble):
            failures += 1
            if failures > _MOST_FAILURES:
                await news.put(_News(index, revision, None, _gone()))
                return
            await asyncio.sleep(_PAUSE_S)
        except RayctlError as error:
            await news.put(_News(index, revision, None, error))
            return


def _gone() -> RayctlError:
    return Unavailable("The Kubernetes API does not answer.", code="kubernetes-no-answer", retry_after_s=5)


async def _events(door: Door, selection: Followed, revision: str) -> AsyncGenerator[tuple[str, Document], None]:
    call = Call.get(selection.resource.path(selection.namespace), 30.0).asking(
        labelSelector=selection.labels or None,
        fieldSelector=selection.fields or None,
        watch=True,
        resourceVersion=revision,
        allowWatchBookmarks=True,
        timeoutSeconds=_WATCH_S,
    )
    async with aclosing(door.watch(call, _WATCH_S + _SILENCE_S)) as stream:
        async for event in stream:
            if event["type"] == OPENED:
                continue
            item: Document = event["object"]
            if event["type"] == "ERROR":
                raise from_status(int(item.get("code") or 500), item, None, writes=False)
            yield str(event["type"]), item
