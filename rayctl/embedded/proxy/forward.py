"""Carrying connections: accepted at a Service's address, joined with the first backend that answers, both ways.

A connection that is joined stays with its backend while a request is in flight, whatever becomes of the backend: that
is the draining of endpoints. Between two requests (of HTTP/1.1; other protocols have no such moment that could be seen)
it leaves a backend to which the Service does not lead any more: the client keeps its connection, and its next request
goes to another backend. A backend that does not answer is passed over, which costs the client nothing, because nothing
was sent to it yet.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import Callable, Sequence

from rayctl.embedded.proxy.balance import order, stays
from rayctl.embedded.proxy.boundaries import Boundaries
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
        self.ended = self.lost = self.full = False

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
        if self.ended:
            self._finish()

    def data_received(self, data: bytes) -> None:
        if self.other is None:
            self._early.append(data)
        else:
            self.other.write(data)

    def eof_received(self) -> bool:
        self.ended = True
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
        self.full = True
        if self.other is not None and not self.other.is_closing():
            self.other.pause_reading()

    def resume_writing(self) -> None:
        self.full = False
        if self.other is not None and not self.other.is_closing():
            self.other.resume_reading()


class _Backend(_End):
    """A backend's end; ``client``: whose it is, once it is joined."""

    client: _Client | None = None

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.client is not None:
            self.client.answered(data)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.client is not None:
            self.client.review()


class _Client(_End):
    """The client's end. It asks for a backend as soon as it is there, and again for the request after it left one.

    Args:
        begin: Finds a backend and joins the two.
        stays: Whether the Service leads to a backend that a connection already has.
        gone: Told when the client has ended.
    """

    def __init__(
        self,
        begin: Callable[[_Client], None],
        stays: Callable[[Backend], bool],
        gone: Callable[[_Client], None],
    ) -> None:
        super().__init__()
        self._begin, self._stays, self._gone = begin, stays, gone
        self._boundaries = Boundaries()
        self._end: _Backend | None = None
        self._place: Backend | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._begin(self)

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self._gone(self)

    def data_received(self, data: bytes) -> None:
        self._boundaries.sent(data)
        super().data_received(data)
        if self._idle:
            self._place = None
            self._begin(self)

    def eof_received(self) -> bool:
        return super().eof_received() and not self._idle  # nothing is to be answered: this is the end

    @property
    def _idle(self) -> bool:
        """Whether it left a backend and did not ask for another yet."""
        return self._place is not None and self._end is None

    def meet(self, end: _Backend, place: Backend) -> None:
        """Be joined with a backend."""
        assert self.transport is not None
        assert end.transport is not None
        self._end, self._place, end.client = end, place, self
        end.join(self.transport)
        self.join(end.transport)

    def answered(self, data: bytes) -> None:
        """Note what the backend has answered."""
        self._boundaries.received(data)
        self.review()

    def review(self) -> None:
        """Leave the backend, if the Service does not lead to it any more and no request is in flight.

        Nor while one of the two waits until the other has taken what it sent.
        """
        end, place = self._end, self._place
        if end is None or place is None or self.ended or end.ended or self.lost or end.lost:
            return
        if self.full or end.full or not self._boundaries.between or self._stays(place):
            return
        assert end.transport is not None
        self._end = self.other = end.other = end.client = None
        end.transport.close()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.review()


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
        joined: Connections that have been carried to a backend; one that is carried to two counts twice.
    """

    def __init__(self, backends: Callable[[], Sequence[Backend]], chance: random.Random | None = None) -> None:
        self._backends, self._chance = backends, chance or random.Random()
        self._server: asyncio.Server | None = None
        self._turn = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._clients: set[_Client] = set()
        self.joined = 0

    async def listen(self, host: str, port: int) -> None:
        """Begin to accept. Raises OSError."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, host, port, backlog=BACKLOG, reuse_address=True)

    async def close(self) -> None:
        """Accept no more; what is carried goes on."""
        if self._server is not None:
            self._server.close()

    def review(self) -> None:
        """Have idle connections leave backends to which the Service does not lead any more."""
        for client in list(self._clients):
            client.review()

    def _stays(self, place: Backend) -> bool:
        return stays(place, self._backends())

    def _accept(self) -> _End:
        return _Client(self._begin, self._stays, self._clients.discard)

    def _begin(self, client: _Client) -> None:
        self._clients.add(client)
        task = asyncio.create_task(self._join(client))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _join(self, client: _Client) -> None:
        assert client.transport is not None
        client.transport.pause_reading()
        found = await self._reach()
        if found is None or client.lost:
            _reset(client.transport)
            if found is not None and found[0].transport is not None:
                found[0].transport.abort()
            return
        end, place = found
        self.joined += 1
        client.meet(end, place)
        if end.lost:
            client.transport.close()
            return
        client.transport.resume_reading()

    async def _reach(self) -> tuple[_Backend, Backend] | None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE_S
        while True:
            self._turn += 1
            tried = False
            for backend in order(self._backends(), self._turn, self._chance):
                tried = True
                try:
                    connecting = loop.create_connection(_Backend, backend.host, backend.port)
                    _, end = await asyncio.wait_for(connecting, CONNECT_S)
                    return end, backend
                except (OSError, asyncio.TimeoutError):
                    continue
            if loop.time() >= deadline:
                return None
            await asyncio.sleep(RETRY_S if not tried else RETRY_S * 2)
