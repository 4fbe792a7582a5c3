"""Logs of pods through the server: what the kubelet is asked, what comes back, and what is refused."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from rayctl.embedded.apiserver.access.tokens import ADMIN
from rayctl.embedded.apiserver.pod_logs import KUBELET_SOCKET
from rayctl.embedded.apiserver.server import Options, Server

PODS = "/api/v1/namespaces/default/pods"


class Kubelet:
    """Answers over a socket; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.lines: asyncio.Queue[bytes] = asyncio.Queue()
        self.left = asyncio.Event()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.path, dict(request.query)))
        if request.query.get("previous"):
            return web.Response(status=400, text='previous terminated container "c" in pod "p" not found')
        if "follow" not in request.query:
            return web.Response(text="one\ntwo\n")
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(await self.lines.get())
        finally:
            self.left.set()


@pytest.fixture
async def kubelet() -> AsyncIterator[tuple[Kubelet, Path]]:
    with tempfile.TemporaryDirectory() as folder:
        kubelet = Kubelet()
        application = web.Application()
        application.router.add_get("/containerLogs/{ns}/{pod}/{container}", kubelet.answer)
        runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=1)
        await runner.setup()
        path = Path(folder) / "kubelet.sock"
        await web.UnixSite(runner, str(path)).start()
        yield kubelet, path
        await runner.cleanup()


@pytest.fixture
async def http(kubelet: tuple[Kubelet, Path]) -> AsyncIterator[aiohttp.ClientSession]:
    server = Server(Options(tokens=[("t", ADMIN)]))
    await server.start()
    async with aiohttp.ClientSession(server.url, headers={"Authorization": "Bearer t"}) as http:
        await make(http, "n", str(kubelet[1]))
        yield http
    await server.stop()


async def make(http: aiohttp.ClientSession, node: str, path: str | None) -> None:
    """Make a node, and on it the pods p (one container) and pair (two, and an init container)."""
    annotations = {} if path is None else {KUBELET_SOCKET: path}
    async with http.post("/api/v1/nodes", json={"metadata": {"name": node, "annotations": annotations}}) as answer:
        assert answer.status == 201
    one, two = {"name": "c", "image": "i"}, {"name": "d", "image": "i"}
    for name, containers, first in (("p", [one], []), ("pair", [one, two], [{"name": "i", "image": "i"}])):
        spec: dict[str, Any] = {"nodeName": node, "containers": containers, "initContainers": first}
        async with http.post(PODS, json={"metadata": {"name": f"{name}-{node}"}, "spec": spec}) as answer:
            assert answer.status == 201, await answer.text()


async def test_what_was_asked_reaches_the_kubelet(http: aiohttp.ClientSession, kubelet: tuple[Kubelet, Path]) -> None:
    asked = {"tailLines": "3", "sinceSeconds": "60", "limitBytes": "99", "timestamps": "true"}
    async with http.get(f"{PODS}/p-n/log", params=asked) as answer:
        assert (answer.status, await answer.text()) == (200, "one\ntwo\n")
        assert answer.content_type == "text/plain"
    async with http.get(f"{PODS}/pair-n/log", params={"container": "i", "sinceTime": "2026-01-01T00:00:00Z"}) as answer:
        assert answer.status == 200
    assert kubelet[0].asked == [
        ("/containerLogs/default/p-n/c", asked),
        ("/containerLogs/default/pair-n/i", {"sinceTime": "2026-01-01T00:00:00Z"}),
    ]


async def test_a_log_that_goes_on_is_passed_on_line_by_line_and_left_with_the_client(
    http: aiohttp.ClientSession, kubelet: tuple[Kubelet, Path]
) -> None:
    answer = await http.get(f"{PODS}/p-n/log", params={"follow": "true"})
    for line in (b"first\n", b"second\n"):
        kubelet[0].lines.put_nowait(line)
        assert await asyncio.wait_for(answer.content.readline(), 10) == line
    answer.close()
    await asyncio.wait_for(kubelet[0].left.wait(), 10)


@pytest.mark.parametrize(
    ("pod", "query", "code", "text"),
    [
        ("p-n", {"previous": "true"}, 400, 'previous terminated container "c" in pod "p" not found'),
        ("p-n", {"container": "x"}, 400, "container x is not valid for pod p-n"),
        ("pair-n", {}, 400, "choose one of: [c d] or one of the init containers: [i]"),
        ("p-n", {"tailLines": "-1"}, 422, "must be greater than or equal to 0"),
        ("p-n", {"sinceSeconds": "0"}, 422, "must be greater than 0"),
        ("p-n", {"tailLines": "x"}, 400, "invalid syntax"),
        ("p-n", {"sinceSeconds": "1", "sinceTime": "2026-01-01T00:00:00Z"}, 422, "at most one of"),
        ("p-n", {"sinceTime": "yesterday"}, 400, "RFC 3339"),
        ("none", {}, 404, 'pods "none" not found'),
    ],
)
async def test_refusals(http: aiohttp.ClientSession, pod: str, query: dict[str, str], code: int, text: str) -> None:
    async with http.get(f"{PODS}/{pod}/log", params=query) as answer:
        document = await answer.json()
        assert answer.status == document["code"] == code
        assert text in document["message"]


async def test_a_pod_on_no_node_has_no_log(http: aiohttp.ClientSession) -> None:
    body = {"metadata": {"name": "free"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    async with http.post(PODS, json=body) as answer:
        assert answer.status == 201
    async with http.get(f"{PODS}/free/log") as answer:
        assert answer.status == 400
        assert (await answer.json())["message"] == "pod free does not have a host assigned"


@pytest.mark.parametrize("path", [None, "/nowhere/kubelet.sock", "/etc/passwd", "relative.sock", "a\0b"])
async def test_a_kubelet_that_cannot_be_asked_is_told(http: aiohttp.ClientSession, path: str | None) -> None:
    await make(http, "other", path)
    async with http.get(f"{PODS}/p-other/log") as answer:
        assert answer.status == 503
        assert answer.headers["Retry-After"] == "1"
        assert "the kubelet of node other cannot be asked" in (await answer.json())["message"]


@pytest.mark.parametrize("what", ["exec", "attach", "portforward"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_pods_cannot_be_entered(http: aiohttp.ClientSession, what: str, method: str) -> None:
    async with http.request(method, f"{PODS}/p-n/{what}", params={"command": "ls"}) as answer:
        document = await answer.json()
        assert (answer.status, document["reason"]) == (501, "NotImplemented")
        assert what in document["message"]
