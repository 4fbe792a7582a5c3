"""Watches: what is there, then every change, in order, without gap or repetition."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable
from typing import Any

from rayctl.embedded.apiserver.api import Api
from rayctl.embedded.apiserver.errors import expired
from rayctl.embedded.apiserver.options import ListOptions, list_options
from rayctl.embedded.apiserver.reading import Selection, selection
from rayctl.embedded.apiserver.requests import Info, Request
from rayctl.embedded.apiserver.resources import Resource
from rayctl.embedded.apiserver.store import Event, Stored, dumps

__all__ = ["Hub", "Painter", "Watch", "open_watch"]

MAX_WAITING = 1_000
"""A watcher that is further behind is disconnected; it resumes from where it was."""
BOOKMARK_EVERY_S = 60.0
BOOKMARK_BEFORE_END_S = 2.0
TIMEOUT_S = (1800, 3600)
CHUNK = 256
"""So many events are sent together at most."""
INITIAL_END = {"k8s.io/initial-events-end": "true"}
Painter = Callable[[str, Stored], bytes]
"""(type, object) → the line of the stream."""


class Hub:
    """Takes every change once from the store and hands it to the watches of its resource."""

    def __init__(self, api: Api) -> None:
        self._watches: dict[str, set[Watch]] = defaultdict(set)
        self.closed_as_slow = 0
        api.store.subscribe(self._told)

    def add(self, watch: Watch) -> None:
        """Begin to tell a watch."""
        self._watches[watch.storage].add(watch)

    def remove(self, watch: Watch) -> None:
        """Tell it no more."""
        self._watches[watch.storage].discard(watch)

    @property
    def count(self) -> int:
        """How many watches there are."""
        return sum(len(found) for found in self._watches.values())

    def close_all(self, storage: str | None = None) -> None:
        """End the watches of a resource, or all."""
        for name, found in self._watches.items():
            if storage is None or name == storage:
                for watch in list(found):
                    watch.end()

    def _told(self, event: Event) -> None:
        for watch in list(self._watches.get(event.now.key[0], ())):
            watch.offer(event)


class Watch:
    """One client's stream. ``paint`` makes the lines, and shares what is the same for many."""

    def __init__(
        self, hub: Hub, resource: Resource, namespace: str, chosen: Selection, paint: Painter, bookmarks: bool
    ) -> None:
        self.storage = resource.storage
        self._hub = hub
        self._namespace = namespace
        self._chosen = chosen
        self._paint = paint
        self.bookmarks = bookmarks
        self._waiting: deque[bytes] = deque()
        self._wake = asyncio.Event()
        self._ended = False

    def offer(self, event: Event) -> None:
        """Take a change, if it concerns this watch."""
        line = self.line_of(event)
        if line is None:
            return
        self._waiting.append(line)
        if len(self._waiting) > MAX_WAITING:
            self._hub.closed_as_slow += 1
            self.end()
        self._wake.set()

    def line_of(self, event: Event) -> bytes | None:
        """Return what this watch shows of a change: coming into view is ADDED, leaving it is DELETED."""
        now, before = event.now, event.before
        if self._namespace and now.namespace != self._namespace:
            return None
        if self._chosen.is_everything:
            return self._paint(event.type, now)
        was = before is not None and self._chosen.matches(before)
        if event.type == "DELETED":
            return self._paint("DELETED", now) if was else None
        matches = self._chosen.matches(now)
        if matches:
            return self._paint("MODIFIED" if was else "ADDED", now)
        if not was:
            return None
        assert before is not None
        return self._paint("DELETED", _at_revision(before, now.revision))

    def push(self, line: bytes) -> None:
        """Send a line that is no change."""
        self._waiting.append(line)
        self._wake.set()

    def end(self) -> None:
        """Close the stream after what is waiting."""
        self._ended = True
        self._wake.set()

    async def chunks(self, timeout_s: float, bookmark: Callable[[], bytes]) -> AsyncIterator[bytes]:
        """Yield the lines until the time is up or the stream is ended."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + timeout_s
        marks = deque([ends_at - min(BOOKMARK_BEFORE_END_S, timeout_s / 2)] if self.bookmarks else [])
        next_mark = loop.time() + BOOKMARK_EVERY_S if self.bookmarks else None
        if next_mark is not None and marks and next_mark < marks[0]:
            marks.appendleft(next_mark)
        try:
            while True:
                while self._waiting:
                    batch = [self._waiting.popleft() for _ in range(min(CHUNK, len(self._waiting)))]
                    yield b"".join(batch)
                if self._ended:
                    return
                now = loop.time()
                if now >= ends_at:
                    return
                until = min(ends_at, marks[0]) if marks else ends_at
                self._wake.clear()
                try:
                    await asyncio.wait_for(self._wake.wait(), max(0.0, until - now))
                except asyncio.TimeoutError:
                    if marks and loop.time() >= marks[0]:
                        at = marks.popleft()
                        yield bookmark()
                        if marks and at + BOOKMARK_EVERY_S < marks[0]:
                            marks.appendleft(at + BOOKMARK_EVERY_S)
        finally:
            self._hub.remove(self)


def _at_revision(stored: Stored, revision: int) -> Stored:
    document = {**stored.object, "metadata": {**stored.object["metadata"], "resourceVersion": str(revision)}}
    return Stored(stored.key, revision, document, dumps(document))


def open_watch(
    api: Api, hub: Hub, request: Request, info: Info, resource: Resource, paint: Painter, paint_bookmark: Any
) -> AsyncIterator[bytes]:
    """Begin a watch; returns its chunks. Nothing can happen between what it starts with and what follows.

    ``paint_bookmark``: (revision, annotations) → line.

    Raises:
        ApiError: 400, 422 or 500, before anything is sent.
    """
    options = list_options(request, watching=True)
    chosen = selection(resource, options)
    namespace = info.namespace if resource.namespaced else ""
    watch = Watch(hub, resource, namespace, chosen, paint, options.bookmarks)
    store = api.store
    revision = options.revision
    if revision and revision < store.compacted:
        error = expired(f"too old resource version: {revision} ({store.compacted})")
        watch.push(b'{"type":"ERROR","object":' + dumps(error.document()) + b"}\n")
        watch.end()
    else:
        if options.initial_events or (options.initial_events is None and not revision):
            for stored in store.items(resource.storage, namespace):
                if chosen.matches(stored):
                    watch.push(paint("ADDED", stored))
        elif revision:
            for event in store.changes_after(resource.storage, revision):
                line = watch.line_of(event)
                if line is not None:
                    watch.push(line)
        if options.initial_events and options.bookmarks:
            watch.push(paint_bookmark(store.revision, INITIAL_END))
        hub.add(watch)
        if revision and revision > store.revision:
            _skip_until(watch, revision)
    timeout_s = _timeout(options)
    return watch.chunks(timeout_s, lambda: paint_bookmark(store.revision, None))


def _skip_until(watch: Watch, revision: int) -> None:
    """A watch from a revision that has not been reached waits for it."""
    offer = watch.offer

    def offer_later(event: Event) -> None:
        if event.revision > revision:
            offer(event)

    watch.offer = offer_later  # type: ignore[method-assign]


def _timeout(options: ListOptions) -> float:
    if options.timeout_s:
        return float(options.timeout_s)
    return float(random.randint(*TIMEOUT_S))
