"""What a page of somebody else can make a browser send: nothing is changed by it and nothing is told."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2
import pytest
from fastapi import FastAPI

from rayctl.kube.kinds import FLEETS
from tests.api.kube.conftest import Kubernetes, fleet

HERE = "localhost:8000"
ELSEWHERE = "evil.example"

FORGED = {
    # what the browser adds by itself, for a page of another site or a name that was made to lead here
    "another origin": {"Origin": f"https://{ELSEWHERE}"},
    "no origin to speak of": {"Origin": "null"},
    "our name as a part of theirs": {"Origin": f"http://{HERE}.{ELSEWHERE}"},
    "our host, another port": {"Origin": "http://localhost:9999"},
    "cross-site": {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"},
    "same-site": {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
    "a name that leads here": {"Host": ELSEWHERE, "Sec-Fetch-Site": "same-origin"},
    "a name that leads here, with its origin": {"Host": ELSEWHERE, "Origin": f"http://{ELSEWHERE}"},
    "a name that looks like an address": {"Host": "127.0.0.1.evil.example", "Origin": "http://127.0.0.1.evil.example"},
    "an address that is not ours": {"Host": "10.0.0.1", "Sec-Fetch-Site": "same-origin"},
}
CHANGES = [
    ("POST", "/v1/fleets"),
    ("PUT", "/v1/fleets/a"),
    ("PATCH", "/v1/fleets/a"),
    ("DELETE", "/v1/fleets/a"),
    ("POST", "/v1/fleets/a:pause"),
    ("POST", "/v1/runs"),
    ("DELETE", "/v1/runs/x"),
    ("POST", "/ui/actions"),
    ("POST", "/ui/logout"),
]


@pytest.fixture
async def browser(api: FastAPI, kubernetes: Kubernetes) -> AsyncIterator[httpx2.AsyncClient]:
    """A browser whose user has logged in, as operator of everything."""
    await kubernetes.create(FLEETS, fleet("a"))
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=api), base_url=f"http://{HERE}") as client:
        answer = await client.post("/ui/login", data={"token": "admin-token", "next": "/ui/"})
        assert answer.status_code == 303
        yield client


@pytest.mark.security("S4")
@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
async def test_nothing_is_changed_and_nothing_told(
    browser: httpx2.AsyncClient, kubernetes: Kubernetes, forged: dict[str, str]
) -> None:
    before = kubernetes.local.store.revision
    for method, path in CHANGES:
        body = {"data": {"verb": "pause"}} if path.startswith("/ui") else {"json": fleet("a")}
        answer = await browser.request(method, path, headers=forged, **body)  # type: ignore[arg-type]
        assert answer.status_code == 403, (method, path, answer.text)
        assert answer.json()["code"] in ("cross-site", "host-not-allowed")
        assert not [name for name in answer.headers if name.startswith("access-control-")]
    assert kubernetes.local.store.revision == before
    for path in ("/v1/fleets", "/ui/fleets", "/v1/changes", "/openapi.json", "/ui/login"):
        answer = await browser.get(path, headers=forged)
        assert answer.status_code == 403, (path, answer.text)
        assert "fleet/a" not in answer.text


@pytest.mark.security("S4")
async def test_a_session_is_for_pages_only(browser: httpx2.AsyncClient, kubernetes: Kubernetes) -> None:
    """Even from our own origin: the cookie alone changes nothing but through our forms, which carry a mark."""
    before = kubernetes.local.store.revision
    own = {"Origin": f"http://{HERE}", "Sec-Fetch-Site": "same-origin"}
    for method, path in CHANGES:
        body = {"data": {"verb": "pause"}} if path.startswith("/ui") else {"json": fleet("a")}
        if path != "/ui/logout":
            answer = await browser.request(method, path, headers=own, **body)  # type: ignore[arg-type]
            assert answer.status_code in (401, 403, 404), (method, path, answer.text)
    assert kubernetes.local.store.revision == before


@pytest.mark.security("S4")
async def test_other_origins_are_never_let_in(browser: httpx2.AsyncClient) -> None:
    """What a browser asks before it sends more (a preflight) gets no leave."""
    asked = {"Origin": f"https://{ELSEWHERE}", "Access-Control-Request-Method": "DELETE"}
    for headers in (asked, {**asked, "Origin": f"http://{HERE}"}):
        answer = await browser.request("OPTIONS", "/v1/fleets/a", headers=headers)
        assert not answer.is_success
        assert not [name for name in answer.headers if name.startswith("access-control-")]
