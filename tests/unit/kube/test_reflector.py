"""The store follows the server whatever happens in between, and a server in trouble is left in peace."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rayctl.kube.calls import Call, Resource
from rayctl.kube.errors import Denied, ObjectNotFound
from rayctl.kube.reflector import Reflector, Selection
from rayctl.kube.store import Change, Store, key_of
from rayctl.testkit.faults import Answer, Cut, End, Expire, Fault, FaultTransport, Hang, LostAnswer, Stall, Unreachable
from rayctl.testkit.local_transport import LocalTransport
from rayctl.testkit.virtual_time import run_virtual
from tests.unit.embedded.local import Local

MAPS = Resource("", "v1", "configmaps", "ConfigMap")
WIDGETS = Resource("test.io", "v1", "widgets", "Widget")
WATCHED = ("watch", "true")
STREAMED = ("sendInitialEvents", "true")
Decide = Callable[[int, Call], Fault | None]


class World:
    """A server, a way to it without faults, and a reflector behind faults."""

    def __init__(self, local: Local, decide: Decide, resource: Resource = MAPS, streaming: bool = True) -> None:
        self.clean = LocalTransport(local.handler, "t")
        self.faults = FaultTransport(self.clean, decide)
        self.store = Store()
        self.seen: dict[Any, Any] = {}
        self.changes: list[Change] = []
        self.told: Callable[[Change], object] = self.changes.append
        selection = Selection(resource, "default")
        self.counted: list[tuple[str, str, str]] = []

        def count(what: str, plural: str, reason: str) -> None:
            self.counted.append((what, plural, reason))

        self.reflector = Reflector(self.faults, selection, self.store, self._take, random.Random(1), count, streaming)
        self.task = asyncio.ensure_future(self.reflector.run())

    def _take(self, change: Change) -> None:
        # Every change begins where the one before it ended: none is skipped, none comes twice.
        key = key_of(change.object)
        before = self.seen.get(key)
        if change.new is None:
            assert before is not None
            assert change.old is not None
            assert change.old["metadata"]["uid"] == before["metadata"]["uid"]
            del self.seen[key]
        else:
            assert before == change.old
            self.seen[key] = change.new
        self.told(change)

    async def write(self, name: str, value: str | None) -> None:
        path = MAPS.path("default", name)
        if value is not None:
            document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"v": value}}
            await self.clean.request(Call.apply(path, document, "test"))
            return
        with contextlib.suppress(ObjectNotFound):
            await self.clean.request(Call("DELETE", path))

    async def truth(self) -> dict[str, Any]:
        found = await self.clean.request(Call.get(MAPS.path("default")))
        return {item["metadata"]["name"]: (item["metadata"]["uid"], item["data"]) for item in found["items"]}

    def known(self) -> dict[str, Any]:
        return {item["metadata"]["name"]: (item["metadata"]["uid"], item["data"]) for item in self.store}


def play(body: Callable[[Local], Awaitable[None]]) -> None:
    async def main() -> None:
        await body(await Local().start())

    run_virtual(main())


FAULTS = st.one_of(
    st.none(),
    st.just(Unreachable()),
    st.just(LostAnswer()),
    st.just(Hang()),
    st.sampled_from([Answer(500), Answer(503), Answer(429, retry_after_s=7.0), Answer(410, "Expired"), Answer(504)]),
    st.builds(Cut, st.integers(0, 3)),
    st.builds(Expire, st.integers(0, 3)),
    st.builds(End, st.integers(0, 3)),
    st.builds(Stall, st.integers(0, 3)),
    st.just(Answer(422, "Invalid")),
)
WRITES = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from(["1", "2", None]), st.sampled_from([0.0, 0.5, 40.0])), max_size=12
)


@settings(max_examples=150, deadline=None)
@given(faults=st.lists(FAULTS, max_size=12), writes=WRITES, streaming=st.booleans())
def test_the_store_ends_as_the_server_is(faults: list[Fault | None], writes: list[Any], streaming: bool) -> None:
    async def body(local: Local) -> None:
        decide: Decide = lambda number, call: faults[number] if number < len(faults) else None  # noqa: E731
        world = World(local, decide, streaming=streaming)
        for name, value, pause_s in writes:
            await world.write(name, value)
            await asyncio.sleep(pause_s)
        await asyncio.sleep(3600)
        assert not world.task.done(), world.task.exception()
        assert world.reflector.synced.is_set()
        assert world.reflector.trouble is None
        assert world.known() == await world.truth()
        assert all("managedFields" not in item["metadata"] for item in world.store)

    play(body)


def test_a_server_that_is_down_is_asked_seldom_and_then_found_again() -> None:
    async def body(local: Local) -> None:
        down = True
        world = World(local, lambda number, call: Unreachable() if down else None)
        await world.write("a", "1")
        await asyncio.sleep(3600)
        assert len(world.faults.calls) / 3600 < 0.25
        assert not world.reflector.synced.is_set()
        down = False
        await asyncio.sleep(61)
        assert world.known() == await world.truth()

    play(body)


@pytest.mark.parametrize(
    ("fault", "lists", "reason"),
    [(Cut(0), 2, "silence"), (End(0), 2, "silence"), (Expire(0), 60, "expired"), (Answer(500), 2, "refused")],
)
@pytest.mark.parametrize("streaming", [True, False])
def test_watches_that_fail_at_once_are_not_asked_for_in_a_loop(
    fault: Fault, lists: int, reason: str, streaming: bool
) -> None:
    async def body(local: Local) -> None:
        world = World(local, lambda number, call: fault if WATCHED in call.query else None, streaming=streaming)
        await asyncio.sleep(600)
        assert world.reflector.synced.is_set()
        assert 1 <= world.reflector.lists <= lists
        assert 10 < world.reflector.watches < 40
        again = [("watch", "configmaps", reason)] * (world.reflector.watches - 1)
        again += [("list", "configmaps", reason)] * (world.reflector.lists - 1)
        assert sorted(world.counted) == sorted(again)

    play(body)


def test_a_watch_that_ends_as_it_was_asked_to_is_counted_as_such() -> None:
    async def body(local: Local) -> None:
        world = World(local, lambda number, call: None)
        await asyncio.sleep(700)
        assert world.counted == [("watch", "configmaps", "ended")] * (world.reflector.watches - 1) != []

    play(body)


def test_retry_after_is_never_undercut() -> None:
    async def body(local: Local) -> None:
        world = World(local, lambda number, call: Answer(429, retry_after_s=90.0) if number < 4 else None)
        await asyncio.sleep(1000)
        times = [at for at, _ in world.faults.calls[:5]]
        assert all(after - before >= 90 for before, after in itertools.pairwise(times))
        assert world.reflector.synced.is_set()

    play(body)


def test_a_kind_that_is_not_there_yet_is_noticed_when_it_comes() -> None:
    async def body(local: Local) -> None:
        missing = Resource("test.io", "v1", "gadgets", "Gadget")
        world = World(local, lambda number, call: None, missing)
        await asyncio.sleep(200)
        assert isinstance(world.reflector.trouble, ObjectNotFound)
        silent_s = asyncio.get_running_loop().time() - world.reflector.heard_at
        assert silent_s < 20, "that it is not there is an answer: nobody is alarmed"
        definition = local_definition("gadgets", "Gadget")
        crds = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", False)
        await world.clean.request(Call("POST", crds.path(), body=definition))
        await local.establish("gadgets.test.io")
        await asyncio.sleep(61)
        assert world.reflector.synced.is_set()
        assert world.reflector.trouble is None

    play(body)


def test_no_right_is_told_and_kept_trying() -> None:
    async def body(local: Local) -> None:
        world = World(local, lambda number, call: Answer(403, "Forbidden") if number < 3 else None)
        await asyncio.sleep(1)
        assert isinstance(world.reflector.trouble, Denied)
        await asyncio.sleep(60)
        assert world.reflector.synced.is_set()

    play(body)


def test_an_object_made_anew_under_its_name_is_two_changes() -> None:
    async def body(local: Local) -> None:
        silent = True
        world = World(local, lambda number, call: Hang() if silent and number == 1 else None, streaming=False)
        await world.write("a", "1")
        await asyncio.sleep(1)  # listed; the watch brings nothing
        await world.write("a", None)
        await world.write("a", "1")
        await asyncio.sleep(3600)
        assert world.known() == await world.truth()
        kinds = [(change.old is not None, change.new is not None) for change in world.changes]
        assert kinds in ([(False, True), (True, False), (False, True)],)

    play(body)


def test_many_objects_come_in_pages() -> None:
    async def body(local: Local) -> None:
        world = World(local, lambda number, call: None)
        world.task.cancel()
        for number in range(1203):
            await world.write(f"m{number}", "1")
        world = World(local, lambda number, call: Answer(410, "Expired") if number == 1 else None, streaming=False)
        await asyncio.sleep(10)
        assert len(world.store) == 1203 + sum(not name.startswith("m") for name in await world.truth())
        limits = [dict(call.query).get("limit") for _, call in world.faults.calls[:3]]
        assert limits == ["500", "500", None]

    play(body)


def test_a_streamed_list_is_the_beginning_of_its_watch() -> None:
    async def body(local: Local) -> None:
        clean = LocalTransport(local.handler, "t")
        for number in range(1203):
            path = MAPS.path("default", f"m{number}")
            await clean.request(
                Call("POST", MAPS.path("default"), body={"metadata": {"name": f"m{number}"}, "data": {"v": "1"}})
            )
        world = World(local, lambda number, call: None)
        await asyncio.sleep(1)
        assert world.reflector.synced.is_set()
        await clean.request(Call("DELETE", path))
        await world.write("a", "1")
        await asyncio.sleep(1)
        assert world.known() == await world.truth()
        assert [STREAMED in call.query for _, call in world.faults.calls] == [True]
        assert (world.reflector.lists, world.reflector.watches) == (1, 1)

    play(body)


def test_where_streams_are_refused_pages_are_read_at_once_and_from_then_on() -> None:
    async def body(local: Local) -> None:
        world = World(local, refusing(Answer(422, "Invalid")))
        await world.write("a", "1")
        await asyncio.sleep(0.1)
        assert world.known() == await world.truth()
        await asyncio.sleep(700)  # more than one watch
        asked = [STREAMED in call.query for _, call in world.faults.calls]
        assert asked.count(True) == 1
        assert asked[0]

    play(body)


@pytest.mark.parametrize("fault", [Cut(1), End(2), Stall(2), Expire(1), Answer(500), Hang()])
def test_of_a_list_that_does_not_come_to_its_end_nothing_is_taken(fault: Fault) -> None:
    async def body(local: Local) -> None:
        world = World(local, lambda number, call: None)
        world.task.cancel()
        for name in "abc":
            await world.write(name, "1")
        world = World(local, refusing(fault))
        taken_after: list[int] = []
        world.told = lambda change: taken_after.append(len(world.faults.calls))
        await asyncio.sleep(25)
        assert taken_after[0] == 2  # requests: not from the stream, from the pages after it
        assert world.known() == await world.truth()

    play(body)


def test_a_server_that_takes_it_for_a_plain_watch_is_noticed() -> None:
    async def body(local: Local) -> None:
        world = World(local, lambda number, call: None)
        world.task.cancel()
        await world.write("a", "1")
        ignoring = LocalTransport(local.handler, "t")
        right = ignoring.watch

        def watch(call: Call, silence_s: float) -> Any:
            query = tuple(one for one in call.query if one[0] not in ("sendInitialEvents", "resourceVersionMatch"))
            return right(replace(call, query=query), silence_s)

        ignoring.watch = watch  # type: ignore[method-assign]
        store = Store()
        reflector = Reflector(ignoring, Selection(MAPS, "default"), store, lambda change: None, random.Random(1))
        task = asyncio.ensure_future(reflector.run())
        await asyncio.sleep(25)
        assert reflector.synced.is_set()
        assert {item["metadata"]["name"] for item in store} == set(await world.truth())
        task.cancel()

    play(body)


def test_after_an_expiry_the_list_is_streamed_again() -> None:
    async def body(local: Local) -> None:
        world = World(local, lambda number, call: Expire(4) if number == 0 else None)
        await asyncio.sleep(60)
        await world.write("a", "1")
        await world.write("a", "2")
        await world.write("a", "3")
        await asyncio.sleep(1)
        assert [STREAMED in call.query for _, call in world.faults.calls] == [True, True]
        assert world.known() == await world.truth()
        assert ("list", "configmaps", "expired") in world.counted

    play(body)


def refusing(fault: Fault) -> Decide:
    return lambda number, call: fault if STREAMED in call.query else None


def local_definition(plural: str, kind: str) -> dict[str, Any]:
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
    }
    names = {"plural": plural, "singular": kind.lower(), "kind": kind, "listKind": f"{kind}List"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.test.io"},
        "spec": {"group": "test.io", "scope": "Namespaced", "names": names, "versions": [version]},
    }
