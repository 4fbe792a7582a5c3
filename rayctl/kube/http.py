"""Requests over HTTP: credentials and TLS as the official package loads them, the request path our own.

The package's generated classes cost hundreds of microseconds a request and drop fields that they do not know.
"""

from __future__ import annotations

import asyncio
import json
import os
import urllib.request
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import aiohttp
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.client.rest import RESTClientObject
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config

from rayctl.errors import InvalidRequest
from rayctl.kube.calls import OPENED, Call
from rayctl.kube.deadline import within
from rayctl.kube.errors import NoAnswer, from_status
from rayctl.kube.plugins import check_kubeconfig

__all__ = ["HttpTransport", "connected", "load_configuration"]

_USER_AGENT = "rayctl"
_MAX_LINE = 32 * 1024 * 1024
"""Bytes of one watch event; a server's objects are at most a few megabytes."""


async def load_configuration(kubeconfig: str | None = None, context: str | None = None) -> Configuration:
    """Return where the server is and how to be known there.

    Args:
        kubeconfig: A file; None: the pod's service account if this is a pod, else ``KUBECONFIG`` or ``~/.kube/config``.
        context: One of the file's contexts; None: its current one.

    Raises:
        InvalidRequest: There is no usable configuration, or it wants to run a program that it may not.
    """
    found = Configuration()
    try:
        if kubeconfig is None and context is None:
            try:
                load_incluster_config(client_configuration=found)  # type: ignore[no-untyped-call]
                return found
            except ConfigException:
                pass  # not in a pod
        check_kubeconfig(_files(kubeconfig), context)
        await load_kube_config(  # type: ignore[no-untyped-call]
            config_file=kubeconfig, context=context, client_configuration=found
        )
    except (ConfigException, OSError, ValueError) as error:
        raise InvalidRequest(
            f"No way to a Kubernetes API was found: {error}",
            code="no-kubernetes",
            hint="Name a kubeconfig file, set KUBECONFIG, or start one with `rayctl kube serve --write-kubeconfig`.",
        ) from error
    return found


def _files(kubeconfig: str | None) -> list[Path]:
    """Return the files that are read when none, or this one, is named; as the official package finds them."""
    named = kubeconfig or os.environ.get("KUBECONFIG") or "~/.kube/config"
    return [Path(part).expanduser() for part in named.split(os.pathsep) if part]


class HttpTransport:
    """One pool of connections to one server. To be made where the event loop runs.

    Args:
        configuration: From `load_configuration`.
        connections: At most so many at once; watches hold one each.
        user_agent: How the server's audit log names us.
    """

    def __init__(self, configuration: Configuration, connections: int = 128, user_agent: str = _USER_AGENT) -> None:
        self._configuration = configuration
        self._base = str(configuration.host).rstrip("/")
        tls = RESTClientObject(configuration).ssl_context
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections, ssl=tls),
            headers={"User-Agent": user_agent, "Accept": "application/json"},
            read_bufsize=2**20,
            # Looking for a proxy and a netrc costs a thread's turn per request: half a millisecond.
            trust_env=configuration.proxy is None and bool(urllib.request.getproxies()),
        )

    async def request(self, call: Call) -> Any:
        """See `Transport.request`."""
        sent = False
        try:
            hook: object = self._configuration.refresh_api_key_hook
            if hook is None:
                options = await self._options(call)
            else:
                options = await within(call.timeout_s, self._options(call))
            options["timeout"] = aiohttp.ClientTimeout(total=call.timeout_s)
            sent = True
            async with self._session.request(call.method, self._base + call.target, **options) as response:
                body = await response.read()
        except aiohttp.ClientConnectorError as error:
            raise _no_answer(call, error, False) from error
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
            raise _no_answer(call, error, sent) from error
        return _decoded(call, response, body)

    async def watch(self, call: Call, silence_s: float) -> AsyncGenerator[dict[str, Any], None]:
        """See `Transport.watch`."""
        try:
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=call.timeout_s, sock_read=silence_s)
            options = await self._options(call)
            async with self._session.get(self._base + call.target, timeout=timeout, **options) as response:
                if response.status != 200:
                    _decoded(call, response, await response.read())
                yield {"type": OPENED}
                async with aclosing(_lines(response)) as lines:
                    async for line in lines:
                        yield json.loads(line)
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError) as error:
            raise _no_answer(call, error, False) from error

    async def close(self) -> None:
        """See `Transport.close`."""
        await self._session.close()

    async def _options(self, call: Call) -> dict[str, Any]:
        options: dict[str, Any] = {"headers": {}}
        # Refreshes tokens that are about to end (service accounts, exec plugins).
        settings: dict[str, Any] = dict(await self._configuration.auth_settings())
        for setting in settings.values():
            if setting["value"]:
                options["headers"][setting["key"]] = setting["value"]
        if call.body is not None:
            options["headers"]["Content-Type"] = call.content_type
            options["data"] = json.dumps(call.body, separators=(",", ":")).encode()
        if self._configuration.proxy:
            options["proxy"] = self._configuration.proxy
        if self._configuration.tls_server_name:
            options["server_hostname"] = self._configuration.tls_server_name
        return options


async def connected(kubeconfig: str | None = None, context: str | None = None) -> HttpTransport:
    """Return a transport to the server of a kubeconfig; see `load_configuration`."""
    return HttpTransport(await load_configuration(kubeconfig, context))


async def _lines(response: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
    pending: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        first, *others = chunk.split(b"\n")
        pending.append(first)
        size += len(first)
        for other in others:
            line = b"".join(pending)
            if line.strip():
                yield line
            pending, size = [other], len(other)
        if size > _MAX_LINE:
            raise ValueError(f"an event of more than {_MAX_LINE} bytes")
    if b"".join(pending).strip():
        raise ValueError("the stream ended in the middle of an event")


def _decoded(call: Call, response: aiohttp.ClientResponse, body: bytes) -> Any:
    try:
        document = json.loads(body) if body else {}
    except ValueError:
        document = body.decode(errors="replace")
    if response.status < 400:
        return document
    raise from_status(response.status, document, _retry_after_s(response), call.writes)


def _retry_after_s(response: aiohttp.ClientResponse) -> float | None:
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isdigit() else None


def _no_answer(call: Call, cause: BaseException, sent: bool) -> NoAnswer:
    what = "took too long" if isinstance(cause, asyncio.TimeoutError) else (str(cause) or type(cause).__name__)
    error = NoAnswer(f"{call.method} {call.path}: no answer from the Kubernetes API: {what}")
    error.outcome_unknown = sent and call.writes
    return error
