"""The way to the HTTP API of a Ray cluster's dashboard: its address, its token, and one request with a time limit.

A cluster's token is read from its Secret when it is needed, kept for a minute, and goes to that cluster's head and
nowhere else.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp

from rayctl.cluster.names import head_service, token_secret
from rayctl.core.controller import Document
from rayctl.kube.calls import Call, Transport
from rayctl.kube.errors import ObjectNotFound
from rayctl.kube.kinds import SECRETS

__all__ = ["DashboardClient", "dashboard_address", "url_host"]

TOKEN_S = 60.0
LARGEST = 32 * 1024 * 1024
"""Bytes of an answer."""
_TOKEN_KEY = "auth_token"  # noqa: S105 - the name of a field
_TOKEN_READ_S = 4.0


class DashboardClient:
    """To be made and used where the event loop runs.

    Args:
        transport: The way to the API server, for tokens.
        address: Where a cluster's dashboard listens.
    """

    def __init__(self, transport: Transport, address: Callable[[Document], str] | None = None) -> None:
        self._transport, self._address = transport, address or dashboard_address
        self._session: aiohttp.ClientSession | None = None
        self._tokens: dict[str, tuple[float, str]] = {}

    async def close(self) -> None:
        """Give the connections back."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def send(
        self, cluster: Document, method: str, path: str, body: Any = None, timeout_s: float = 4.0
    ) -> tuple[int, str]:
        """Send a request to a cluster's dashboard; return the answer's code and text.

        Raises:
            OSError: It has no address, or did not answer in time, or the answer is too large (`asyncio.TimeoutError`
                and `aiohttp.ClientError` become that).
            KubernetesError: Its token could not be read.
        """
        base = self._address(cluster)
        if not base:
            raise OSError("the head has no address yet")
        headers = await self._headers(cluster)
        try:
            status, text = await self.fetch(method, base + path, headers, body, timeout_s)
            if status in (401, 403):
                self._tokens.pop(cluster["metadata"]["uid"], None)  # it was renewed
                fresh = await self._headers(cluster)
                if fresh != headers:
                    status, text = await self.fetch(method, base + path, fresh, body, timeout_s)
        except asyncio.TimeoutError as error:
            raise OSError(f"no answer within {timeout_s:.0f} s") from error
        except (aiohttp.ClientError, ValueError) as error:
            raise OSError(str(error) or type(error).__name__) from error
        return status, text

    async def fetch(
        self, method: str, url: str, headers: Mapping[str, str], body: Any, timeout_s: float
    ) -> tuple[int, str]:
        """Send a request to any address; no redirects: a token is for one address.

        Raises:
            aiohttp.ClientError, OSError, asyncio.TimeoutError: No answer.
            ValueError: The answer is too large.
        """
        if self._session is None:
            self._session = aiohttp.ClientSession(trust_env=False, connector=aiohttp.TCPConnector(limit=64))
        timeout = aiohttp.ClientTimeout(total=timeout_s, connect=min(2.0, timeout_s))
        options: dict[str, Any] = {} if body is None else {"json": body}
        async with self._session.request(
            method, url, headers=headers, timeout=timeout, allow_redirects=False, **options
        ) as answer:
            raw = await answer.content.read(LARGEST + 1)
            while len(raw) <= LARGEST and not answer.content.at_eof():
                raw += await answer.content.read(LARGEST + 1 - len(raw))
            if len(raw) > LARGEST:
                raise ValueError(f"an answer of more than {LARGEST} bytes")
            return answer.status, raw.decode("utf-8", "replace")

    async def _headers(self, cluster: Document) -> dict[str, str]:
        uid = cluster["metadata"]["uid"]
        now = asyncio.get_running_loop().time()
        kept = self._tokens.get(uid)
        if kept is None or now - kept[0] > TOKEN_S:
            kept = self._tokens[uid] = (now, await self._read_token(cluster))
        return {"Authorization": f"Bearer {kept[1]}"} if kept[1] else {}

    async def _read_token(self, cluster: Document) -> str:
        metadata = cluster["metadata"]
        options = (cluster.get("spec") or {}).get("authOptions") or {}
        if options.get("mode") == "disabled":
            return ""
        name = options.get("secretName") or token_secret(metadata["name"])
        try:
            secret = await self._transport.request(Call.get(SECRETS.path(metadata["namespace"], name), _TOKEN_READ_S))
        except ObjectNotFound:
            return ""
        return base64.b64decode((secret.get("data") or {}).get(_TOKEN_KEY, "")).decode().strip()


def dashboard_address(cluster: Document) -> str:
    """Return the URL of a cluster's dashboard: at its head pod, else at its head service; empty if there is neither."""
    metadata, status = cluster["metadata"], cluster.get("status") or {}
    port = str((status.get("endpoints") or {}).get("dashboard") or "8265")
    head = status.get("head") or {}
    host = head.get("podIP") or head.get("serviceIP")
    if host and host != "None":
        return f"http://{url_host(str(host))}:{port}"
    if not head:
        return ""
    name = head.get("serviceName") or head_service(metadata["name"])
    return f"http://{name}.{metadata['namespace']}.svc:{port}"


def url_host(address: str) -> str:
    """Return an address as URLs have it: that of IPv6 in brackets."""
    return f"[{address}]" if ":" in address else address
