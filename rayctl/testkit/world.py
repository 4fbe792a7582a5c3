"""An API server in this process under virtual time, with everything that ever happened in it, and who did it."""

from __future__ import annotations

import asyncio
import random
from bisect import bisect_right
from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from rayctl.embedded.apiserver.access.rbac import Authorizer
from rayctl.embedded.apiserver.access.tokens import ADMIN, Tokens
from rayctl.embedded.apiserver.api import Api
from rayctl.embedded.apiserver.controllers.garbage import GarbageCollector
from rayctl.embedded.apiserver.controllers.lifecycle import DefinitionController, NamespaceController
from rayctl.embedded.apiserver.handler import Handler
from rayctl.embedded.apiserver.registry import Registry
from rayctl.embedded.apiserver.server import make_namespaces
from rayctl.embedded.apiserver.store import Event, Store
from rayctl.kube.calls import JSON, MERGE, Call, Resource, Transport
from rayctl.kube.errors import ObjectNotFound
from rayctl.kube.kinds import CUSTOM_RESOURCE_DEFINITIONS, kind_of
from rayctl.testkit.local_transport import LocalTransport

__all__ = ["Happened", "World"]

BEGAN_AT = 1_700_000_000.0
"""The wall clock at the beginning, seconds since the epoch."""
SERVER = "server"
_ACTOR: ContextVar[str] = ContextVar("rayctl_testkit_actor", default=SERVER)


@dataclass(frozen=True)
class Happened:
    """One change in the store.

    Args:
        at: Virtual seconds since the beginning.
        actor: Who asked for it; ``server``: the server's own controllers.
        type: ADDED, MODIFIED, DELETED.
        plural: Of which kind.
        new: The object after it (of a deletion, its last state).
        old: The object before; None if it was not there.
    """

    at: float
    actor: str
    type: str
    plural: str
    new: Mapping[str, Any]
    old: Mapping[str, Any] | None

    @property
    def name(self) -> str:
        """Namespace and name."""
        metadata = self.new["metadata"]
        return f"{metadata.get('namespace', '')}/{metadata['name']}"

    @property
    def revision(self) -> int:
        """The resourceVersion that it made."""
        return int(self.new["metadata"]["resourceVersion"])

    def __str__(self) -> str:
        return f"{self.at:9.3f} {self.actor:<12} {self.type:<8} {self.plural} {self.name}"


