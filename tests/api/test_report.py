"""The report over HTTP: page, data, pictures."""

from __future__ import annotations

import base64
import hashlib
import re

import httpx2
import pytest

from .conftest import check_problem
from .memory import MemoryService
from .sample_report import SVG


@pytest.fixture
async def done(service: MemoryService, run_id: str) -> str:
    await service.trial(run_id, "lightgbm", 0.5)
    await service.trial(run_id, "<script>alert(1)</script>", 0.4)
    await service.succeed(run_id)
    return run_id


async def test_the_page_runs_its_own_script_and_nothing_else(client: httpx2.AsyncClient, done: str) -> None:
    response = await client.get(f"/v1/runs/{done}/report")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    scripts = re.findall(r"<script>(.*?)</script>", response.text, re.DOTALL)
    assert len(scripts) == 1, "a model's name must not become a script"
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    policy = {part.split()[0]: part.split()[1:] for part in response.headers["content-security-policy"].split(";")}
    assert policy["script-src"] == [f"'sha256-{digest}'"]
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == ["'none'"]
    assert policy["sandbox"] == ["allow-scripts"]
    assert not any(source.startswith(("http", "*", "'self'")) for sources in policy.values() for source in sources)
    assert response.headers["x-content-type-options"] == "nosniff"


async def test_a_page_cannot_allow_itself_a_script(
    client: httpx2.AsyncClient, service: MemoryService, done: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = base64.b64encode(hashlib.sha256(b"alert(1)").digest())
    page = b"<!doctype html>" + b" " * 1000 + b"<p>script-src 'sha256-" + digest + b"'</p><script>alert(1)</script>"
    monkeypatch.setattr(
        "tests.api.memory.sample_report", lambda *_: {"report.html": page, "report.json": b"{}", "plots/roc.svg": SVG}
    )
    response = await client.get(f"/v1/runs/{done}/report")
    assert response.content == page
    assert "script-src 'none'" in response.headers["content-security-policy"]


async def test_a_known_page_is_not_sent_again(client: httpx2.AsyncClient, done: str) -> None:
    page = await client.get(f"/v1/runs/{done}/report")
    etag = page.headers["etag"]
    assert etag == f'"{hashlib.sha256(page.content).hexdigest()}"'
    for known in (etag, f"W/{etag}", f'"x", {etag}', "*"):
        same = await client.get(f"/v1/runs/{done}/report", headers={"If-None-Match": known})
        assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", etag)
    data = await client.get(f"/v1/runs/{done}/report?format=json", headers={"If-None-Match": etag})
    assert data.status_code == 200


async def test_the_data_behind_it(client: httpx2.AsyncClient, done: str) -> None:
    response = await client.get(f"/v1/runs/{done}/report?format=json")
    assert response.headers["content-type"] == "application/json"
    assert response.json()["run"]["id"] == done
    check_problem(await client.get(f"/v1/runs/{done}/report?format=pdf"), 422, "invalid-request")


async def test_the_pictures_are_artifacts(client: httpx2.AsyncClient, service: MemoryService, done: str) -> None:
    items = (await client.get(f"/v1/runs/{done}/report/files")).json()["items"]
    assert {item["name"] for item in items} == {"report.html", "report.json", "plots/roc.svg", "plots/roc.png"}
    for name, kind in (("plots/roc.svg", "image/svg+xml"), ("plots/roc.png", "image/png")):
        response = await client.get(f"/v1/runs/{done}/artifacts/{name}")
        assert response.status_code == 200
        assert response.headers["content-type"] == kind
        assert response.headers["content-disposition"] == f'attachment; filename="{name.removeprefix("plots/")}"'
        assert "sandbox" in response.headers["content-security-policy"]
        assert response.headers["x-content-sha256"] == hashlib.sha256(response.content).hexdigest()
    encoded = await client.get(f"http://api/v1/runs/{done}/artifacts/plots%2Froc.svg")
    assert encoded.content == SVG


@pytest.mark.parametrize("name", ["none.svg", "..%2Freport.json", "%2e%2e/x", "/roc.svg", "", "a%00b", ".svg"])
async def test_pictures_that_are_not_there(client: httpx2.AsyncClient, done: str, name: str) -> None:
    response = await client.get(f"http://api/v1/runs/{done}/artifacts/plots/{name}")
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"


async def test_pictures_are_built_when_they_are_asked_for(
    client: httpx2.AsyncClient, service: MemoryService, done: str
) -> None:
    assert (await client.get(f"/v1/runs/{done}/artifacts/plots/roc.svg")).content == SVG
    assert service.built == 1
    assert (await client.get(f"/v1/runs/{done}/artifacts/model.zip")).status_code == 200
    assert service.built == 1, "other files need no report"


async def test_a_failed_run_has_a_report_too(client: httpx2.AsyncClient, service: MemoryService, run_id: str) -> None:
    await service.move(run_id, "failed", error={"code": "no-model", "message": "every trial failed"})
    response = await client.get(f"/v1/runs/{run_id}/report")
    assert response.status_code == 200
    assert "every trial failed" in response.text


async def test_there_is_no_report_before_the_end(client: httpx2.AsyncClient, run_id: str) -> None:
    for path in ("report", "report?format=json", "report/files", "artifacts/report.html", "artifacts/plots/roc.svg"):
        problem = check_problem(await client.get(f"/v1/runs/{run_id}/{path}"), 409, "run-not-ended")
        assert problem["hint"]
    check_problem(await client.get("/v1/runs/none/report"), 404, "not-found")
