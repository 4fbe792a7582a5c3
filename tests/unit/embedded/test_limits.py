"""What is too much is refused, others are answered meanwhile, and the audit log has every change."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from rayctl.embedded.apiserver import front
from rayctl.embedded.apiserver.access.tokens import ADMIN
from rayctl.embedded.apiserver.audit import verify
from rayctl.embedded.apiserver.requests import Stream, User
from rayctl.embedded.apiserver.server import Options, Server
from rayctl.embedded.apiserver.store import Change
from rayctl.testkit.virtual_time import run_virtual
from tests.unit.embedded.local import Local

MAPS = "/api/v1/namespaces/default/configmaps"
MAP = {"apiVersion": "v1", "kind": "ConfigMap"}
MERGE = {"Content-Type": "application/merge-patch+json"}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    nobody = User("nobody", "", ("system:authenticated",))
    options = Options(tmp_path, "normal", tokens=[("t", ADMIN), ("n", nobody)], controllers=False)
    running = Server(options)
    await running.start()
    yield running
    await running.stop()


@pytest.fixture
async def http(server: Server) -> AsyncIterator[aiohttp.ClientSession]:
    limits = {"max_line_size": 1_000_000, "max_field_size": 1_000_000}
    async with aiohttp.ClientSession(server.url, headers={"Authorization": "Bearer t"}, **limits) as session:  # type: ignore[arg-type]
        yield session


@pytest.mark.parametrize(
    ("query", "headers", "body", "code"),
    [
        ("?labelSelector=" + "a" * 9_000, {}, None, 400),
        ("", {"X-Long": "a" * 100_000}, None, 400),
        ("", {f"X-{number}": "a" for number in range(500)}, None, 400),
        ("?labelSelector=" + ",".join(["a=b"] * 101), {}, None, 400),
        ("", {}, b"x" * 3_145_729, 413),
        ("", {}, b'{"metadata":{"name":"x"},"data":' + b"[" * 200 + b"]" * 200 + b"}", 400),
        ("", {}, json.dumps({"metadata": {"name": "x"}, "data": {"k": "v" * 1_100_000}}).encode(), 422),
    ],
    ids=["url", "header", "headers", "terms", "body", "depth", "data"],
)
@pytest.mark.security("S16")
async def test_too_much(
    server: Server, http: aiohttp.ClientSession, query: str, headers: dict[str, str], body: bytes | None, code: int
) -> None:
    before = server.api.store.revision
    if body is not None:
        headers = {**headers, "Content-Type": "application/json"}
    async with http.request("GET" if body is None else "POST", MAPS + query, headers=headers, data=body) as answer:
        assert answer.status == code
    assert server.api.store.revision == before
    async with http.get("/healthz") as answer:
        assert answer.status == 200


@pytest.mark.security("S16")
async def test_a_body_that_does_not_come_is_not_waited_for(
    server: Server, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front, "BODY_WITHIN_S", 0.2)
    port = int(server.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST {MAPS} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer t\r\nContent-Length: 1000\r\n\r\n{{"
    writer.write(head.encode())
    async with http.get(MAPS) as answer:
        assert answer.status == 200
    line = await asyncio.wait_for(reader.readline(), 10)
    assert line.startswith(b"HTTP/1.1 408")
    writer.close()


@pytest.mark.security("S18")
async def test_every_change_is_in_the_audit_log_and_tampering_shows(
    server: Server, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    rng = random.Random(3)
    begun = server.api.store.revision
    hidden = "not-for-the-log"

    async def client(number: int) -> None:
        for count in range(20):
            name = f"m{rng.randrange(6)}"
            token = {"Authorization": f"Bearer {rng.choice('ttn')}"}
            if rng.random() < 0.4:
                request = http.post(MAPS, json={"metadata": {"name": name}, "data": {"k": hidden}}, headers=token)
            elif rng.random() < 0.6:
                body = json.dumps({"data": {"k": f"{hidden}{number}{count}"}})
                request = http.patch(f"{MAPS}/{name}", data=body, headers={**MERGE, **token})
            else:
                request = http.delete(f"{MAPS}/{name}", headers=token)
            async with request as answer:
                assert answer.status in (200, 201, 403, 404, 409)

    await asyncio.gather(*(client(number) for number in range(6)))
    log = tmp_path / "audit.log"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    verbs = {"ADDED": "create", "MODIFIED": "patch", "DELETED": "delete"}
    changes = [event for event in server.api.store.all_changes() if event.revision > begun]
    made = sorted((verbs[event.type], event.now.namespace) for event in changes)
    noted = sorted((line["verb"], line["namespace"]) for line in lines if line["code"] < 300)
    assert len(changes) > 30
    assert noted == made
    assert len(lines) == 120
    assert {line["user"] for line in lines if line["code"] == 403} == {"nobody"}
    assert hidden not in log.read_text()
    assert verify(log) == 120
    raw = log.read_bytes()
    log.write_bytes(raw.replace(b'"code":403', b'"code":200', 1))
    with pytest.raises(ValueError, match="the chain is broken"):
        verify(log)
    log.write_bytes(raw)


@pytest.mark.parametrize(
    ("method", "target"),
    [("GET", f"{MAPS}?watch=true&labelSelector=last"), ("DELETE", f"{MAPS}?labelSelector=all")],
    ids=["a watch that begins", "the deletion of a collection"],
)
@pytest.mark.security("S16")
def test_others_are_answered_while_thousands_of_objects_are_looked_at(method: str, target: str) -> None:
    async def body() -> None:
        local = await Local().start()
        for number in range(2_000):
            labels = {"all": "yes", "last" if number == 1_999 else "early": "yes"}
            metadata = {"name": f"m{number:04}", "uid": str(number), "labels": labels}
            await local.api.write(Change(("configmaps", "default", metadata["name"]), {**MAP, "metadata": metadata}))

        async def work() -> None:
            answer = await local.send(method, target)
            if isinstance(answer, Stream):
                assert b"m1999" in await anext(answer.chunks)
                await answer.chunks.aclose()  # type: ignore[attr-defined]

        working = asyncio.ensure_future(work())
        turns = 0
        while not working.done():
            await asyncio.sleep(0)
            turns += 1
        await working
        assert turns > 2_000 / 300

    run_virtual(body())
