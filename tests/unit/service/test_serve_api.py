"""The Serve API over HTTP: answers, refusals, silence, tokens; against a server of this process."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from rayctl.cluster.dashboard import DashboardClient
from rayctl.core.plan import Ref
from rayctl.errors import InvalidRequest, Unavailable
from rayctl.kube.calls import Call
from rayctl.kube.errors import ObjectNotFound
from rayctl.service import serve_api
from rayctl.service.serve_api import ServeApi
from rayctl.service.serve_state import parse_serve
from rayctl.service.upkeep import at_ports

CLUSTER = {
    "apiVersion": "ray.io/v1",
    "kind": "RayCluster",
    "metadata": {"name": "c", "namespace": "n", "uid": "u"},
    "spec": {},
    "status": {"head": {"podIP": "127.0.0.1"}, "endpoints": {"dashboard": "1"}},
}
REF = Ref("ray.io/v1", "RayCluster", "n", "c", "u")
PUT = {"method": "PUT", "digest": "d1", "body": {"applications": []}}


class Secrets:
    """An API server that has one Secret; counts how often it is asked."""

    def __init__(self, token: str = "") -> None:
        self.token, self.asked = token, 0

    async def request(self, call: Call) -> Any:
        assert call.path.endswith("/namespaces/n/secrets/c")
        self.asked += 1
        if not self.token:
            raise ObjectNotFound("no secret")
        return {"data": {"auth_token": base64.b64encode(self.token.encode()).decode()}}

    def watch(self, call: Call, silence_s: float) -> Any:
        raise NotImplementedError

    async def close(self) -> None:
        return None


class Dashboard:
    """A dashboard that wants a token, if it has one."""

    def __init__(self) -> None:
        self.token, self.status, self.text = "", 200, ""
        self.answer: Any = {"applications": {}, "proxies": {}}
        self.bodies: list[Any] = []
        self.redirected = False

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.Response(status=401, text="no")
        if request.path == "/elsewhere":
            self.redirected = True
        if self.status == 302:
            return web.Response(status=302, headers={"Location": "/elsewhere"})
        if self.status == 0:
            await asyncio.sleep(60)
        if request.method == "PUT":
            self.bodies.append(await request.json())
        if self.status != 200:
            return web.Response(status=self.status, text=self.text)
        return web.Response(text=self.answer) if isinstance(self.answer, str) else web.json_response(self.answer)


Made = tuple[ServeApi, Dashboard, Secrets]


@pytest.fixture
async def made() -> AsyncIterator[Made]:
    dashboard, secrets = Dashboard(), Secrets()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", dashboard.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    api = ServeApi(DashboardClient(secrets, lambda cluster: f"http://127.0.0.1:{port}"))
    yield api, dashboard, secrets
    await api.close()
    await runner.cleanup()


async def test_an_answer_is_kept_to_what_is_decided_upon(made: Made) -> None:
    api, dashboard, _ = made
    replica = {"state": "RUNNING", "log_file_path": "/x", "actor_id": "a"}
    deployment = {"status": "HEALTHY", "target_num_replicas": 2, "replicas": [replica], "deployment_config": {}}
    app = {"status": "RUNNING", "message": "", "last_deployed_time_s": 5.0, "deployments": {"D": deployment}}
    dashboard.answer = {
        "applications": {"a": {**app, "deployed_app_config": {"name": "a"}}},
        "controller_info": {"node_id": "n1"},
        "proxies": {"n1": {"status": "HEALTHY", "node_ip": "1"}, "n2": {"status": "STARTING"}},
        "target_capacity": 50.0,
    }
    found = await api.look(CLUSTER)
    assert "log_file_path" not in str(found)
    state = parse_serve(found)
    assert state.all_running
    assert (state.head_proxy, state.target_capacity) == (True, 50.0)
    assert (state.apps["a"].deployments["D"].running, state.apps["a"].deployments["D"].target) == (1, 2)


@pytest.mark.parametrize(("status", "answer"), [(503, {}), (200, "not json"), (302, {}), (404, {})])
async def test_what_is_no_answer_is_told(made: Made, status: int, answer: Any) -> None:
    api, dashboard, _ = made
    dashboard.status, dashboard.answer, dashboard.text = status, answer, "the GCS is down\nTraceback"
    state = parse_serve(await api.look(CLUSTER))
    assert not state.known
    assert state.error
    assert not dashboard.redirected, "a token must not follow redirects"


async def test_silence_ends(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    api, dashboard, _ = made
    monkeypatch.setattr(serve_api, "LOOK_S", 0.05)
    dashboard.status = 0
    state = parse_serve(await api.look(CLUSTER))
    assert "no answer within" in state.error


async def test_a_token_is_read_once_and_again_when_it_was_renewed(made: Made) -> None:
    api, dashboard, secrets = made
    dashboard.token, secrets.token = "first", "first"
    assert (await api.look(CLUSTER))["ok"]
    assert (await api.look(CLUSTER))["ok"]
    assert secrets.asked == 1
    dashboard.token, secrets.token = "second", "second"
    assert (await api.look(CLUSTER))["ok"]
    assert secrets.asked == 2
    secrets.token, dashboard.token = "wrong", "third"
    found = await api.look(CLUSTER)
    assert not found["ok"]
    assert "wrong" not in str(found)


async def test_submitting(made: Made) -> None:
    api, dashboard, _ = made
    with pytest.raises(Unavailable):
        await api.call(REF, PUT)  # never looked at
    await api.look(CLUSTER)
    await api.call(REF, PUT)
    assert dashboard.bodies == [PUT["body"]]
    assert (await api.look(CLUSTER))["accepted"] == "d1"
    dashboard.status, dashboard.text = 400, "ValidationError('no module')"
    with pytest.raises(InvalidRequest):
        await api.call(REF, {**PUT, "digest": "d2"})
    dashboard.status = 200
    found = await api.look(CLUSTER)
    assert (found["accepted"], found["rejected"]) == ("d1", "d2")
    assert "no module" in found["rejection"]
    for status in (500, 503, 429):
        dashboard.status = status
        with pytest.raises(Unavailable):
            await api.call(REF, {**PUT, "digest": "d3"})
    dashboard.status = 200
    assert (await api.look(CLUSTER))["rejected"] == "d2", "an answer that says nothing changes nothing"
    with pytest.raises(Unavailable):
        await api.call(Ref("ray.io/v1", "RayCluster", "n", "c", "another"), PUT)


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        (None, {"host": "127.0.0.1", "port": 24007}),
        ({"host": "0.0.0.0", "port": 8000, "root_path": "/a"}, {"host": "127.0.0.1", "port": 24007, "root_path": "/a"}),  # noqa: S104
        ({"port": 8001}, {"port": 8001}),
    ],
)
def test_a_configuration_goes_to_the_port_that_the_heads_pod_has(options: Any, sent: Any) -> None:
    wanted = {"applications": [{"name": "a"}], **({"http_options": options} if options else {})}
    head = {"metadata": {"annotations": {"rayctl.io/ports": '{"6379":24001,"8000":24007}'}}}
    assert at_ports(wanted, head) == {"applications": [{"name": "a"}], "http_options": sent}
    for elsewhere in (None, {"metadata": {}}, {"metadata": {"annotations": {"a": "b"}}}):
        assert at_ports(wanted, elsewhere) == wanted
