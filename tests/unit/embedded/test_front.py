"""The socket in front of the handler: what browsers may not do, streams of clients that leave, long lists in slices."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest
import yaml

from rayctl.embedded.apiserver.access.tokens import ADMIN
from rayctl.embedded.apiserver.server import Options, Server
from rayctl.embedded.apiserver.store import Change

MAPS = "/api/v1/namespaces/default/configmaps"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
PARTIAL = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    running = Server(Options(tokens=[("t", ADMIN)], hosts=["api.example"]))
    await running.start()
    yield running
    await running.stop()


@pytest.fixture
async def http(server: Server) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(server.url, headers={"Authorization": "Bearer t"}) as session:
        yield session


async def until(happened: Callable[[], bool]) -> None:
    for _ in range(1_000):
        if happened():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not happen within 10 s")


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:6443", "127.0.0.1.evil.example", "10.0.0.1", "", "[::", "a@b"]
)
@pytest.mark.security("S4")
async def test_other_host_names_are_refused(http: aiohttp.ClientSession, method: str, host: str) -> None:
    async with http.request(method, MAPS, headers={"Host": host}) as answer:
        assert answer.status == 403
        assert (await answer.json())["reason"] == "Forbidden"


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:1", "127.9.9.9:80", "[::1]:7", "kubernetes.default.svc", "api.example", "api.example."],
)
async def test_the_servers_own_names_are_good(http: aiohttp.ClientSession, host: str) -> None:
    async with http.get("/api", headers={"Host": host}) as answer:
        assert answer.status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize(
    "forged",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "https://127.0.0.1.evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
@pytest.mark.security("S4")
async def test_pages_of_other_origins_change_nothing(
    server: Server, http: aiohttp.ClientSession, method: str, forged: dict[str, str]
) -> None:
    before = server.api.store.revision
    async with http.request(method, f"{MAPS}/x", json={"metadata": {"name": "x"}}, headers=forged) as answer:
        assert answer.status == 403
    assert server.api.store.revision == before


async def test_a_watch_ends_with_its_client(server: Server, http: aiohttp.ClientSession) -> None:
    revision = str(server.api.store.revision)
    answer = await http.get(MAPS, params={"watch": "1", "resourceVersion": revision})
    await until(lambda: server.handler.hub.count == 1)
    answer.close()
    await until(lambda: server.handler.hub.count == 0)


@pytest.mark.security("S16")
async def test_a_user_may_have_so_many_watches(server: Server, http: aiohttp.ClientSession) -> None:
    server.handler.hub.per_user = 2
    params = {"watch": "1", "resourceVersion": str(server.api.store.revision)}
    held = [await http.get(MAPS, params=params) for _ in range(2)]
    async with http.get(MAPS, params=params) as answer:
        assert answer.status == 429
        assert answer.headers["Retry-After"] == "1"
    held[0].close()
    await until(lambda: server.handler.hub.count == 1)
    async with http.get(MAPS, params=params) as answer:
        assert answer.status == 200
    held[1].close()


async def fill(server: Server, count: int) -> None:
    for number in range(count):
        name = f"m{number:04d}"
        metadata = {"name": name, "namespace": "default", "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z"}
        document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"n": str(number)}}
        await server.api.write(Change(("configmaps", "default", name), document))


@pytest.mark.parametrize("count", [0, 1, 1234])
async def test_lists_are_the_same_however_they_are_cut(server: Server, http: aiohttp.ClientSession, count: int) -> None:
    await fill(server, count)
    names = [f"m{number:04d}" for number in range(count)]

    async def listed(accept: str, read: Callable[[str], Any], **params: str) -> Any:
        async with http.get(MAPS, headers={"Accept": accept}, params=params) as answer:
            assert answer.status == 200
            return read(await answer.text())

    plain = await listed("application/json", json.loads)
    assert [item["metadata"]["name"] for item in plain["items"]] == names
    assert "kind" not in (plain["items"] or [{}])[0]
    table = await listed(TABLE, json.loads)
    assert [row["cells"][0] for row in table["rows"]] == names
    assert table["kind"] == "Table"
    partial = await listed(PARTIAL, json.loads)
    assert [item["metadata"]["name"] for item in partial["items"]] == names
    chosen = await listed("application/json", json.loads, fieldSelector="metadata.name!=m0000")
    assert [item["metadata"]["name"] for item in chosen["items"]] == names[1:]
    if count <= 1:
        assert await listed("application/yaml", yaml.safe_load) == plain


async def test_a_long_list_in_yaml_is_the_same_document(server: Server, http: aiohttp.ClientSession) -> None:
    await fill(server, 120)
    async with http.get(MAPS) as answer:
        plain = await answer.json()
    async with http.get(MAPS, headers={"Accept": "application/yaml"}) as answer:
        assert yaml.safe_load(await answer.text()) == plain


async def test_a_list_beside_writes_is_of_one_moment(server: Server, http: aiohttp.ClientSession) -> None:
    """A slice is sent, then everything is deleted, then the rest is read."""
    await fill(server, 5_000)
    async with http.get(MAPS) as answer:
        await answer.content.read(1)
        async with http.delete(MAPS) as deleted:
            assert deleted.status == 200
        rest = await answer.content.read()
    found = json.loads(b"{" + rest)
    assert len(found["items"]) == 5_000
    newest = max(int(item["metadata"]["resourceVersion"]) for item in found["items"])
    assert newest == int(found["metadata"]["resourceVersion"])


async def test_a_watch_that_begins_with_many_objects_is_not_taken_for_a_slow_one(
    server: Server, http: aiohttp.ClientSession
) -> None:
    await fill(server, 1_500)
    async with http.get(MAPS, params={"watch": "1"}) as answer:
        await fill(server, 1)
        lines = [json.loads(await answer.content.readline()) for _ in range(1_501)]
    assert [line["type"] for line in lines] == ["ADDED"] * 1_500 + ["MODIFIED"]
