"""The HTTP front on aiohttp: from a socket's request to `Handler` and back, and what browsers may not do."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncGenerator, Iterable
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from rayctl.embedded.apiserver.bodies import MAX_BODY
from rayctl.embedded.apiserver.errors import ApiError
from rayctl.embedded.apiserver.handler import Handler
from rayctl.embedded.apiserver.requests import Request, Response, Stream
from rayctl.embedded.apiserver.store import dumps

__all__ = ["Front"]

SERVICE_NAMES = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
"""Under these names clients and pods know the server."""
BODY_WITHIN_S = 60.0
"""A body that takes longer to arrive is given up."""
HEADERS_WITHIN_S = 30.0
"""So are headers; aiohttp itself waits for them for ever."""


class _Connection(web.RequestHandler):
    """Ends a stream when its client goes. Other requests are carried through: half a write would not be undone."""

    __slots__ = ("_late", "streaming")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.streaming: asyncio.Task[Any] | None = None
        self._late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        # The first request's: later ones have the time that a kept connection may rest.
        self._late = asyncio.get_running_loop().call_later(HEADERS_WITHIN_S, self._give_up)

    def _give_up(self) -> None:
        self._late = None
        if self.transport is not None:
            self.transport.close()

    def headers_have_come(self) -> None:
        """Stop waiting for them."""
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self.headers_have_come()
        if self.streaming is not None:
            self.streaming.cancel()


class _Server(web.Server):
    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)


class Front:
    """Answers the requests of one listening socket.

    Args:
        handler: What answers.
        hosts: More host names that clients may use; loopback addresses and `SERVICE_NAMES` are always good.
    """

    def __init__(self, handler: Handler, hosts: Iterable[str] = ()) -> None:
        self._handler = handler
        self._hosts = frozenset({*SERVICE_NAMES, *(name.lower() for name in hosts)})
        self._good: set[str] = set()

    def server(self) -> web.Server:
        """Return the protocol factory, without any routes: `Handler` reads paths itself."""
        loop = asyncio.get_running_loop()

        def make(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
            return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=MAX_BODY + 1)

        return _Server(self.answer, request_factory=make, access_log=None)

    async def answer(self, incoming: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        connection = incoming.protocol
        assert isinstance(connection, _Connection)
        connection.headers_have_come()
        headers = {name.lower(): value for name, value in incoming.headers.items()}
        refusal = self._refusal(incoming.method, headers)
        if refusal is not None:
            return _whole(Response(refusal.code, dumps(refusal.document())))
        try:
            body = await _body(incoming)
        except web.HTTPRequestEntityTooLarge:
            body = b"x" * (MAX_BODY + 1)
        except asyncio.TimeoutError:
            late = ApiError(408, "Timeout", f"the body did not arrive within {BODY_WITHIN_S:.0f} s", {})
            return _whole(Response(late.code, dumps(late.document()), headers=[("Connection", "close")]))
        answer = await self._handler.handle(_request(incoming, headers, body))
        if isinstance(answer, Response):
            return _whole(answer)
        return await _streamed(incoming, answer)

    def _refusal(self, method: str, headers: dict[str, str]) -> ApiError | None:
        """Refuse what a page in a browser could have been tricked into sending (DNS rebinding, forged requests)."""
        host = headers.get("host", "")
        if host not in self._good:
            if not self._is_ours(host):
                return ApiError(403, "Forbidden", "the Host header names another server than this one", {})
            if len(self._good) < 100:
                self._good.add(host)
        if method in ("GET", "HEAD", "OPTIONS"):
            return None
        origin = headers.get("origin")
        foreign = origin is not None and not self._is_ours(urlsplit(origin).netloc)
        if foreign or headers.get("sec-fetch-site") in ("cross-site", "same-site"):
            return ApiError(403, "Forbidden", "requests from pages of other origins are refused", {})
        return None

    def _is_ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        name = name.rstrip(".").lower()
        if name in self._hosts or name.endswith(".svc.cluster.local"):
            return True
        try:
            return ipaddress.ip_address(name).is_loopback
        except ValueError:
            return False


async def _body(incoming: web.BaseRequest) -> bytes:
    if not incoming.can_read_body:
        return b""
    if incoming.content.is_eof():
        return await incoming.read()  # all of it is here; a timer would cost more than reading
    return await asyncio.wait_for(incoming.read(), BODY_WITHIN_S)


def _request(incoming: web.BaseRequest, headers: dict[str, str], body: bytes) -> Request:
    target = incoming.raw_path
    query: tuple[tuple[str, str], ...] = ()
    if target.startswith("/") and "%" not in target and "?" not in target and "#" not in target:
        path = target  # as most are
    else:
        path = incoming.path
        query = tuple(incoming.query.items())
    groups: tuple[str, ...] = ()
    if "impersonate-group" in headers:
        groups = tuple(incoming.headers.getall("Impersonate-Group", ()))
    return Request(incoming.method, path, query, headers, body, groups)


def _whole(answer: Response) -> web.Response:
    response = web.Response(status=answer.code, body=answer.body or None)
    if answer.content_type:
        response.headers["Content-Type"] = answer.content_type
    for name, value in answer.headers:
        response.headers.add(name, value)
    return response


async def _streamed(incoming: web.BaseRequest, answer: Stream) -> web.StreamResponse:
    stream = web.StreamResponse(status=200, headers={"Content-Type": answer.content_type})
    for name, value in answer.headers:
        stream.headers.add(name, value)
    chunks = answer.chunks
    connection = incoming.protocol
    assert isinstance(connection, _Connection)
    connection.streaming = asyncio.current_task()
    try:
        await stream.prepare(incoming)
        async for chunk in chunks:
            await stream.write(chunk)
    except (ConnectionError, asyncio.CancelledError):
        pass  # the client has gone
    finally:
        connection.streaming = None
        if isinstance(chunks, AsyncGenerator):
            await chunks.aclose()
    return stream
