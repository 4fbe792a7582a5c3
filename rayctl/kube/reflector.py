"""Keeps a store equal to what the server has: one list, then a watch for ever; slow with a server in trouble.

The list is the beginning of the watch where the server offers that (streaming lists, Kubernetes 1.32 and later): all
there is comes as events, and a mark tells where that ends. Where it is refused, or the mark does not come, the list is
read in pages.

The waiting is that of Kubernetes' own clients: 0.8 s, doubled up to 30 s, stretched by chance up to twofold, forgotten
after two minutes of health. A server that is down is so asked about once in five to a hundred seconds.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from rayctl.kube.calls import OPENED, Call, Resource, Transport
from rayctl.kube.errors import Expired, KubernetesError, NoAnswer, ObjectNotFound, Rejected, from_status
from rayctl.kube.store import Change, Key, Store, key_of

__all__ = ["Counted", "Reflector", "Selection", "Waiting"]

PAGE = 500
"""Objects per page of a list, and per turn of the event loop."""
CONNECT_S = 30.0
WATCH_S = (300, 600)
"""A watch is asked to end by itself after a random time in between."""
SILENCE_S = 10.0
"""A watch without a byte for so long after it should have ended is cut."""
RELIST_S = 30.0
"""Two lists are not closer together than this without waiting."""
MISSING_S = 10.0
"""The longest wait for a kind that is not served: its definition may come any time, and should be seen soon."""
SHORT_S = 1.0
"""A watch that ended this soon and brought nothing counts as a failure."""
MARK_S = 10.0
"""A streamed list to which nothing was added between two looks so long apart is given up."""
MARK = "k8s.io/initial-events-end"
"""The annotation of the bookmark at the end of a streamed list."""


Counted = Callable[[str, str, str], None]


def _uncounted(_what: str, _plural: str, _reason: str) -> None:
    """Count nothing."""


@dataclass
class Waiting:
    """How long to wait after failures in a row; ``healthy_s`` of health and the row is forgotten."""

    first_s: float = 0.8
    most_s: float = 30.0
    healthy_s: float = 120.0
    failures: int = 0
    last_at: float = float("-inf")

    def next_s(self, now: float, chance: random.Random, asked_s: float | None = None) -> float:
        """Count a failure, return the seconds to wait; ``asked_s``: the server's Retry-After, never undercut."""
        if now - self.last_at > self.healthy_s:
            self.failures = 0
        base = min(self.most_s, self.first_s * 2 ** min(self.failures, 16))
        self.failures += 1
        found = base * (1 + chance.random())
        found = found if asked_s is None else max(found, asked_s)
        self.last_at = now + found
        return found


@dataclass(frozen=True)
class Selection:
    """Which objects: of a namespace (empty: all), with these labels and fields (as in the API's selectors)."""

    resource: Resource
    namespace: str = ""
    labels: str = ""
    fields: str = ""

    def call(self, timeout_s: float) -> Call:
        """Return the request that lists them."""
        call = Call.get(self.resource.path(self.namespace), timeout_s)
        return call.asking(labelSelector=self.labels or None, fieldSelector=self.fields or None)


class _NotOffered(Exception):
    """The server does not begin watches with lists."""


def _failure(event: dict[str, Any]) -> KubernetesError:
    item = event["object"]
    return from_status(int(item.get("code") or 500), item, None, writes=False)


async def _read_list(stream: AsyncGenerator[dict[str, Any], None], found: dict[Key, dict[str, Any]]) -> str:
    """Fill in what a stream begins with; return the resourceVersion at its mark."""
    try:
        async for event in stream:
            kind = event["type"]
            if kind == OPENED:
                continue
            item = event["object"]
            if kind == "BOOKMARK":
                metadata = item["metadata"]
                if (metadata.get("annotations") or {}).get(MARK) != "true":
                    raise _NotOffered
                return str(metadata["resourceVersion"])
            if kind == "ERROR":
                raise _failure(event)
            if kind == "DELETED":
                found.pop(key_of(item), None)
            else:
                found[key_of(item)] = item
                if len(found) % PAGE == 0:
                    await asyncio.sleep(0)
    except Rejected as error:
        raise _NotOffered from error
    raise NoAnswer("The stream of a list ended before the list was whole.")


