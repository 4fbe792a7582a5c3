"""All states of a selection of objects, one after the other, through ends of watches and lost history."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from rayctl.client.kube.connection import JSON, TABLE, KubeConnection
from rayctl.kube.calls import Call, Resource
from rayctl.kube.errors import Expired, NoAnswer, ServerTrouble

__all__ = ["Seen", "Selection", "follow", "list_all", "table_of"]

PAGE = 500
_WATCH_S = 240.0
_SILENCE_S = 10.0
_PAUSE_S = 1.0
_MOST_FAILURES = 5

Key = tuple[str, str]
Document = dict[str, Any]


@dataclass(frozen=True)
class Selection:
    """Which objects: all of a kind, in a namespace (empty: all), with a name, labels, fields."""

    resource: Resource
    namespace: str = ""
    name: str = ""
    labels: str = ""
    fields: str = ""

    def call(self, timeout_s: float = 30.0) -> Call:
        """Return the request that lists them."""
        fields = [self.fields] if self.fields else []
        if self.name:
            fields.append(f"metadata.name={self.name}")
        call = Call.get(self.resource.path(self.namespace), timeout_s)
        return call.asking(labelSelector=self.labels or None, fieldSelector=",".join(fields) or None)


@dataclass(frozen=True)
class Seen:
    """One state. ``change``: ADDED, MODIFIED, DELETED, or SYNCED once the first list is complete (no object then).

    ``cells``: the object's row, where tables were asked for; ``columns``: their definitions.
    """

    change: str
    object: Document
    cells: tuple[Any, ...] = ()
    columns: tuple[Document, ...] = ()


def list_all(connection: KubeConnection, selection: Selection) -> tuple[list[Document], str]:
    """Return all objects, and the resourceVersion at which that was so; in pages.

    Raises:
        KubernetesError: They cannot be read.
    """
    seen, revision = _listed(connection, selection, JSON)
    return [item.object for item in seen], revision


def table_of(connection: KubeConnection, selection: Selection) -> list[Seen]:
    """Return the rows of a table that the server makes of objects; in pages. Raises KubernetesError."""
    return _listed(connection, selection, TABLE)[0]


def follow(
    connection: KubeConnection, selection: Selection, deadline: float | None = None, accept: str = JSON
) -> Iterator[Seen]:
    """Yield what is there, then SYNCED, then every change; ends at the deadline, else never.

    Args:
        connection: The way to the server.
        selection: Which objects.
        deadline: On ``time.monotonic``'s clock.
        accept: `JSON`, or `TABLE` for rows with the metadata of their objects.

    Raises:
        KubernetesError: The server refuses, or does not answer several times in a row.
    """
    known: dict[Key, str] = {}
    columns: tuple[Document, ...] = ()
    revision, failures, synced = "", 0, False
    while not synced or deadline is None or time.monotonic() < deadline:
        try:
            if not revision:
                items, revision = _listed(connection, selection, accept)
                yield from _relisted(known, items)
                if not synced:
                    yield Seen("SYNCED", {}, columns=items[0].columns if items else ())
                synced = True
            for event in _events(connection, selection, revision, deadline, accept):
                failures = 0
                seen = _seen(event, columns)
                columns = seen.columns
                revision = seen.object["metadata"]["resourceVersion"]
                if seen.change != "BOOKMARK":
                    yield _noted(known, seen)
        except Expired:
            revision = ""
        except (NoAnswer, ServerTrouble):
            if deadline is not None and time.monotonic() >= deadline:
                return
            failures += 1
            if failures > _MOST_FAILURES:
                raise
            time.sleep(_PAUSE_S)


def _listed(connection: KubeConnection, selection: Selection, accept: str) -> tuple[list[Seen], str]:
    call = selection.call()
    found: list[Seen] = []
    page = connection.request(call.asking(limit=PAGE), accept)
    while True:
        found += _items(page, selection.resource)
        following = (page.get("metadata") or {}).get("continue")
        if not following:
            return found, page["metadata"]["resourceVersion"]
        try:
            page = connection.request(call.asking(limit=PAGE, **{"continue": following}), accept)
        except Expired:
            found, page = [], connection.request(call, accept)  # the pages grew too old: all at once


def _items(page: Document, resource: Resource) -> Iterator[Seen]:
    if page.get("kind") == "Table":
        columns = tuple(page.get("columnDefinitions") or ())
        for row in page.get("rows") or ():
            yield Seen("ADDED", row["object"], tuple(row["cells"]), columns)
        return
    for item in page.get("items") or ():
        # Items of lists come without these.
        item.setdefault("apiVersion", resource.api_version)
        item.setdefault("kind", resource.kind)
        yield Seen("ADDED", item)


def _seen(event: Document, columns: tuple[Document, ...]) -> Seen:
    item = event["object"]
    if item.get("kind") != "Table":
        return Seen(event["type"], item)
    columns = tuple(item.get("columnDefinitions") or columns)  # sent once per watch
    rows = item.get("rows") or ()
    if not rows:
        return Seen(event["type"], item, columns=columns)
    return Seen(event["type"], rows[0]["object"], tuple(rows[0]["cells"]), columns)


def _events(
    connection: KubeConnection, selection: Selection, revision: str, deadline: float | None, accept: str
) -> Iterator[Document]:
    left_s = _WATCH_S if deadline is None else min(_WATCH_S, max(0.01, deadline - time.monotonic()))
    call = selection.call().asking(
        watch=True, resourceVersion=revision, allowWatchBookmarks=True, timeoutSeconds=math.ceil(left_s)
    )
    silence_s = left_s + _SILENCE_S if left_s == _WATCH_S else left_s
    return connection.watch(call, silence_s, accept)


def _relisted(known: dict[Key, str], items: list[Seen]) -> Iterator[Seen]:
    there = {_key(item.object) for item in items}
    for namespace, name in [key for key in known if key not in there]:
        yield _noted(known, Seen("DELETED", {"metadata": {"namespace": namespace, "name": name}}))
    for item in items:
        before = known.get(_key(item.object))
        if before != item.object["metadata"].get("resourceVersion"):
            yield _noted(known, item if before is None else replace(item, change="MODIFIED"))


def _noted(known: dict[Key, str], seen: Seen) -> Seen:
    key = _key(seen.object)
    if seen.change == "DELETED":
        known.pop(key, None)
    else:
        known[key] = str(seen.object["metadata"].get("resourceVersion"))
    return seen


def _key(item: Document) -> Key:
    return item["metadata"].get("namespace", ""), item["metadata"]["name"]
