"""Ending a run early, continuing it, repeating it; metrics of one's own over HTTP."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import httpx2
import pytest

from rayctl.api.app import create_app
from rayctl.api.auth import TokenBook
from rayctl.settings import ServiceSettings

from .conftest import REQUEST, TOKENS, check_problem, client_for
from .memory import MemoryService


@pytest.fixture
async def done(service: MemoryService, run_id: str) -> str:
    await service.trial(run_id, "lightgbm", 0.5)
    await service.succeed(run_id)
    return run_id


async def test_finish(client: httpx2.AsyncClient, service: MemoryService, run_id: str) -> None:
    check_problem(await client.post(f"/v1/runs/{run_id}:finish"), 409, "run-not-training")
    await service.move(run_id, "running")
    for _ in range(2):
        response = await client.post(f"/v1/runs/{run_id}:finish")
        assert (response.status_code, response.json()["state"]) == (202, "succeeded")
        assert response.headers["location"] == f"/v1/runs/{run_id}"
    check_problem(await client.post("/v1/runs/none:finish"), 404, "not-found")


@pytest.mark.parametrize("name", ["time_budget", "time_budget_s"])
async def test_extend(client: httpx2.AsyncClient, service: MemoryService, done: str, name: str) -> None:
    response = await client.post(f"/v1/runs/{done}:extend", json={name: "1m30s", "max_trials": 4})
    assert response.status_code == 202, response.text
    view = response.json()
    assert response.headers["location"] == f"/v1/runs/{view['id']}"
    assert (view["state"], view["continues"]) == ("queued", done)
    wanted = service.requests[view["id"]][0]
    assert (wanted["time_budget_s"], wanted["max_trials"]) == (90.0, 5), "one trial is there, four more are wanted"


async def test_a_run_that_goes_on_is_not_followed(client: httpx2.AsyncClient, run_id: str) -> None:
    for verb, body in (("extend", {"json": {"max_trials": 1}}), ("replay", {})):
        problem = check_problem(await client.post(f"/v1/runs/{run_id}:{verb}", **body), 409, "run-not-ended")
        assert "finish" in problem["hint"]
    check_problem(await client.post("/v1/runs/none:extend", json={"max_trials": 1}), 404, "not-found")
    check_problem(await client.post("/v1/runs/none:replay"), 404, "not-found")


@pytest.mark.parametrize(
    ("body", "code", "pointer"),
    [
        ({}, "missing-budget", None),
        ({"time_budget": None}, "missing-budget", None),
        ({"time_budget": "soon"}, "invalid-request", "/time_budget"),
        ({"time_budget": 0}, "invalid-request", "/time_budget"),
        ({"time_budget": "31d"}, "invalid-request", "/time_budget"),
        ({"max_trials": 0}, "invalid-request", "/max_trials"),
        ({"max_trials": 1.5}, "invalid-request", "/max_trials"),
        ({"trials": 5}, "invalid-request", "/trials"),
        ([], "invalid-request", None),
    ],
)
async def test_impossible_extensions(
    client: httpx2.AsyncClient, service: MemoryService, done: str, body: Any, code: str, pointer: str | None
) -> None:
    problem = check_problem(await client.post(f"/v1/runs/{done}:extend", json=body), 422, code)
    if pointer is not None:
        assert [item["pointer"] for item in problem["errors"]] == [pointer]
    assert len(service.runs) == 1


async def test_bodies_of_extensions(client: httpx2.AsyncClient, done: str) -> None:
    path = f"/v1/runs/{done}:extend"
    check_problem(await client.post(path), 422, "missing-budget")
    check_problem(await client.post(path, content=b"{", headers={"Content-Type": "application/json"}), 400,
                  "malformed-request")  # fmt: skip
    xml = {"content": b"<a/>", "headers": {"Content-Type": "application/xml"}}
    check_problem(await client.post(path, **xml), 415, "unsupported-media-type")


async def test_replay(client: httpx2.AsyncClient, service: MemoryService, done: str) -> None:
    view = (await client.post(f"/v1/runs/{done}:replay")).json()
    assert view["replay_of"] == done
    assert service.requests[view["id"]][0]["reuse"] is False
    await service.succeed(view["id"])
    check_problem(await client.post(f"/v1/runs/{view['id']}:replay"), 409, "nothing-to-replay")


async def test_the_same_key_begins_one_run(client: httpx2.AsyncClient, service: MemoryService, done: str) -> None:
    async def extend(trials: int, key: str = "k") -> httpx2.Response:
        headers = {"Idempotency-Key": key}
        return await client.post(f"/v1/runs/{done}:extend", json={"max_trials": trials}, headers=headers)

    together = await asyncio.gather(*(extend(3) for _ in range(4)))
    assert {response.json()["id"] for response in together} == {"run-2"}
    assert (await extend(3)).json()["id"] == "run-2"
    check_problem(await extend(4), 422, "idempotency-key-reused")
    assert (await extend(3, "other")).json()["id"] == "run-3"
    replayed = await client.post(f"/v1/runs/{done}:replay", headers={"Idempotency-Key": "k"})
    check_problem(replayed, 422, "idempotency-key-reused")


async def test_keys_of_tenants_are_apart(as_caller: Any, service: MemoryService) -> None:
    new = {}
    for who in ("red", "blue"):
        run_id = (await as_caller(who).post("/v1/runs", json=REQUEST)).json()["id"]
        await service.succeed(run_id)
        headers = {"Idempotency-Key": "same"}
        response = await as_caller(who).post(f"/v1/runs/{run_id}:extend", json={"max_trials": 1}, headers=headers)
        new[who] = response.json()
    assert new["red"]["id"] != new["blue"]["id"]
    assert new["blue"]["tenant"] == "blue"


async def test_keys_outlive_the_gateway(
    client: httpx2.AsyncClient, service: MemoryService, book: TokenBook, settings: ServiceSettings, done: str
) -> None:
    headers = {"Idempotency-Key": "k"}
    first = await client.post(f"/v1/runs/{done}:replay", headers=headers)
    async with client_for(create_app(service, tokens=book, settings=settings), TOKENS["operator"]) as another:
        again = await another.post(f"/v1/runs/{done}:replay", headers=headers)
    assert first.json()["id"] == again.json()["id"] == "run-2"
    assert len(service.runs) == 2


async def test_impossible_keys(client: httpx2.AsyncClient, service: MemoryService, done: str) -> None:
    for verb, body in (("extend", {"json": {"max_trials": 1}}), ("replay", {})):
        for key in ("", "a b", "k" * 201):
            response = await client.post(f"/v1/runs/{done}:{verb}", headers={"Idempotency-Key": key}, **body)
            check_problem(response, 400, "malformed-request")
    assert len(service.runs) == 1


async def test_metrics_of_allowed_modules(client: httpx2.AsyncClient, service: MemoryService) -> None:
    metric = {"name": "pinball", "path": "sklearn.metrics.mean_pinball_loss", "greater_is_better": False}
    response = await client.post("/v1/runs", json={**REQUEST, "custom_metric": metric})
    assert response.status_code == 202, response.text
    assert service.requests["run-1"][0]["custom_metric"]["path"] == metric["path"]


@pytest.mark.parametrize("path", ["os.system", "os:system", "sklearnx.f", "builtins.eval", "subprocess.run"])
async def test_metrics_of_other_modules(client: httpx2.AsyncClient, service: MemoryService, path: str) -> None:
    for given in ({"custom_metric": {"name": "f", "path": path}}, {"metric": path}):
        problem = check_problem(await client.post("/v1/runs", json={**REQUEST, **given}), 403, "metric-not-allowed")
        assert "sklearn" in problem["hint"]
    assert service.runs == {}


async def test_pickled_metrics_never_come_over_http(client: httpx2.AsyncClient, service: MemoryService) -> None:
    pickled = base64.b64encode(b"\x80\x04.").decode()
    response = await client.post("/v1/runs", json={**REQUEST, "custom_metric": {"name": "f", "pickled": pickled}})
    problem = check_problem(response, 422, "pickled-metric-over-http")
    assert problem["errors"][0]["pointer"] == "/custom_metric/pickled"
    both = {"name": "f", "path": "sklearn.metrics.r2_score", "pickled": pickled}
    check_problem(await client.post("/v1/runs", json={**REQUEST, "custom_metric": both}), 422, "invalid-request")
    assert service.runs == {}
