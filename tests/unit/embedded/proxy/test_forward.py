"""Connections through a Service's address: kept ones change sides between two requests, and at no other moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from rayctl.embedded.proxy.forward import Frontend
from rayctl.embedded.proxy.table import Backend

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Side:
    """A backend that answers with its name, when it may."""

    def __init__(self, name: str) -> None:
        self.name, self.may = name, asyncio.Event()
        self.may.set()
        self.asked = asyncio.Event()
        self.open = self.port = 0
        self.changed = asyncio.Event()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Side]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._count(1)
        try:
            while line := await reader.readline():
                if line == b"raw\n":
                    writer.write(f"raw {self.name}\n".encode())
                if line != b"\r\n":
                    continue
                self.asked.set()
                await self.may.wait()
                writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(self.name)}\r\n\r\n{self.name}".encode())
        finally:
            self._count(-1)
            writer.close()

    def _count(self, by: int) -> None:
        self.open += by
        self.changed.set()

    async def left(self) -> None:
        """Wait until nobody is connected any more."""
        while self.open:
            self.changed.clear()
            await asyncio.wait_for(self.changed.wait(), 5)

    @property
    def backend(self) -> Backend:
        return Backend("127.0.0.1", self.port)


class Stage:
    """Two sides, and a Service that leads to some of them."""

    def __init__(self, blue: Side, green: Side) -> None:
        self.blue, self.green = blue, green
        self.backends: list[Backend] = [blue.backend]
        self.frontend = Frontend(lambda: self.backends)
        self.port = 0

    def lead_to(self, *backends: Backend) -> None:
        self.backends = list(backends)
        self.frontend.review()

    async def connect(self) -> Streams:
        return await asyncio.open_connection("127.0.0.1", self.port)


async def answer(streams: Streams) -> str:
    head = await asyncio.wait_for(streams[0].readuntil(b"\r\n\r\n"), 5)
    length = int(head.rsplit(b": ", 1)[1])
    return (await asyncio.wait_for(streams[0].readexactly(length), 5)).decode()


async def ask(streams: Streams) -> str:
    streams[1].write(GET)
    return await answer(streams)


def staged(play: Callable[[Stage], Awaitable[None]]) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            blue, green = [await stack.enter_async_context(Side(name).listening()) for name in ("blue", "green")]
            stage = Stage(blue, green)
            await stage.frontend.listen("127.0.0.1", 0)
            assert stage.frontend._server is not None
            stage.port = stage.frontend._server.sockets[0].getsockname()[1]
            stack.push_async_callback(stage.frontend.close)
            await play(stage)

    asyncio.run(main())


def test_a_kept_connection_is_carried_on_between_two_requests() -> None:
    async def play(stage: Stage) -> None:
        kept = await stage.connect()
        assert [await ask(kept), await ask(kept)] == ["blue", "blue"]
        stage.lead_to(stage.green.backend)
        await stage.blue.left()  # at once, not with the next request: the old side sees that it is idle
        assert [await ask(kept), await ask(kept)] == ["green", "green"]
        stage.lead_to(stage.blue.backend)
        assert await ask(kept) == "blue"
        kept[1].close()
        await stage.blue.left()

    staged(play)


def test_a_client_that_ends_between_two_sides_is_let_go() -> None:
    async def play(stage: Stage) -> None:
        kept = await stage.connect()
        assert await ask(kept) == "blue"
        stage.lead_to(stage.green.backend)
        await stage.blue.left()
        kept[1].write_eof()
        assert await asyncio.wait_for(kept[0].read(), 5) == b""
        assert stage.green.open == 0

    staged(play)


def test_an_answer_larger_than_all_buffers_arrives_whole_and_then_it_changes() -> None:
    async def play(stage: Stage) -> None:
        stage.blue.name = "blue" * 4_000_000
        kept = await stage.connect()
        kept[1].write(GET)
        await stage.blue.asked.wait()
        stage.lead_to(stage.green.backend)
        assert await answer(kept) == stage.blue.name
        await stage.blue.left()
        assert await ask(kept) == "green"

    staged(play)


def test_a_request_in_flight_ends_where_it_began() -> None:
    async def play(stage: Stage) -> None:
        kept = await stage.connect()
        assert await ask(kept) == "blue"
        stage.blue.may.clear()
        stage.blue.asked.clear()
        kept[1].write(GET)
        await stage.blue.asked.wait()
        stage.lead_to(stage.green.backend)
        assert stage.blue.open == 1
        stage.blue.may.set()
        assert await answer(kept) == "blue"
        await stage.blue.left()
        assert await ask(kept) == "green"

    staged(play)


def test_many_that_never_pause_lose_nothing() -> None:
    async def play(stage: Stage) -> None:
        ending = asyncio.Event()
        answers: asyncio.Queue[str] = asyncio.Queue()

        async def load() -> None:
            kept = await stage.connect()
            while not ending.is_set():
                answers.put_nowait(await ask(kept))

        loads = [asyncio.create_task(load()) for _ in range(8)]
        for _ in range(10):
            for side in (stage.green, stage.blue):
                stage.lead_to(side.backend)
                found = [await answers.get() for _ in range(100)]
                assert found[-50:] == [side.name] * 50
        ending.set()
        await asyncio.gather(*loads)
        stage.lead_to(stage.green.backend)
        await stage.blue.left()

    staged(play)


@pytest.mark.parametrize(
    ("first", "reply"), [(b"raw\n", b"raw blue\n"), (b"", b"")], ids=["another protocol", "nothing said yet"]
)
def test_other_connections_stay_with_their_backend(first: bytes, reply: bytes) -> None:
    async def play(stage: Stage) -> None:
        opaque = await stage.connect()
        opaque[1].write(first)
        assert await opaque[0].readexactly(len(reply)) == reply
        await asyncio.wait_for(stage.blue.changed.wait(), 5)
        stage.lead_to(stage.green.backend)
        opaque[1].write(b"raw\n")
        assert await opaque[0].readline() == b"raw blue\n"

    staged(play)


def test_where_there_is_no_other_it_stays() -> None:
    async def play(stage: Stage) -> None:
        kept = await stage.connect()
        assert await ask(kept) == "blue"
        stage.lead_to()
        assert await ask(kept) == "blue"
        old = stage.blue.backend
        stage.lead_to(Backend(old.host, old.port, "a", 0.0), Backend(old.host, stage.green.port, "b", 1.0))
        assert await ask(kept) == "green"

    staged(play)
