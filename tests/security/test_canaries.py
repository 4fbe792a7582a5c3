"""Secrets with unmistakable values in every field that can hold one: none of them comes out anywhere.

The whole control plane runs in this process: API server with its audit log, all four controllers, the HTTP API with its
pages. What is looked through is everything but the objects themselves, which whoever may read them may read.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import logging
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from rayctl.api.app import create_app
from rayctl.api.auth import TokenBook
from rayctl.core.host import ControllerHost, HostSettings
from rayctl.embedded.apiserver.access.tokens import ADMIN
from rayctl.embedded.apiserver.handler import Handler
from rayctl.embedded.apiserver.server import Options, Server
from rayctl.kube.calls import MERGE, Call
from rayctl.kube.errors import KubernetesError
from rayctl.kube.kinds import CUSTOM_RESOURCE_DEFINITIONS, FLEETS, PODS, RAY_CLUSTERS, RAY_SERVICES, SECRETS
from rayctl.manifests import crd_documents
from rayctl.selfhost.controllers import build_controllers
from rayctl.settings import ServiceSettings
from rayctl.telemetry.logs import JsonLines
from rayctl.telemetry.metrics import Metrics
from rayctl.testkit.local_transport import LocalTransport
from rayctl.views.describe import description, lines
from rayctl.views.events import happened
from rayctl.views.family import family
from tests.api.conftest import REQUEST
from tests.api.kube.conftest import cluster, fleet, service_document, until
from tests.api.memory import MemoryService

HIDDEN_WORD = "canary"


class Canaries:
    """Makes secrets and looks for them, also encoded as they are stored."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}

    def make(self, where: str) -> str:
        value = f"{HIDDEN_WORD}{secrets.token_hex(12)}"
        self.known[value] = where
        return value

    def learn(self, value: str, where: str) -> None:
        self.known[value] = where

    def found_in(self, text: str) -> list[str]:
        forms = [(form, where) for value, where in self.known.items() for form in self._forms(value)]
        return sorted({where for form, where in forms if form in text})

    @staticmethod
    def _forms(value: str) -> Iterator[str]:
        yield value
        yield base64.b64encode(value.encode()).decode().rstrip("=")[:-1]


class Plane:
    """The control plane in this process, and everything that it lets out."""

    def __init__(self, folder: Path, canaries: Canaries) -> None:
        self.canaries, self.folder = canaries, folder
        self.server_token = canaries.make("token of the API server")
        self.http_token = canaries.make("token of the HTTP API")
        self.server = Server(Options(folder / "kube", tokens=[(self.server_token, ADMIN)]))
        self.handler: Handler = self.server.handler
        self.transport = LocalTransport(self.handler, self.server_token)
        self.service = MemoryService()
        self.metrics = Metrics()
        book = TokenBook([(self.http_token, None)])
        settings = ServiceSettings(home=folder, lease_namespace="kube-system")
        self.app = create_app(self.service, tokens=book, settings=settings, kubernetes=lambda: self.transport)
        self.host: ControllerHost | None = None
        self.let_out: dict[str, str] = {}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        await self.server.start()
        for document in crd_documents():
            await self.transport.request(Call("POST", CUSTOM_RESOURCE_DEFINITIONS.path(), body=document))
        built = build_controllers(self.transport)
        settings = HostSettings("test", "kube-system")
        self.host = ControllerHost(self.transport, built.controllers, settings, time.time, built.serve, self.metrics)
        tasks = [asyncio.ensure_future(self.host.run()), asyncio.ensure_future(self._kubelet())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for one in built.close:
                await one.close()
            await self.server.stop()

    async def _kubelet(self) -> None:
        """All pods are ready at once."""
        async for event in self.transport.watch(Call.get(PODS.path()).asking(watch=True), 600.0):
            if event["type"] == "ADDED":
                metadata = event["object"]["metadata"]
                ready = {"type": "Ready", "status": "True"}
                body = {"status": {"phase": "Running", "podIP": "127.0.0.2", "conditions": [ready]}}
                path = PODS.path(metadata["namespace"], metadata["name"], "status")
                await self.transport.request(Call("PATCH", path, body=body, content_type=MERGE))

    async def put(self, path: str, document: dict[str, Any]) -> None:
        """Create an object; what is said when it is refused has to be harmless too."""
        try:
            await self.transport.request(Call("POST", path, body=document))
        except KubernetesError as error:
            self.let_out[f"refusal of {document['kind']}/{document['metadata']['name']}"] = f"{error} {error.hint}"

    async def documents(self, path: str, kind: str = "") -> list[dict[str, Any]]:
        items = (await self.transport.request(Call.get(path)))["items"]
        return [{"kind": kind, **item} for item in items]


@contextmanager
def logged() -> Iterator[tuple[io.StringIO, io.StringIO]]:
    """Everything that is logged, as JSON lines and as plain text."""
    structured, plain = io.StringIO(), io.StringIO()
    handlers = [logging.StreamHandler(structured), logging.StreamHandler(plain)]
    handlers[0].setFormatter(JsonLines())
    handlers[1].setFormatter(logging.Formatter("%(levelname)s %(name)s %(message)s"))
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.DEBUG)
    root.handlers += handlers
    try:
        yield structured, plain
    finally:
        root.setLevel(before)
        for handler in handlers:
            root.removeHandler(handler)


