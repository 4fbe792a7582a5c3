"""Streams of changes and events: what is there, what comes, resume, forgotten history, readers that go away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from rayctl.api import sse
from rayctl.api.kube import following
from rayctl.kube.calls import Call
from rayctl.kube.kinds import EVENTS, FLEETS, RAY_CLUSTERS

from ..conftest import check_problem
from ..test_events import Reader, parse
from .conftest import Kubernetes, cluster, fleet

STREAM = {"accept": "text/event-stream"}


class Stream(Reader):
    """A reader of events; ``since``: the id to resume after."""

    def __init__(self, app: FastAPI, path: str, who: str = "admin", since: str = "") -> None:
        headers = {"authorization": f"Bearer {who}-token", **STREAM}
        super().__init__(app, path, {**headers, **({"last-event-id": since} if since else {})})
        self.ready: list[dict[str, Any]] = []

    async def event(self) -> dict[str, Any]:
        while not self.ready:
            self.ready += parse(await self.next())
        return self.ready.pop(0)

    async def until(self, name: str) -> list[dict[str, Any]]:
        found = [await self.event()]
        while found[-1]["event"] != name:
            found.append(await self.event())
        return found


async def test_changes_as_they_happen(api: FastAPI, kubernetes: Kubernetes) -> None:
    await kubernetes.create(FLEETS, fleet("a"))
    stream = Stream(api, "/v1/changes")
    first = [await stream.event() for _ in range(5)]
    assert sorted(item["event"] for item in first) == ["state", "synced", "synced", "synced", "synced"]
    await kubernetes.create(RAY_CLUSTERS, cluster("c"))
    event = await stream.event()
    assert (event["event"], event["data"]["kind"], event["data"]["name"]) == ("state", "RayCluster", "c")
    await kubernetes.transport.request(Call("DELETE", RAY_CLUSTERS.path("default", "c")))
    gone = (await stream.until("deleted"))[-1]
    assert gone["data"] == {"kind": "RayCluster", "namespace": "default", "name": "c"}
    await stream.leave()
    # What happened while nobody read comes when the reader is back, once, and nothing else.
    await kubernetes.create(FLEETS, fleet("b"))
    back = Stream(api, "/v1/changes", since=gone["id"])
    event = await back.event()
    assert (event["event"], event["data"]["name"]) == ("state", "b")
    await back.leave()


async def test_a_tenant_is_told_of_its_own(api: FastAPI, kubernetes: Kubernetes) -> None:
    stream = Stream(api, "/v1/changes", "red")
    for _ in range(4):
        assert (await stream.event())["event"] == "synced"
    await kubernetes.create(FLEETS, fleet("theirs"), "blue")
    await kubernetes.create(FLEETS, fleet("mine"), "red")
    assert (await stream.event())["data"]["name"] == "mine"
    await stream.leave()


def event_about(name: str, number: int) -> dict[str, Any]:
    return {
        "metadata": {"name": f"{name}.{number}"},
        "regarding": {"kind": "RayClusterFleet", "name": name, "namespace": "default"},
        "reason": "ClusterCreated",
        "note": f"number {number}",
        "type": "Normal",
        "action": "Create",
        "reportingController": "rayctl.io/fleet",
        "reportingInstance": "test",
        "eventTime": "2026-01-02T03:04:05.000000Z",
    }


async def test_one_objects_states_and_events(api: FastAPI, kubernetes: Kubernetes, client: httpx2.AsyncClient) -> None:
    await kubernetes.create(FLEETS, fleet("a"))
    await kubernetes.create(EVENTS, event_about("a", 1))
    await kubernetes.create(EVENTS, event_about("other", 1))
    listed = (await client.get("/v1/fleets/a/events")).json()["items"]
    assert [(item["message"], item["object"]) for item in listed] == [("number 1", "rayclusterfleet/a")]
    assert len((await client.get("/v1/events")).json()["items"]) == 2
    stream = Stream(api, "/v1/fleets/a/events")
    first = [await stream.event() for _ in range(4)]
    assert sorted(item["event"] for item in first) == ["event", "state", "synced", "synced"]
    await kubernetes.create(EVENTS, event_about("other", 2))
    await kubernetes.create(EVENTS, event_about("a", 2))
    event = await stream.event()
    assert event["data"]["message"] == "number 2"
    assert len(event["id"].split(".")) == 2
    await stream.leave()
    check_problem(await client.get("/v1/fleets/none/events", headers=STREAM), 404, "object-not-found")


async def test_history_that_is_forgotten_is_told_and_made_up_for(api: FastAPI, kubernetes: Kubernetes) -> None:
    await kubernetes.create(FLEETS, fleet("a"))
    stream = Stream(api, "/v1/events", since="999999999")  # of another life of the server
    event = await asyncio.wait_for(stream.event(), 10)
    assert event["event"] == "reset"
    assert (await stream.until("synced"))[-1]["event"] == "synced"
    await stream.leave()


async def test_ids_that_are_none(client: httpx2.AsyncClient) -> None:
    for wrong in ("x", "1.2", "-1", "1..2", "1" * 30):
        headers = {**STREAM, "Last-Event-ID": wrong}
        check_problem(await client.get("/v1/events", headers=headers), 400, "bad-event-id")
    check_problem(await client.get("/v1/changes?kind=pods"), 422, "invalid-request")
    check_problem(await client.get("/v1/changes?kind=fleets,fleets"), 422, "invalid-request")


async def test_readers_are_few_and_leave_nothing_behind(
    api: FastAPI, kubernetes: Kubernetes, client: httpx2.AsyncClient
) -> None:
    before = len(asyncio.all_tasks())
    api.state.kube_slots = sse.StreamSlots(2)
    streams = [Stream(api, "/v1/events") for _ in range(2)]
    for stream in streams:
        assert (await stream.event())["event"] == "synced"
    check_problem(await client.get("/v1/events", headers=STREAM), 503, "too-many-readers")
    for stream in streams:
        await stream.leave()
    assert api.state.kube_slots._free == 2
    await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) <= before


async def test_quiet_streams_say_that_they_live(
    api: FastAPI, monkeypatch: pytest.MonkeyPatch, as_caller: Callable[..., Any]
) -> None:
    monkeypatch.setattr(following, "KEEP_ALIVE_S", 0.05)
    stream = Stream(api, "/v1/events")
    assert (await stream.event())["event"] == "synced"
    assert await stream.next() == ": keep-alive\n\n"
    await stream.leave()
