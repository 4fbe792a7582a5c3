"""Events are sent for people: repeats counted, floods cut off, and never in the way of the work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from rayctl.kube.calls import Call
from rayctl.kube.events import BURST, EventRecorder, Happening
from rayctl.kube.kinds import EVENTS
from rayctl.testkit.faults import Answer, FaultTransport
from rayctl.testkit.virtual_time import run_virtual
from rayctl.testkit.world import World

HAPPENING = Happening("v1", "ConfigMap", "default", "one", "uid-1", "Normal", "Made", "It was made.")


def played(script: Callable[[World, EventRecorder], Any], decide: Any = lambda number, call: None) -> list[Call]:
    calls: list[Call] = []

    async def main() -> None:
        world = await World().start()
        transport = FaultTransport(world.transport("process"), decide)
        recorder = EventRecorder(transport, "tester", "host-1", world.wall)
        running = asyncio.ensure_future(recorder.run())
        await script(world, recorder)
        await asyncio.sleep(5)
        running.cancel()
        calls.extend(call for _, call in transport.calls)

    run_virtual(main())
    return calls


def test_the_same_event_again_is_counted_in_one_object() -> None:
    found: list[dict[str, Any]] = []

    async def script(world: World, recorder: EventRecorder) -> None:
        for _ in range(4):
            recorder.add(HAPPENING)
            await asyncio.sleep(30)
        recorder.add(replace(HAPPENING, message="Another."))
        await asyncio.sleep(1)
        found.extend(world.objects(EVENTS) or world.objects(replace(EVENTS, group="")))

    calls = played(script)
    assert [call.method for call in calls] == ["POST", "PATCH", "PATCH", "PATCH", "POST"]
    assert calls[3].body["series"]["count"] == 4
    assert len(found) == 2


def test_an_event_that_the_server_forgot_is_made_anew() -> None:
    async def script(world: World, recorder: EventRecorder) -> None:
        recorder.add(HAPPENING)
        await asyncio.sleep(1)
        recorder.add(HAPPENING)

    calls = played(script, lambda number, call: Answer(404, "NotFound") if call.method == "PATCH" else None)
    assert [call.method for call in calls] == ["POST", "PATCH", "POST"]


def test_a_flapping_object_writes_at_most_37_events_an_hour() -> None:
    async def script(world: World, recorder: EventRecorder) -> None:
        for number in range(720):
            recorder.add(replace(HAPPENING, message=f"It flaps: {number}"))
            await asyncio.sleep(5)
        recorder.add(replace(HAPPENING, uid="another object's"))
        assert recorder.dropped > 600

    calls = played(script)
    assert BURST + 10 <= len(calls) - 1 <= 37


def test_a_server_in_trouble_costs_events_and_nothing_else() -> None:
    async def script(world: World, recorder: EventRecorder) -> None:
        recorder.add(HAPPENING)
        await asyncio.sleep(1)
        assert recorder.dropped == 1
        recorder.add(replace(HAPPENING, uid="another"))

    calls = played(script, lambda number, call: Answer(500) if number == 0 else None)
    assert len(calls) == 2
