"""All objects in memory, their history, and the database behind them. The only place where state changes.

One writer: everything runs on one event loop, and between reading with `Store.newest` and `Store.write` no caller
awaits. A change is visible to readers and watchers only when it is in the database.
"""

from __future__ import annotations

import asyncio
import json
from bisect import bisect_left, insort
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rayctl.embedded.apiserver.database import Database, EventRow, Key

__all__ = ["Change", "Event", "Store", "Stored"]

KEEP_EVENTS = 10_000
KEEP_S = 300.0
"""History is kept for both: so many changes, and so long."""
COMPACT_EVERY = 1_000
FIRST_REVISION = 2
"""Where an empty store begins, so that 1 is too old for every watch."""
SNAPSHOTS = 16
"""Lists of past moments that are kept for the next pages."""


@dataclass(frozen=True, slots=True)
class Stored:
    """An object at one revision. ``object`` must never be changed; ``raw`` is its JSON."""

    key: Key
    revision: int
    object: dict[str, Any]
    raw: bytes

    @property
    def name(self) -> str:
        """The object's name."""
        return self.key[2]

    @property
    def namespace(self) -> str:
        """The object's namespace; empty for cluster-scoped ones."""
        return self.key[1]


@dataclass(frozen=True, slots=True)
class Event:
    """A change. ``now`` of a deletion is the last state, with the revision of the deletion."""

    type: str
    now: Stored
    before: Stored | None

    @property
    def revision(self) -> int:
        """The revision that the change made."""
        return self.now.revision


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be written: the new object, or None to delete."""

    key: Key
    object: dict[str, Any] | None


Grouping = Literal["none", "loop", "thread"]
_Waiting = tuple[Event, float, "asyncio.Future[None]"]
_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)


def dumps(document: Any) -> bytes:
    """Return compact JSON."""
    return _ENCODER.encode(document).encode("utf-8", "surrogatepass")


class _Table:
    """The objects of one resource, ordered by (namespace, name)."""

    def __init__(self) -> None:
        self.by_place: dict[tuple[str, str], Stored] = {}
        self.order: list[tuple[str, str]] = []
        self.changes: deque[Event] = deque()

    def put(self, stored: Stored) -> None:
        place = stored.key[1:]
        if place not in self.by_place:
            insort(self.order, place)
        self.by_place[place] = stored

    def remove(self, key: Key) -> None:
        place = key[1:]
        if self.by_place.pop(place, None) is not None:
            del self.order[bisect_left(self.order, place)]

    def items(self, namespace: str) -> list[Stored]:
        if not namespace:
            return [self.by_place[place] for place in self.order]
        low = bisect_left(self.order, (namespace, ""))
        high = bisect_left(self.order, (namespace + "\0", ""))
        return [self.by_place[place] for place in self.order[low:high]]


class Store:
    """Objects by (resource, namespace, name), with one revision number for all.

    Args:
        database: Where it is kept; None: nowhere.
        now: Wall clock, seconds since the epoch.
        grouping: Which writes share a transaction. ``none``: none do. ``loop``: those of one turn of the event loop.
            ``thread``: those that came while the disk was busy; it is waited for in a thread (durability ``full``).

    Raises:
        ValueError, sqlite3.Error: The database cannot be read.
    """

    def __init__(self, database: Database | None, now: Callable[[], float], grouping: Grouping = "none") -> None:
        self._database = database
        self._now = now
        self._grouping: Grouping = "none" if database is None else grouping
        self._tables: dict[str, _Table] = {}
        self._times: deque[tuple[int, float, str]] = deque()
        self._listeners: list[Callable[[Event], None]] = []
        self._snapshots: OrderedDict[tuple[str, int], list[Stored]] = OrderedDict()
        self._staged: dict[Key, tuple[int, Stored | None]] = {}
        self._waiting: list[_Waiting] = []
        self._flushing: asyncio.Task[None] | None = None
        self.compacted = 0
        """Changes up to this revision have been forgotten."""
        # Without a file a new process must not start below what clients saw of the one before.
        self.revision = 0 if database is not None else int(now() * 1000)
        """The newest revision that readers can see."""
        if database is not None:
            self._load(database)
        else:
            self.compacted = self.revision
        self._next = self.revision

    def _load(self, database: Database) -> None:
        revision = int(database.meta("revision") or FIRST_REVISION)
        for row in database.objects():
            self._table(row.key[0]).put(Stored(row.key, row.revision, json.loads(row.value), row.value))
            revision = max(revision, row.revision)
        self.compacted = int(database.meta("compacted") or FIRST_REVISION)
        for event in database.events():
            now = Stored(event.key, event.revision, json.loads(event.value), event.value)
            before = None if event.previous is None else _before(event.key, event.previous)
            self._remember(Event(event.type, now, before), event.at)
            revision = max(revision, event.revision)
        self.revision = revision

    # Reading ------------------------------------------------------------------------------------------

    def get(self, resource: str, namespace: str, name: str) -> Stored | None:
        """Return an object as readers see it."""
        table = self._tables.get(resource)
        return None if table is None else table.by_place.get((namespace, name))

    def items(self, resource: str, namespace: str = "") -> list[Stored]:
        """Return the objects of a resource ordered by namespace and name; of all namespaces if none is given."""
        table = self._tables.get(resource)
        return [] if table is None else table.items(namespace)

    def count(self, resource: str) -> int:
        """Return how many objects there are."""
        table = self._tables.get(resource)
        return 0 if table is None else len(table.order)

    def items_at(self, resource: str, namespace: str, revision: int) -> Sequence[Stored] | None:
        """Return the list as it was at a past revision; None if that has been forgotten."""
        if revision < self.compacted:
            return None
        table = self._table(resource)
        if not table.changes or table.changes[-1].revision <= revision:
            return table.items(namespace)
        found = self._snapshots.get((resource, revision))
        if found is None:
            places = dict(table.by_place)
            for event in reversed(table.changes):
                if event.revision <= revision:
                    break
                if event.before is None:
                    places.pop(event.now.key[1:], None)
                else:
                    places[event.now.key[1:]] = event.before
            found = [places[place] for place in sorted(places)]
            self._snapshots[(resource, revision)] = found
            if len(self._snapshots) > SNAPSHOTS:
                self._snapshots.popitem(last=False)
        return [stored for stored in found if stored.namespace == namespace] if namespace else found

    def resources(self) -> list[str]:
        """Return the resources of which there are objects."""
        return [name for name, table in self._tables.items() if table.order]

    def changes_after(self, resource: str, revision: int) -> list[Event]:
        """Return what happened to a resource after a revision, oldest first."""
        table = self._tables.get(resource)
        if table is None:
            return []
        found: list[Event] = []
        for event in reversed(table.changes):
            if event.revision <= revision:
                break
            found.append(event)
        found.reverse()
        return found

    def all_changes(self) -> Iterator[Event]:
        """Yield the remembered changes of all resources by revision."""
        yield from sorted((e for table in self._tables.values() for e in table.changes), key=lambda e: e.revision)

    def subscribe(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        """Have every change told at once, in order; returns what ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    # Writing ------------------------------------------------------------------------------------------

    def newest(self, resource: str, namespace: str, name: str) -> Stored | None:
        """Return an object as writers have to see it: what is on its way to the disk counts."""
        key = (resource, namespace, name)
        if key in self._staged:
            return self._staged[key][1]
        return self.get(resource, namespace, name)

    def items_newest(self, resource: str, namespace: str) -> list[Stored]:
        """Return a list as writers have to see it."""
        if not self._staged:
            return self.items(resource, namespace)
        found = {stored.key: stored for stored in self.items(resource, namespace)}
        for key, (_, stored) in self._staged.items():
            if key[0] == resource and (not namespace or key[1] == namespace):
                found.pop(key, None)
                if stored is not None:
                    found[key] = stored
        return list(found.values())

    def write(self, change: Change) -> tuple[Stored, asyncio.Future[None] | None]:
        """Write a change. ``object`` gets its resourceVersion; it belongs to the store from now on.

        Returns (what is stored, what to await before anybody may be told; None: nothing).

        Raises:
            sqlite3.Error: It could not be written; nothing has changed.
        """
        before = self.newest(*change.key)
        self._next += 1
        revision = self._next
        document = change.object
        if document is None:
            assert before is not None, "deleting what is not there"
            document = {**before.object, "metadata": dict(before.object["metadata"])}
        document["metadata"]["resourceVersion"] = str(revision)
        now = Stored(change.key, revision, document, dumps(document))
        kind = "DELETED" if change.object is None else "MODIFIED" if before else "ADDED"
        event, at = Event(kind, now, before), self._now()
        if self._grouping == "none":
            if self._database is not None:
                self._database.write([_row(event, at)])
            self._publish(event, at)
            return now, None
        self._staged[change.key] = (revision, None if change.object is None else now)
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        self._waiting.append((event, at, done))
        if self._grouping == "loop":
            if len(self._waiting) == 1:
                loop.call_soon(self._flush_now)
        elif self._flushing is None:
            self._flushing = asyncio.create_task(self._flush())
        return now, done

    def _flush_now(self) -> None:
        """Write what is waiting, in one transaction."""
        assert self._database is not None
        batch, self._waiting = self._waiting, []
        if not batch:
            return
        try:
            self._database.write([_row(event, at) for event, at, _ in batch])
        except Exception as error:
            self._fail(batch, error)
        else:
            self._settled(batch)

    async def _flush(self) -> None:
        """Write what is waiting, again and again; each time everything that came while the disk was busy."""
        assert self._database is not None
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                await asyncio.to_thread(self._database.write, [_row(event, at) for event, at, _ in batch])
            except Exception as error:
                self._fail(batch, error)
                break
            self._settled(batch)
        self._flushing = None

    def _fail(self, batch: list[_Waiting], error: Exception) -> None:
        # What was built on these writes while they were waiting cannot stay either.
        for _, _, done in [*batch, *self._waiting]:
            if not done.cancelled():
                done.set_exception(error)
        self._waiting = []
        self._staged.clear()

    def _settled(self, batch: list[_Waiting]) -> None:
        for event, at, done in batch:
            if self._staged[event.now.key][0] == event.revision:
                del self._staged[event.now.key]
            self._publish(event, at)
            if not done.cancelled():
                done.set_result(None)

    def _publish(self, event: Event, at: float) -> None:
        table = self._table(event.now.key[0])
        if event.type == "DELETED":
            table.remove(event.now.key)
        else:
            table.put(event.now)
        self.revision = event.revision
        self._remember(event, at)
        for listener in list(self._listeners):
            listener(event)
        if len(self._times) >= KEEP_EVENTS + COMPACT_EVERY and self._times[0][1] < at - KEEP_S:
            self._compact_old(at)

    def _remember(self, event: Event, at: float) -> None:
        self._table(event.now.key[0]).changes.append(event)
        self._times.append((event.revision, at, event.now.key[0]))

    def _compact_old(self, now: float) -> None:
        surplus = len(self._times) - KEEP_EVENTS
        old = [revision for revision, at, _ in list(self._times)[:surplus] if at < now - KEEP_S]
        if old:
            self.compact(old[-1])

    def compact(self, up_to: int) -> None:
        """Forget the history up to and including a revision: watches and pages from before get 410."""
        while self._times and self._times[0][0] <= up_to:
            _, _, resource = self._times.popleft()
            self._tables[resource].changes.popleft()
        self.compacted = max(self.compacted, up_to)
        for snapshot in [key for key in self._snapshots if key[1] < up_to]:
            del self._snapshots[snapshot]
        if self._database is not None:
            self._database.compact(up_to, self.revision)

    async def settle(self) -> None:
        """Wait until everything is on the disk."""
        if self._grouping == "loop":
            self._flush_now()
        while self._flushing is not None:
            await asyncio.shield(self._flushing)

    def close(self) -> None:
        """Close the database. No writes may be waiting."""
        if self._database is not None:
            self._database.set_meta({"revision": str(self.revision)})
            self._database.close()

    def _table(self, resource: str) -> _Table:
        table = self._tables.get(resource)
        if table is None:
            table = self._tables[resource] = _Table()
        return table


def _before(key: Key, raw: bytes) -> Stored:
    document = json.loads(raw)
    return Stored(key, int(document["metadata"]["resourceVersion"]), document, raw)


def _row(event: Event, at: float) -> EventRow:
    now, before = event.now, event.before
    return EventRow(now.revision, at, event.type, now.key, now.raw, None if before is None else before.raw)
