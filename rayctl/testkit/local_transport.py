"""The embedded API server's handler as a transport: everything but sockets and TLS is that of production."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from rayctl.embedded.apiserver.handler import Handler
from rayctl.embedded.apiserver.requests import Request, Response
from rayctl.kube.calls import OPENED, Call
from rayctl.kube.deadline import within
from rayctl.kube.errors import NoAnswer, from_status

__all__ = ["LocalTransport"]


class LocalTransport:
    """Args: the server's handler, and the token of the user who asks."""

    def __init__(self, handler: Handler, token: str, user_agent: str = "rayctl") -> None:
        self._handler = handler
        self._headers = {"authorization": f"Bearer {token}", "user-agent": user_agent}

    async def request(self, call: Call) -> Any:
        """See `Transport.request`."""
        try:
            answer = await within(call.timeout_s, self._handler.handle(self._made(call)))
        except asyncio.TimeoutError as error:
            failure = NoAnswer(f"{call.method} {call.path}: no answer: took too long")
            failure.outcome_unknown = call.writes
            raise failure from error
        if not isinstance(answer, Response):
            assert answer.whole, "a watch was asked for as a request"
            answer = await answer.gathered()
        return _decoded(call, answer)

    async def watch(self, call: Call, silence_s: float) -> AsyncGenerator[dict[str, Any], None]:
        """See `Transport.watch`."""
        answer = await self._handler.handle(self._made(call))
        if isinstance(answer, Response):
            _decoded(call, answer)
            raise AssertionError("a watch was answered like a list")
        yield {"type": OPENED}
        pending = b""
        async with aclosing(answer.chunks) as chunks:  # type: ignore[type-var]
            while True:
                try:
                    chunk = await within(silence_s, anext(chunks))
                except StopAsyncIteration:
                    return
                except asyncio.TimeoutError as error:
                    raise NoAnswer(f"{call.path}: the watch was silent for {silence_s:.0f} s") from error
                *lines, pending = (pending + chunk).split(b"\n")
                for line in lines:
                    if line:
                        yield json.loads(line)

    async def close(self) -> None:
        """See `Transport.close`."""

    def _made(self, call: Call) -> Request:
        body = b"" if call.body is None else json.dumps(call.body).encode()
        return Request.make(call.method, call.target, {**self._headers, "content-type": call.content_type}, body)


def _decoded(call: Call, answer: Response) -> Any:
    document = json.loads(answer.body) if answer.content_type.startswith("application/json") else answer.body.decode()
    if answer.code < 400:
        return document
    wait = next((value for name, value in answer.headers if name.lower() == "retry-after"), None)
    raise from_status(answer.code, document, None if wait is None else float(wait), call.writes)
