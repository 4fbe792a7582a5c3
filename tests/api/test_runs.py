"""Runs over HTTP: create, list, look at, cancel, delete."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx2
import pytest
from starlette.formparsers import MultiPartParser

from rayctl.errors import Unavailable
from tests.full_disk import no_room

from .conftest import REQUEST, check_problem
from .memory import MemoryService

FORM_REQUEST = {"task": "regression", "target": "y"}
FORM_TYPE = {"Content-Type": "multipart/form-data; boundary=x"}
TEXT = (None, json.dumps(FORM_REQUEST))


async def test_create(client: httpx2.AsyncClient, service: MemoryService) -> None:
    response = await client.post("/v1/runs", json=REQUEST)
    assert response.status_code == 202
    assert response.headers["location"] == "/v1/runs/run-1"
    assert response.headers["retry-after"] == "1"
    assert response.json()["state"] == "queued"
    request, data = service.requests["run-1"]
    assert data is None
    assert request["data"]["columns"] == {"a": [1, 2], "y": [1.0, 2.0]}
    assert request.keys() == REQUEST.keys(), "what was not said is left to the service and to the tenant's defaults"
    assert (await client.get(response.headers["location"])).json()["id"] == "run-1"


async def test_durations_as_text(client: httpx2.AsyncClient, service: MemoryService) -> None:
    assert (await client.post("/v1/runs", json={**REQUEST, "time_budget_s": "1m30s"})).status_code == 202
    assert service.requests["run-1"][0]["time_budget_s"] == 90


@pytest.mark.parametrize(
    ("filename", "content_type", "data"),
    [
        ("d.csv", "text/csv", b"a,y\n1,2\n"),
        ("d.csv", "application/octet-stream", b"a,y\n1,2\n"),
        ("blob", "application/octet-stream", b"a,y\n1,2\n"),
        ("d.parquet", "application/octet-stream", b"PAR1...PAR1"),
        ("d", "application/vnd.apache.arrow.stream", b"\xff\xff\xff\xff..."),
        ("d.feather", "application/octet-stream", b"ARROW1.."),
    ],
)
async def test_create_with_a_file(
    client: httpx2.AsyncClient, service: MemoryService, filename: str, content_type: str, data: bytes
) -> None:
    files = {"data": (filename, data, content_type)}
    response = await client.post("/v1/runs", data={"request": json.dumps(FORM_REQUEST)}, files=files)
    assert response.status_code == 202, response.text
    assert service.requests["run-1"][1] == data


async def test_the_request_part_may_be_a_file(client: httpx2.AsyncClient) -> None:
    parts = {"request": ("r.json", json.dumps(FORM_REQUEST), "application/json"), "data": ("d.csv", b"a\n1\n")}
    assert (await client.post("/v1/runs", files=parts)).status_code == 202


async def test_an_upload_that_finds_no_room_is_refused_clearly(
    client: httpx2.AsyncClient, service: MemoryService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MultiPartParser, "spool_max_size", 1000)  # more than this is kept in a file
    parts = {"request": TEXT, "data": ("d.csv", b"a\n" + b"1\n" * 2000)}
    with no_room():
        answer = await client.post("/v1/runs", files=parts)
    problem = check_problem(answer, 503, "upload-disk-full")
    assert "Nothing was accepted" in problem["hint"]
    assert not service.requests
    assert (await client.post("/v1/runs", files=parts)).status_code == 202


@pytest.mark.parametrize(
    ("form", "status", "code"),
    [
        ({"files": {"data": ("d.csv", b"a\n")}}, 400, "missing-part"),
        ({"files": {"request": ("", b"{"), "data": ("d.csv", b"a\n")}}, 400, "malformed-request"),
        ({"files": {"request": ("r", b"\xff"), "data": ("d.csv", b"a\n")}}, 400, "malformed-request"),
        ({"files": {"request": TEXT}}, 422, "missing-data"),
        ({"files": {"request": (None, json.dumps(REQUEST)), "data": ("d.csv", b"a\n")}}, 422, "data-given-twice"),
        ({"files": {"request": TEXT, "data": ("d.csv", b"")}}, 422, "empty-data"),
        (
            {"files": {"request": TEXT, "data": ("d.parquet", b"a\n")}},
            422,
            "format-mismatch",
        ),
        ({"files": {"request": TEXT, "more": ("d.csv", b"a")}}, 400, "malformed-request"),
        ({"files": [("data", ("d.csv", b"a")), ("data", ("d.csv", b"a"))]}, 400, "malformed-request"),
        ({"content": b"no form", "headers": {"Content-Type": "multipart/form-data"}}, 400, "malformed-request"),
        (
            {"content": b"no form", "headers": FORM_TYPE},
            400,
            "malformed-request",
        ),
        (
            {
                "content": b"--x\r\nA: b\r\n\r\n1\r\n--x--",
                "headers": FORM_TYPE,
            },
            400,
            "malformed-request",
        ),
    ],
)
async def test_bad_forms(client: httpx2.AsyncClient, form: dict[str, Any], status: int, code: str) -> None:
    check_problem(await client.post("/v1/runs", **form), status, code)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"  \n",
        b"{",
        b"\xff\xfe",
        b'{"target": "\xc3\x28"}',
        b'{"target": "\\ud800"}',
        b'{"a": NaN}',
        b'{"a": [Infinity]}',
        b'{"a": [1, {"b": 1e999}]}',
        b'{"a": -' + b"9" * 400 + b".0}",
        b"[" * 100_00,
        b"9" * 5000,
        b"{} {}",
    ],
)
async def test_json_that_is_none(client: httpx2.AsyncClient, body: bytes) -> None:
    response = await client.post("/v1/runs", content=body, headers={"Content-Type": "application/json"})
    check_problem(response, 400, "malformed-request")


@pytest.mark.parametrize(
    ("change", "pointers"),
    [
        ({"task": "poetry"}, ["/task"]),
        ({"target": ""}, ["/target"]),
        ({"targt": "y", "seed": -1}, ["/seed", "/targt"]),
        ({"data": {"uri": "x", "upload": "y"}}, ["/data"]),
        ({"labels": {"a/b~c": 1}}, ["/labels/a~1b~0c"]),
        ({"task": "forecasting"}, [""]),
        ({"time_budget_s": "soon"}, ["/time_budget_s"]),
        ({"tenant": "Not A Name"}, ["/tenant"]),
        ({"data": None}, ["/data"]),
        ({"search_space": []}, [""]),
    ],
)
async def test_invalid_requests(client: httpx2.AsyncClient, change: dict[str, Any], pointers: list[str]) -> None:
    response = await client.post("/v1/runs", json={**REQUEST, **change})
    problem = check_problem(response, 422, "missing-data" if change == {"data": None} else "invalid-request")
    assert sorted(error["pointer"] for error in problem["errors"]) == pointers
    assert "Value error" not in response.text


@pytest.mark.parametrize("body", ["[]", "5", '"x"', "null", "true"])
async def test_requests_must_be_objects(client: httpx2.AsyncClient, body: str) -> None:
    response = await client.post("/v1/runs", content=body, headers={"Content-Type": "application/json"})
    check_problem(response, 422, "invalid-request")


async def test_no_pickles_over_http(client: httpx2.AsyncClient, service: MemoryService) -> None:
    entry = {"model": "X", "pickled_class": base64.b64encode(b"code").decode()}
    problem = check_problem(
        await client.post("/v1/runs", json={**REQUEST, "search_space": [entry]}), 422, "pickled-class-over-http"
    )
    assert problem["errors"][0]["pointer"] == "/search_space/0/pickled_class"
    assert not service.runs


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/xml", "", "multipart/mixed; boundary=x", "\u00e9".encode()]
)
async def test_other_content_types(client: httpx2.AsyncClient, kind: Any) -> None:
    response = await client.post("/v1/runs", content=b"{}", headers={"Content-Type": kind})
    assert check_problem(response, 415, "unsupported-media-type")["kind"] == "MalformedRequest"


async def test_idempotency(client: httpx2.AsyncClient, service: MemoryService) -> None:
    headers = {"Idempotency-Key": "k-1"}
    first = await client.post("/v1/runs", json=REQUEST, headers=headers)
    again = await client.post("/v1/runs", json=REQUEST, headers=headers)
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json()["id"] == again.json()["id"]
    assert len(service.runs) == 1
    other = await client.post("/v1/runs", json={**REQUEST, "seed": 1}, headers=headers)
    check_problem(other, 422, "idempotency-key-reused")


@pytest.mark.parametrize("key", [b"", b"a b", b"x" * 256, b"\xff"])
async def test_bad_idempotency_keys(client: httpx2.AsyncClient, key: bytes) -> None:
    response = await client.post("/v1/runs", json=REQUEST, headers={"Idempotency-Key": key})
    check_problem(response, 400, "malformed-request")


async def test_a_full_queue_says_when_to_come_back(client: httpx2.AsyncClient, service: MemoryService) -> None:
    service.max_runs = 0
    response = await client.post("/v1/runs", json=REQUEST)
    assert check_problem(response, 429, "queue-full")["retry_after_s"] == 7
    assert response.headers["retry-after"] == "7"


async def test_an_accepted_run_is_reported_even_if_it_cannot_be_read(
    client: httpx2.AsyncClient, service: MemoryService, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any, **__: Any) -> Any:
        raise Unavailable("away")

    monkeypatch.setattr(service, "get_run", away)
    response = await client.post("/v1/runs", json=REQUEST)
    assert response.status_code == 202
    assert response.json()["id"] == "run-1"


async def test_list(client: httpx2.AsyncClient, service: MemoryService) -> None:
    for _ in range(3):
        await client.post("/v1/runs", json=REQUEST)
    await service.move("run-2", "running")
    page = (await client.get("/v1/runs?limit=2")).json()
    assert [run["id"] for run in page["items"]] == ["run-3", "run-2"]
    rest = (await client.get("/v1/runs", params={"limit": 2, "cursor": page["next"]})).json()
    assert [run["id"] for run in rest["items"]] == ["run-1"]
    assert rest["next"] is None
    assert [run["id"] for run in (await client.get("/v1/runs?state=running")).json()["items"]] == ["run-2"]
    assert (await client.get("/v1/runs?tenant=blue")).json()["items"] == []


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=501",
        "limit=x",
        "state=asleep",
        "cursor=%00",
        "cursor=" + "x" * 600,
        "tenant=A%20B",
        "limit=%FF",
    ],
)
async def test_bad_queries(client: httpx2.AsyncClient, query: str) -> None:
    problem = check_problem(await client.get(f"/v1/runs?{query}"), 422, "invalid-request")
    assert problem["errors"][0]["pointer"] == "/query/" + query.partition("=")[0]


async def test_etag(client: httpx2.AsyncClient, service: MemoryService, run_id: str) -> None:
    response = await client.get(f"/v1/runs/{run_id}")
    assert response.headers["retry-after"] == "1"
    etag = response.headers["etag"]
    for known in (etag, f'"other", {etag}', "*", etag.removeprefix("W/")):
        same = await client.get(f"/v1/runs/{run_id}", headers={"If-None-Match": known})
        assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", etag)
    await service.move(run_id, "running")
    changed = await client.get(f"/v1/runs/{run_id}", headers={"If-None-Match": etag})
    assert changed.status_code == 200
    assert changed.headers["etag"] != etag


@pytest.mark.parametrize("name", ["none", "..", "%2e%2e", "a%00b", "x" * 200, "%C3%A9", "a%2Fb", "-x", "a b"])
async def test_runs_that_are_not_there(client: httpx2.AsyncClient, name: str) -> None:
    response = await client.get(f"http://api/v1/runs/{name}")
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"


async def test_cancel(client: httpx2.AsyncClient, run_id: str) -> None:
    for _ in range(2):
        response = await client.post(f"/v1/runs/{run_id}:cancel")
        assert response.status_code == 202
        assert response.json()["state"] == "cancelled"
    check_problem(await client.post("/v1/runs/none:cancel"), 404, "not-found")


async def test_delete(client: httpx2.AsyncClient, run_id: str) -> None:
    check_problem(await client.delete(f"/v1/runs/{run_id}"), 409, "conflict")
    await client.post(f"/v1/runs/{run_id}:cancel")
    response = await client.delete(f"/v1/runs/{run_id}")
    assert (response.status_code, response.content) == (204, b"")
    check_problem(await client.delete(f"/v1/runs/{run_id}"), 404, "not-found")


@pytest.mark.parametrize(
    ("fields", "pointer", "message"),
    [
        ({"metrc": "f1"}, "/metrc", "there is no such field; the nearest is metric"),
        ({"validation": {"fold": 3}}, "/validation/fold", "there is no such field; the nearest is folds"),
        ({"search_space": [{"model": "m", "param": {}}]}, "/search_space/0/param", "the nearest is params"),
        ({"xyzzy": 1}, "/xyzzy", "there is no such field"),
    ],
)
async def test_a_misspelt_field_is_told_with_the_nearest_name(
    client: httpx2.AsyncClient, fields: dict[str, Any], pointer: str, message: str
) -> None:
    problem = check_problem(await client.post("/v1/runs", json={**REQUEST, **fields}), 422, "invalid-request")
    [error] = problem["errors"]
    assert error["pointer"] == pointer
    assert error["message"].endswith(message)
    assert message in problem["detail"]


async def test_durations_have_the_names_of_the_command_line_too(
    client: httpx2.AsyncClient, service: MemoryService
) -> None:
    asked = {**REQUEST, "time_budget": "2m", "trial_timeout": 5}
    assert (await client.post("/v1/runs", json=asked)).status_code == 202
    request = service.requests["run-1"][0]
    assert (request["time_budget_s"], request["trial_timeout_s"]) == (120, 5)
    both = await client.post("/v1/runs", json={**asked, "time_budget_s": 3})
    assert check_problem(both, 422, "invalid-request")["errors"][0]["pointer"] == "/time_budget"
