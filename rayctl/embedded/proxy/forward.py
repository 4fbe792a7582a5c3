"""Carrying connections: accepted at a Service's address, joined with the first backend that answers, both ways.

A connection that is joined stays with its backend until one side ends it, whatever becomes of the backend meanwhile:
that is the draining of endpoints. A backend that does not answer is passed over, which costs the client nothing,
because nothing was sent to it yet.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import Callable, Sequence

from rayctl.embedded.proxy.balance import order
from rayctl.embedded.proxy.table import Backend

__all__ = ["Frontend"]

CONNECT_S = 3.0
PATIENCE_S = 2.0
"""For so long a new connection waits for a backend to become ready, when none is."""
RETRY_S = 0.05
BACKLOG = 1024


class _End(asyncio.Protocol):
    """One end of a joined connection; `other` is the transport of the other end."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: asyncio.Transport | None = None
        self._early: list[bytes] = []
        self._ended = self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        found = transport.get_extra_info("socket")
        if found is not None:
            found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def join(self, other: asyncio.Transport) -> None:
        """Send what comes to the other end, beginning with what came already."""
        self.other = other
        for data in self._early:
            other.write(data)
        self._early = []
        if self._ended:
            self._finish()

    def data_received(self, data: bytes) -> None:
        if self.other is None:
            self._early.append(data)
        else:
            self.other.write(data)

    def eof_received(self) -> bool:
        self._ended = True
        if self.other is not None:
            self._finish()
        return True  # half closed: the answer may still come

    def _finish(self) -> None:
        if self.other is not None and self.other.can_write_eof() and not self.other.is_closing():
            with contextlib.suppress(OSError):
                self.other.write_eof()

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        if self.other is not None:
            if error is not None:
                _reset(self.other)
            else:
                self.other.close()

    # Called when our own transport cannot take more: then the other end is not read.
    def pause_writing(self) -> None:
        if self.other is not None and not self.other.is_closing():
            self.other.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None and not self.other.is_closing():
            self.other.resume_reading()


def _reset(transport: asyncio.Transport) -> None:
    """End a connection so that the other side cannot take it for a regular end."""
    found = transport.get_extra_info("socket")
    if found is not None:
        with contextlib.suppress(OSError):
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


class Frontend:
    """One address and port of a Service.

    Args:
        backends: Asked at every connection: who is ready now.

    Attributes:
        joined: Connections that are being carried.
    """

    def __init__(self, backends: Callable[[], Sequence[Backend]], chance: random.Random | None = None) -> None:
        self._backends, self._chance = backends, chance or random.Random()
        self._server: asyncio.Server | None = None
        self._turn = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self.joined = 0

    async def listen(self, host: str, port: int) -> None:
        """Begin to accept. Raises OSError."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, host, port, backlog=BACKLOG, reuse_address=True)

    async def close(self) -> None:
        """Accept no more; what is carried goes on."""
        if self._server is not None:
            self._server.close()

    def _accept(self) -> _End:
        client = _Client(self._begin)
        return client

    def _begin(self, client: _End) -> None:
        task = asyncio.create_task(self._join(client))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _join(self, client: _End) -> None:
        assert client.transport is not None
        client.transport.pause_reading()
        found = await self._reach()
        if found is None or client.lost:
            _reset(client.transport)
            if found is not None and found.transport is not None:
                found.transport.abort()
            return
        assert found.transport is not None
        self.joined += 1
        found.join(client.transport)
        client.join(found.transport)
        if found.lost:
            client.transport.close()
            return
        client.transport.resume_reading()

    async def _reach(self) -> _End | None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE_S
        while True:
            self._turn += 1
            tried = False
            for backend in order(self._backends(), self._turn, self._chance):
                tried = True
                try:
                    connecting = loop.create_connection(_End, backend.host, backend.port)
                    _, end = await asyncio.wait_for(connecting, CONNECT_S)
                    return end
                except (OSError, asyncio.TimeoutError):
                    continue
            if loop.time() >= deadline:
                return None
            await asyncio.sleep(RETRY_S if not tried else RETRY_S * 2)


class _Client(_End):
    """The client's end, which asks for a backend as soon as it is there."""

    def __init__(self, begin: Callable[[_End], None]) -> None:
        super().__init__()
        self._begin = begin

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._begin(self)
