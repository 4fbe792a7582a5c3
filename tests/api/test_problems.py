"""Errors and limits: always a problem document, never a leak, never more bytes than allowed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from rayctl import errors
from rayctl.api import problems
from rayctl.api.app import create_app
from rayctl.api.auth import TokenBook
from rayctl.settings import ServiceSettings

from .conftest import REQUEST, TOKENS, check_problem, client_for
from .memory import MemoryService

ALL = [cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, errors.RayctlError)]


@pytest.mark.parametrize("cls", ALL)
async def test_every_error_of_the_service(
    client: httpx2.AsyncClient, service: MemoryService, cls: type[errors.RayctlError]
) -> None:
    service.broken = cls("Something.", hint="Do this.", retry_after_s=2.2)
    response = await client.get("/v1/runs/run-1")
    problem = check_problem(response, cls.http_status, cls.code)
    assert response.headers["retry-after"] == "3"
    again = errors.from_problem(problem)
    assert (type(again), again.message, again.hint, again.retry_after_s) == (cls, "Something.", "Do this.", 2.2)


async def test_unexpected_failures_tell_nothing(
    client: httpx2.AsyncClient, service: MemoryService, caplog: pytest.LogCaptureFixture
) -> None:
    service.broken = OSError(13, "Permission denied", "/secret/place")
    with caplog.at_level(logging.ERROR):
        response = await client.get("/v1/runs/run-1")
    problem = check_problem(response, 500, "internal-error")
    assert "secret" not in response.text
    assert "Traceback" not in response.text
    assert problem["trace_id"] in caplog.text
    assert "/secret/place" in caplog.text
    assert TOKENS["operator"] not in caplog.text


async def test_the_trace_of_the_caller_is_kept(client: httpx2.AsyncClient) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    response = await client.get("/none", headers={"traceparent": f"00-{trace}-b7ad6b7169203331-01"})
    assert check_problem(response, 404, "no-such-path")["trace_id"] == trace
    for bad in ("00-" + "0" * 32 + "-b7ad6b7169203331-01", "nonsense", "00-" + "x" * 32 + "-b7ad6b7169203331-01"):
        assert trace not in (await client.get("/none", headers={"traceparent": bad})).text
    assert (await client.get("/version")).headers["x-trace-id"]


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/", "/v1/runs/", "/v2/runs", "/v1/runs/a/b/c", "/redoc", "/docs/oauth2-redirect"]
)
async def test_unknown_paths(client: httpx2.AsyncClient, path: str) -> None:
    check_problem(await client.get(path), 404, "no-such-path")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/runs", "GET, POST"),
        ("PATCH", "/v1/runs/x", "DELETE, GET"),
        ("PUT", "/v1/runs/x:cancel", "POST"),
        ("GET", "/v1/uploads", "POST"),
        ("POST", "/healthz", "GET"),
        ("OPTIONS", "/v1/runs", "GET, POST"),
    ],
)
async def test_wrong_methods(client: httpx2.AsyncClient, method: str, path: str, allowed: str) -> None:
    response = await client.request(method, path)
    check_problem(response, 405, "method-not-allowed")
    assert response.headers["allow"] == allowed


async def test_probes(client: httpx2.AsyncClient, service: MemoryService, as_caller: Any) -> None:
    stranger = as_caller(None)
    assert (await stranger.get("/healthz")).json() == {"status": "ok"}
    assert (await stranger.get("/readyz")).json() == {"status": "ready"}
    service.broken = errors.Unavailable("The database at host X is away.")
    problem = check_problem(await stranger.get("/readyz"), 503, "not-ready")
    assert "host X" not in problem["detail"]
    service.broken = RuntimeError("boom")
    check_problem(await stranger.get("/readyz"), 500, "internal-error")
    assert (await stranger.get("/healthz")).status_code == 200
    service.broken = None
    answers = await asyncio.gather(*(stranger.get("/readyz") for _ in range(5)))
    assert {answer.status_code for answer in answers} == {200}


async def test_version(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/version")).json().keys() == {"name", "version", "api"}


async def test_openapi(client: httpx2.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    text = str(document)
    schemas = document["components"]["schemas"]
    references = {part.split("'")[0] for part in text.split("#/components/schemas/")[1:]}
    assert references <= schemas.keys()
    assert {"Problem", "RunRequest", "RunView", "DeployOptions"} <= schemas.keys()
    assert "#/$defs" not in text
    assert "HTTPValidationError" not in text
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert "default" in operation["responses"]
            assert ("security" in operation) == (path not in ("/healthz", "/readyz")), path
            assert operation["description"]
            for parameter in operation.get("parameters", ()):
                assert parameter.get("description"), f"{path}: {parameter['name']} is not explained"
    assert (await client.get("/docs")).status_code == 200


FORM = "multipart/form-data; boundary=b"
FILE_PART = b'--b\r\nContent-Disposition: form-data; name="data"; filename="x.csv"\r\n\r\n'
TEXT_PART = b'--b\r\nContent-Disposition: form-data; name="request"\r\n\r\n'


async def endless(sent: list[int], chunk: bytes = b"x" * 10_000) -> AsyncIterator[bytes]:
    while True:
        sent.append(len(chunk))
        yield chunk


@pytest.mark.parametrize(
    ("path", "kind", "start", "limit"),
    [
        ("/v1/runs", "application/json", b'{"a": "', 64),
        ("/v1/uploads", "text/csv", b"", 256),
        ("/v1/runs/x:predict", "text/csv", b"", 256),
        ("/v1/runs/x:predict", "application/json", b"", 64),
        ("/v1/runs/x:deploy", "application/json", b"", 64),
        (
            "/v1/uploads",
            "multipart/form-data; boundary=b",
            FILE_PART,
            256 + 64,
        ),
        (
            "/v1/runs",
            "multipart/form-data; boundary=b",
            FILE_PART,
            256 + 64,
        ),
        (
            "/v1/runs",
            "multipart/form-data; boundary=b",
            TEXT_PART,
            64,
        ),
    ],
)
async def test_bodies_over_the_limit(
    client: httpx2.AsyncClient,
    api: FastAPI,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    kind: str,
    start: bytes,
    limit: int,
) -> None:
    sent: list[int] = []

    async def body() -> AsyncIterator[bytes]:
        yield start
        async for chunk in endless(sent):
            yield chunk

    monkeypatch.setattr(problems, "_DRAIN_BYTES", 0)
    free = api.state.budget._free
    response = await client.post(path, content=body(), headers={"Content-Type": kind})
    check_problem(response, 413, "too-large")
    assert response.headers["connection"] == "close"
    assert sum(sent) <= limit * 1024 + 20_000
    assert api.state.budget._free == free
    sent.clear()
    response = await client.post(
        path, content=body(), headers={"Content-Type": kind, "Content-Length": str(400 * 1024)}
    )
    check_problem(response, 413, "too-large")
    assert not sent


@pytest.mark.parametrize(("length", "status"), [("x", 400), ("-1", 400), ("9" * 30, 413), ("\u0661", 400)])
async def test_bad_lengths(client: httpx2.AsyncClient, length: str, status: int) -> None:
    headers = {"Content-Type": "text/csv", "Content-Length": length.encode()}
    response = await client.post("/v1/uploads", content=endless([]), headers=headers)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"


async def test_bodies_at_the_limit_pass(client: httpx2.AsyncClient, service: MemoryService) -> None:
    data = b"a\n" + b"1" * (256 * 1024 - 2)
    assert (await client.post("/v1/uploads", content=data, headers={"Content-Type": "text/csv"})).status_code == 201
    assert (await client.post("/v1/uploads", files={"data": ("x.csv", data)})).status_code == 201
    assert (await client.post("/v1/uploads", files={"data": ("x.csv", data + b"1" * 70_000)})).status_code == 413


async def test_large_bodies_at_once_have_a_bound(service: MemoryService, book: TokenBook) -> None:
    settings = ServiceSettings(max_request_bytes=1000, max_data_bytes=10_000)
    api = create_app(service, tokens=book, settings=settings)
    go = asyncio.Event()
    arrived = asyncio.Semaphore(0)

    async def slow() -> AsyncIterator[bytes]:
        yield b"a\n" + b"1" * 9_000
        arrived.release()
        await go.wait()
        yield b"1"

    async with client_for(api, TOKENS["operator"]) as client:
        csv = {"Content-Type": "text/csv"}
        held = [asyncio.create_task(client.post("/v1/uploads", content=slow(), headers=csv)) for _ in range(2)]
        for _ in held:
            await arrived.acquire()
        check_problem(await client.post("/v1/uploads", content=b"1" * 9_000, headers=csv), 503, "busy-receiving")
        go.set()
        assert [(await task).status_code for task in held] == [201, 201]
        assert (await client.post("/v1/uploads", content=b"1" * 9_000, headers=csv)).status_code == 201


async def test_the_service_may_come_from_a_callable(book: TokenBook, settings: ServiceSettings) -> None:
    service = MemoryService()

    async def later() -> MemoryService:
        return service

    for source in (lambda: service, later):
        async with client_for(create_app(source, tokens=book, settings=settings), TOKENS["red"]) as client:
            assert (await client.post("/v1/runs", json=REQUEST)).status_code == 202


async def test_websockets_are_refused(api: FastAPI) -> None:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await api({"type": "websocket", "path": "/v1/runs", "headers": [], "query_string": b""}, receive, send)
    assert [message["type"] for message in sent] == ["websocket.close"]


async def test_a_sender_that_goes_away_is_no_failure(api: FastAPI, caplog: pytest.LogCaptureFixture) -> None:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"authorization", f"Bearer {TOKENS['red']}".encode()), (b"content-type", b"text/csv")]
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/uploads",
        "headers": headers,
        "query_string": b"",
        "root_path": "",
    }
    await api(scope, receive, send)
    assert not sent
    assert not caplog.records


async def test_the_rest_of_a_refused_body_is_read_within_bounds(
    client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body(parts: int) -> AsyncIterator[bytes]:
        for _ in range(parts):
            left.pop()
            yield b"x" * 10_000

    monkeypatch.setattr(problems, "_DRAIN_BYTES", 1_000_000)
    for parts, unread in ((100, 0), (1000, 1000 - 127)):
        left = list(range(parts))
        response = await client.post("/v1/uploads", content=body(parts), headers={"Content-Type": "text/csv"})
        check_problem(response, 413, "too-large")
        assert len(left) == unread
