"""Server-sent events: order, resume, keep-alive, ends, readers that go away."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from rayctl.api import sse
from rayctl.errors import Unavailable

from .conftest import TOKENS, check_problem
from .memory import MemoryService


def parse(text: str) -> list[dict[str, Any]]:
    """Read a stream the way a browser does; comments and retry are left out."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(
            line.split(": ", 1) for line in block.splitlines() if line and not line.startswith((":", "retry"))
        )
        if fields:
            found.append({**fields, "data": json.loads(fields["data"])})
    return found


class Reader:
    """A reader at the ASGI level: sees each chunk as it is sent, and can go away."""

    def __init__(self, app: FastAPI, path: str, headers: dict[str, str] | None = None) -> None:
        self.chunks: asyncio.Queue[bytes] = asyncio.Queue()
        self.status: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._gone = asyncio.Event()
        self._asked = False
        sent = {"authorization": f"Bearer {TOKENS['operator']}", **(headers or {})}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.1"},
            "method": "GET",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(k.lower().encode(), v.encode()) for k, v in sent.items()],
        }
        self.task = asyncio.create_task(app(scope, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status.set_result(message["status"])
        elif message["body"]:
            self.chunks.put_nowait(message["body"])

    async def next(self) -> str:
        return (await asyncio.wait_for(self.chunks.get(), 5)).decode()

    async def leave(self) -> None:
        self._gone.set()
        await asyncio.wait_for(self.task, 5)


async def test_a_whole_run(client: httpx2.AsyncClient, service: MemoryService, run_id: str) -> None:
    await service.move(run_id, "running")
    await service.trial(run_id, "ridge", 0.5)
    await service.succeed(run_id)
    response = await client.get(f"/v1/runs/{run_id}/events")
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"] == "no-store"
    events = parse(response.text)
    assert [(event["id"], event["event"]) for event in events] == [
        ("1", "state"),
        ("2", "state"),
        ("3", "trial"),
        ("4", "done"),
    ]
    assert events[2]["data"]["score"] == 0.5
    assert events[-1]["data"]["state"] == "succeeded"


async def test_resume(client: httpx2.AsyncClient, service: MemoryService, run_id: str) -> None:
    await service.move(run_id, "running")
    await service.succeed(run_id)
    path = f"/v1/runs/{run_id}/events"

    async def ids(query: str = "", header: str | None = None) -> list[str]:
        headers = {} if header is None else {"Last-Event-ID": header}
        return [event["id"] for event in parse((await client.get(path + query, headers=headers)).text)]

    assert await ids("?after=1") == ["2", "3"]
    assert await ids(header="2") == ["3"]
    assert await ids("?after=0", header="2") == ["3"]
    assert await ids("?after=1", header="") == ["2", "3"]
    for seen in ("3", "4000"):
        assert (await client.get(path, headers={"Last-Event-ID": seen})).status_code == 204


@pytest.mark.parametrize("header", ["x", "-1", "1.5", "1" * 40, "\u0661", "0x1"])
async def test_bad_ids(client: httpx2.AsyncClient, run_id: str, header: str) -> None:
    response = await client.get(f"/v1/runs/{run_id}/events", headers={"Last-Event-ID": header.encode()})
    check_problem(response, 400, "malformed-request")
    check_problem(await client.get(f"/v1/runs/{run_id}/events?after=-1"), 422, "invalid-request")


async def test_events_arrive_as_they_happen(api: FastAPI, service: MemoryService, run_id: str) -> None:
    reader = Reader(api, f"/v1/runs/{run_id}/events")
    assert await reader.next() == "retry: 2000\n\n"
    assert (await reader.next()).startswith("id: 1\nevent: state\n")
    await service.trial(run_id, "ridge", 0.5)
    assert (await reader.next()).startswith("id: 2\nevent: trial\n")
    await service.succeed(run_id)
    assert (await reader.next()).startswith("id: 3\nevent: done\n")
    await asyncio.wait_for(reader.task, 5)


async def test_a_reader_that_leaves_frees_everything_and_cancels_nothing(
    api: FastAPI, service: MemoryService, run_id: str
) -> None:
    free = api.state.slots._free
    reader = Reader(api, f"/v1/runs/{run_id}/events", {"Last-Event-ID": "1"})
    await reader.next()
    await asyncio.wait_for(service.poll.wait(), 5)
    assert api.state.slots._free == free - 1
    await reader.leave()
    assert (service.waiting, api.state.slots._free) == (0, free)
    assert service.runs[run_id]["state"] == "queued"


async def test_keep_alive(api: FastAPI, service: MemoryService, run_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "KEEP_ALIVE_S", 0.001)
    reader = Reader(api, f"/v1/runs/{run_id}/events", {"Last-Event-ID": "1"})
    assert [await reader.next() for _ in range(3)] == ["retry: 2000\n\n", ": keep-alive\n\n", ": keep-alive\n\n"]
    await reader.leave()


async def test_a_reader_ahead_of_the_log_is_let_go_when_the_run_ends(
    api: FastAPI, service: MemoryService, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "KEEP_ALIVE_S", 0.001)
    reader = Reader(api, f"/v1/runs/{run_id}/events", {"Last-Event-ID": "999"})
    await reader.next()
    await service.succeed(run_id)
    await asyncio.wait_for(reader.task, 5)


async def test_a_failure_in_the_middle_is_told(api: FastAPI, service: MemoryService, run_id: str) -> None:
    reader = Reader(api, f"/v1/runs/{run_id}/events")
    await reader.next()
    await reader.next()
    await asyncio.wait_for(service.poll.wait(), 5)
    service.log[run_id].append({"run_id": run_id, "seq": 2, "at": "", "kind": "log", "data": {}})
    service.broken = Unavailable("away")
    async with service.changed:
        service.changed.notify_all()
    assert (await reader.next()).startswith("id: 2\n")
    frame = await reader.next()
    assert frame.startswith("event: problem\n")
    assert json.loads(frame.partition("data: ")[2])["code"] == "unavailable"
    await asyncio.wait_for(reader.task, 5)


async def test_readers_cannot_lock_everyone_else_out(
    api: FastAPI, client: httpx2.AsyncClient, service: MemoryService, run_id: str
) -> None:
    readers = [Reader(api, f"/v1/runs/{run_id}/events") for _ in range(64)]
    for reader in readers:
        await reader.next()
    check_problem(await client.get(f"/v1/runs/{run_id}/events"), 503, "too-many-readers")
    assert (await client.get(f"/v1/runs/{run_id}")).status_code == 200
    for reader in readers:
        await reader.leave()
    await service.succeed(run_id)
    assert (await client.get(f"/v1/runs/{run_id}/events")).status_code == 200


async def test_unknown_runs_are_404_before_the_stream_begins(client: httpx2.AsyncClient) -> None:
    check_problem(await client.get("/v1/runs/none/events"), 404, "not-found")
