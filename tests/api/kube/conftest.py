"""The application over an embedded API server in this process: no socket, no Ray; controllers if wanted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import lru_cache
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from rayctl.api.app import create_app
from rayctl.api.auth import Role, TokenBook
from rayctl.core.host import ControllerHost, HostSettings
from rayctl.fleet.controller import FleetController
from rayctl.kube.calls import MERGE, Call, Resource
from rayctl.kube.kinds import CUSTOM_RESOURCE_DEFINITIONS, NAMESPACES, RAY_CLUSTERS
from rayctl.manifests import crd_documents
from rayctl.replicaset.controller import ReplicaSetController
from rayctl.replicaset.status import rfc3339
from rayctl.settings import ServiceSettings
from rayctl.testkit.local_transport import LocalTransport
from tests.unit.embedded.local import Local
from tests.unit.fleet.worlds import fleet as fleet_document
from tests.unit.replicaset.worlds import template

from ..conftest import client_for
from ..memory import MemoryService

TOKENS: dict[str, tuple[str | None, Role]] = {
    "admin": (None, Role.ADMIN),
    "operator": (None, Role.OPERATOR),
    "viewer": (None, Role.VIEWER),
    "red": ("red", Role.ADMIN),
    "red-viewer": ("red", Role.VIEWER),
    "blue": ("blue", Role.ADMIN),
}
definitions = lru_cache(maxsize=1)(crd_documents)


class Kubernetes:
    """An embedded API server with rayctl's kinds and the namespaces default, red and blue."""

    def __init__(self) -> None:
        self.local = Local()
        self.transport = LocalTransport(self.local.handler, "t")

    async def start(self) -> Kubernetes:
        self.local.now = time.time()
        await self.local.start()
        for document in definitions():
            await self.transport.request(Call("POST", CUSTOM_RESOURCE_DEFINITIONS.path(), body=document))
            await self.local.establish(document["metadata"]["name"])
        for name in ("red", "blue"):
            body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
            await self.transport.request(Call("POST", NAMESPACES.path(), body=body))
        return self

    async def create(self, resource: Resource, document: dict[str, Any], namespace: str = "default") -> dict[str, Any]:
        made = {"apiVersion": resource.api_version, "kind": resource.kind, **document}
        found: dict[str, Any] = await self.transport.request(Call("POST", resource.path(namespace), body=made))
        return found

    async def status(self, resource: Resource, name: str, status: dict[str, Any], namespace: str = "default") -> None:
        path = resource.path(namespace, name, "status")
        await self.transport.request(Call("PATCH", path, body={"status": status}, content_type=MERGE))

    async def get(self, resource: Resource, name: str, namespace: str = "default") -> dict[str, Any]:
        found: dict[str, Any] = await self.transport.request(Call.get(resource.path(namespace, name)))
        return found

    async def make_ready(self, namespace: str = "default") -> None:
        """Do with all new clusters what pods and Ray would do."""
        for item in (await self.transport.request(Call.get(RAY_CLUSTERS.path(namespace))))["items"]:
            if not item.get("status"):
                at = rfc3339(time.time())
                conditions = [
                    {"type": kind, "status": "True", "reason": "Ready", "message": "", "lastTransitionTime": at}
                    for kind in ("HeadPodReady", "RayClusterProvisioned")
                ]
                status = {"state": "ready", "readyWorkerReplicas": 9, "conditions": conditions}
                await self.status(RAY_CLUSTERS, item["metadata"]["name"], status, namespace)

    @asynccontextmanager
    async def controllers(self) -> AsyncIterator[None]:
        """Run the controllers of fleets and sets, and make their clusters ready."""
        controllers = [FleetController(), ReplicaSetController()]
        host = ControllerHost(self.transport, controllers, HostSettings("test", "kube-system"), time.time)
        running = [asyncio.ensure_future(host.run()), asyncio.ensure_future(self._operate())]
        try:
            yield
        finally:
            for task in running:
                task.cancel()
            for task in running:
                with suppress(asyncio.CancelledError):
                    await task

    async def _operate(self) -> None:
        async for event in self.transport.watch(Call.get(RAY_CLUSTERS.path()).asking(watch=True), 600.0):
            if event["type"] == "ADDED":
                await self.make_ready(event["object"]["metadata"]["namespace"])


def fleet(name: str = "llm", image: str = "ray:1", replicas: int = 2, **more: Any) -> dict[str, Any]:
    """A fleet as a person writes it."""
    made = template(image=image, labels={"app": name})
    for group in (made["spec"]["headGroupSpec"], *made["spec"]["workerGroupSpecs"]):
        group["template"]["spec"]["containers"][0]["name"] = "ray"
    document: dict[str, Any] = fleet_document(
        name, replicas=replicas, made=made, selector={"matchLabels": {"app": name}}, **more
    )
    del document["metadata"]["namespace"]
    return document


def cluster(name: str = "demo", **spec: Any) -> dict[str, Any]:
    """A RayCluster as a person writes it."""
    made = fleet(name)["spec"]["template"]["spec"]
    return {"apiVersion": "ray.io/v1", "kind": "RayCluster", "metadata": {"name": name}, "spec": {**made, **spec}}


def service_document(name: str = "chat", **spec: Any) -> dict[str, Any]:
    """A RayService as a person writes it."""
    made = {"rayClusterConfig": cluster()["spec"], "serveConfigV2": "applications: []\n", **spec}
    return {"apiVersion": "ray.io/v1", "kind": "RayService", "metadata": {"name": name}, "spec": made}


@pytest.fixture
async def kubernetes() -> Kubernetes:
    return await Kubernetes().start()


@pytest.fixture
def settings() -> ServiceSettings:
    return ServiceSettings(max_request_bytes=256 * 1024, max_data_bytes=256 * 1024, allowed_hosts=["api"])


@pytest.fixture
def api(kubernetes: Kubernetes, settings: ServiceSettings) -> FastAPI:
    book = TokenBook([(f"{name}-token", *who) for name, who in TOKENS.items()])
    return create_app(MemoryService(), tokens=book, settings=settings, kubernetes=lambda: kubernetes.transport)


@pytest.fixture
async def as_caller(api: FastAPI) -> AsyncIterator[Callable[[str], httpx2.AsyncClient]]:
    made: list[httpx2.AsyncClient] = []

    def make(who: str) -> httpx2.AsyncClient:
        made.append(client_for(api, f"{who}-token"))
        return made[-1]

    yield make
    for client in made:
        await client.aclose()


@pytest.fixture
def client(as_caller: Callable[[str], httpx2.AsyncClient]) -> httpx2.AsyncClient:
    return as_caller("admin")


async def until(look: Callable[[], Any], good: Callable[[Any], bool], within_s: float = 20.0) -> Any:
    """Ask until the answer is good; the server's changes come in between."""
    deadline = time.monotonic() + within_s
    while True:
        found = await look()
        if good(found):
            return found
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.02)
