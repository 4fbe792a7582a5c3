"""Watches that begin with a list: what comes before the mark, and when the mark comes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import pytest

from rayctl.embedded.apiserver.requests import Request, Response, Stream
from rayctl.testkit.virtual_time import run_virtual
from tests.unit.embedded.local import Local

ALL = "/api/v1/namespaces/default/configmaps"
LISTED = f"{ALL}?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&fieldSelector=metadata.name!=x"


class Told:
    """The events of one watch."""

    def __init__(self, chunks: AsyncGenerator[bytes, None]) -> None:
        self.events: list[dict[str, Any]] = []
        self._task = asyncio.ensure_future(self._read(chunks))

    async def _read(self, chunks: AsyncGenerator[bytes, None]) -> None:
        async for chunk in chunks:
            self.events += [json.loads(line) for line in chunk.splitlines()]

    async def so_far(self) -> list[str]:
        await asyncio.sleep(0.1)  # for what is on its way: that nothing more comes has no event to wait for
        return [self._short(event) for event in self.events]

    @staticmethod
    def _short(event: dict[str, Any]) -> str:
        metadata = event["object"]["metadata"]
        if event["type"] != "BOOKMARK":
            return f"{event['type']} {metadata['name']}"
        ended = (metadata.get("annotations") or {}).get("k8s.io/initial-events-end") == "true"
        return f"{'mark' if ended else 'bookmark'} {metadata['resourceVersion']}"


class Server:
    def __init__(self, local: Local) -> None:
        self._local = local

    async def watch(self, target: str) -> Told:
        answer = await self._ask("GET", target)
        assert isinstance(answer, Stream), answer.body
        return Told(answer.chunks)

    async def create(self, name: str) -> int:
        """Create a ConfigMap, return its resourceVersion."""
        answer = await self._ask("POST", ALL, {"metadata": {"name": name}})
        assert isinstance(answer, Response)
        return int(json.loads(answer.body)["metadata"]["resourceVersion"])

    async def delete(self, name: str) -> None:
        await self._ask("DELETE", f"{ALL}/{name}")

    async def _ask(self, method: str, target: str, body: Any = None) -> Response | Stream:
        headers = {"authorization": "Bearer t", "content-type": "application/json"}
        return await self._local.handler.handle(
            Request.make(method, target, headers, b"" if body is None else json.dumps(body).encode())
        )


def play(body: Callable[[Server], Awaitable[None]]) -> None:
    async def main() -> None:
        await body(Server(await Local().start()))

    run_virtual(main())


def test_what_is_there_then_the_mark_then_what_changes() -> None:
    async def body(server: Server) -> None:
        for name in ("b", "x", "a"):
            last = await server.create(name)
        told = await server.watch(f"{LISTED}&allowWatchBookmarks=true")
        await server.delete("a")
        await server.create("c")
        assert await told.so_far() == ["ADDED a", "ADDED b", f"mark {last}", "DELETED a", "ADDED c"]

    play(body)


@pytest.mark.parametrize("revision", ["1", "0", ""])
def test_not_older_than_long_ago_is_now(revision: str) -> None:
    async def body(server: Server) -> None:
        last = await server.create("a")
        told = await server.watch(f"{LISTED}&allowWatchBookmarks=true&resourceVersion={revision}")
        assert await told.so_far() == ["ADDED a", f"mark {last}"]

    play(body)


def test_the_mark_waits_for_the_revision_that_was_asked_for_and_nothing_before_it_is_lost() -> None:
    async def body(server: Server) -> None:
        last = await server.create("a")
        told = await server.watch(f"{LISTED}&allowWatchBookmarks=true&resourceVersion={last + 2}")
        await server.create("b")
        assert await told.so_far() == ["ADDED a", "ADDED b"]
        await server.create("x")  # not shown, but it makes the revision
        assert await told.so_far() == ["ADDED a", "ADDED b", f"mark {last + 2}"]

    play(body)


def test_without_bookmarks_there_is_no_mark() -> None:
    async def body(server: Server) -> None:
        await server.create("a")
        told = await server.watch(LISTED)
        assert await told.so_far() == ["ADDED a"]

    play(body)
