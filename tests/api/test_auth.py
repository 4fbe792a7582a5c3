"""Who may do what: tokens, tenants, token files."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from rayctl.api.auth import Principal, TokenBook
from rayctl.errors import Forbidden, InvalidRequest, NotAuthenticated

from .conftest import REQUEST, TOKENS, check_problem, client_for
from .memory import MemoryService

OPEN = {"/healthz", "/readyz", "/docs", "/openapi.json"}


def paths_of(api: FastAPI) -> list[tuple[str, str]]:
    return [(method.upper(), path) for path, methods in api.openapi()["paths"].items() for method in methods]


@pytest.mark.security("S1")
async def test_every_path_needs_a_token(api: FastAPI) -> None:
    async with client_for(api, None) as client:
        asked = [*paths_of(api), ("GET", "/"), ("GET", "/no/such"), ("PATCH", "/v1/runs"), ("GET", "//healthz")]
        assert len(asked) > 18
        for method, path in asked:
            response = await client.request(method, re.sub(r"\{.*?\}", "x", path))
            if path in OPEN:
                assert response.status_code == 200, path
            else:
                check_problem(response, 401, "not-authenticated")
                assert response.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Basic b3A=", "bearer wrong", "Bearer op-token-12", "Bearer op-token-", "op-token-1"],
)
@pytest.mark.security("S1")
async def test_other_credentials_are_refused(api: FastAPI, header: str) -> None:
    async with client_for(api, None) as client:
        response = await client.get("/version", headers={"Authorization": header})
        assert response.status_code == 401
        assert TOKENS["operator"] not in response.text


async def test_a_token_that_is_not_ascii_is_refused(api: FastAPI) -> None:
    async with client_for(api, None) as client:
        response = await client.get("/version", headers={"Authorization": b"Bearer \xff\xfe"})
        check_problem(response, 401, "unknown-token")


async def test_the_scheme_is_case_insensitive(api: FastAPI) -> None:
    async with client_for(api, None) as client:
        response = await client.get("/version", headers={"Authorization": f"bEARER {TOKENS['red']}"})
        assert response.status_code == 200


async def test_a_bound_token_creates_only_for_its_tenant(as_caller: Callable[..., Any]) -> None:
    red = as_caller("red")
    assert (await red.post("/v1/runs", json=REQUEST)).json()["tenant"] == "red"
    assert (await red.post("/v1/runs", json={**REQUEST, "tenant": "red"})).status_code == 202
    problem = check_problem(await red.post("/v1/runs", json={**REQUEST, "tenant": "blue"}), 403, "other-tenant")
    assert "blue" not in problem["detail"]
    assert (await as_caller("operator").post("/v1/runs", json={**REQUEST, "tenant": "blue"})).json()["tenant"] == "blue"
    assert (await as_caller("operator").post("/v1/runs", json=REQUEST)).json()["tenant"] == "default"


async def test_a_tenant_that_is_no_text_is_invalid(as_caller: Callable[..., Any]) -> None:
    problem = check_problem(
        await as_caller("red").post("/v1/runs", json={**REQUEST, "tenant": 5}), 422, "invalid-request"
    )
    assert problem["errors"][0]["pointer"] == "/tenant"


@pytest.mark.security("S6")
async def test_runs_of_others_look_as_if_they_were_not_there(
    as_caller: Callable[..., Any], service: MemoryService
) -> None:
    red, blue, operator = as_caller("red"), as_caller("blue"), as_caller("operator")
    run_id = (await red.post("/v1/runs", json=REQUEST)).json()["id"]
    await service.succeed(run_id)
    await red.post(f"/v1/runs/{run_id}:deploy", json={"name": "mine"})
    asked = [
        ("GET", ""),
        ("GET", "/leaderboard"),
        ("GET", "/result"),
        ("GET", "/events"),
        ("GET", "/artifacts"),
        ("GET", "/artifacts/model.zip"),
        ("GET", "/artifacts/plots/roc.svg"),
        ("GET", "/report"),
        ("GET", "/report?format=json"),
        ("GET", "/report/files"),
        ("POST", ":cancel"),
        ("POST", ":finish"),
        ("POST", ":extend"),
        ("POST", ":replay"),
        ("POST", ":predict"),
        ("POST", ":deploy"),
        ("DELETE", ""),
    ]
    for method, path in asked:
        body = {"json": {"max_trials": 1}} if path == ":extend" else {}
        foreign = await blue.request(method, f"/v1/runs/{run_id}{path}", **body)
        check_problem(foreign, 404, "not-found")
        missing = await blue.request(method, f"/v1/runs/run-0{path}", **body)
        assert (
            foreign.text.replace(run_id, "*").split("trace_id")[0]
            == missing.text.replace("run-0", "*").split("trace_id")[0]
        )
    check_problem(await blue.delete("/v1/deployments/mine"), 404, "not-found")
    assert (await operator.get(f"/v1/runs/{run_id}")).status_code == 200
    for client, seen in ((red, 1), (blue, 0), (operator, 1)):
        assert len((await client.get("/v1/runs")).json()["items"]) == seen
        assert len((await client.get("/v1/deployments")).json()["items"]) == seen


async def test_lists_and_uploads_of_others(as_caller: Callable[..., Any], service: MemoryService) -> None:
    red, operator = as_caller("red"), as_caller("operator")
    check_problem(await red.get("/v1/runs?tenant=blue"), 403, "other-tenant")
    assert (await red.get("/v1/runs?tenant=red")).status_code == 200
    csv = {"content": b"a\n1\n", "headers": {"Content-Type": "text/csv"}}
    check_problem(await red.post("/v1/uploads?tenant=blue", **csv), 403, "other-tenant")
    assert (await red.post("/v1/uploads", **csv)).status_code == 201
    assert (await operator.post("/v1/uploads", **csv)).status_code == 201
    assert (await operator.post("/v1/uploads?tenant=blue", **csv)).status_code == 201
    assert [tenant for _, _, tenant in service.uploads] == ["red", "default", "blue"]


async def test_tenants_are_told_less_about_the_service(as_caller: Callable[..., Any]) -> None:
    assert (await as_caller("operator").get("/v1/info")).json().keys() == {"versions", "limits", "runs"}
    assert (await as_caller("red").get("/v1/info")).json().keys() == {"versions", "limits"}


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.security("S22")
def test_token_file(tmp_path: Path) -> None:
    book = TokenBook.from_file(write(tmp_path / "t", "# people\n\n  first  \ntwo red\nthree *\ntwo red\n"))
    assert len(book) == 3
    assert [book.authenticate(f"Bearer {t}") for t in ("first", "two", "three")] == [
        Principal(None),
        Principal("red"),
        Principal(None),
    ]
    with pytest.raises(NotAuthenticated):
        book.authenticate("Bearer #")
    assert "first" not in repr(book)
    assert "first" not in repr(vars(book))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o644, 0o777, 0o610])
@pytest.mark.security("S22")
def test_a_token_file_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(InvalidRequest, match=f"{mode:04o}") as caught:
        TokenBook.from_file(write(tmp_path / "t", "secret-one\n", mode))
    assert caught.value.code == "token-file-mode"
    assert "chmod 600" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "token-file-empty"),
        ("# nothing\n\n", "token-file-empty"),
        ("secret-one red blue\n", "token-file-invalid"),
        ("secret-one RED\n", "token-file-invalid"),
        ("s\u00e9cret\n", "token-file-invalid"),
        ("secret-one red\nsecret-one blue\n", "token-file-invalid"),
        ("secret-one red\nsecret-one\n", "token-file-invalid"),
    ],
)
def test_bad_token_files(tmp_path: Path, text: str, code: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        TokenBook.from_file(write(tmp_path / "t", text))
    assert caught.value.code == code
    assert "secret" not in str(caught.value)


def test_missing_and_binary_token_files(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest) as caught:
        TokenBook.from_file(tmp_path / "none")
    assert caught.value.code == "token-file-missing"
    (tmp_path / "b").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidRequest) as caught:
        TokenBook.from_file(tmp_path / "b")
    assert caught.value.code == "token-file-unreadable"


@pytest.mark.security("S1")
def test_there_is_no_service_without_tokens() -> None:
    with pytest.raises(InvalidRequest):
        TokenBook([])


def test_scope() -> None:
    assert Principal(None).scope("red") == "red"
    assert Principal(None).scope() is None
    assert Principal("red").scope() == "red"
    with pytest.raises(Forbidden):
        Principal("red").scope("blue")


@pytest.mark.security("S3")
def test_a_changed_token_file_counts_from_the_next_request_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "tokens"
    path.touch(mode=0o600)
    path.write_text("operator\n")
    book = TokenBook.from_file(path)
    with pytest.raises(NotAuthenticated):
        book.authenticate("Bearer red-token")
    with path.open("a") as file:
        file.write("red-token red\n")
    assert book.authenticate("Bearer red-token") == Principal("red")
    path.write_text("operator\nblue-token blue\n")
    with pytest.raises(NotAuthenticated):
        book.authenticate("Bearer red-token")
    assert book.authenticate("Bearer blue-token") == Principal("blue")
    path.write_text("one two three\n")
    assert book.authenticate("Bearer operator") == Principal(None), "a broken file changes nothing"
    path.write_text("stranger\n")
    path.chmod(0o644)
    with pytest.raises(NotAuthenticated):
        book.authenticate("Bearer stranger")
    path.unlink()
    assert book.authenticate("Bearer blue-token") == Principal("blue")
    assert "Line 1 of the token file" in caplog.text
    assert "mode 0644" in caplog.text
    assert "stranger" not in caplog.text
