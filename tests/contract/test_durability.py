"""kill -9 in the middle of writes: what was acknowledged is there, revisions only grow, watches resume exactly.

``RAYCTL_TEST_KILL_ROUNDS``: how many (default 6).
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import ssl
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from rayctl.selfhost.status import kubernetes_verdict
from rayctl.selfhost.upfile import UpFile
from tests.contract.servers import Running, start

ROUNDS = int(os.environ.get("RAYCTL_TEST_KILL_ROUNDS", "6"))
MAPS = "/api/v1/namespaces/default/configmaps"


def session(server: Running) -> aiohttp.ClientSession:
    context = ssl.create_default_context(cafile=str(server.authority))
    headers = {"Authorization": f"Bearer {server.token}", "Content-Type": "application/json"}
    return aiohttp.ClientSession(server.url, headers=headers, connector=aiohttp.TCPConnector(ssl=context, limit=0))


async def test_a_full_disk_is_told_and_survived(tmp_path: Path) -> None:
    """The server's files may not grow any more (the kernel's file size limit), then they may again."""
    server = start(tmp_path)
    up = UpFile(str(tmp_path), kubernetes_url=server.url, kubeconfig=str(server.kubeconfig))
    limits = psutil.Process(server.process.pid)
    unlimited = limits.rlimit(psutil.RLIMIT_FSIZE)
    try:
        async with session(server) as http:
            limits.rlimit(psutil.RLIMIT_FSIZE, (40_960, unlimited[1]))
            async with http.post(MAPS, json={"metadata": {"name": "big"}, "data": {"v": "x" * 60_000}}) as answer:
                assert answer.status == 500
                assert "the store cannot be written: disk" in (await answer.json())["message"]
            async with http.get("/readyz") as answer:
                assert answer.status == 500
                assert "the store cannot be written: disk" in await answer.text()
            async with http.get("/livez") as answer:
                assert answer.status == 200
            said = await asyncio.to_thread(kubernetes_verdict, up, 5.0)
            assert said["state"] == "broken"
            assert "the store cannot be written: disk" in said["reason"]
            assert "Is there room" in said["hint"]
            async with http.get(f"{MAPS}/big") as answer:
                assert answer.status == 404
            limits.rlimit(psutil.RLIMIT_FSIZE, unlimited)
            async with http.post(MAPS, json={"metadata": {"name": "after"}}) as answer:
                assert answer.status == 201
            async with http.get("/readyz") as answer:
                assert answer.status == 200
            assert await asyncio.to_thread(kubernetes_verdict, up, 5.0) == {}
        assert "the store cannot be written" in (tmp_path / "stderr").read_text()
    finally:
        server.process.terminate()
        server.process.wait(20)
    said = kubernetes_verdict(up, 5.0)
    assert said["state"] == "broken"
    assert "does not answer" in said["reason"]


async def write_until_killed(
    server: Running, number: int, acknowledged: dict[str, int], gone: set[str], under_way: asyncio.Event
) -> None:
    """Create, change and delete until the connection breaks; remembers what was acknowledged, and what may be."""
    async with session(server) as http:
        for count in range(10_000):
            name = f"r{number}-{count}"
            body = {"metadata": {"name": name}, "data": {"round": str(number)}}
            try:
                async with http.post(MAPS, json=body) as answer:
                    document = await answer.json()
                    assert answer.status == 201, document
                    acknowledged[name] = int(document["metadata"]["resourceVersion"])
                if count == 2:
                    under_way.set()
                if count % 5 == 4:
                    gone.add(name)
                    async with http.delete(f"{MAPS}/{name}") as answer:
                        assert answer.status == 200
                        acknowledged[name] = -1
            except (aiohttp.ClientError, asyncio.TimeoutError, ConnectionError):
                return


async def watch(
    server: Running, revision: int, events: list[tuple[str, str, int]], caught_up: asyncio.Event, goal: int
) -> None:
    """Collect events from a revision on, until the goal has been seen."""
    async with (
        session(server) as http,
        http.get(MAPS, params={"watch": "1", "resourceVersion": str(revision), "timeoutSeconds": "60"}) as answer,
    ):
        async for line in answer.content:
            event: dict[str, Any] = json.loads(line)
            assert event["type"] != "ERROR", event
            metadata = event["object"]["metadata"]
            events.append((event["type"], metadata["name"], int(metadata["resourceVersion"])))
            if events[-1][2] >= goal:
                caught_up.set()
                return


async def one_round(server: Running, number: int, rng: random.Random, ledger: dict[str, int], gone: set[str]) -> None:
    under_way = asyncio.Event()
    writers = [
        asyncio.create_task(write_until_killed(server, number * 10 + i, ledger, gone, under_way)) for i in range(3)
    ]
    await asyncio.wait_for(under_way.wait(), 30)
    await asyncio.sleep(rng.uniform(0.0, 0.3))  # the moment of death is random on purpose
    server.process.kill()
    server.process.wait(10)
    await asyncio.gather(*writers)


@pytest.mark.parametrize("durability", ["normal", "full"])
async def test_nothing_acknowledged_is_lost(tmp_path: Path, durability: str) -> None:
    rng = random.Random(5)
    ledger: dict[str, int] = {}
    gone: set[str] = set()
    server = start(tmp_path, durability=durability)
    try:
        async with session(server) as http, http.get(MAPS) as answer:
            revision = int((await answer.json())["metadata"]["resourceVersion"])
        events: list[tuple[str, str, int]] = []
        for number in range(ROUNDS // 2):
            await one_round(server, number, rng, ledger, gone)
            server = start(tmp_path, durability=durability, port=server.port)
            async with session(server) as http, http.get(MAPS) as answer:
                found = await answer.json()
            now = int(found["metadata"]["resourceVersion"])
            there = {item["metadata"]["name"]: int(item["metadata"]["resourceVersion"]) for item in found["items"]}
            for name, acknowledged in ledger.items():
                if acknowledged == -1:
                    assert name not in there, f"the deletion of {name} was lost"
                elif name not in gone:
                    assert there.get(name) == acknowledged, f"{name} was lost or changed"
            assert now >= max(there.values(), default=0)
            caught_up = asyncio.Event()
            newest = max([*there.values(), *(v for v in ledger.values() if v > 0)])
            await asyncio.wait_for(watch(server, revision, events, caught_up, newest), 60)
            revision = events[-1][2]
        revisions = [event[2] for event in events]
        assert revisions == sorted(set(revisions)), "a watch that resumes repeats nothing and keeps the order"
        added = {name for kind, name, _ in events if kind == "ADDED"}
        assert {name for name in ledger} <= added | gone, "a watch that resumes misses nothing"
    finally:
        server.process.kill()
        server.process.wait(10)
