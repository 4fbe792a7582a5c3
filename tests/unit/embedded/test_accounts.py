"""Tokens of service accounts: who gets one, for how long it holds, what ends it."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from rayctl.embedded.apiserver.access.accounts import AccountTokens, signing_key
from rayctl.embedded.apiserver.access.rbac import Authorizer
from rayctl.embedded.apiserver.access.tokens import ADMIN, Tokens
from rayctl.embedded.apiserver.handler import Handler
from rayctl.embedded.apiserver.own_service import service_documents, write_own_service
from rayctl.embedded.apiserver.requests import Response
from rayctl.embedded.apiserver.server import Options, Server
from rayctl.embedded.apiserver.store import Change
from rayctl.embedded.proxy.table import Backend, frontends
from tests.unit.embedded.local import Local

ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"
POD = {"spec": {"serviceAccountName": "a", "containers": [{"name": "c", "image": "i"}]}}


@pytest.fixture
async def server() -> Local:
    found = Local()
    accounts = AccountTokens(found.store, lambda: found.now, signing_key(None))
    found.handler = Handler(found.api, Tokens([("t", ADMIN)], accounts), Authorizer(found.store))
    await found.start()
    assert (await found.call("POST", ACCOUNTS, {"metadata": {"name": "a"}}))[0] == 201
    return found


async def asked(server: Local, **spec: Any) -> tuple[int, Any]:
    return await server.call("POST", f"{ACCOUNTS}/a/token", {"spec": spec})


async def who(server: Local, token: str) -> Any:
    """Return who the server takes the bearer for, or the code of its refusal."""
    path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    answer = await server.send("POST", path, b"{}", authorization=f"Bearer {token}", content_type="application/json")
    assert isinstance(answer, Response)
    return json.loads(answer.body)["status"]["userInfo"] if answer.code == 201 else answer.code


async def test_a_token_names_its_account_until_it_ends(server: Local) -> None:
    code, answer = await asked(server, expirationSeconds=600)
    assert code == 201
    token = answer["status"]["token"]
    user = await who(server, token)
    assert user["username"] == "system:serviceaccount:default:a"
    assert user["groups"] == ["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"]
    server.now += 599
    assert await who(server, token) == user
    server.now += 1
    assert await who(server, token) == 401


@pytest.mark.security("S3")
async def test_a_token_ends_with_its_account(server: Local) -> None:
    token = (await asked(server))[1]["status"]["token"]
    await server.call("DELETE", f"{ACCOUNTS}/a")
    assert await who(server, token) == 401
    await server.call("POST", ACCOUNTS, {"metadata": {"name": "a"}})
    assert await who(server, token) == 401  # another account of the same name


async def test_a_token_ends_with_its_pod(server: Local) -> None:
    code, pod = await server.call("POST", "/api/v1/namespaces/default/pods", {"metadata": {"name": "p"}, **POD})
    assert code == 201
    bound = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": pod["metadata"]["uid"]}
    token = (await asked(server, boundObjectRef=bound))[1]["status"]["token"]
    assert await who(server, token) != 401
    await server.call("DELETE", "/api/v1/namespaces/default/pods/p?gracePeriodSeconds=0")
    assert await who(server, token) == 401


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        ({"expirationSeconds": 599}, 422),
        ({"expirationSeconds": 2**33}, 422),
        ({"expirationSeconds": "soon"}, 400),
        ({"boundObjectRef": {"apiVersion": "v1", "kind": "Secret", "name": "s"}}, 422),
        ({"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "none"}}, 404),
        ({"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "other"}}, 400),
        ({"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "own", "uid": "x"}}, 409),
        ({"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "own"}}, 201),
        ({"expirationSeconds": 10**8}, 201),
    ],
)
async def test_what_is_asked_for_is_checked(server: Local, spec: dict[str, Any], code: int) -> None:
    containers = {"spec": {"containers": [{"name": "c", "image": "i"}]}}
    for name, pod in (("own", POD), ("other", containers)):
        await server.call("POST", "/api/v1/namespaces/default/pods", {"metadata": {"name": name}, **pod})
    found, answer = await asked(server, **spec)
    assert found == code, answer
    if code == 201:
        assert 600 <= answer["spec"]["expirationSeconds"] <= 86_400


async def test_a_token_for_others_is_not_ours(server: Local) -> None:
    assert await who(server, (await asked(server, audiences=["vault"]))[1]["status"]["token"]) == 401


@pytest.mark.security("S22")
async def test_what_was_not_signed_here_is_refused(server: Local) -> None:
    token = (await asked(server))[1]["status"]["token"]
    header, claims, signature = token.split(".")

    def text(document: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()

    changed = json.loads(base64.urlsafe_b64decode(claims + "=="))
    changed["sub"] = "system:serviceaccount:default:admin"
    other = AccountTokens(server.store, lambda: server.now, signing_key(None))
    stored = server.store.get("serviceaccounts", "default", "a")
    assert stored is not None
    forged, _ = other.issue("default", "a", stored.object["metadata"]["uid"], None, 600)
    tries = [
        forged,
        f"{header}.{text(changed)}.{signature}",
        f"{text({'alg': 'none'})}.{claims}.",
        f"{header}.{claims}.",
        f"{header}.{claims}",
        f"{header}.{claims}.{signature}.{signature}",
        f"{header}.{claims}.ü",
        "..",
    ]
    assert [await who(server, found) for found in tries] == [401] * len(tries)


@pytest.mark.security("S6")
async def test_only_who_may_gets_one(server: Local) -> None:
    """The account itself has no right to a token of its own."""
    token = (await asked(server))[1]["status"]["token"]
    answer = await server.send(
        "POST", f"{ACCOUNTS}/a/token", b"{}", authorization=f"Bearer {token}", content_type="application/json"
    )
    assert isinstance(answer, Response)
    assert answer.code == 403
    assert (await server.call("POST", f"{ACCOUNTS}/none/token", {}))[0] == 404
    assert (await server.call("GET", f"{ACCOUNTS}/a/token"))[0] == 405


@pytest.mark.security("S22")
def test_the_key_is_made_once_and_is_private(tmp_path: Path) -> None:
    first = signing_key(tmp_path)
    assert signing_key(tmp_path) == first
    assert signing_key(None) != first
    assert (tmp_path / "accounts.key").stat().st_mode & 0o777 == 0o600
    (tmp_path / "accounts.key").write_text("00")
    with pytest.raises(ValueError, match="no key"):
        signing_key(tmp_path)


@pytest.fixture
async def whole(tmp_path: Path) -> AsyncIterator[Server]:
    server = Server(Options(tmp_path, tokens=[("t", ADMIN)]))
    await server.start()
    yield server
    await server.stop()


async def until(server: Server, storage: str, namespace: str, name: str) -> dict[str, Any]:
    """Return an object as soon as it is there."""
    deadline = time.monotonic() + 10
    while True:
        found = server.api.store.newest(storage, namespace, name)
        if found is not None:
            return found.object
        assert time.monotonic() < deadline
        await asyncio.sleep(0)


async def test_namespaces_have_what_pods_need(whole: Server) -> None:
    for namespace in ("default", "kube-system"):
        await until(whole, "serviceaccounts", namespace, "default")
    before = (await until(whole, "serviceaccounts", "default", "default"))["metadata"]["uid"]
    await whole.api.write(Change(("serviceaccounts", "default", "default"), None))
    assert (await until(whole, "serviceaccounts", "default", "default"))["metadata"]["uid"] != before


async def test_the_servers_own_service_follows_it(tmp_path: Path) -> None:
    whole = Server(Options(tmp_path, tokens=[("t", ADMIN)]))
    await whole.start()
    port = int(whole.url.rpartition(":")[2])
    service = await until(whole, "services", "default", "kubernetes")
    assert service["spec"]["clusterIP"] == "127.96.0.1"
    revision = service["metadata"]["resourceVersion"]
    await write_own_service(whole.api, "127.96.0.0/16", "127.0.0.1", port)
    assert (await until(whole, "services", "default", "kubernetes"))["metadata"]["resourceVersion"] == revision
    # The next time the node has another number, and the server another port.
    await whole.stop()
    again = Server(Options(tmp_path, tokens=[("t", ADMIN)], service_network="127.70.0.0/16"))
    await again.start()
    port = int(again.url.rpartition(":")[2])
    service = await until(again, "services", "default", "kubernetes")
    assert (service["spec"]["clusterIP"], service["spec"]["ports"][0]["targetPort"]) == ("127.70.0.1", port)
    slices = await until(again, "endpointslices.discovery.k8s.io", "default", "kubernetes")
    assert slices["endpoints"][0]["addresses"] == ["127.0.0.1"]
    assert slices["ports"][0]["port"] == port
    await again.stop()


def test_the_proxy_carries_the_service() -> None:
    found = service_documents("127.70.0.0/16", "127.0.0.1", 6443, 443)
    table = frontends([found["services"]], [], [found["endpointslices.discovery.k8s.io"]])
    assert table == {("127.70.0.1", 443): (Backend("127.0.0.1", 6443),)}
