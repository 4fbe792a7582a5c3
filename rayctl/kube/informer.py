"""What one process watches: each selection once, shared by all who look at it; listeners are told of changes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rayctl.kube.calls import Resource, Transport
from rayctl.kube.errors import KubernetesError, ObjectNotFound
from rayctl.kube.reflector import Counted, Reflector, Selection
from rayctl.kube.store import ByLabel, Change, Key, Object, Store, by_owner, key_of

__all__ = ["Informer", "Informers", "View"]

OWNER = "owner"


class Informer:
    """One selection's objects, kept up to date while `run` runs.

    Attributes:
        store: What is there.
        reflector: What keeps it so; tells of trouble.
    """

    def __init__(
        self, transport: Transport, selection: Selection, chance: random.Random, counted: Counted | None = None
    ) -> None:
        self.store = Store({OWNER: by_owner})
        self._listeners: list[Callable[[Change, bool], None]] = []
        self.reflector = Reflector(transport, selection, self.store, self._tell, chance, counted)

    @property
    def synced(self) -> bool:
        """Whether the first list is complete."""
        return self.reflector.synced.is_set()

    @property
    def missing(self) -> bool:
        """Whether the server does not have this kind, as far as is known."""
        return not self.synced and isinstance(self.reflector.trouble, ObjectNotFound)

    def listen(self, listener: Callable[[Change, bool], None]) -> Callable[[], None]:
        """Have changes told, beginning with all that is there; returns what ends it.

        The listener gets the change and whether it is news (not part of a first listing). It must not raise or wait.
        """
        self._listeners.append(listener)
        for found in self.store:
            listener(Change(None, found), False)

        def end() -> None:
            self._listeners.remove(listener)

        return end

    def _tell(self, change: Change) -> None:
        news = self.synced
        for listener in list(self._listeners):
            listener(change, news)


class Informers:
    """All informers of a process.

    Args:
        transport: The way to the server.
        namespace: Only objects in this one are looked at; empty: in all.
        chance: Source of jitter.
        counted: See `rayctl.kube.reflector.Reflector`.
    """

    def __init__(
        self,
        transport: Transport,
        namespace: str = "",
        chance: random.Random | None = None,
        counted: Counted | None = None,
    ) -> None:
        self._transport, self._namespace, self._counted = transport, namespace, counted
        self._chance = chance or random.Random()
        self._informers: dict[Selection, Informer] = {}
        self._tasks: dict[Selection, asyncio.Task[None]] = {}
        self._running = False

    def get(self, resource: Resource, selector: str = "", labels: Sequence[str] = ()) -> Informer:
        """Return the informer of a selection; made, and started if the others run, when it is asked for first.

        ``labels``: labels whose values can be looked up in its store (index ``label:NAME``).
        """
        namespace = self._namespace if resource.namespaced else ""
        selection = Selection(resource, namespace, selector)
        found = self._informers.get(selection)
        if found is None:
            found = self._informers[selection] = Informer(self._transport, selection, self._chance, self._counted)
            if self._running:
                self._start(selection, found)
        for label in labels:
            found.store.add_index(f"label:{label}", ByLabel(label))
        return found

    def found(self) -> list[tuple[str, int, str, float]]:
        """Return for each selection: plural name, number of objects, resourceVersion, seconds since it was heard of."""
        now = asyncio.get_running_loop().time()
        return [
            (
                selection.resource.plural,
                len(informer.store),
                informer.reflector.revision,
                now - informer.reflector.heard_at,
            )
            for selection, informer in self._informers.items()
        ]

    def troubles(self) -> dict[str, KubernetesError]:
        """Return what does not work now, by plural name."""
        return {
            selection.resource.plural: informer.reflector.trouble
            for selection, informer in self._informers.items()
            if informer.reflector.trouble is not None
        }

    async def run(self) -> None:
        """Keep all up to date until cancelled.

        Raises:
            Exception: A defect in a listener or in the reflector itself; trouble with the server never ends it.
        """
        self._running = True
        failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._failed = failed
        for selection, informer in self._informers.items():
            self._start(selection, informer)
        try:
            await failed
        finally:
            self._running = False
            tasks = list(self._tasks.values())
            self._tasks.clear()
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)

    def _start(self, selection: Selection, informer: Informer) -> None:
        task = asyncio.ensure_future(informer.reflector.run())
        self._tasks[selection] = task
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or self._failed.done():
            return
        error = task.exception()
        self._failed.set_exception(error or RuntimeError("a reflector ended by itself"))


class View:
    """The caches of one controller: the kinds that it watches, by resource (`rayctl.core.controller.Caches`)."""

    def __init__(self, informers: Mapping[Resource, Informer]) -> None:
        self._informers = dict(informers)

    def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """Return an object, or None."""
        return self._informers[resource].store.get(namespace, name)

    def all(self, resource: Resource, namespace: str = "") -> list[Object]:
        """Return all objects of a kind (of one namespace), by namespace and name."""
        found = [item for item in self._informers[resource].store if not namespace or key_of(item)[0] == namespace]
        return sorted(found, key=key_of)

    def owned(self, resource: Resource, uid: str) -> list[Object]:
        """Return the objects with an owner reference to this uid, by name."""
        return sorted(self._informers[resource].store.by(OWNER, uid), key=key_of)

    def labelled(self, resource: Resource, label: str, value: str) -> list[Object]:
        """Return the objects with this label value, by namespace and name.

        Raises:
            KeyError: The label is not indexed.
        """
        return sorted(self._informers[resource].store.by(f"label:{label}", value), key=key_of)

    def revision(self, resource: Resource) -> str | None:
        """Return the resourceVersion up to which a kind is known; None if it is not watched."""
        informer = self._informers.get(resource)
        return None if informer is None else informer.reflector.revision

    def has(self, resource: Resource, key: Key, uid: str) -> bool:
        """Whether this very object is there and is not being deleted, as far as is known."""
        informer = self._informers.get(resource)
        found: Any = None if informer is None else informer.store.get(*key)
        if found is None:
            return False
        metadata = found["metadata"]
        return bool((not uid or metadata.get("uid") == uid) and "deletionTimestamp" not in metadata)
