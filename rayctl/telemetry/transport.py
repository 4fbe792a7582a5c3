"""A transport that counts what goes through it. Around the fenced one, so that refusals by the fence count as well."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from rayctl.kube.calls import OPENED, Call, Transport
from rayctl.kube.errors import KubernetesError, LeaseLost
from rayctl.telemetry.metrics import Metrics

__all__ = ["MeteredTransport"]


class MeteredTransport:
    """Args: the transport to count, what counts, and the lease under which it writes (empty: none)."""

    def __init__(self, inner: Transport, metrics: Metrics, lease: str = "") -> None:
        self._inner, self._metrics, self._lease = inner, metrics, lease

    async def request(self, call: Call) -> Any:
        """See `Transport.request`."""
        began = asyncio.get_running_loop().time()
        code = 0
        try:
            answer = await self._inner.request(call)
            code = 201 if call.method == "POST" else 200
            return answer
        except LeaseLost:
            self._metrics.fenced(self._lease)
            began = -1.0  # nothing was sent
            raise
        except KubernetesError as error:
            code = error.status
            raise
        finally:
            if began >= 0:
                self._metrics.requested(call.method, code, asyncio.get_running_loop().time() - began)

    async def watch(self, call: Call, silence_s: float) -> AsyncGenerator[dict[str, Any], None]:
        """See `Transport.watch`. Counted when it is accepted or refused; it has no duration."""
        began = asyncio.get_running_loop().time()
        try:
            async for event in self._inner.watch(call, silence_s):
                if event["type"] == OPENED:
                    self._metrics.requested("GET", 200, asyncio.get_running_loop().time() - began)
                yield event
        except KubernetesError as error:
            self._metrics.requested("GET", error.status, asyncio.get_running_loop().time() - began)
            raise

    async def close(self) -> None:
        """See `Transport.close`."""
        await self._inner.close()
