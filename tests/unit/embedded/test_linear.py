"""Random concurrent histories are linearizable, whatever shares a transaction; and the checker sees what is not."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from pathlib import Path

import pytest

from rayctl.embedded.apiserver.access.tokens import ADMIN
from rayctl.embedded.apiserver.database import Durability
from rayctl.embedded.apiserver.requests import Request, Response
from rayctl.embedded.apiserver.server import Options, Server
from tests.unit.embedded.linear import Operation, check

MAPS = "/api/v1/namespaces/default/configmaps"
HEADERS = {"authorization": "Bearer t", "content-type": "application/json"}
MERGE = {**HEADERS, "content-type": "application/merge-patch+json"}


class Clients:
    """Several clients at once; every call and answer gets a number."""

    def __init__(self, server: Server, rng: random.Random) -> None:
        self._server = server
        self._rng = rng
        self._clock = itertools.count(1)
        self.history: list[Operation] = []

    async def _send(self, request: Request) -> tuple[int, dict[str, object], int, int]:
        called = next(self._clock)
        for _ in range(self._rng.randrange(3)):
            await asyncio.sleep(0)
        answer = await self._server.handler.handle(request)
        for _ in range(self._rng.randrange(3)):
            await asyncio.sleep(0)
        assert isinstance(answer, Response)
        return answer.code, json.loads(answer.body), called, next(self._clock)

    async def client(self, number: int, operations: int) -> None:
        for count in range(operations):
            key, value = f"k{self._rng.randrange(3)}", f"{number}-{count}"
            await self._rng.choice([self._create, self._patch, self._delete, self._get, self._get, self._list])(
                key, value
            )

    async def _create(self, key: str, value: str) -> None:
        body = json.dumps({"metadata": {"name": key}, "data": {"v": value}}).encode()
        code, found, called, answered = await self._send(Request("POST", MAPS, (), HEADERS, body))
        if code == 201:
            self._wrote(key, value, found, called, answered)
        else:
            assert code == 409

    async def _patch(self, key: str, value: str) -> None:
        body = json.dumps({"data": {"v": value}}).encode()
        code, found, called, answered = await self._send(Request("PATCH", f"{MAPS}/{key}", (), MERGE, body))
        if code == 200:
            self._wrote(key, value, found, called, answered)
        else:
            self.history.append(Operation(key, False, called, answered, 0, None))

    async def _delete(self, key: str, value: str) -> None:
        """The revision of a deletion is told by the watch alone: it comes from the store's own history."""
        store = self._server.api.store
        code, found, called, answered = await self._send(Request("DELETE", f"{MAPS}/{key}", (), HEADERS))
        if code == 200:
            uid = found["details"]["uid"]  # type: ignore[index]
            gone = [e for e in store.changes_after("configmaps", 0) if e.type == "DELETED"]
            [event] = [e for e in gone if e.now.object["metadata"]["uid"] == uid]
            self.history.append(Operation(key, True, called, answered, event.revision, None))
        else:
            self.history.append(Operation(key, False, called, answered, 0, None))

    async def _get(self, key: str, value: str) -> None:
        code, found, called, answered = await self._send(Request("GET", f"{MAPS}/{key}", (), HEADERS))
        if code == 200:
            revision = int(found["metadata"]["resourceVersion"])  # type: ignore[index]
            self.history.append(Operation(key, False, called, answered, revision, found["data"]["v"]))  # type: ignore[index]
        else:
            self.history.append(Operation(key, False, called, answered, 0, None))

    async def _list(self, key: str, value: str) -> None:
        _, found, called, answered = await self._send(Request("GET", MAPS, (), HEADERS))
        newest = int(found["metadata"]["resourceVersion"])  # type: ignore[index]
        items = {item["metadata"]["name"]: item for item in found["items"]}  # type: ignore[attr-defined]
        for name in ("k0", "k1", "k2"):
            item = items.get(name)
            revision = int(item["metadata"]["resourceVersion"]) if item else 0
            value_there = item["data"]["v"] if item else None
            self.history.append(Operation(name, False, called, answered, revision, value_there, newest))

    def _wrote(self, key: str, value: str, found: dict[str, object], called: int, answered: int) -> None:
        revision = int(found["metadata"]["resourceVersion"])  # type: ignore[index]
        self.history.append(Operation(key, True, called, answered, revision, value))


@pytest.mark.parametrize("durability", ["memory", "normal", "full"])
async def test_concurrent_histories_are_linearizable(tmp_path: Path, durability: Durability) -> None:
    for seed in range(8):
        server = Server(Options(tmp_path / str(seed), durability, tokens=[("t", ADMIN)], controllers=False))
        await server.start()
        try:
            clients = Clients(server, random.Random(seed))
            await asyncio.gather(*(clients.client(number, 40) for number in range(6)))
        finally:
            await server.stop()
        assert len(clients.history) > 200
        assert sum(op.write for op in clients.history) > 30
        assert check(clients.history) == [], f"seed {seed}"


W1 = Operation("k", True, 1, 2, 10, "a")
W2 = Operation("k", True, 3, 4, 11, "b")
GONE = Operation("k", True, 5, 6, 12, None)


@pytest.mark.parametrize(
    ("history", "good"),
    [
        ([W1, W2, Operation("k", False, 5, 6, 11, "b")], True),
        ([W1, W2, Operation("k", False, 5, 6, 10, "a")], False),  # stale
        ([W1, W2, Operation("k", False, 2, 6, 10, "a")], True),  # at the same time
        ([W1, Operation("k", False, 3, 4, 0, None)], False),  # lost
        ([W1, Operation("k", False, 3, 4, 10, "z")], False),  # another value
        ([W1, Operation("k", False, 3, 4, 99, "a")], False),  # from nowhere
        ([W1, W2, GONE, Operation("k", False, 7, 8, 0, None)], True),
        ([W1, W2, GONE, Operation("k", False, 7, 8, 11, "b")], False),  # risen from the dead
        ([Operation("k", True, 1, 2, 11, "a"), Operation("k", True, 3, 4, 10, "b")], False),  # revisions go back
        ([W1, Operation("k", True, 3, 4, 10, "b")], False),  # the same revision twice
        ([W1, Operation("j", False, 3, 4, 0, None, 9)], False),  # a list of before an answered write
        ([W1, Operation("j", False, 3, 4, 0, None, 10)], True),
        ([Operation("k", False, 1, 2, 10, "a"), Operation("k", True, 3, 4, 10, "a")], False),  # from the future
    ],
)
def test_the_checker(history: list[Operation], good: bool) -> None:
    assert (check(history) == []) == good
