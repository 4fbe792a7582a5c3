"""The API server: nothing for strangers but whether it lives, and quotas that hold whoever asks at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest

from rayctl.embedded.apiserver.access.tokens import ADMIN
from rayctl.embedded.apiserver.requests import User
from rayctl.embedded.apiserver.server import Options, Server

CORE = "/api/v1/namespaces/default"
OPEN = {"/healthz", "/livez", "/readyz", "/version"}
PATHS = ["/", "/api", "/apis", "/api/v1", "/openapi/v2", "/openapi/v3", "/metrics", "/version", "/healthz", "/livez"]
PATHS += ["/readyz", "/healthz/ping", "/healthz/../api/v1/secrets", "/livez/../metrics", "/healthzx"]
PATHS += [
    "/api/v1/secrets",
    f"{CORE}/secrets",
    f"{CORE}/pods?watch=1",
    f"{CORE}/pods/x/log",
    "/apis/apps/v1/deployments",
]
PATHS += ["/apis/apiextensions.k8s.io/v1/customresourcedefinitions", "/debug/pprof", "/logs/", "/ui/", "/.well-known/x"]
WRONG = [{}, {"Authorization": "Bearer "}, {"Authorization": "Bearer x"}, {"Authorization": "Basic dDp0"}]
WRONG += [{"Authorization": "t"}, {"X-Remote-User": "admin", "X-Remote-Group": "system:masters"}]
WRONG += [{"Impersonate-User": "admin", "Impersonate-Group": "system:masters"}, {"Cookie": "token=t"}]


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    nobody = User("nobody", "", ("system:authenticated",))
    running = Server(Options(tokens=[("t", ADMIN), ("n", nobody)]))
    await running.start()
    yield running
    await running.stop()


@pytest.mark.security("S1")
async def test_strangers_are_told_that_it_lives_and_nothing_else(server: Server) -> None:
    before = server.api.store.revision
    async with aiohttp.ClientSession(server.url) as http:
        for headers in WRONG:
            for path in PATHS:
                for method in ("GET", "POST", "DELETE"):
                    async with http.request(method, path, headers=headers) as answer:
                        claims = headers.get("Authorization") == "Bearer x" or "Impersonate-User" in headers
                        if method == "GET" and path in OPEN and not claims:
                            assert answer.status == 200, (headers, path)
                        else:
                            assert answer.status in (400, 401, 403, 404), (headers, method, path, answer.status)
                            assert b"kube-system" not in await answer.read()
    assert server.api.store.revision == before


@pytest.mark.security("S6")
async def test_who_has_no_role_gets_nothing(server: Server) -> None:
    async with aiohttp.ClientSession(server.url, headers={"Authorization": "Bearer n"}) as http:
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            for kind in ("pods", "secrets", "configmaps", "serviceaccounts/default/token"):
                name = "" if method in ("GET", "POST") or "/" in kind else "/x"
                body = json.dumps({"metadata": {"name": "x"}})
                sent = {"Content-Type": "application/merge-patch+json"} if method == "PATCH" else {}
                async with http.request(method, f"{CORE}/{kind}{name}", data=body, headers=sent) as answer:
                    assert answer.status == 403, (method, kind, answer.status)


@pytest.mark.security("S15")
async def test_of_two_hundred_at_once_fifty_fit_into_a_quota_of_fifty(server: Server) -> None:
    async with aiohttp.ClientSession(server.url, headers={"Authorization": "Bearer t"}) as http:
        quota = {"metadata": {"name": "q"}, "spec": {"hard": {"count/secrets": "50"}}}
        async with http.post(f"{CORE}/resourcequotas", json=quota) as answer:
            assert answer.status == 201
        used = ""
        while used != "0":  # the quota's controller has counted
            async with http.get(f"{CORE}/resourcequotas/q") as answer:
                used = ((await answer.json()).get("status") or {}).get("used", {}).get("count/secrets", "")

        async def create(number: int) -> int:
            async with http.post(f"{CORE}/secrets", json={"metadata": {"name": f"s{number}"}}) as answer:
                return answer.status

        codes = await asyncio.gather(*(create(number) for number in range(200)))
        assert (codes.count(201), codes.count(403)) == (50, 150)
        async with http.get(f"{CORE}/secrets") as answer:
            assert len((await answer.json())["items"]) == 50
