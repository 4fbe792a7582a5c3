"""Tokens: exchanged while requests go on, kept as digests, nowhere in what is stored; certificates that end soon."""

from __future__ import annotations

import asyncio
import hmac
import secrets
import stat
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import httpx2
import pytest
from cryptography import x509

from rayctl.api import auth
from rayctl.api.app import create_app
from rayctl.api.auth import TokenBook
from rayctl.embedded.apiserver import serve
from rayctl.embedded.apiserver.access import tokens as server_tokens
from rayctl.embedded.apiserver.access.tokens import Tokens, read_token_file
from rayctl.embedded.apiserver.certificates import Authority
from rayctl.embedded.apiserver.requests import User
from rayctl.embedded.apiserver.server import Options, Server
from rayctl.settings import ServiceSettings
from tests.api.memory import MemoryService


def written(path: Path, text: str) -> Path:
    path.touch(0o600)
    path.write_text(text)
    return path


class Clients:
    """Four clients that ask without a pause, with the token of the moment."""

    def __init__(self, ask: Callable[[str], Awaitable[int]], token: str) -> None:
        self.token, self._ask = token, ask
        self._answers: asyncio.Queue[int] = asyncio.Queue()
        self._running: list[asyncio.Task[None]] = []

    async def _loop(self) -> None:
        while True:
            self._answers.put_nowait(await self._ask(self.token))
            await asyncio.sleep(0)

    async def __aenter__(self) -> Clients:
        self._running = [asyncio.ensure_future(self._loop()) for _ in range(4)]
        return self

    async def all_well(self, count: int = 40) -> None:
        """Look at the next answers."""
        assert {await self._answers.get() for _ in range(count)} == {200}

    async def __aexit__(self, *_: object) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)


@pytest.mark.security("S3")
async def test_a_token_of_the_http_api_is_exchanged_under_load(tmp_path: Path) -> None:
    old, new = secrets.token_hex(16), secrets.token_hex(16)
    path = written(tmp_path / "token", f"{old}\n")
    app = create_app(MemoryService(), tokens=TokenBook.from_file(path), settings=ServiceSettings())
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://api") as http:

        async def ask(token: str) -> int:
            return (await http.get("/v1/runs", headers={"Authorization": f"Bearer {token}"})).status_code

        async with Clients(ask, old) as clients:
            await clients.all_well()
            path.write_text(f"{old}\n{new}\n")  # both hold
            await clients.all_well()
            clients.token = new
            await clients.all_well()
            path.write_text(f"{new}\n")  # the old one ends
            await clients.all_well()
        assert await ask(old) == 401


@pytest.mark.security("S3")
async def test_a_token_of_the_api_server_is_exchanged_under_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "TOKENS_EVERY_S", 0.01)
    old, new, admin = (secrets.token_hex(16) for _ in range(3))
    line = '{0},ann,1,"system:masters"\n'
    path = written(tmp_path / "tokens.csv", line.format(old))
    server = Server(Options(tokens=read_token_file(path), controllers=False))
    await server.start()
    following = asyncio.ensure_future(serve._follow(serve.ServeOptions(tmp_path, token_file=path), admin, server))
    try:
        async with aiohttp.ClientSession(server.url) as http:

            async def ask(token: str) -> int:
                async with http.get("/api/v1/namespaces", headers={"Authorization": f"Bearer {token}"}) as answer:
                    return answer.status

            async def until(token: str, code: int) -> None:
                deadline = time.monotonic() + 10
                while await ask(token) != code:
                    assert time.monotonic() < deadline

            async with Clients(ask, old) as clients:
                await clients.all_well()
                path.write_text(line.format(old) + line.format(new))  # both hold
                await until(new, 200)
                await clients.all_well()
                clients.token = new
                await clients.all_well()
                path.write_text("nonsense\n")  # changes nothing
                path.write_text(line.format(new))  # the old one ends
                await until(old, 401)
                await clients.all_well()
            assert await ask(admin) == 200, "the server's own stays"
    finally:
        following.cancel()
        await server.stop()


@pytest.mark.security("S22")
def test_every_token_is_compared_and_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever token is shown, all are compared, as digests of one length, by `hmac.compare_digest`."""
    compared: list[tuple[int, int]] = []

    def compare(a: Any, b: Any) -> bool:
        compared.append((len(a), len(b)))
        return hmac.compare_digest(a, b)

    users = [(f"token-{number}", User(f"user-{number}", "")) for number in range(5)]
    known = Tokens(users)
    book = TokenBook([(token, None) for token, _ in users])
    for module in (auth, server_tokens):
        monkeypatch.setattr(module, "hmac", type("hmac", (), {**vars(hmac), "compare_digest": staticmethod(compare)}))
    for shown in ("token-0", "token-4", "x", "token-0" * 50):
        for ask in (lambda: known.user_of(shown), lambda: book.authenticate(f"Bearer {shown}")):  # noqa: B023
            compared.clear()
            try:
                ask()
            except auth.NotAuthenticated:
                assert not shown.endswith(("0", "4")) or len(shown) > 10
            assert compared == [(32, 32)] * 5


@pytest.mark.security("S22", "S8")
async def test_no_token_is_in_what_the_server_keeps_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    token = secrets.token_hex(16)
    folder = tmp_path / "data"
    server = Server(Options(folder, "full", tokens=[(token, User("ann", "1", ("system:masters",)))]))
    await server.start()
    body = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot"}}
    async with aiohttp.ClientSession(server.url, headers={"Authorization": f"Bearer {token}"}) as http:
        accounts = "/api/v1/namespaces/default/serviceaccounts"
        async with http.post(accounts, json=body) as answer:
            assert answer.status == 201
        async with http.post(f"{accounts}/robot/token", json={"spec": {"expirationSeconds": 600}}) as answer:
            issued = (await answer.json())["status"]["token"]
        async with http.get("/api/v1/namespaces", headers={"Authorization": f"Bearer {issued}"}) as answer:
            assert answer.status == 403
        async with http.post("/apis/authentication.k8s.io/v1/tokenreviews", json={"spec": {"token": token}}) as answer:
            assert answer.status in (201, 404)
    await server.stop()
    kept = [path for path in folder.rglob("*") if path.is_file()]
    assert {path.name for path in kept} >= {"kubernetes.db", "audit.log", "accounts.key"}
    for path in kept:
        content = path.read_bytes()
        assert token.encode() not in content, path
        assert issued.encode() not in content, path
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.security("S22")
def test_certificates_end_soon_and_their_keys_are_private(tmp_path: Path) -> None:
    authority = Authority(tmp_path, ["127.0.0.1", "localhost"])
    authority.context()
    leaf = x509.load_pem_x509_certificate((tmp_path / "server.crt").read_bytes())
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc < timedelta(days=8)
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    for name in ("ca.key", "server.key"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
