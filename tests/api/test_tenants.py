"""Tenants over HTTP: versions, conditions, who may do what, what is refused."""

from __future__ import annotations

import base64
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import httpx2
import pytest

from rayctl.automl.admission import TenantBound
from rayctl.tenancy import codec

from .conftest import check_problem
from .memory import MemoryService

Clients = Callable[[str | None], httpx2.AsyncClient]
ENVELOPE = {"Content-Type": "application/vnd.rayctl.envelope"}


async def put(client: httpx2.AsyncClient, name: str, document: Any = None, **headers: str) -> httpx2.Response:
    sent = {key.replace("_", "-"): value for key, value in headers.items()}
    return await client.put(f"/v1/tenants/{name}", json=document or {}, headers=sent)


async def test_a_tenant_is_created_changed_and_rolled_back(client: httpx2.AsyncClient) -> None:
    first = await put(client, "red", {"settings": {"depth": 1}}, If_None_Match="*")
    assert (first.status_code, first.headers["etag"]) == (200, '"1"')
    assert first.json()["config"] == {"tenant": "red", "settings": {"depth": 1}}
    second = await client.put(
        "/v1/tenants/red", json={"settings": {"depth": 2}}, headers={"If-Match": '"1"'}, params={"note": "deeper"}
    )
    assert second.headers["etag"] == '"2"'
    history = (await client.get("/v1/tenants/red/history")).json()["items"]
    assert [(item["version"], item["note"]) for item in history] == [(2, "deeper"), (1, "")]
    assert history[0]["changes"] == [{"pointer": "/settings/depth", "before": 1, "after": 2}]
    back = await client.post("/v1/tenants/red:rollback", params={"version": 1}, headers={"If-Match": '"2"'})
    assert (back.json()["version"], back.json()["config"]["settings"]) == (3, {"depth": 1})
    assert back.json()["note"] == "back to version 1"
    assert (await client.get("/v1/tenants/red", params={"version": 2})).json()["config"]["settings"] == {"depth": 2}
    current = (await client.get("/v1/tenants/red")).json()
    assert current["version"] == 3
    assert current["usage"] == {"queued": 0, "running": 0, "runs": 0, "stored_bytes": 0, "deployments": 0}
    assert (await client.delete("/v1/tenants/red")).status_code == 204
    check_problem(await client.get("/v1/tenants/red"), 404, "tenant-not-found")


async def test_the_same_contents_again_change_nothing(client: httpx2.AsyncClient) -> None:
    await put(client, "red", {"settings": {"a": 1}})
    assert (await put(client, "red", {"settings": {"a": 1}})).headers["etag"] == '"1"'


async def test_conditions(client: httpx2.AsyncClient) -> None:
    await put(client, "red", If_None_Match="*")
    check_problem(await put(client, "red", If_None_Match="*"), 409, "tenant-exists")
    check_problem(await put(client, "red", {"settings": {"x": 1}}, If_Match='"7"'), 409, "tenant-changed")
    check_problem(await put(client, "blue", If_Match='"1"'), 404, "tenant-not-found")
    check_problem(await put(client, "red", If_Match="today"), 400, "malformed-request")
    check_problem(await put(client, "red", If_None_Match='"1"'), 400, "malformed-request")


async def test_envelopes_carry_what_json_cannot(client: httpx2.AsyncClient) -> None:
    config = codec.parse({"tenant": "red", "settings": {"rate": Decimal("0.10"), "ids": {3, 1}}})
    answer = await client.put("/v1/tenants/red", content=codec.encode(config), headers=ENVELOPE)
    assert answer.status_code == 200, answer.text
    got = (await client.get("/v1/tenants/red")).json()
    assert codec.decode(base64.b64decode(got["envelope"])) == config
    assert got["config"]["settings"]["rate"] == "0.10"
    other = await client.put("/v1/tenants/blue", content=codec.encode(config), headers=ENVELOPE)
    check_problem(other, 422, "invalid-tenant-config")
    broken = bytearray(codec.encode(config))
    broken[-50] ^= 1
    check_problem(await client.put("/v1/tenants/red", content=bytes(broken), headers=ENVELOPE), 422, "wrong-digest")
    assert (await client.get("/v1/tenants")).json()["items"][0]["version"] == 1


