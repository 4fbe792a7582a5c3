"""Watches: what is there, then every change, in order, without gap or repetition."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict, deque
from collections.abc import AsyncGenerator, Callable, Hashable, Iterator
from itertools import islice
from typing import Any

from rayctl.embedded.apiserver.api import Api
from rayctl.embedded.apiserver.errors import ApiError, expired
from rayctl.embedded.apiserver.fairness import Pause
from rayctl.embedded.apiserver.measures import Series
from rayctl.embedded.apiserver.options import ListOptions, list_options
from rayctl.embedded.apiserver.reading import Selection, selection
from rayctl.embedded.apiserver.requests import Info, Request, User
from rayctl.embedded.apiserver.resources import Resource
from rayctl.embedded.apiserver.store import Event, Stored, dumps

__all__ = ["Hub", "Painter", "View", "Watch", "open_watch"]

MAX_WAITING = 1_000
"""A watcher that is further behind is disconnected; it resumes from where it was."""
PER_USER = 200
"""So many watches may one user have."""
BOOKMARK_EVERY_S = 60.0
BOOKMARK_BEFORE_END_S = 2.0
TIMEOUT_S = (1800, 3600)
CHUNK = 256
"""So many events are sent together at most."""
INITIAL_END = {"k8s.io/initial-events-end": "true"}
Painter = Callable[[str, Stored], bytes]
"""(type, object) → the line of the stream."""


class View:
    """What watches with the same selectors and the same form show: made once for all of them."""

    def __init__(self, resource: Resource, namespace: str, chosen: Selection, paint: Painter) -> None:
        self.storage = resource.storage
        self._namespace = namespace
        self._chosen = chosen
        self._paint = paint

    def line_of(self, event: Event) -> bytes | None:
        """Return what is shown of a change: coming into view is ADDED, leaving it is DELETED."""
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

    def lines_now(self, api: Api) -> Iterator[bytes]:
        """Return a line for each object that is there at this moment, made when asked for; empty: it is not shown."""
        found = api.store.items(self.storage, self._namespace)
        return (self._paint("ADDED", stored) if self._chosen.matches(stored) else b"" for stored in found)


class Hub:
    """Takes every change once from the store and hands its line to the watches that show it."""

    def __init__(self, api: Api, per_user: int = PER_USER) -> None:
        self._views: dict[str, dict[Hashable, tuple[View, dict[Watch, None]]]] = defaultdict(dict)
        self.per_user = per_user
        self._users: Counter[str] = Counter()
        self._later: dict[Watch, tuple[int, Callable[[], None]]] = {}
        self.closed_as_slow = 0
        self._shown: Counter[str] = Counter()
        api.store.subscribe(self._told)

    def add(self, watch: Watch) -> None:
        """Begin to tell a watch.

        Raises:
            ApiError: 429; its user has too many already.
        """
        if self._users[watch.user] >= self.per_user:
            text = f"user {watch.user!r} has {self.per_user} watches already; end some of them, or share them"
            raise ApiError(429, "TooManyRequests", text, {"retryAfterSeconds": 1})
        self._users[watch.user] += 1
        _, members = self._views[watch.view.storage].setdefault(watch.key, (watch.view, {}))
        members[watch] = None

    def at_revision(self, watch: Watch, revision: int, reached: Callable[[], None]) -> None:
        """Do something once the store has reached a revision and the watch knows, if it still is one then."""
        self._later[watch] = (revision, reached)

    def remove(self, watch: Watch) -> None:
        """Tell it no more."""
        self._later.pop(watch, None)
        views = self._views[watch.view.storage]
        found = views.get(watch.key)
        if found is None or watch not in found[1]:
            return
        del found[1][watch]
        self._users[watch.user] -= 1
        if not self._users[watch.user]:
            del self._users[watch.user]
        if not found[1]:
            del views[watch.key]

    @property
    def count(self) -> int:
        """How many watches there are."""
        return sum(self._users.values())

    def series(self) -> Iterator[Series]:
        """Yield what was told to whom, for whoever counts."""
        yield "apiserver_longrunning_requests", "gauge", "Watches.", [({"verb": "WATCH"}, float(self.count))]
        shown = [({"resource": name}, float(count)) for name, count in sorted(self._shown.items())]
        yield "apiserver_watch_events_total", "counter", "Changes sent, once for each watch.", shown
        slow = "Watches ended because their client was too far behind."
        yield "rayctl_watch_slow_closed_total", "counter", slow, [({}, float(self.closed_as_slow))]

    def close_all(self, storage: str | None = None) -> None:
        """End the watches of a resource, or all."""
        for name, views in self._views.items():
            if storage is None or name == storage:
                for _, members in views.values():
                    for watch in members:
                        watch.end()

    def _told(self, event: Event) -> None:
        for view, members in self._views.get(event.now.key[0], {}).values():
            line = view.line_of(event)
            if line is not None:
                self._shown[event.now.key[0]] += len(members)
                for watch in members:
                    if not watch.offer(line, event.revision):
                        self.closed_as_slow += 1
        if self._later:
            due = [(watch, reached) for watch, (revision, reached) in self._later.items() if revision <= event.revision]
            for watch, reached in due:
                del self._later[watch]
                reached()


class Watch:
    """One client's stream.

    Args:
        view: What it shows.
        key: Equal for watches whose views are the same.
        user: Whose it is.
        bookmarks: Whether it gets these.
        pause: Between slices of what it begins with.
        after: Changes up to this revision are not shown.
    """

    def __init__(self, view: View, key: Hashable, user: str, bookmarks: bool, pause: Pause, after: int = 0) -> None:
        self.view = view
        self.key = key
        self.user = user
        self.bookmarks = bookmarks
        self._pause = pause
        self._after = after
        self._first: Iterator[bytes] = iter(())
        self._waiting: deque[bytes] = deque()
        self._ended = False
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def offer(self, line: bytes, revision: int) -> bool:
        """Take the line of a change; False if the client is too far behind and the stream is therefore ended."""
        if revision <= self._after or self._ended:
            return True
        self.push(line)
        if len(self._waiting) <= MAX_WAITING:
            return True
        self.end()
        return False

    def begin_with(self, lines: Iterator[bytes]) -> None:
        """Show these before anything else. Empty ones are what is not shown, which takes time as well."""
        self._first = lines

    def push(self, line: bytes) -> None:
        """Send a line."""
        self._waiting.append(line)
        self._wake()

    def end(self) -> None:
        """Close the stream after what is waiting."""
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _wait(self, until: float) -> None:
        """Wait for something to send, or for a moment on the loop's clock."""
        loop = asyncio.get_running_loop()
        if self._timer is None or self._timer.when() != until:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = loop.call_at(until, self._wake)
        self._waiter = loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    async def chunks(self, timeout_s: float, bookmark: Callable[[], bytes]) -> AsyncGenerator[bytes, None]:
        """Yield the lines until the time is up or the stream is ended."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + timeout_s
        marks = deque([ends_at - min(BOOKMARK_BEFORE_END_S, timeout_s / 2)] if self.bookmarks else [])
        if self.bookmarks and loop.time() + BOOKMARK_EVERY_S < marks[0]:
            marks.appendleft(loop.time() + BOOKMARK_EVERY_S)
        try:
            while batch := list(islice(self._first, CHUNK)):
                if together := b"".join(batch):
                    yield together
                await self._pause()
            while True:
                while self._waiting:
                    batch = [self._waiting.popleft() for _ in range(min(CHUNK, len(self._waiting)))]
                    yield batch[0] if len(batch) == 1 else b"".join(batch)
                now = loop.time()
                if self._ended or now >= ends_at:
                    return
                if marks and now >= marks[0]:
                    at = marks.popleft()
                    yield bookmark()
                    if marks and at + BOOKMARK_EVERY_S < marks[0]:
                        marks.appendleft(at + BOOKMARK_EVERY_S)
                    continue
                await self._wait(min(ends_at, marks[0]) if marks else ends_at)
        finally:
            if self._timer is not None:
                self._timer.cancel()


def _at_revision(stored: Stored, revision: int) -> Stored:
    document = {**stored.object, "metadata": {**stored.object["metadata"], "resourceVersion": str(revision)}}
    return Stored(stored.key, revision, document, dumps(document))


def open_watch(
    api: Api,
    hub: Hub,
    request: Request,
    info: Info,
    resource: Resource,
    user: User,
    paint: Painter,
    paint_bookmark: Any,
    form: Hashable,
    pause: Pause,
) -> AsyncGenerator[bytes, None]:
    """Begin a watch; returns its chunks. Nothing can happen between what it starts with and what follows.

    ``paint_bookmark``: (revision, annotations) → line. ``form``: equal if lines look the same; None: like no others.
    ``pause``: between slices of what it starts with.

    Raises:
        ApiError: 400, 422, 429 or 500, before anything is sent.
    """
    options = list_options(request, watching=True)
    chosen = selection(resource, options)
    namespace = info.namespace if resource.namespaced else ""
    view = View(resource, namespace, chosen, paint)
    key: Hashable = object() if form is None else (resource, namespace, options.labels, options.fields, form)
    revision = options.revision
    store = api.store
    # A watch from a revision that has not been reached waits for it.
    after = 0 if options.initial_events else max(0, revision or 0)
    watch = Watch(view, key, user.name, options.bookmarks, pause, after)
    timeout_s = _timeout(options)
    if options.initial_events:
        _begin_with_list(api, hub, watch, revision or 0, paint_bookmark)
    elif revision and revision < store.compacted:
        error = expired(f"too old resource version: {revision} ({store.compacted})")
        watch.push(b'{"type":"ERROR","object":' + dumps(error.document()) + b"}\n")
        watch.end()
    else:
        hub.add(watch)
        if revision:
            watch.begin_with(view.line_of(event) or b"" for event in store.changes_after(resource.storage, revision))
        elif options.initial_events is None:
            watch.begin_with(view.lines_now(api))
    return _Chunks(hub, watch, timeout_s, lambda: paint_bookmark(store.revision, None))


def _begin_with_list(api: Api, hub: Hub, watch: Watch, revision: int, paint_bookmark: Any) -> None:
    """Begin a streamed list: what is there, not older than a revision, then the mark, then what changes."""
    hub.add(watch)
    watch.begin_with(watch.view.lines_now(api))
    if not watch.bookmarks:
        return

    def mark() -> None:
        watch.push(paint_bookmark(api.store.revision, INITIAL_END))

    if revision <= api.store.revision:
        mark()
    else:
        hub.at_revision(watch, revision, mark)


class _Chunks(AsyncGenerator[bytes, None]):
    """A watch's chunks. Closing them ends the watch even if nobody has begun to read."""

    def __init__(self, hub: Hub, watch: Watch, timeout_s: float, bookmark: Callable[[], bytes]) -> None:
        self._hub = hub
        self._watch = watch
        self._inner = watch.chunks(timeout_s, bookmark)

    async def asend(self, value: None) -> bytes:
        try:
            return await self._inner.asend(value)
        except BaseException:
            self._hub.remove(self._watch)
            raise

    async def athrow(self, *error: Any) -> bytes:
        self._hub.remove(self._watch)
        return await self._inner.athrow(*error)

    async def aclose(self) -> None:
        self._hub.remove(self._watch)
        await self._inner.aclose()


def _timeout(options: ListOptions) -> float:
    if options.timeout_s:
        return float(options.timeout_s)
    return float(random.randint(*TIMEOUT_S))
