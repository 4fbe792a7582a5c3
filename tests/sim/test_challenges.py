"""What fleets of others stumbled over, each shown on the simulated server: kinds that come late, templates that are
changed by storing them, labels that are lost, writes that conflict. (Clusters that break: unit tests of replica sets.)
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from rayctl.core.host import ControllerHost, HostSettings
from rayctl.fleet.controller import FleetController
from rayctl.kube.calls import Call, Transport
from rayctl.kube.errors import Denied
from rayctl.kube.kinds import CUSTOM_RESOURCE_DEFINITIONS, FLEETS, RAY_CLUSTERS, REPLICA_SETS
from rayctl.manifests import crd_documents
from rayctl.replicaset.controller import ReplicaSetController
from rayctl.replicaset.reader import TransportReader
from rayctl.testkit.faults import Answer, FaultTransport
from rayctl.testkit.virtual_time import run_virtual
from rayctl.testkit.world import Happened, World
from tests.sim.fleets import fleet_ready, image_of, make_template, mine, operator
from tests.unit.fleet.worlds import fleet, rolling

DEFINITIONS = crd_documents("RayCluster", "RayClusterFleet", "RayClusterReplicaSet")
HASH = "pod-template-hash"


def wish(replicas: int = 2, **more: Any) -> dict[str, Any]:
    return fleet(replicas=replicas, made=make_template("ray:1"), strategy=rolling(1, 0), **more)


def host_of(world: World, name: str, wrap: Callable[[Transport], Transport] = lambda inner: inner) -> ControllerHost:
    transport = wrap(world.transport(name))
    reader = TransportReader(transport)
    controllers = [FleetController(reader), ReplicaSetController(None, reader)]
    return ControllerHost(transport, controllers, HostSettings(name, "kube-system"), world.wall)


def played(
    script: Callable[[World, ControllerHost], Awaitable[None]],
    definitions: Any = DEFINITIONS,
    wrap: Callable[[Transport], Transport] = lambda inner: inner,
) -> None:
    async def main() -> None:
        world = await World(definitions=definitions).start()
        host = host_of(world, "process", wrap)
        running = [asyncio.ensure_future(host.run()), asyncio.ensure_future(operator(world))]
        try:
            await script(world, host)
        finally:
            for task in running:
                task.cancel()
            await asyncio.wait(running)

    run_virtual(main())


async def becomes_ready(world: World, within_s: float = 60.0) -> None:
    assert await world.until(lambda: fleet_ready(world), within_s), world.object(FLEETS, "llm")


def test_kinds_may_come_late_go_and_come_again() -> None:
    """5.1: nothing ends without its definitions; with them it works within half a minute, without a restart."""

    async def script(world: World, host: ControllerHost) -> None:
        await asyncio.sleep(300)
        assert "rayclusterfleets" in host.status()["caches"]
        for _ in range(2):
            for document in DEFINITIONS:
                await world.transport("user").request(Call("POST", CUSTOM_RESOURCE_DEFINITIONS.path(), body=document))
            await asyncio.sleep(1)
            await world.create(wish())
            await becomes_ready(world, 30)
            assert host.status()["caches"] == {}
            for document in DEFINITIONS:
                await world.delete(CUSTOM_RESOURCE_DEFINITIONS, document["metadata"]["name"])
            assert await world.until(lambda: not world.objects(FLEETS, "default"), 60)
            await asyncio.sleep(60)

    played(script, definitions=())


def test_a_template_that_storing_has_changed_is_the_same_template() -> None:
    """5.2: null times, unknown fields, and what was read being written back make no second set."""

    async def script(world: World, _: ControllerHost) -> None:
        made = wish()
        template = made["spec"]["template"]
        template["metadata"]["creationTimestamp"] = None
        template["spec"]["headGroupSpec"]["template"]["metadata"] = {
            "creationTimestamp": None,
            "labels": {"keep": "me"},
        }
        template["spec"]["foo"] = 1
        await world.create(made)
        await becomes_ready(world)
        found = await world.transport("user").request(Call.get(FLEETS.path("default", "llm")))
        await world.transport("user").request(Call("PUT", FLEETS.path("default", "llm"), body=found))
        await asyncio.sleep(60)
        assert len(world.objects(REPLICA_SETS, "default")) == 1
        assert len(mine(world)) == 2
        assert mine(world)[0]["spec"]["headGroupSpec"]["template"]["metadata"]["labels"]["keep"] == "me"

    played(script)


def test_a_lost_label_costs_one_cluster_and_comes_back() -> None:
    """5.3: two and no more; one that loses its label is let go and replaced; given back, it is taken in."""

    async def script(world: World, _: ControllerHost) -> None:
        await world.create(wish())
        await becomes_ready(world)
        await asyncio.sleep(120)
        assert len(mine(world)) == 2
        name, value = mine(world)[0]["metadata"]["name"], mine(world)[0]["metadata"]["labels"][HASH]
        await world.patch(RAY_CLUSTERS, name, {"metadata": {"labels": {HASH: None}}})
        assert await world.until(lambda: len(mine(world)) == 3, 30)
        await becomes_ready(world)
        freed = world.object(RAY_CLUSTERS, name)
        assert freed is not None
        assert not freed["metadata"].get("ownerReferences")
        await world.patch(RAY_CLUSTERS, name, {"metadata": {"labels": {HASH: value}}})
        assert await world.until(lambda: len(mine(world)) == 2, 30)
        await becomes_ready(world)
        assert all(item["metadata"]["ownerReferences"] for item in mine(world))

    played(script)


def test_a_selector_that_selects_something_else_makes_nothing_and_says_why() -> None:
    """5.3 (c), (f): no cluster, ever; and a condition."""

    async def script(world: World, _: ControllerHost) -> None:
        made = wish()
        made["spec"]["selector"] = {"matchLabels": {"app": "other"}}
        try:
            await world.create(made)
        except Denied:
            return
        await asyncio.sleep(120)
        assert mine(world) == []
        status = (world.object(FLEETS, "llm") or {})["status"]
        assert {c["reason"] for c in status["conditions"] if c["type"] == "Ready"} == {"SelectorMismatch"}

    played(script)


def test_somebody_who_writes_all_the_time_disturbs_nothing() -> None:
    """5.5 (a): twenty writes a second to everything during a rollout: no more than twice the time, nothing lost."""
    took = []

    async def rolled(world: World, disturb: bool) -> None:
        await world.create(wish(4))
        await becomes_ready(world, 120)
        most = 0

        def count(_: Happened) -> None:
            nonlocal most
            most = max(most, len(mine(world)))

        world.on_change(count)
        stop = asyncio.Event()
        task = asyncio.ensure_future(_scribble(world, stop)) if disturb else None
        began = world.time()
        await world.patch(FLEETS, "llm", {"spec": {"template": make_template("ray:2")}})
        assert await world.until(lambda: fleet_ready(world) and len(_new(world)) == 4, 300)
        took.append(world.time() - began)
        stop.set()
        if task is not None:
            last = await task
            for resource, name in ((FLEETS, "llm"), *((REPLICA_SETS, s["metadata"]["name"]) for s in _sets(world))):
                found = world.object(resource, name)
                assert found is not None
                assert found["metadata"]["annotations"].get("test.io/noise") == last
        assert most <= 5

    played(lambda world, _: rolled(world, False))
    played(lambda world, _: rolled(world, True))
    assert took[1] <= 2 * took[0]


def _sets(world: World) -> list[dict[str, Any]]:
    return world.objects(REPLICA_SETS, "default")


def _new(world: World) -> list[dict[str, Any]]:
    return [item for item in mine(world) if image_of(item) == "ray:2"]


async def _scribble(world: World, stop: asyncio.Event) -> str:
    number = 0
    while True:
        over, number = stop.is_set(), number + 1
        for resource, items in ((FLEETS, world.objects(FLEETS, "default")), (REPLICA_SETS, _sets(world))):
            for item in items:
                changes = {"metadata": {"annotations": {"test.io/noise": str(number)}}}
                await world.patch(resource, item["metadata"]["name"], changes)
        if over:
            return str(number)
        await asyncio.sleep(0.05)  # virtual time: between two disturbances


def test_the_first_five_writes_of_everything_conflict() -> None:
    """5.5 (b): the same end, and no warning."""
    refused: Counter[str] = Counter()

    def decide(_: int, call: Call) -> Answer | None:
        if call.method not in ("PATCH", "PUT") or "/lease" in call.path or refused[call.path] >= 5:
            return None
        refused[call.path] += 1
        return Answer(409, "Conflict")

    async def script(world: World, _: ControllerHost) -> None:
        await world.create(wish())
        await becomes_ready(world, 120)
        assert len(mine(world)) == 2
        warnings = [h for h in world.history if h.plural == "events" and h.new.get("type") == "Warning"]
        assert warnings == []

    played(script, wrap=lambda inner: FaultTransport(inner, decide))
    assert sum(refused.values()) >= 5


def test_another_one_takes_over_in_the_middle_and_makes_nothing_twice() -> None:
    """5.5 (d): of two that run, one leads; it dies in a rollout, without handing over."""

    async def main() -> None:
        world = await World(definitions=DEFINITIONS).start()
        hosts = {name: host_of(world, name) for name in ("first", "second")}
        running = {name: asyncio.ensure_future(host.run()) for name, host in hosts.items()}
        playing = asyncio.ensure_future(operator(world))
        await world.create(wish(3))
        await becomes_ready(world)
        leads = next(name for name, host in hosts.items() if host.status()["controllers"]["fleet-controller"]["leads"])
        await world.patch(FLEETS, "llm", {"spec": {"template": make_template("ray:2")}})
        assert await world.until(lambda: any(image_of(item) == "ray:2" for item in mine(world)), 60)
        running[leads].cancel()
        assert await world.until(lambda: fleet_ready(world) and len(_new(world)) == 3, 200)
        made = [h.new["metadata"]["name"] for h in world.history if h.plural == "rayclusters" and h.type == "ADDED"]
        assert len(made) == len(set(made)) == 6
        for task in (*running.values(), playing):
            task.cancel()
        await asyncio.wait([*running.values(), playing])

    run_virtual(main())
