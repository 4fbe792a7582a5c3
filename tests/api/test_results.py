"""Leaderboard, result, artifacts, predictions, deployments, uploads."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import httpx2
import pyarrow as pa
import pyarrow.parquet
import pytest

from .conftest import check_problem
from .memory import MODEL, MemoryService


@pytest.fixture
async def done(service: MemoryService, run_id: str) -> str:
    await service.trial(run_id, "lightgbm", 0.5)
    await service.trial(run_id, 'odd "name", really', None)
    await service.succeed(run_id)
    return run_id


async def test_leaderboard(client: httpx2.AsyncClient, done: str) -> None:
    items = (await client.get(f"/v1/runs/{done}/leaderboard")).json()["items"]
    assert [row["state"] for row in items] == ["done", "failed"]
    assert len((await client.get(f"/v1/runs/{done}/leaderboard?limit=1")).json()["items"]) == 1
    response = await client.get(f"/v1/runs/{done}/leaderboard?format=csv")
    assert response.headers["content-type"].startswith("text/csv")
    table = pa.csv.read_csv(io.BytesIO(response.content)).to_pylist()
    assert table[0]["params"] == '{"a":1}'
    assert (table[1]["model"], table[1]["error"]) == ('odd "name", really', "no, really")
    check_problem(await client.get(f"/v1/runs/{done}/leaderboard?format=xml"), 422, "invalid-request")
    check_problem(await client.get(f"/v1/runs/{done}/leaderboard?limit=0"), 422, "invalid-request")


async def test_result(client: httpx2.AsyncClient, service: MemoryService, run_id: str) -> None:
    response = await client.get(f"/v1/runs/{run_id}/result")
    check_problem(response, 409, "result-not-ready")
    assert response.headers["retry-after"] == "1"
    document = (await client.get(f"/v1/runs/{run_id}/result?wait=30")).json()
    assert document["run"]["state"] == "succeeded"
    assert document["forecast"][0]["prediction"] is None  # NaN


@pytest.mark.parametrize("wait", ["31", "-1", "nan", "inf", "x"])
async def test_bad_waits(client: httpx2.AsyncClient, run_id: str, wait: str) -> None:
    check_problem(await client.get(f"/v1/runs/{run_id}/result?wait={wait}"), 422, "invalid-request")


async def test_a_failed_run_has_no_result(client: httpx2.AsyncClient, service: MemoryService, run_id: str) -> None:
    await service.move(run_id, "failed")
    assert "retry-after" not in (await client.get(f"/v1/runs/{run_id}/result")).headers
    check_problem(await client.get(f"/v1/runs/{run_id}/result"), 409, "run-failed")
    check_problem(await client.get(f"/v1/runs/{run_id}/artifacts"), 409, "run-failed")
    check_problem(await client.get(f"/v1/runs/{run_id}/artifacts/model.zip"), 404, "not-found")
    service.files[run_id] = {"leaderboard.json": b"[]"}
    response = await client.get(f"/v1/runs/{run_id}/artifacts/leaderboard.json")
    assert response.content == b"[]"
    assert "x-content-sha256" not in response.headers


async def test_artifacts(client: httpx2.AsyncClient, done: str) -> None:
    items = (await client.get(f"/v1/runs/{done}/artifacts")).json()["items"]
    assert {item["name"] for item in items} == {"model.zip", "page.html"}
    response = await client.get(f"/v1/runs/{done}/artifacts/model.zip")
    assert response.content == MODEL
    assert response.headers["content-length"] == str(len(MODEL))
    assert response.headers["x-content-sha256"] == hashlib.sha256(MODEL).hexdigest()
    assert response.headers["content-disposition"] == 'attachment; filename="model.zip"'
    etag = response.headers["etag"]
    again = await client.get(f"/v1/runs/{done}/artifacts/model.zip", headers={"If-None-Match": etag})
    assert (again.status_code, again.content) == (304, b"")
    page = await client.get(f"/v1/runs/{done}/artifacts/page.html")
    assert "sandbox" in page.headers["content-security-policy"]
    assert page.headers["content-disposition"].startswith("attachment")
    assert page.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("name", ["none", "%2e%2e/x", "a//b", "..%2Fx", "x%0D%0Ay", "%22", "a/.b"])
async def test_artifacts_that_are_not_there(client: httpx2.AsyncClient, done: str, name: str) -> None:
    response = await client.get(f"http://api/v1/runs/{done}/artifacts/{name}")
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"


async def test_an_artifact_that_is_cut_short_is_not_taken_for_whole(
    client: httpx2.AsyncClient, service: MemoryService, done: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = service.artifact

    async def short(run_id: str, name: str, offset: int = 0, length: int | None = None, tenant: Any = None) -> bytes:
        return (await whole(run_id, name, offset, length, tenant))[: 0 if offset else None]

    monkeypatch.setattr(service, "artifact", short)
    with pytest.raises(Exception, match="already started"):
        await client.get(f"/v1/runs/{done}/artifacts/model.zip")


@pytest.mark.parametrize(
    ("body", "rows"),
    [
        ({"rows": [{"a": 1}, {"b": "x"}]}, [{"a": 1, "b": None}, {"a": None, "b": "x"}]),
        ({"row": {"a": 1.5}}, [{"a": 1.5}]),
        ({"columns": {"a": [1, None], "b": [True, False]}}, [{"a": 1, "b": True}, {"a": None, "b": False}]),
    ],
)
async def test_predict_json(
    client: httpx2.AsyncClient, service: MemoryService, done: str, body: Any, rows: list[dict[str, Any]]
) -> None:
    response = await client.post(f"/v1/runs/{done}:predict?proba=true", json=body)
    assert response.json() == {"predictions": [{"prediction": 1.5}, {"prediction": None}][: len(rows)]}
    [(table, proba, format)] = service.predicted
    assert (table.to_pylist(), proba, format) == (rows, True, None)


@pytest.mark.parametrize(
    "sent",
    [
        {"content": b"a\n1\n", "headers": {"Content-Type": "text/csv; charset=utf-8"}},
        {"files": {"data": ("x.csv", b"a\n1\n")}},
    ],
)
async def test_predict_files(
    client: httpx2.AsyncClient, service: MemoryService, done: str, sent: dict[str, Any]
) -> None:
    assert (await client.post(f"/v1/runs/{done}:predict", **sent)).status_code == 200
    assert service.predicted == [(b"a\n1\n", False, "csv")]


async def test_predict_without_a_body(client: httpx2.AsyncClient, service: MemoryService, done: str) -> None:
    assert (await client.post(f"/v1/runs/{done}:predict")).status_code == 200
    assert service.predicted == [(None, False, None)]


async def test_prediction_formats(client: httpx2.AsyncClient, done: str) -> None:
    async def ask(accept: str) -> httpx2.Response:
        return await client.post(f"/v1/runs/{done}:predict", headers={"Accept": accept})

    csv = await ask("text/*, application/json;q=0.5")
    assert (csv.headers["content-type"], csv.text) == ("text/csv; charset=utf-8", '"prediction"\n1.5\nnan\n')
    arrow = await ask("application/vnd.apache.arrow.stream")
    assert pa.ipc.open_stream(arrow.content).read_all().num_rows == 2
    parquet = await ask("application/vnd.apache.parquet")
    assert pa.parquet.read_table(io.BytesIO(parquet.content)).num_rows == 2
    assert (await ask("*/*")).headers["content-type"] == "application/json"
    check_problem(await ask("image/png, text/csv;q=0, application/json;q=x"), 406, "not-acceptable")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "invalid-request"),
        ([], "invalid-request"),
        ({"rows": [], "row": {}}, "invalid-request"),
        ({"rows": {}}, "invalid-request"),
        ({"row": []}, "invalid-request"),
        ({"rows": [1]}, "invalid-request"),
        ({"rows": []}, "empty-data"),
        ({"columns": {"a": 1}}, "mixed-types"),
        ({"columns": {"a": [1, "x"]}}, "mixed-types"),
        ({"columns": {"a": [10**30]}}, "mixed-types"),
        ({"columns": {"a": [1], "b": [1, 2]}}, "unequal-columns"),
        ({"rows": [{"b": 1}]}, "missing-column"),
    ],
)
async def test_bad_rows(client: httpx2.AsyncClient, done: str, body: Any, code: str) -> None:
    check_problem(await client.post(f"/v1/runs/{done}:predict", json=body), 422, code)


async def test_bad_prediction_bodies(client: httpx2.AsyncClient, done: str) -> None:
    path = f"/v1/runs/{done}:predict"
    xml = {"content": b"<a/>", "headers": {"Content-Type": "application/xml"}}
    check_problem(await client.post(path, **xml), 415, "unsupported-media-type")
    parquet = {"content": b"a\n1\n", "headers": {"Content-Type": "application/vnd.apache.parquet"}}
    check_problem(await client.post(path, **parquet), 422, "format-mismatch")
    check_problem(await client.post(path, content=b'{"row": {"a": NaN}}'), 400, "malformed-request")
    check_problem(await client.post(path + "?proba=perhaps"), 422, "invalid-request")
    check_problem(await client.post(path, files={"file": ("x.csv", b"a")}), 400, "malformed-request")


async def test_deployments(client: httpx2.AsyncClient, done: str) -> None:
    response = await client.post(f"/v1/runs/{done}:deploy", json={"name": "prices"})
    assert response.status_code == 201
    assert response.json()["route"] == "/prices"
    check_problem(await client.post(f"/v1/runs/{done}:deploy", json={"name": "prices"}), 409, "name-taken")
    assert (await client.post(f"/v1/runs/{done}:deploy")).json()["name"] == done
    assert (await client.post(f"/v1/runs/{done}:deploy", json={})).status_code == 409
    assert len((await client.get("/v1/deployments")).json()["items"]) == 2
    assert (await client.delete("/v1/deployments/prices")).status_code == 204
    check_problem(await client.delete("/v1/deployments/prices"), 404, "not-found")
    check_problem(await client.delete("/v1/deployments/a%00"), 404, "not-found")


@pytest.mark.parametrize("body", [{"name": "A b"}, {"name": 5}, {"nam": "x"}, [], {"name": "x" * 64}])
async def test_bad_deployments(client: httpx2.AsyncClient, done: str, body: Any) -> None:
    check_problem(await client.post(f"/v1/runs/{done}:deploy", json=body), 422, "invalid-request")


@pytest.mark.parametrize(
    ("sent", "format"),
    [
        ({"content": b"a\n1\n", "headers": {"Content-Type": "text/csv"}}, "csv"),
        ({"content": b"a\n1\n", "headers": {"Content-Type": "application/octet-stream"}}, None),
        ({"content": b"a\n1\n", "params": {"format": "csv"}}, "csv"),
        ({"content": b"PAR1", "headers": {"Content-Type": "application/x-parquet"}}, "parquet"),
        ({"files": {"data": ("x.parquet", b"PAR1", "application/octet-stream")}}, "parquet"),
    ],
)
async def test_uploads(client: httpx2.AsyncClient, service: MemoryService, sent: dict[str, Any], format: Any) -> None:
    response = await client.post("/v1/uploads", **sent)
    assert response.status_code == 201
    assert response.json()["upload"] == "up-1"
    assert service.uploads[0][1] == format


async def test_bad_uploads(client: httpx2.AsyncClient) -> None:
    check_problem(await client.post("/v1/uploads"), 422, "empty-data")
    check_problem(await client.post("/v1/uploads", json={}), 415, "unsupported-media-type")
    check_problem(await client.post("/v1/uploads?format=xls", content=b"x"), 422, "invalid-request")
    check_problem(await client.post("/v1/uploads?format=parquet", content=b"x"), 422, "format-mismatch")
    form = {"content": b"--x--\r\n", "headers": {"Content-Type": "multipart/form-data; boundary=x"}}
    check_problem(await client.post("/v1/uploads", **form), 400, "missing-part")