def with_secrets(spec: dict[str, Any], canaries: Canaries, where: str) -> dict[str, Any]:
    """Add what people write into the pods of a cluster's spec."""
    container = spec["headGroupSpec"]["template"]["spec"]["containers"][0]
    container["env"] = [
        {"name": "OPENAI_API_KEY", "value": canaries.make(f"variable of {where}")},
        {"name": "FROM_SECRET", "valueFrom": {"secretKeyRef": {"name": "mine", "key": "password"}}},
    ]
    return spec


async def fill(plane: Plane) -> None:
    make = plane.canaries.make
    namespace = "/api/v1/namespaces/default"
    mine = {"metadata": {"name": "mine"}, "stringData": {"password": make("a Secret's stringData")}}
    mine["data"] = {"old": base64.b64encode(make("a Secret's data").encode()).decode()}
    await plane.put(f"{namespace}/secrets", {"apiVersion": "v1", "kind": "Secret", **mine})
    for name, data in (
        ("no-base64", {"data": {"k": f"!{make('a Secret that is no base64')}"}}),
        ("bad-key", {"stringData": {"a b/c": make("a Secret with a bad key")}}),
        ("too-large", {"stringData": {"k": make("a Secret that is too large") * 40_000}}),
        ("wrong-type", {"stringData": {"k": [make("a Secret of the wrong type")]}}),
        ("Bad_Name", {"stringData": {"k": make("a Secret with a bad name")}}),
        ("wrong-immutable", {"immutable": make("a Secret's other field"), "stringData": {"k": make("beside it")}}),
    ):
        await plane.put(
            f"{namespace}/secrets", {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, **data}
        )
    redis = {"redisAddress": "redis:6379", "redisPassword": {"value": make("an inline Redis password")}}
    tolerant = cluster("tolerant", gcsFaultToleranceOptions=redis)
    with_secrets(tolerant["spec"], plane.canaries, "a RayCluster")
    await plane.put(RAY_CLUSTERS.path("default"), tolerant)
    refused = cluster("refused", gcsFaultToleranceOptions=redis)
    refused["metadata"]["annotations"] = {"ray.io/ft-enabled": "false"}
    started = {"redis-password": make("a Redis password among the start parameters")}
    refused["spec"]["headGroupSpec"]["rayStartParams"] = started
    await plane.put(RAY_CLUSTERS.path("default"), refused)
    environment = f"{{env_vars: {{API_KEY: {make('Serve config')}}}}}"
    serve = f"applications:\n- name: a\n  import_path: x:y\n  runtime_env: {environment}\n"
    chat = service_document("chat", serveConfigV2=serve)
    with_secrets(chat["spec"]["rayClusterConfig"], plane.canaries, "a RayService")
    await plane.put(RAY_SERVICES.path("default"), chat)
    llm = fleet("llm", replicas=1)
    with_secrets(llm["spec"]["template"]["spec"], plane.canaries, "a fleet")
    await plane.put(FLEETS.path("default"), llm)


