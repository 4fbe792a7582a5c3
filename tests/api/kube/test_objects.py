"""Objects over HTTP: create, apply, look, change, delete; versions, keys, trials, pages, and what goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from rayctl.api.app import create_app
from rayctl.api.auth import TokenBook
from rayctl.kube.kinds import FLEETS, RAY_CLUSTERS
from rayctl.settings import ServiceSettings
from rayctl.testkit.faults import FaultTransport, Unreachable

from ..conftest import check_problem, client_for
from ..memory import MemoryService
from .conftest import Kubernetes, cluster, fleet, service_document, until

CASES = [("fleets", fleet), ("clusters", cluster), ("services", service_document)]


@pytest.mark.parametrize(("word", "make"), CASES)
async def test_from_creation_to_deletion(client: httpx2.AsyncClient, word: str, make: Callable[..., Any]) -> None:
    document = make("one")
    made = await client.put(f"/v1/{word}/one", json=document)
    assert made.status_code == 201, made.text
    assert made.json()["done"] == "created"
    assert made.headers["location"] == f"/v1/{word}/one?namespace=default"
    again = await client.put(f"/v1/{word}/one", json=document)
    assert (again.status_code, again.json()["done"]) == (200, "unchanged")
    found = await client.get(f"/v1/{word}/one")
    body = found.json()
    assert body["name"] == "one"
    assert body["ready"] is False
    assert body["document"]["spec"]
    assert "managedFields" not in body["document"]["metadata"]
    assert (await client.get(f"/v1/{word}/one", headers={"If-None-Match": found.headers["etag"]})).status_code == 304
    listed = (await client.get(f"/v1/{word}")).json()["items"]
    assert [item["name"] for item in listed] == ["one"]
    assert "document" not in listed[0]
    gone = await client.delete(f"/v1/{word}/one")
    assert gone.status_code == 202
    operation = await client.get(gone.headers["location"])
    assert operation.json()["state"] == "done"
    check_problem(await client.get(f"/v1/{word}/one"), 404, "object-not-found")
    check_problem(await client.delete(f"/v1/{word}/one"), 404, "object-not-found")


async def test_create_is_refused_where_something_is(client: httpx2.AsyncClient) -> None:
    assert (await client.post("/v1/fleets", json=fleet("a"))).status_code == 201
    check_problem(await client.post("/v1/fleets", json=fleet("a")), 409, "already-exists")
    check_problem(await client.post("/v1/fleets", json={**fleet("a"), "metadata": {}}), 422, "invalid-request")


async def test_a_trial_keeps_nothing(client: httpx2.AsyncClient) -> None:
    tried = await client.put("/v1/fleets/a?dry_run=true", json=fleet("a"))
    assert (tried.status_code, tried.json()["dry_run"]) == (201, True)
    check_problem(await client.get("/v1/fleets/a"), 404, "object-not-found")
    await client.put("/v1/fleets/a", json=fleet("a"))
    await client.post("/v1/fleets/a:scale?dry_run=true", json={"replicas": 9})
    await client.delete("/v1/fleets/a?dry_run=true")
    assert (await client.get("/v1/fleets/a")).json()["wanted"] == 2


async def test_changes_are_based_on_versions(client: httpx2.AsyncClient) -> None:
    first = (await client.put("/v1/fleets/a", json=fleet("a"))).headers["etag"]
    scaled = await client.post("/v1/fleets/a:scale", json={"replicas": 3}, headers={"If-Match": first})
    assert scaled.status_code == 202, scaled.text
    second = scaled.headers["etag"]
    assert second != first
    old = {"If-Match": first}
    for answer in (
        await client.put("/v1/fleets/a", json=fleet("a"), headers=old),
        await client.patch("/v1/fleets/a", json={"spec": {"replicas": 4}}, headers=old),
        await client.post("/v1/fleets/a:pause", headers=old),
        await client.post("/v1/fleets/a:scale", json={"replicas": 5}, headers=old),
        await client.delete("/v1/fleets/a", headers=old),
    ):
        check_problem(answer, 412, "precondition-failed")
    assert (await client.get("/v1/fleets/a")).json()["wanted"] == 3
    new = {"If-Match": second}
    changed = await client.patch("/v1/fleets/a", json={"spec": {"replicas": 4}}, headers=new)
    assert changed.json()["wanted"] == 4
    check_problem(await client.delete("/v1/fleets/a", headers={"If-Match": "x y"}), 400, "malformed-request")
    assert (await client.delete("/v1/fleets/a", headers={"If-Match": changed.headers["etag"]})).status_code == 202


async def test_an_idempotency_key_does_it_once(client: httpx2.AsyncClient, kubernetes: Kubernetes) -> None:
    await client.put("/v1/fleets/a", json=fleet("a"))
    key = {"Idempotency-Key": "k1"}
    one, two = await asyncio.gather(*[client.post("/v1/fleets/a:restart", headers=key) for _ in range(2)])
    codes = sorted((one.status_code, two.status_code))
    assert codes in ([202, 202], [202, 409])
    revision = (await kubernetes.get(FLEETS, "a"))["metadata"]["generation"]
    assert (await client.post("/v1/fleets/a:restart", headers=key)).status_code == 202
    assert (await kubernetes.get(FLEETS, "a"))["metadata"]["generation"] == revision
    check_problem(await client.post("/v1/fleets/a:pause", headers=key), 422, "idempotency-key-reused")
    # What failed was not done, and may be tried again.
    key = {"Idempotency-Key": "k2"}
    check_problem(await client.post("/v1/fleets/b:pause", headers=key), 404, "object-not-found")
    await client.put("/v1/fleets/b", json=fleet("b"))
    assert (await client.post("/v1/fleets/b:pause", headers=key)).status_code == 202


async def test_pages(client: httpx2.AsyncClient) -> None:
    for number in range(7):
        document = cluster(f"c{number}")
        document["metadata"]["labels"] = {"team": "a" if number % 2 else "b"}
        await client.put(f"/v1/clusters/c{number}", json=document)
    found, cursor = [], ""
    while True:
        page = (await client.get("/v1/clusters", params={"limit": 3, "cursor": cursor})).json()
        found += [item["name"] for item in page["items"]]
        if page["next"] is None:
            break
        cursor = page["next"]
    assert found == [f"c{number}" for number in range(7)]
    labelled = (await client.get("/v1/clusters", params={"label": "team=a"})).json()["items"]
    assert [item["name"] for item in labelled] == ["c1", "c3", "c5"]
    check_problem(await client.get("/v1/clusters?cursor=nonsense"), 422, "rejected-by-kubernetes")
    check_problem(await client.get("/v1/clusters?limit=0"), 422, "invalid-request")


async def test_sizes(client: httpx2.AsyncClient) -> None:
    await client.put("/v1/clusters/c", json=cluster("c"))
    scaled = await client.post("/v1/clusters/c:scale", json={"replicas": 4})
    assert scaled.json()["document"]["spec"]["workerGroupSpecs"][0]["replicas"] == 4
    check_problem(await client.post("/v1/clusters/c:scale", json={"replicas": 99}), 422, "outside-limits")
    check_problem(await client.post("/v1/clusters/c:scale", json={"replicas": 2, "group": "no"}), 422, "no-such-group")
    check_problem(await client.post("/v1/clusters/c:scale", json={"replicas": 2, "current": 3}), 409, "other-replicas")
    check_problem(await client.post("/v1/clusters/c:scale", json={"replicas": -1}), 422, "invalid-request")
    check_problem(await client.post("/v1/clusters/c:scale"), 422, "invalid-request")
    check_problem(await client.post("/v1/clusters/c:scale", content=b'{"replicas": 1}'), 415, "unsupported-media-type")
    suspended = await client.post("/v1/clusters/c:suspend")
    assert suspended.json()["state"] == "suspended"
    assert suspended.headers["location"].startswith("/v1/operations/change~clusters~default~c")
    assert (await client.get(suspended.headers["location"])).json()["state"] == "waiting"
    assert (await client.post("/v1/clusters/c:resume")).json()["document"]["spec"]["suspend"] is False
    # Applying again after scaling: both are the word of the same people, and the newer one counts.
    assert (await client.put("/v1/clusters/c", json=cluster("c"))).status_code == 200


async def test_fields_of_others(client: httpx2.AsyncClient, kubernetes: Kubernetes) -> None:
    from rayctl.kube.calls import Call

    theirs = {**fleet("a", replicas=5)}
    await kubernetes.transport.request(Call.apply(FLEETS.path("default", "a"), theirs, "argo"))
    problem = check_problem(await client.put("/v1/fleets/a", json=fleet("a")), 409, "fields-owned-by-others")
    assert any("argo" in error["message"] for error in problem["errors"])
    assert (await client.put("/v1/fleets/a?force=true", json=fleet("a"))).json()["wanted"] == 2


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"kind": "RayJob"}, 422, "other-object"),
        ({"apiVersion": "v1"}, 422, "other-object"),
        ({"metadata": {"name": "b"}}, 422, "other-object"),
        ({"metadata": {"namespace": "red"}}, 201, ""),
        ({"metadata": []}, 422, "invalid-request"),
        ({"spec": {"replicas": "many"}}, 422, "rejected-by-kubernetes"),
    ],
)
async def test_documents_that_do_not_fit(
    client: httpx2.AsyncClient, change: dict[str, Any], status: int, code: str
) -> None:
    answer = await client.put("/v1/fleets/a", json={**fleet("a"), **change})
    assert answer.status_code == status, answer.text
    assert answer.json().get("code", "") == code


async def test_what_is_rejected_says_where(client: httpx2.AsyncClient) -> None:
    document = {**fleet("a"), "spec": {**fleet("a")["spec"], "replicas": "many"}}
    problem = check_problem(await client.put("/v1/fleets/a", json=document), 422, "rejected-by-kubernetes")
    assert "/spec/replicas" in [error["pointer"] for error in problem["errors"]]


async def test_a_plan_writes_nothing(client: httpx2.AsyncClient, kubernetes: Kubernetes) -> None:
    planned = (await client.post("/v1/fleets/a:plan", json=fleet("a", replicas=3))).json()
    assert [step["do"] for step in planned["steps"]].count("create") == 4  # one set, three clusters
    assert planned["verdict"] == "can start now"
    check_problem(await client.get("/v1/fleets/a"), 404, "object-not-found")
    check_problem(await client.post("/v1/fleets/a:plan"), 404, "object-not-found")
    async with kubernetes.controllers():
        await client.put("/v1/fleets/a", json=fleet("a"))
        await until(lambda: client.get("/v1/fleets/a"), lambda answer: answer.json()["state"] == "ready")
        assert (await client.post("/v1/fleets/a:plan")).json()["verdict"] == "nothing to do"
        planned = (await client.post("/v1/fleets/a:plan", json=fleet("a", image="ray:2"))).json()
    assert planned["revision"] == {"from": 1, "to": 2}
    assert planned["finished"]
    for broken in ({}, {"spec": None}, {"spec": []}, {"spec": {"template": 5}}, {"spec": {"replicas": "x"}}):
        answer = await client.post("/v1/fleets/b:plan", json={"metadata": {"name": "b"}, **broken})
        assert answer.status_code == 422 or answer.json()["blocked"]["code"] == "InvalidSpec", answer.text


async def test_a_rollout_from_outside(client: httpx2.AsyncClient, kubernetes: Kubernetes) -> None:
    async with kubernetes.controllers():
        await client.put("/v1/fleets/a", json=fleet("a"))
        await until(lambda: client.get("/v1/fleets/a"), lambda answer: answer.json()["state"] == "ready")
        check_problem(await client.post("/v1/fleets/a:undo"), 404, "revision-not-found")
        check_problem(await client.post("/v1/fleets/a:abort"), 409, "nothing-to-abort")
        await client.post("/v1/fleets/a:pause")
        await client.put("/v1/fleets/a", json={**fleet("a", image="ray:2")})
        assert (await client.get("/v1/fleets/a")).json()["state"] == "paused"
        await client.post("/v1/fleets/a:resume")

        async def rollout() -> dict[str, Any]:
            found: dict[str, Any] = (await client.get("/v1/fleets/a/rollout")).json()
            return found

        view = await until(rollout, lambda found: found["verdict"] == "complete" and found["revision"] == 2)
        assert [row["number"] for row in view["revisions"]] == [2]
        undone = await client.post("/v1/fleets/a:undo", json={"to_revision": 1})
        assert undone.json()["done"] == "went back to revision 1"
        assert undone.status_code == 202
        await until(rollout, lambda found: found["verdict"] == "complete" and found["revision"] == 3)
        check_problem(await client.post("/v1/fleets/a:undo", json={"to_revision": 3}), 409, "nothing-to-undo")
        history = (await client.get("/v1/fleets/a/history")).json()["items"]
        assert [row["images"] for row in history] == [["ray:1"], ["ray:2"]]
        operation = await client.get(undone.headers["location"])
        assert (operation.json()["kind"], operation.json()["state"]) == ("rollout", "done")
        tree = (await client.get("/v1/fleets/a/tree")).json()
        assert {child["kind"] for child in tree["children"]} == {"RayClusterReplicaSet"}


async def test_explaining(client: httpx2.AsyncClient) -> None:
    await client.put("/v1/clusters/c", json=cluster("c"))
    why = (await client.get("/v1/clusters/c/explain")).json()
    assert why["ready"] is False
    assert why["because"]
    assert why["you_can"]
    listed = (await client.get("/v1/operations")).json()["items"]
    assert [(item["object"], item["state"]) for item in listed] == [("clusters/c", "running")]


async def test_switchovers_are_steered(client: httpx2.AsyncClient, kubernetes: Kubernetes) -> None:
    from rayctl.kube.kinds import RAY_SERVICES

    await client.put("/v1/services/chat", json=service_document("chat"))
    for verb in ("promote", "abort"):
        check_problem(await client.post(f"/v1/services/chat:{verb}"), 409, "no-switch")
    check_problem(await client.post("/v1/services/chat:weight", json={"percent": 5}), 409, "no-switch")
    check_problem(await client.post("/v1/services/chat:promote", json={"retry": True}), 409, "nothing-to-retry")
    check_problem(await client.post("/v1/services/chat:rollback"), 404, "revision-not-found")
    check_problem(await client.post("/v1/services/chat:weight", json={"percent": 101}), 422, "invalid-request")
    await kubernetes.status(RAY_SERVICES, "chat", {"pendingServiceStatus": {"rayClusterName": "chat-b"}})

    async def annotation(name: str) -> str | None:
        found: str | None = (await kubernetes.get(RAY_SERVICES, "chat"))["metadata"]["annotations"].get(name)
        return found

    assert (await client.post("/v1/services/chat:promote")).status_code == 202
    assert await annotation("rayctl.io/promote") == "chat-b"
    assert (await client.post("/v1/services/chat:weight", json={"percent": 20})).status_code == 202
    assert await annotation("rayctl.io/weight") == "chat-b=20"
    assert (await client.post("/v1/services/chat:weight", json={"percent": None})).status_code == 202
    assert await annotation("rayctl.io/weight") is None
    assert (await client.post("/v1/services/chat:abort")).status_code == 202
    assert await annotation("rayctl.io/abort") == "chat-b"


async def test_a_service_is_planned(client: httpx2.AsyncClient) -> None:
    planned = await client.post("/v1/services/chat:plan", json=service_document("chat"))
    assert planned.json()["kind"] == "first", planned.text
    check_problem(await client.get("/v1/services/chat"), 404, "object-not-found")
    await client.put("/v1/services/chat", json=service_document("chat"))
    assert (await client.post("/v1/services/chat:plan", json=service_document("chat"))).status_code == 200
    check_problem(await client.post("/v1/services/chat:plan"), 415, "unsupported-media-type")
    broken = service_document("chat", rayClusterConfig={"headGroupSpec": {}})
    check_problem(await client.post("/v1/services/chat:plan", json=broken), 422, "rejected-by-kubernetes")


async def test_unknown_fields_are_told(client: httpx2.AsyncClient) -> None:
    for method, path in (("PUT", "/v1/fleets/a"), ("POST", "/v1/fleets")):
        document = {**fleet("a"), "spec": {**fleet("a")["spec"], "replica": 3}}
        problem = check_problem(await client.request(method, path, json=document), 422, "rejected-by-kubernetes")
        assert "replica" in problem["detail"]


async def test_without_kubernetes(settings: ServiceSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    there = settings.model_copy(update={"home": tmp_path})
    app = create_app(MemoryService(), tokens=TokenBook([("t", None)]), settings=there)
    async with client_for(app, "t") as client:
        for method, path in (
            ("GET", "/v1/fleets"),
            ("GET", "/v1/operations"),
            ("POST", "/v1/fleets/a:pause"),
            ("GET", "/v1/events"),
            ("GET", "/v1/changes"),
        ):
            problem = check_problem(
                await client.request(method, path, headers={"Accept": "text/event-stream"}), 503, "no-kubernetes"
            )
            assert "RAYCTL_KUBECONFIG" in problem["hint"]
        assert (await client.get("/v1/runs")).status_code == 200
    missing = settings.model_copy(update={"kubeconfig": tmp_path / "none"})
    app = create_app(MemoryService(), tokens=TokenBook([("t", None)]), settings=missing)
    async with client_for(app, "t") as client:
        check_problem(await client.get("/v1/fleets"), 503, "no-kubernetes")


async def test_kinds_that_are_not_installed_and_servers_that_do_not_answer(settings: ServiceSettings) -> None:
    from tests.unit.embedded.local import Local

    bare = await Local().start()
    from rayctl.testkit.local_transport import LocalTransport

    transport = LocalTransport(bare.handler, "t")
    for way, status, code in (
        (transport, 503, "kind-not-served"),
        (FaultTransport(transport, lambda *_: Unreachable()), 504, "kubernetes-no-answer"),
        (LocalTransport(bare.handler, "wrong"), 502, "kubernetes-unknown-service"),
    ):
        app = create_app(
            MemoryService(), tokens=TokenBook([("t", None)]), settings=settings, kubernetes=lambda way=way: way
        )
        async with client_for(app, "t") as client:
            for path in ("/v1/clusters", "/v1/clusters/x", "/v1/clusters/x/explain"):
                check_problem(await client.get(path), status, code)


async def test_names_that_no_object_has(client: httpx2.AsyncClient, kubernetes: Kubernetes) -> None:
    await kubernetes.create(RAY_CLUSTERS, cluster("c"))
    for name in ("C", "a_b", "%2e%2e", "a%2Fb", "x" * 300, "a:b", "%00"):
        for path in (f"/v1/clusters/{name}", f"/v1/clusters/{name}/explain"):
            answer = await client.get(path)
            assert answer.status_code == 404, (path, answer.text)
    check_problem(await client.get("/v1/clusters/c?namespace=UP"), 422, "invalid-request")
    check_problem(await client.get("/v1/clusters/c?namespace=-"), 404, "object-not-found")
