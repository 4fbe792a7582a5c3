"""The application over the in-memory service, and clients for each kind of caller."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from rayctl.api.app import create_app
from rayctl.api.auth import TokenBook
from rayctl.settings import ServiceSettings

from .memory import MemoryService

TOKENS = {"operator": "op-token-1", "red": "red-token-1", "blue": "blue-token-1"}
REQUEST = {"task": "regression", "target": "y", "data": {"columns": {"a": [1, 2], "y": [1.0, 2.0]}}}


@pytest.fixture
def settings() -> ServiceSettings:
    return ServiceSettings(max_request_bytes=64 * 1024, max_data_bytes=256 * 1024)


@pytest.fixture
async def service() -> MemoryService:
    return MemoryService()


@pytest.fixture
def book() -> TokenBook:
    return TokenBook([(TOKENS["operator"], None), (TOKENS["red"], "red"), (TOKENS["blue"], "blue")])


@pytest.fixture
def api(service: MemoryService, book: TokenBook, settings: ServiceSettings) -> FastAPI:
    return create_app(service, tokens=book, settings=settings)


def client_for(app: Any, token: str | None) -> httpx2.AsyncClient:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://api", headers=headers)


@pytest.fixture
async def as_caller(api: FastAPI) -> AsyncIterator[Callable[[str | None], httpx2.AsyncClient]]:
    made: list[httpx2.AsyncClient] = []

    def make(who: str | None) -> httpx2.AsyncClient:
        made.append(client_for(api, TOKENS.get(who or "")))
        return made[-1]

    yield make
    for client in made:
        await client.aclose()


@pytest.fixture
def client(as_caller: Callable[[str | None], httpx2.AsyncClient]) -> httpx2.AsyncClient:
    return as_caller("operator")


@pytest.fixture
async def run_id(client: httpx2.AsyncClient) -> str:
    return str((await client.post("/v1/runs", json=REQUEST)).json()["id"])


def check_problem(response: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    """Assert the shape that every error answer has, and return the document."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert problem["status"] == status
    assert problem["code"] == code, problem
    assert problem["type"] == f"urn:rayctl:problem:{code}"
    assert problem["instance"] == response.request.url.path
    assert len(problem["trace_id"]) == 32
    assert problem["trace_id"] == response.headers["x-trace-id"]
    assert {"title", "detail", "kind", "retry"} <= problem.keys()
    assert ("retry_after_s" in problem) == ("retry-after" in response.headers)
    return problem