async def ask_the_http_api(plane: Plane) -> None:
    """All that is told about objects, refusals of requests with secrets in them, and the pages."""
    make, out = plane.canaries.make, plane.let_out
    transport = httpx2.ASGITransport(app=plane.app)
    bearer = {"Authorization": f"Bearer {plane.http_token}"}
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost", headers=bearer) as client:
        url = f"https://ann:{make('a password in a data address')}@host.test/x.csv?sig={make('a signature in it')}"
        await plane.service.do_auto_ml({**REQUEST, "data": {"uri": url}}, None, via="http")
        told = ["/v1/events", "/v1/operations", "/v1/info", "/metrics", "/v1/runs", "/v1/tenants"]
        for kind, name in (("clusters", "tolerant"), ("clusters", "refused"), ("services", "chat"), ("fleets", "llm")):
            told += [f"/v1/{kind}/{name}/{what}" for what in ("explain", "tree", "events")]
        told += [f"/v1/services/chat/{what}" for what in ("switchover", "history")]
        told += [f"/v1/fleets/llm/{what}" for what in ("rollout", "history")]
        for path in told:
            answer = await client.get(path)
            assert answer.status_code == 200, (path, answer.text)
            out[f"GET {path}"] = answer.text
        fresh = fleet("llm", replicas=1, image="ray:2")
        with_secrets(fresh["spec"]["template"]["spec"], plane.canaries, "a fleet's next revision")
        out["plan"] = (await client.post("/v1/fleets/llm:plan", json=fresh)).text
        wrong: list[tuple[str, str, Any]] = [
            ("POST", "/v1/runs", {**REQUEST, "data": {"uri": url}}),
            ("POST", "/v1/runs", {**REQUEST, "runtime_env": {"env_vars": {"K": make("a run's environment")}}}),
            ("POST", "/v1/runs", {**REQUEST, "max_trials": make("a wrong value of a run")}),
            ("PUT", "/v1/tenants/red", tenant(variables={"DB_PASSWORD": make("a tenant's variable")})),
            ("PUT", "/v1/tenants/red", tenant(packages=[f"six @ https://u:{make('a package address')}@h/six.whl"])),
            (
                "PUT",
                "/v1/tenants/red",
                {"tenant": "red", "secrets": {"db": make("a secret in place of its reference")}},
            ),
            ("POST", "/v1/clusters", {**cluster("x"), "spec": {"redisPassword": make("an unknown field")}}),
        ]
        for number, (method, path, body) in enumerate(wrong):
            answer = await client.request(method, path, json=body)
            assert answer.status_code >= 400 or number == 0, (path, answer.text)
            out[f"answer {number} of {path.split('canary')[0]}"] = json.dumps({**answer.json(), "instance": ""})
        stranger = {"Authorization": f"Bearer {make('a wrong token')}"}
        out["a wrong token"] = (await client.get("/v1/runs", headers=stranger)).text
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost:8000") as browser:
        login = await browser.post("/ui/login", data={"token": plane.http_token})
        plane.canaries.learn(login.cookies["rayctl_session"], "a session")
        pages = ["", "fleets", "clusters", "services", "runs", "tenants", "system"]
        pages += [
            "fleets/default/llm",
            "clusters/default/tolerant",
            "clusters/default/refused",
            "services/default/chat",
        ]
        for page in pages:
            answer = await browser.get(f"/ui/{page}", headers={"Accept": "text/html"})
            assert answer.status_code == 200, page
            out[f"page /ui/{page}"] = answer.text
        wrong_login = await browser.post("/ui/login", data={"token": make("a wrong token at the login")})
        out["a wrong login"] = wrong_login.text


