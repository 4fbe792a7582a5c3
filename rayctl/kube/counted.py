"""A transport that tells how long its requests took and how they ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

from rayctl.kube.calls import Call, Transport
from rayctl.kube.errors import KubernetesError
from rayctl.telemetry.traces import span

__all__ = ["CountedTransport"]


class CountedTransport:
    """Args: the transport, and what is told of each request: method, the answer's code (0: none), seconds."""

    def __init__(self, inner: Transport, told: Callable[[str, int, float], None]) -> None:
        self._inner, self._told = inner, told

    async def request(self, call: Call) -> Any:
        """See `Transport.request`."""
        loop = asyncio.get_running_loop()
        began, code = loop.time(), 0
        with span(call.method, path=call.path) as traced:
            try:
                answer = await self._inner.request(call)
                code = 200
                return answer
            except KubernetesError as error:
                code = error.status
                raise
            finally:
                traced.set_attribute("code", code)
                self._told(call.method, code, loop.time() - began)

    def watch(self, call: Call, silence_s: float) -> AsyncGenerator[dict[str, Any], None]:
        """See `Transport.watch`."""
        return self._inner.watch(call, silence_s)

    async def close(self) -> None:
        """See `Transport.close`."""
        await self._inner.close()