@pytest.mark.parametrize(
    ("document", "pointer"),
    [
        ({"setings": {}}, "/setings"),
        ({"quota": {"max_running": 0}}, "/quota/max_running"),
        ({"environment": {"isolation": "vm"}}, "/environment/isolation"),
        ({"secrets": {"db": "hunter2"}}, "/secrets/db"),
        ({"tenant": "blue"}, "/tenant"),
    ],
)
async def test_what_is_not_valid_is_named(client: httpx2.AsyncClient, document: Any, pointer: str) -> None:
    problem = check_problem(await put(client, "red", document), 422, "invalid-tenant-config")
    assert [item["pointer"] for item in problem["errors"]] == [pointer]
    assert "hunter2" not in str(problem)


async def test_the_operators_policy_counts(client: httpx2.AsyncClient) -> None:
    bad = {
        "environment": {"packages": ["six --index-url http://evil"], "variables": {"LD_PRELOAD": "x", "DB_TOKEN": "t"}}
    }
    problem = check_problem(await put(client, "red", bad), 403, "tenant-policy")
    assert [item["pointer"] for item in problem["errors"]] == [
        "/environment/packages/0",
        "/environment/variables/LD_PRELOAD",
        "/environment/variables/DB_TOKEN",
    ]
    assert (await client.get("/v1/tenants")).json() == {"items": []}


async def test_a_dry_run_keeps_nothing(client: httpx2.AsyncClient) -> None:
    answer = await client.put("/v1/tenants/red", json={"settings": {"a": 1}}, params={"dry_run": "true"})
    assert (answer.json()["version"], answer.json()["config"]["settings"]) == (None, {"a": 1})
    assert (await client.get("/v1/tenants")).json() == {"items": []}


async def test_a_tenant_reads_itself_and_nobody_else(as_caller: Clients) -> None:
    operator, red, nobody = as_caller("operator"), as_caller("red"), as_caller(None)
    await put(operator, "red", {"settings": {"mine": 1}})
    await put(operator, "blue", {"settings": {"theirs": 1}})
    assert [item["tenant"] for item in (await red.get("/v1/tenants")).json()["items"]] == ["red"]
    assert (await red.get("/v1/tenants/red")).json()["config"]["settings"] == {"mine": 1}
    for path in ("/v1/tenants/blue", "/v1/tenants/blue/history", "/v1/tenants/nobody"):
        there = check_problem(await red.get(path), 404, "tenant-not-found")
        assert "theirs" not in str(there)
    for method, path in (
        ("PUT", "/v1/tenants/red"),
        ("DELETE", "/v1/tenants/red"),
        ("POST", "/v1/tenants/red:rollback?version=1"),
    ):
        check_problem(await red.request(method, path, json={}), 403, "operator-only")
    check_problem(await nobody.get("/v1/tenants/red"), 401, "not-authenticated")


async def test_quotas_reach_those_who_keep_them(client: httpx2.AsyncClient, service: MemoryService) -> None:
    await put(client, "red", {"quota": {"max_running": 2, "max_cpus": 3.5}})
    assert service._supervisor.told["red"] == TenantBound(2, 3.5)
    await put(client, "red", {"quota": {"max_queued": 5}})
    assert service._supervisor.told["red"] is None
    await client.post("/v1/tenants/red:rollback", params={"version": 1})
    assert service._supervisor.told["red"] == TenantBound(2, 3.5)
    await client.delete("/v1/tenants/red")
    assert service._supervisor.told["red"] is None


async def test_strange_names_and_bodies(client: httpx2.AsyncClient) -> None:
    for name in ("Red", "a_b", "-a", "a" * 64):
        check_problem(await put(client, name), 404, "tenant-not-found")
    check_problem(await client.put("/v1/tenants/red", json=[1]), 422, "invalid-tenant-config")
    check_problem(
        await client.put("/v1/tenants/red", content=b"{", headers={"Content-Type": "application/json"}),
        400,
        "malformed-request",
    )
    check_problem(
        await client.put("/v1/tenants/red", content=b"x", headers={"Content-Type": "text/csv"}),
        415,
        "unsupported-media-type",
    )
    check_problem(await client.post("/v1/tenants/red:rollback", params={"version": 1}), 404, "tenant-not-found")


async def test_versions_that_no_database_can_hold(as_caller: Callable[..., Any]) -> None:
    for version in (10**9, 2**63, 10**40):
        check_problem(await as_caller("operator").get(f"/v1/tenants/a?version={version}"), 422, "invalid-request")