def tenant(**environment: Any) -> dict[str, Any]:
    return {"tenant": "red", "environment": environment}


async def look_into_the_server(plane: Plane) -> None:
    """Statuses, labels and annotations of all objects; events; what is described to people."""
    out = plane.let_out
    events = [happened(item) for item in await plane.documents("/apis/events.k8s.io/v1/events", "Event")]
    assert events
    every = []
    for kind, path in (
        ("RayCluster", RAY_CLUSTERS.path()),
        ("RayService", RAY_SERVICES.path()),
        ("RayClusterFleet", FLEETS.path()),
        ("RayClusterReplicaSet", "/apis/orchestration.aibrix.ai/v1alpha1/rayclusterreplicasets"),
        ("Pod", PODS.path()),
        ("Service", "/api/v1/services"),
        ("Secret", SECRETS.path()),
        ("ConfigMap", "/api/v1/configmaps"),
    ):
        found = await plane.documents(path, kind)
        assert found or kind == "ConfigMap", kind
        every += found
    for item in every:
        metadata = item["metadata"]
        name = f"{item['kind']}/{metadata['name']}"
        kept = {part: metadata.get(part) for part in ("name", "labels", "annotations")}
        out[f"status of {name}"] = json.dumps([item.get("status"), kept])
        node = family(item, every)
        out[f"description of {name}"] = "\n".join(lines(node, events, time.time()))
        out[f"described {name}"] = json.dumps(description(node, events))
    out["events"] = json.dumps([item.get("note") for item in await plane.documents("/apis/events.k8s.io/v1/events")])


@pytest.mark.security("S7", "S18")
async def test_no_secret_comes_out(tmp_path: Path) -> None:
    canaries = Canaries()
    plane = Plane(tmp_path, canaries)
    with logged() as (structured, plain):
        async with plane.running():
            await fill(plane)

            async def clusters() -> list[dict[str, Any]]:
                return await plane.documents(RAY_CLUSTERS.path())

            def settled(found: list[dict[str, Any]]) -> bool:
                return len(found) == 4 and all((item.get("status") or {}).get("conditions") for item in found)

            await until(clusters, settled)
            for item in await plane.documents(SECRETS.path()):
                for key, value in (item.get("data") or {}).items():
                    text = base64.b64decode(value).decode()
                    if item["metadata"]["name"] != "mine" and len(text) > 20:
                        canaries.learn(text, f"generated {item['metadata']['name']}/{key}")
            await ask_the_http_api(plane)
            await look_into_the_server(plane)
            assert plane.host is not None
            plane.host.sample()
            plane.let_out["metrics of the controllers"] = plane.metrics.text().decode()
            metrics = await plane.transport.request(Call.get("/metrics"))
            plane.let_out["metrics of the API server"] = str(metrics)
            plane.let_out["state of the controllers"] = json.dumps(plane.host.status())
    plane.let_out["audit log"] = (tmp_path / "kube" / "audit.log").read_text()
    plane.let_out["logs"], plane.let_out["plain logs"] = structured.getvalue(), plain.getvalue()
    assert sum(1 for where in canaries.known.values() if where.startswith("generated")) == 3, (
        "each cluster that is made has a token"
    )
    assert len(canaries.known) > 30
    assert '"resource":"secrets"' in plane.let_out["audit log"]
    assert len(plane.let_out) > 60
    hits = {what: canaries.found_in(text) for what, text in plane.let_out.items()}
    told = [f"{what}: {', '.join(found)}" for what, found in hits.items() if found]
    assert not told, "\n".join(told)


def test_a_canary_is_found_in_whatever_form() -> None:
    canaries = Canaries()
    value = canaries.make("here")
    assert canaries.found_in(f"x {value} y") == ["here"]
    assert canaries.found_in(base64.b64encode(value.encode()).decode()) == ["here"]
    assert canaries.found_in("nothing") == []
