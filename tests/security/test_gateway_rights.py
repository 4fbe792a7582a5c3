"""The HTTP API's account on the Kubernetes API: what it is granted is what it uses, route by route."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from rayctl.api.app import create_app
from rayctl.api.auth import TokenBook
from rayctl.embedded.apiserver.access.accounts import user_of_account
from rayctl.embedded.apiserver.access.rbac import Authorizer
from rayctl.embedded.apiserver.access.tokens import ADMIN, Tokens
from rayctl.embedded.apiserver.handler import Handler
from rayctl.kube.calls import Call
from rayctl.kube.kinds import FLEETS, LEASES, RAY_CLUSTERS, RAY_SERVICES
from rayctl.manifests.access import gateway_rules
from rayctl.manifests.installation import PODS_ACCOUNT, Installation, documents
from rayctl.settings import ServiceSettings
from rayctl.testkit.local_transport import LocalTransport
from tests.api.kube.conftest import Kubernetes, cluster, fleet, service_document
from tests.api.kube.test_streams import Stream
from tests.api.memory import MemoryService
from tests.sim.test_rights import Recording


def replica_set(name: str) -> dict[str, Any]:
    spec = fleet(name)["spec"]
    return {"metadata": {"name": name}, "spec": {part: spec[part] for part in ("replicas", "selector", "template")}}


ROUTES: list[tuple[str, str, Any]] = [
    ("POST", "/v1/fleets", fleet("second")),
    ("PUT", "/v1/fleets/third", fleet("third")),
    ("PATCH", "/v1/fleets/llm", {"metadata": {"labels": {"a": "b"}}}),
    ("POST", "/v1/fleets/llm:scale", {"replicas": 3}),
    ("POST", "/v1/fleets/llm:pause", None),
    ("POST", "/v1/fleets/llm:resume", None),
    ("POST", "/v1/fleets/llm:restart", None),
    ("POST", "/v1/fleets/llm:plan", fleet("llm", image="ray:2")),
    ("POST", "/v1/clusters", cluster("second")),
    ("PUT", "/v1/clusters/third", cluster("third")),
    ("POST", "/v1/clusters/demo:suspend", None),
    ("POST", "/v1/clusters/demo:resume", None),
    ("POST", "/v1/clusters/demo:scale", {"group": "workers", "replicas": 2}),
    ("POST", "/v1/services", service_document("second")),
    ("PUT", "/v1/services/third", service_document("third")),
    ("POST", "/v1/services/chat:plan", service_document("chat", serveConfigV2="applications: [1]\n")),
    ("POST", "/v1/services/chat:rollback", None),
    ("POST", "/v1/services/chat:suspend", None),
    ("POST", "/v1/sets", replica_set("one")),
    ("GET", "/v1/sets/one", None),
    ("PATCH", "/v1/sets/one", {"metadata": {"labels": {"a": "b"}}}),
    ("DELETE", "/v1/sets/one", None),
    *(("GET", f"/v1/{kind}", None) for kind in ("fleets", "sets", "clusters", "services", "events", "operations")),
    *(
        ("GET", f"/v1/{path}{view}", None)
        for path in ("fleets/llm", "clusters/demo", "services/chat")
        for view in ("", "/explain", "/tree", "/events")
    ),
    *(("GET", f"/v1/fleets/llm/{view}", None) for view in ("rollout", "history")),
    *(("GET", f"/v1/services/chat/{view}", None) for view in ("switchover", "history")),
    *(("DELETE", f"/v1/{path}", None) for path in ("fleets/third", "clusters/third", "services/third")),
    ("GET", "/v1/clusters/none", None),
]
PAGES = ["", "fleets", "clusters", "services", "system", "fleets/default/llm", "clusters/default/demo"]
PAGES += ["services/default/chat"]


async def installed(kubernetes: Kubernetes) -> None:
    """Make what an installation with actors makes for the gateway, and nothing else of it."""
    for document in documents(Installation(actors=True)):
        metadata = document["metadata"]
        if metadata["name"] != "rayctl-gateway" and document["kind"] != "Namespace":
            continue
        plural = document["kind"].lower() + "s"
        prefix = "/api/v1" if document["kind"] == "Namespace" else f"/apis/{document['apiVersion']}"
        await kubernetes.transport.request(Call("POST", f"{prefix}/{plural}", body=document))


@pytest.mark.security("S5")
async def test_what_the_gateway_is_granted_is_what_it_uses() -> None:
    kubernetes = await Kubernetes().start()
    await installed(kubernetes)
    await kubernetes.create(FLEETS, fleet("llm"))
    await kubernetes.create(RAY_CLUSTERS, cluster("demo"))
    await kubernetes.create(RAY_SERVICES, service_document("chat"))
    lease = {"metadata": {"name": "fleet-controller"}, "spec": {"holderIdentity": "me", "leaseDurationSeconds": 15}}
    await kubernetes.create(LEASES, lease, "rayctl-system")
    account = user_of_account("rayctl-system", PODS_ACCOUNT)
    local = kubernetes.local
    handler = Handler(local.api, Tokens([("t", ADMIN), ("account", account)]), Authorizer(local.store))
    recording = Recording(LocalTransport(handler, "account"))
    book, settings = TokenBook([("a-token", None)]), ServiceSettings(dashboard_actions=True, allowed_hosts=["api"])
    app = create_app(MemoryService(), tokens=book, settings=settings, kubernetes=lambda: recording)
    transport, bearer = httpx2.ASGITransport(app=app), {"Authorization": "Bearer a-token"}
    async with httpx2.AsyncClient(transport=transport, base_url="http://api", headers=bearer) as client:
        for method, path, body in ROUTES:
            answer = await client.request(method, path, json=body)
            assert answer.status_code < 500, (method, path, answer.text)
            assert answer.status_code not in (401, 403), (method, path, answer.text)
        for page in PAGES:
            answer = await client.get(f"/ui/{page}", headers={"Accept": "text/html"})
            assert answer.status_code == 200, (page, answer.text)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost:1") as browser:
        await browser.post("/ui/login", data={"token": "a-token"})
        page = (await browser.get("/ui/fleets/default/llm", headers={"Accept": "text/html"})).text
        assert "Pause" in page
    await follow(app)
    assert not recording.refused
    granted = {
        (verb, group, resource)
        for rule in gateway_rules()
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert granted == recording.used


async def follow(app: FastAPI) -> None:
    """Read the beginning of the streams: all that they watch is watched then."""
    for path, first in (("/v1/changes", "synced"), ("/v1/events", "synced"), ("/v1/fleets/llm/events", "synced")):
        stream = Stream(app, path, "a")
        await stream.until(first)
        await stream.leave()
