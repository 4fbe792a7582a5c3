"""The dashboard of a cluster is asked with that cluster's token, which goes nowhere else."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from aiohttp import web

from rayctl.cluster import dashboard
from rayctl.cluster.dashboard import DashboardClient, dashboard_address
from rayctl.core.controller import Document
from rayctl.kube.calls import Call, Resource
from rayctl.kube.errors import from_status
from rayctl.kube.kinds import PODS
from rayctl.replicaset import dashboard as replicaset_dashboard
from rayctl.replicaset.dashboard import DashboardObserver


class Secrets:
    """An API server that has nothing but tokens."""

    def __init__(self, **tokens: str) -> None:
        self.tokens = tokens
        self.asked = 0

    async def request(self, call: Call) -> Any:
        self.asked += 1
        name = call.path.rsplit("/", 1)[-1]
        if name not in self.tokens:
            raise from_status(404, {"reason": "NotFound"}, None, False)
        return {"data": {"auth_token": base64.b64encode(self.tokens[name].encode()).decode()}}

    def watch(self, call: Call, silence_s: float) -> Any:
        raise NotImplementedError

    async def close(self) -> None:
        """Nothing."""


class Head:
    """A dashboard that lets one token in."""

    def __init__(self, token: str) -> None:
        self.token, self.seen, self.url = token, list[str](), ""
        self.applications = {"app": {"status": "RUNNING"}}

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(request.headers.get("Authorization", ""))
        if request.path == "/elsewhere":
            raise web.HTTPFound("/api/jobs/")
        if request.path == "/large":
            return web.Response(body=b"x" * 2000)
        if self.seen[-1] != f"Bearer {self.token}":
            return web.Response(status=401)
        if request.path == "/api/jobs/":
            return web.json_response([{"status": "RUNNING"}, {"status": "SUCCEEDED"}, {"status": "PENDING"}])
        return web.json_response({"applications": self.applications})


@pytest.fixture
async def head() -> AsyncIterator[Head]:
    head = Head("secret-1")
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", head.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    head.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield head
    await runner.cleanup()


def cluster(name: str = "one", **auth: str) -> dict[str, Any]:
    return {"metadata": {"namespace": "default", "name": name, "uid": f"uid-{name}"}, "spec": {"authOptions": auth}}


async def test_jobs_and_applications_are_read_with_the_clusters_token(head: Head) -> None:
    secrets = Secrets(mine="secret-1")
    observer = DashboardObserver(DashboardClient(secrets, lambda cluster: head.url))
    found = await observer.work(cluster(mode="token", secretName="mine"))
    assert found == {"jobs": 2, "serving": True, "requests": None}
    assert secrets.asked == 1
    await observer.close()


class Pods:
    """A `Reader` that knows the pods of one cluster."""

    def __init__(self, trouble: Exception | None = None) -> None:
        self.trouble = trouble

    async def get(self, resource: Resource, namespace: str, name: str) -> Document | None:
        raise NotImplementedError

    async def list(self, resource: Resource, namespace: str, selector: str) -> list[Document]:
        assert (resource, namespace, selector) == (PODS, "default", "ray.io/cluster=one")
        if self.trouble is not None:
            raise self.trouble
        return [{"metadata": {}, "status": {"podIP": "node"}}]


async def test_requests_in_flight_are_counted_where_applications_run(
    head: Head, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def count(client: object, pods: Sequence[Document], timeout_s: float) -> int:
        assert [pod["status"]["podIP"] for pod in pods] == ["node"]
        return 5

    monkeypatch.setattr(replicaset_dashboard, "requests_in_flight", count)
    client = DashboardClient(Secrets(one="secret-1"), lambda cluster: head.url)
    observer = DashboardObserver(client, None, Pods())
    assert await observer.work(cluster(secretName="one")) == {"jobs": 2, "serving": True, "requests": 5}
    refused = DashboardObserver(client, None, Pods(from_status(403, {"reason": "Forbidden"}, None, False)))
    assert await refused.work(cluster(secretName="one")) == {"jobs": 2, "serving": True, "requests": None}
    head.applications = {}
    assert await observer.work(cluster(secretName="one")) == {"jobs": 2, "serving": False, "requests": 0}
    await client.close()


async def test_a_token_that_was_renewed_is_read_again_and_a_wrong_one_is_not_repeated(head: Head) -> None:
    secrets = Secrets(mine="old")
    client = DashboardClient(secrets, lambda cluster: head.url)
    asked = cluster(mode="token", secretName="mine")
    assert (await client.send(asked, "GET", "/api/jobs/"))[0] == 401
    assert head.seen == ["Bearer old"]
    secrets.tokens["mine"] = "secret-1"
    assert (await client.send(asked, "GET", "/api/jobs/"))[0] == 200
    await client.close()


async def test_a_cluster_without_authentication_gets_no_token_and_redirects_are_not_followed(head: Head) -> None:
    client = DashboardClient(Secrets(), lambda cluster: head.url)
    assert (await client.send(cluster(mode="disabled"), "GET", "/elsewhere"))[0] == 302
    assert (await client.send(cluster(), "GET", "/elsewhere"))[0] == 302
    assert head.seen == ["", ""]
    await client.close()


async def test_trouble_is_an_oserror_that_says_what(head: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dashboard, "LARGEST", 1000)
    client = DashboardClient(Secrets(), lambda cluster: head.url)
    with pytest.raises(OSError, match="more than 1000 bytes"):
        await client.send(cluster(), "GET", "/large")
    nowhere = DashboardClient(Secrets(), lambda cluster: "http://127.0.0.1:1")
    with pytest.raises(OSError, match="Cannot connect"):
        await nowhere.send(cluster(), "GET", "/")
    with pytest.raises(OSError, match="no address yet"):
        await DashboardClient(Secrets()).send(cluster(), "GET", "/")
    await client.close()
    await nowhere.close()


@pytest.mark.parametrize(
    ("status", "address"),
    [
        ({}, ""),
        ({"head": {"podIP": "10.0.0.7"}}, "http://10.0.0.7:8265"),
        ({"head": {"podIP": "fd00::7"}, "endpoints": {"dashboard": "9000"}}, "http://[fd00::7]:9000"),
        ({"head": {"serviceIP": "None", "serviceName": "one-head-svc"}}, "http://one-head-svc.default.svc:8265"),
        ({"head": {"serviceIP": "None"}}, "http://one-head-svc.default.svc:8265"),
    ],
)
def test_where_a_dashboard_is(status: dict[str, Any], address: str) -> None:
    assert dashboard_address({**cluster(), "status": status}) == address