class World:
    """The server, its clock and its history. To be made and used on a virtual-time loop.

    Args:
        seed: Of everything that is left to chance.
        definitions: CustomResourceDefinitions that exist from the beginning.

    Attributes:
        history: All changes after `start`, oldest first.
        chance: For scripts and surroundings.
    """

    def __init__(self, seed: int = 0, definitions: Sequence[Mapping[str, Any]] = ()) -> None:
        self.history: list[Happened] = []
        self.chance = random.Random(seed)
        self._known: defaultdict[str, list[tuple[float, int]]] = defaultdict(list)
        self._definitions = definitions
        self._listeners: list[Callable[[Happened], None]] = []
        self._store = Store(None, self.wall)
        registry = Registry()
        registry.follow(self._store)
        self._api = Api(self._store, registry, self.wall, random.Random(seed + 1))
        self._handler = Handler(self._api, Tokens([("t", ADMIN)]), Authorizer(self._store))
        self._tasks: list[asyncio.Task[None]] = []
        self._told: dict[tuple[str, str, str], Happened] = {}

    # Clock --------------------------------------------------------------------------------------------

    def time(self) -> float:
        """Virtual seconds since the beginning."""
        try:
            return asyncio.get_running_loop().time()
        except RuntimeError:
            return 0.0

    def wall(self) -> float:
        """The server's wall clock, seconds since the epoch."""
        return BEGAN_AT + self.time()

    # Life ---------------------------------------------------------------------------------------------

    async def start(self) -> World:
        """Start the server and its controllers; wait until all definitions are established."""
        await make_namespaces(self._api)
        kinds = (GarbageCollector, NamespaceController, DefinitionController)
        self._tasks = [asyncio.ensure_future(kind(self._api).run()) for kind in kinds]
        for definition in self._definitions:
            await self.transport("setup").request(Call("POST", CUSTOM_RESOURCE_DEFINITIONS.path(), body=definition))
        leave = self._store.subscribe(self._happened)
        names = [definition["metadata"]["name"] for definition in self._definitions]
        established = await self.until(lambda: all(self._established(name) for name in names), 60.0)
        assert established, f"not all of these were established: {names}"
        leave()
        self.history.clear()
        self._store.subscribe(self._happened)
        return self

    def _established(self, name: str) -> bool:
        found = self._store.get(f"{CUSTOM_RESOURCE_DEFINITIONS.plural}.{CUSTOM_RESOURCE_DEFINITIONS.group}", "", name)
        conditions = [] if found is None else (found.object.get("status") or {}).get("conditions") or []
        return any(c["type"] == "Established" and c["status"] == "True" for c in conditions)

    def _happened(self, event: Event) -> None:
        before = None if event.before is None else event.before.object
        plural = event.now.key[0].split(".")[0]
        happened = Happened(self.time(), _ACTOR.get(), event.type, plural, event.now.object, before)
        self.history.append(happened)
        for listener in self._listeners:
            listener(happened)

    def on_change(self, listener: Callable[[Happened], None]) -> None:
        """Have every change told at once: the place for oracles."""
        self._listeners.append(listener)

    def knows(self, plural: str, revision: int) -> None:
        """Note that the process under test has been told of a kind up to this resourceVersion."""
        if revision > self.known(plural, self.time()):
            self._known[plural].append((self.time(), revision))

    def known(self, plural: str, at: float) -> int:
        """Return the resourceVersion up to which the process had been told at this virtual second; 0: of nothing."""
        told = self._known[plural]
        index = bisect_right(told, at, key=lambda one: one[0])
        return told[index - 1][1] if index else 0

    # Access -------------------------------------------------------------------------------------------

    def transport(self, actor: str) -> Transport:
        """Return a way to the server without faults, whose changes bear this name."""
        return _Named(LocalTransport(self._handler, "t", f"{actor}/1"), actor)

    def objects(self, resource: Resource, namespace: str = "") -> list[dict[str, Any]]:
        """Return all objects of a kind as the store has them now: for oracles, costs no request."""
        storage = f"{resource.plural}.{resource.group}" if resource.group else resource.plural
        return [stored.object for stored in self._store.items(storage, namespace)]

    def object(self, resource: Resource, name: str, namespace: str = "default") -> dict[str, Any] | None:
        """Return one object as the store has it now, or None."""
        storage = f"{resource.plural}.{resource.group}" if resource.group else resource.plural
        found = self._store.get(storage, namespace if resource.namespaced else "", name)
        return None if found is None else found.object

    async def create(self, document: Mapping[str, Any], actor: str = "user") -> Any:
        """Create an object, in namespace ``default`` unless it says otherwise."""
        resource = kind_of(document["apiVersion"], document["kind"])
        namespace = document["metadata"].get("namespace", "default") if resource.namespaced else ""
        return await self.transport(actor).request(Call("POST", resource.path(namespace), body=document))

    async def patch(
        self,
        resource: Resource,
        name: str,
        changes: Mapping[str, Any],
        subresource: str = "",
        actor: str = "user",
        namespace: str = "default",
    ) -> Any:
        """Merge-patch an object."""
        path = resource.path(namespace if resource.namespaced else "", name, subresource)
        return await self.transport(actor).request(Call("PATCH", path, body=changes, content_type=MERGE))

    async def delete(
        self, resource: Resource, name: str, policy: str = "Background", actor: str = "user", namespace: str = "default"
    ) -> None:
        """Delete an object; one that is not there is as good as deleted."""
        path = resource.path(namespace if resource.namespaced else "", name)
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": policy}
        try:
            await self.transport(actor).request(Call("DELETE", path, body=body, content_type=JSON))
        except ObjectNotFound:
            return

    async def until(self, reached: Callable[[], bool], within_s: float) -> bool:
        """Wait until something holds after a change; return whether it did within so many virtual seconds."""
        if reached():
            return True
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def look(_: Happened) -> None:
            if not done.done() and reached():
                done.set_result(None)

        self._listeners.append(look)
        try:
            await asyncio.wait([done], timeout=within_s)
        finally:
            self._listeners.remove(look)
        return reached()


class _Named:
    """A transport whose changes bear a name."""

    def __init__(self, inner: Transport, actor: str) -> None:
        self._inner, self._actor = inner, actor

    async def request(self, call: Call) -> Any:
        token = _ACTOR.set(self._actor)
        try:
            return await self._inner.request(call)
        finally:
            _ACTOR.reset(token)

    async def watch(self, call: Call, silence_s: float) -> AsyncGenerator[dict[str, Any], None]:
        async with aclosing(self._inner.watch(call, silence_s)) as stream:
            async for event in stream:
                yield event

    async def close(self) -> None:
        await self._inner.close()


Surroundings = Iterable[Awaitable[None]]
