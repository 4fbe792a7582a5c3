"""Logs of pods: asked of the kubelet of the pod's node, over the Unix socket that the Node names, and passed on.

The kubelet answers ``GET /containerLogs/NAMESPACE/POD/CONTAINER`` with the log as it is, or with 400, 404 or another
code and a sentence. The query has what the client asked for: ``follow``, ``previous``, ``timestamps`` (``true``),
``tailLines``, ``sinceSeconds``, ``limitBytes`` (numbers), ``sinceTime`` (RFC 3339).
"""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncGenerator, Mapping
from typing import Any
from urllib.parse import quote

import aiohttp

from rayctl.embedded.apiserver.api import Api
from rayctl.embedded.apiserver.errors import (
    ApiError,
    FieldError,
    bad_request,
    forbidden_field,
    invalid,
    invalid_value,
)
from rayctl.embedded.apiserver.options import whole_number
from rayctl.embedded.apiserver.requests import Info, Request, Response, Stream
from rayctl.embedded.apiserver.schema.formats import parse_time
from rayctl.embedded.apiserver.store import Stored

__all__ = ["KUBELET_SOCKET", "pod_log"]

KUBELET_SOCKET = "rayctl.io/kubelet-socket"
"""The annotation of a Node with the path of its kubelet's socket, which must belong to the server's own user."""
CONNECT_S = 5.0
TEXT = "text/plain; charset=utf-8"
MAX_EXCUSE = 2_000


async def pod_log(api: Api, request: Request, info: Info, stored: Stored) -> Response | Stream:
    """Return a container's log, as a stream.

    Raises:
        ApiError: 400 or 422 for options that make no sense, what the kubelet answers, 503 if there is none.
    """
    container = _container(request, info, stored.object["spec"])
    query = _query(request)
    node = stored.object["spec"].get("nodeName")
    if not node:
        raise bad_request(f"pod {info.name} does not have a host assigned")
    path = _socket(api, node)
    target = "/".join(quote(part, safe="") for part in (info.namespace, info.name, container))
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S)
    session = aiohttp.ClientSession(connector=aiohttp.UnixConnector(path), timeout=timeout, trust_env=False)
    try:
        answer = await session.get(f"http://kubelet/containerLogs/{target}", params=query)
        if answer.status != 200:
            raise _excuse(answer.status, (await answer.content.read(MAX_EXCUSE)).decode("utf-8", "replace"))
    except (aiohttp.ClientError, OSError) as error:
        await session.close()
        raise _unreachable(node, str(error)) from error
    except BaseException:
        await session.close()
        raise
    chunks = _chunks(session, answer)
    await anext(chunks)  # begun, so that closing it closes the session
    return Stream(chunks, TEXT, whole=query.get("follow") != "true")


async def _chunks(session: aiohttp.ClientSession, answer: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
    try:
        yield b""
        async for chunk in answer.content.iter_any():
            yield chunk
    finally:
        answer.close()
        await session.close()


def _container(request: Request, info: Info, spec: Mapping[str, Any]) -> str:
    names, first = ([c["name"] for c in spec.get(part) or []] for part in ("containers", "initContainers"))
    found = request.first("container") or ""
    if not found and len(names) == 1:
        return str(names[0])
    if not found:
        text = f"a container name must be specified for pod {info.name}, choose one of: [{' '.join(names)}]"
        raise bad_request(text + (f" or one of the init containers: [{' '.join(first)}]" if first else ""))
    if found not in (*names, *first):
        raise bad_request(f"container {found} is not valid for pod {info.name}")
    return found


def _query(request: Request) -> dict[str, str]:
    found: dict[str, str] = {}
    errors: list[FieldError] = []
    for name in ("follow", "previous", "timestamps"):
        if (request.first(name) or "").lower() in ("true", "1", "t"):
            found[name] = "true"
    for name, least in (("tailLines", 0), ("sinceSeconds", 1), ("limitBytes", 1)):
        number = whole_number(request.first(name))
        if number is not None and number < least:
            text = "must be greater than 0" if least else "must be greater than or equal to 0"
            errors.append(invalid_value(name, number, text))
        elif number is not None:
            found[name] = str(number)
    since = request.first("sinceTime")
    if since:
        try:
            parse_time(since)
        except ValueError:
            raise bad_request(f'parsing time "{since}": cannot parse as an RFC 3339 time') from None
        found["sinceTime"] = since
        if "sinceSeconds" in found:
            errors.append(forbidden_field("", "at most one of `sinceTime` or `sinceSeconds` may be specified"))
    if errors:
        raise invalid("", "PodLogOptions", "", errors)
    return found


def _socket(api: Api, node: str) -> str:
    stored = api.store.get("nodes", "", node)
    path = str((stored.object["metadata"].get("annotations") or {}).get(KUBELET_SOCKET, "")) if stored else ""
    if not path:
        raise _unreachable(node, "no kubelet has told where it can be asked")
    try:
        found = os.stat(path)
    except (OSError, ValueError) as error:
        raise _unreachable(node, str(error)) from None
    # Whoever may write Nodes could otherwise have the server talk to any service of this machine.
    if not os.path.isabs(path) or not stat.S_ISSOCK(found.st_mode) or found.st_uid != os.getuid():
        raise _unreachable(node, "what it names as its kubelet's socket is none of this user's")
    return path


def _unreachable(node: str, why: str) -> ApiError:
    text = f"the kubelet of node {node} cannot be asked: {why}"
    return ApiError(503, "ServiceUnavailable", text, {"retryAfterSeconds": 1})


def _excuse(code: int, text: str) -> ApiError:
    text = text.strip() or f"the kubelet answered with {code}"
    if code == 400:
        return bad_request(text)
    if code == 404:
        return ApiError(404, "NotFound", text, {})
    return ApiError(503, "ServiceUnavailable", text, {"retryAfterSeconds": 1})
