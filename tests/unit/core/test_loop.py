"""The loop: one key's trouble is its own, own writes are waited for, checks come back, refusals are told."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from rayctl.core.controller import Caches, Document, Documents, Key, Refusal, Watch, same_name
from rayctl.core.host import ControllerHost, HostSettings
from rayctl.core.metrics import Metrics as CountedByLoops
from rayctl.core.plan import Create, Patch, Plan, Ref
from rayctl.core.record import PassRecord, replay
from rayctl.kube.calls import Call, Resource, Transport
from rayctl.kube.kinds import CONFIG_MAPS
from rayctl.telemetry.metrics import Metrics
from rayctl.testkit.faults import Answer, FaultTransport
from rayctl.testkit.virtual_time import run_virtual
from rayctl.testkit.world import World

CREATED = "created"


class Marker:
    """Annotates ConfigMaps that say what is to happen to them in ``data.do``."""

    name = "marker"
    resource: Resource = CONFIG_MAPS
    watches: Sequence[Watch] = (Watch(CONFIG_MAPS, same_name),)

    def __init__(self) -> None:
        self.looks: list[tuple[float, str]] = []
        self.refusals: list[Refusal] = []

    async def look(self, key: Key, caches: Caches) -> Documents | None:
        found = caches.get(CONFIG_MAPS, *key)
        do = (found or {}).get("data", {}).get("do")
        if found is None or do is None:
            return None
        self.looks.append((asyncio.get_running_loop().time(), key[1]))
        if do == "hang":
            await asyncio.sleep(3600)
        return {"map": found}

    def plan(self, found: Documents, now: float) -> Plan:
        document = found["map"]
        do, metadata = document["data"]["do"], document["metadata"]
        if do == "raise":
            raise ValueError("planned badly")
        if do == "check":
            return Plan(next_check_at=now + 7)
        if do == "busy":
            return Plan(next_check_at=now)
        if do == "refused":
            bad = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "default", "name": "Not A Name"}}
            return Plan((Create(bad),))
        if "marked" in (metadata.get("annotations") or {}):
            return Plan()
        ref = Ref("v1", "ConfigMap", metadata["namespace"], metadata["name"], metadata["uid"])
        return Plan((Patch(ref, {"metadata": {"annotations": {"marked": "yes"}}}, metadata["resourceVersion"]),))

    def refused(self, found: Documents, refusal: Refusal, now: float) -> Plan:
        self.refusals.append(refusal)
        return Plan()


def played(
    script: Callable[[World, Marker, ControllerHost], Any],
    metrics: Metrics | None = None,
    marker: Marker | None = None,
    wrap: Callable[[Transport], Transport] = lambda inner: inner,
) -> Any:
    marker = marker or Marker()

    async def main() -> Any:
        world = await World().start()
        settings = HostSettings("host", "kube-system")
        host = ControllerHost(wrap(world.transport("process")), [marker], settings, world.wall, metrics=metrics)
        running = asyncio.ensure_future(host.run())
        try:
            return await script(world, marker, host)
        finally:
            running.cancel()
            await asyncio.wait([running])

    return run_virtual(main())


async def make(world: World, name: str, do: str) -> None:
    await world.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"do": do}})


def marked(world: World, name: str) -> bool:
    found = world.object(CONFIG_MAPS, name) or {"metadata": {}}
    return "marked" in (found["metadata"].get("annotations") or {})


@pytest.mark.parametrize("bad", ["raise", "hang", "refused"])
def test_a_key_in_trouble_disturbs_no_other(bad: str) -> None:
    async def script(world: World, marker: Marker, host: ControllerHost) -> None:
        for number in range(40):
            await make(world, f"bad-{number}", bad)
        await make(world, "good", "mark")
        # More than there are workers hang in a look; each is given up in time.
        assert await world.until(lambda: marked(world, "good"), 100)
        await asyncio.sleep(40)
        failing = host.status()["controllers"]["marker"]["failing"]
        assert set(failing) == {f"default/bad-{number}" for number in range(40)}

    played(script)


def test_failures_come_back_ever_later_and_a_refusal_is_told_and_not_hurried() -> None:
    async def script(world: World, marker: Marker, host: ControllerHost) -> None:
        await make(world, "bad", "refused")
        await asyncio.sleep(60)
        times = [at for at, name in marker.looks if name == "bad"]
        pauses = [later - at for at, later in itertools.pairwise(times)]
        assert 3 <= len(times) <= 12
        assert min(pauses) >= 5.0
        assert marker.refusals[0].status == 422
        assert marker.refusals[0].action.ref.name == "Not A Name"  # type: ignore[union-attr]
        await world.patch(CONFIG_MAPS, "bad", {"data": {"do": "mark"}})
        assert await world.until(lambda: marked(world, "bad"), 5)
        await asyncio.sleep(1)
        assert host.status()["controllers"]["marker"]["failing"] == {}

    played(script)


def test_a_check_comes_back_and_a_busy_planner_does_not_keep_a_core_busy() -> None:
    async def script(world: World, marker: Marker, host: ControllerHost) -> tuple[int, int]:
        await make(world, "check", "check")
        await make(world, "busy", "busy")
        await asyncio.sleep(70.5)
        names = [name for _, name in marker.looks]
        return names.count("check"), names.count("busy")

    checks, busy = played(script)
    assert 10 <= checks <= 12
    assert busy <= 710


def test_passes_are_recorded_and_can_be_decided_again_offline() -> None:
    async def script(world: World, marker: Marker, host: ControllerHost) -> list[PassRecord]:
        await make(world, "one", "mark")
        await make(world, "bad", "raise")
        assert await world.until(lambda: marked(world, "one"), 10)
        await asyncio.sleep(1)
        return host.records("marker", ("default", "one")) + host.records("marker", ("default", "bad"))[:1]

    done, crashed = played(script)
    assert done.ending == "done"
    assert crashed.ending == "crashed"
    assert "planned badly" in crashed.error
    again = PassRecord.from_json(done.to_json())
    assert json.loads(done.to_json()) == json.loads(again.to_json())
    assert replay(Marker(), again) == json.loads(json.dumps(done.plan))
    with pytest.raises(ValueError, match="planned badly"):
        replay(Marker(), crashed)
    with pytest.raises(ValueError, match="not the record of a pass"):
        PassRecord.from_json('{"key": 3}')


def value(metrics: Metrics, series: str) -> float:
    lines = [line for line in metrics.text().decode().splitlines() if line.startswith(series + " ")]
    return float(lines[0].rsplit(" ", 1)[1])


class Measured(Marker):
    """Counts objects that were marked, and how they were before."""

    def measure(self, old: Document, new: Document, metrics: CountedByLoops) -> None:
        before = "marked" in (old["metadata"].get("annotations") or {})
        if not before and "marked" in (new["metadata"].get("annotations") or {}):
            metrics.switched("marked", 3.0)


def test_what_objects_go_through_is_counted_once_by_who_leads() -> None:
    metrics = Metrics()

    async def script(world: World, marker: Marker, host: ControllerHost) -> None:
        await make(world, "one", "mark")
        assert await world.until(lambda: marked(world, "one"), 10)
        await world.patch(CONFIG_MAPS, "one", {"data": {"more": "1"}})
        await asyncio.sleep(30)  # virtual

    played(script, metrics, Measured())
    assert value(metrics, 'rayctl_switchover_seconds_count{phase="marked"}') == 1
    assert value(metrics, 'rayctl_switchover_seconds_sum{phase="marked"}') == 3


def test_what_happens_is_counted() -> None:
    metrics = Metrics()

    async def script(world: World, marker: Marker, host: ControllerHost) -> None:
        await make(world, "one", "mark")
        await make(world, "bad", "raise")
        await make(world, "slow", "hang")
        await asyncio.sleep(20)
        host.sample()
        assert (
            19 < value(metrics, 'workqueue_longest_running_processor_seconds{controller="marker",name="marker"}') < 21
        )
        await asyncio.sleep(10.5)  # then the look is given up, and nothing is in work: virtual time
        host.sample()
        assert value(metrics, 'workqueue_unfinished_work_seconds{controller="marker",name="marker"}') < 1

    played(script, metrics)
    text = metrics.text().decode()
    for line in (
        'controller_runtime_reconcile_total{controller="marker",result="success"}',
        'controller_runtime_reconcile_panics_total{controller="marker"}',
        'rest_client_requests_total{code="200",method="PATCH"} 1.0',
        'workqueue_retries_total{controller="marker",name="marker"}',
        'leader_election_master_status{name="marker"} 0.0',
        'rayctl_informer_objects{resource="configmaps"}',
    ):
        assert line in text, text


def test_trouble_that_lasts_is_told_as_a_refusal_is_until_it_is_over() -> None:
    """I10: a server that answers 500 for long is told about within 30 s, one that does for a moment is not."""
    broken: set[str] = set()

    def decide(_: int, call: Call) -> Answer | None:
        return Answer(500, "InternalError") if call.method == "PATCH" and call.path.split("/")[-1] in broken else None

    async def script(world: World, marker: Marker, host: ControllerHost) -> None:
        broken.update(("short", "long"))
        await make(world, "short", "mark")
        await make(world, "long", "mark")
        await asyncio.sleep(5)
        broken.remove("short")
        assert await world.until(lambda: marked(world, "short"), 30)
        await asyncio.sleep(25)
        assert {refusal.action.ref.name for refusal in marker.refusals} == {"long"}  # type: ignore[union-attr]
        assert marker.refusals[0].status == 500
        assert marker.refusals[0].trouble
        broken.clear()
        assert await world.until(lambda: marked(world, "long"), 60)
        told = len(marker.refusals)
        await asyncio.sleep(60)
        assert len(marker.refusals) == told

    played(script, wrap=lambda inner: FaultTransport(inner, decide))