class Reflector:
    """One list and watch.

    Args:
        transport: The way to the server.
        selection: Which objects.
        store: What is kept up to date; nobody else writes into it.
        listener: Told of every change after the store has it; must not raise and must not wait.
        chance: Source of jitter.
        streaming: Whether to ask for lists as streams.
        counted: Told of every list after the first and of every watch begun anew: ``list`` or ``watch``, the plural
            name, and why, in one word (``ended``: as it was asked to).

    Attributes:
        synced: Set once the first list is complete.
        revision: The resourceVersion up to which the store has seen everything; empty before.
        heard_at: When the server was last heard of, by the event loop's clock.
        streaming: Whether lists are asked for as streams: not any more once the server has refused that.
        trouble: The last failure; None while all is well. A kind that is not there is trouble too, and is waited for.
    """

    def __init__(
        self,
        transport: Transport,
        selection: Selection,
        store: Store,
        listener: Callable[[Change], None],
        chance: random.Random | None = None,
        counted: Counted | None = None,
        streaming: bool = True,
    ) -> None:
        self.synced = asyncio.Event()
        self.revision = ""
        self.streaming = streaming
        self.trouble: KubernetesError | None = None
        self.lists = self.watches = 0
        self.heard_at = 0.0
        self._transport, self._selection, self._store, self._listener = transport, selection, store, listener
        self._chance = chance or random.Random()
        self._counted = counted or _uncounted
        self._because = "first"
        self._must_list = self._stream_next = True
        self._listed_at = float("-inf")
        self._waiting = Waiting()

    async def run(self) -> None:
        """Work until cancelled."""
        failure: KubernetesError
        loop = asyncio.get_running_loop()
        self.heard_at = loop.time()  # silence begins now
        while True:
            try:
                if self._must_list and not (self.streaming and self._stream_next):
                    await self._list()
                await self._watch()
                self._because = "ended"
                continue
            except Expired as error:
                # The server has forgotten what we have not seen. Normal after a pause: no waiting, but not twice.
                soon = self._must_list or loop.time() - self._listed_at < RELIST_S
                self._must_list, failure = True, error
                self._because = "expired"
                if not soon:
                    self.trouble = error
                    continue
            except ObjectNotFound as error:
                self.heard_at = loop.time()  # it has said that the kind is not there
                self._must_list, failure = True, error
                self._because = "missing"
            except _NotOffered:
                self.streaming = False
                continue
            except KubernetesError as error:
                failure = error
                self._because = "silence" if isinstance(error, NoAnswer) else "refused"
            self.trouble = failure
            if self._must_list:
                # In turns, one request for each time of waiting: a server may be able to do only the other.
                self._stream_next = not self._stream_next
            pause = self._waiting.next_s(loop.time(), self._chance, failure.retry_after_s)
            await asyncio.sleep(min(pause, MISSING_S) if isinstance(failure, ObjectNotFound) else pause)

    def _count(self, what: str, before: int) -> None:
        if before:
            self._counted(what, self._selection.resource.plural, self._because)

    async def _list(self) -> None:
        self._count("list", self.lists)
        self.lists += 1
        call = self._selection.call(CONNECT_S)
        found: list[dict[str, Any]] = []
        page = await self._transport.request(call.asking(limit=PAGE))
        while True:
            kind, version = self._selection.resource.kind, self._selection.resource.api_version
            for item in page.get("items") or ():
                # Items of lists come without these.
                item.setdefault("apiVersion", version)
                item.setdefault("kind", kind)
                found.append(item)
            following = page["metadata"].get("continue")
            if not following:
                break
            try:
                page = await self._transport.request(call.asking(limit=PAGE, **{"continue": following}))
            except Expired:
                # The pages grew too old while they were read: all at once, then.
                found = []
                page = await self._transport.request(call)
        await self._listed(found, page["metadata"]["resourceVersion"])

    async def _listed(self, found: list[dict[str, Any]], revision: str) -> None:
        await self._replace(found)
        self.revision = revision
        self.heard_at = self._listed_at = asyncio.get_running_loop().time()
        self._must_list, self._stream_next = False, True
        self.synced.set()

    async def _replace(self, found: list[dict[str, Any]]) -> None:
        there = {key_of(item) for item in found}
        for key in self._store.names():
            if key not in there:
                self._tell(self._store.drop(key))
        for count, item in enumerate(found, 1):
            self._put(item)
            if count % PAGE == 0:
                await asyncio.sleep(0)

    def _put(self, item: dict[str, Any]) -> None:
        old = self._store.get(*key_of(item))
        if old is not None and old["metadata"].get("uid") != item["metadata"].get("uid"):
            # Deleted and made anew between two looks: two changes, or the end of the first is never noticed.
            self._tell(self._store.drop(key_of(item)))
        self._tell(self._store.put(item))

    def _tell(self, change: Change | None) -> None:
        if change is not None:
            self._listener(change)

    async def _watch(self) -> None:
        lasting_s = self._chance.randint(*WATCH_S)
        call = self._selection.call(CONNECT_S).asking(watch=True, allowWatchBookmarks=True, timeoutSeconds=lasting_s)
        listing = self._must_list
        if listing:
            self._count("list", self.lists)
            self.lists += 1
            call = call.asking(sendInitialEvents=True, resourceVersionMatch="NotOlderThan")
        else:
            call = call.asking(resourceVersion=self.revision)
        self._count("watch", self.watches)
        self.watches += 1
        loop = asyncio.get_running_loop()
        began, events = loop.time(), 0
        async with aclosing(self._transport.watch(call, lasting_s + SILENCE_S)) as stream:
            if listing:
                await self._begin(stream)
                self.trouble = None
                events += 1
            async for event in stream:
                if event["type"] == OPENED:
                    self.trouble = None
                    self.heard_at = loop.time()
                    continue
                self._take(event)
                self.heard_at = loop.time()
                events += 1
                if events % PAGE == 0:
                    await asyncio.sleep(0)
        if not events and loop.time() - began < SHORT_S:
            raise NoAnswer(f"The watch of {self._selection.resource.plural} was ended at once and brought nothing.")

    async def _begin(self, stream: AsyncGenerator[dict[str, Any], None]) -> None:
        """Take the list that a stream begins with.

        Raises:
            KubernetesError: The stream failed, ended, or came to a halt before its list was whole.
            _NotOffered: The server does not begin streams with lists.
        """
        found: dict[Key, dict[str, Any]] = {}
        reading = asyncio.ensure_future(_read_list(stream, found))
        try:
            while not reading.done():
                before = len(found)
                await asyncio.wait([reading], timeout=MARK_S)
                if not reading.done() and len(found) == before:
                    raise NoAnswer(f"The list of {self._selection.resource.plural} stopped after {before} objects.")
        finally:
            reading.cancel()
            await asyncio.wait([reading])
        await self._listed(list(found.values()), reading.result())

    def _take(self, event: dict[str, Any]) -> None:
        kind, item = event["type"], event["object"]
        if kind == "ERROR":
            raise _failure(event)
        if kind == "DELETED":
            self._tell(self._store.drop(key_of(item), item))
        elif kind in ("ADDED", "MODIFIED"):
            self._put(item)
        self.revision = item["metadata"]["resourceVersion"]
