"""Running the API server alone, in the foreground, until it is told to end."""

from __future__ import annotations

import asyncio
import gc
import ipaddress
import logging
import signal
import sqlite3
import ssl
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rayctl.embedded.apiserver.access.tokens import ADMIN, read_token_file
from rayctl.embedded.apiserver.certificates import RENEW_EVERY_S, Authority
from rayctl.embedded.apiserver.database import Durability
from rayctl.embedded.apiserver.kubeconfig import admin_token, write_kubeconfig
from rayctl.embedded.apiserver.own_service import NAMES, service_address
from rayctl.embedded.apiserver.requests import User
from rayctl.embedded.apiserver.sealing import read_key
from rayctl.embedded.apiserver.server import SERVICE_NETWORK, Options, Server
from rayctl.errors import Conflict, InvalidRequest, Unavailable

__all__ = ["TOKENS_EVERY_S", "ServeOptions", "serve", "server_names"]

log = logging.getLogger(__name__)
TOKENS_EVERY_S = 1.0
"""How often it is looked whether the token file has changed."""


@dataclass(frozen=True)
class ServeOptions:
    """What ``rayctl kube serve`` was asked for. ``port`` 0: any free one."""

    data_dir: Path
    port: int = 0
    kubeconfig: Path | None = None
    token_file: Path | None = None
    durability: Durability = "normal"
    service_network: str = SERVICE_NETWORK
    secrets_key_file: Path | None = None


Beside = Callable[[Path], Coroutine[Any, Any, None]]
"""What runs beside the server, from a kubeconfig of its own: cancelled, and waited for, before the server ends."""


def serve(options: ServeOptions, ready: Callable[[str], None], beside: Beside | None = None) -> None:
    """Serve until SIGINT or SIGTERM. ``ready`` is called with the URL once requests are answered.

    Raises:
        InvalidRequest: The token file, the key file or the service network cannot be used.
        Conflict: The port or the folder is in use.
        Unavailable: A file cannot be written.
    """
    _check_network(options.service_network)
    # Stored documents have no cycles. To look through all of them as often as Python does keeps everybody waiting.
    gc.set_threshold(10_000, 20, 50)
    try:
        asyncio.run(_serve(options, ready, beside))
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise Conflict(
                f"{options.data_dir} is in use by another process.",
                code="data-dir-in-use",
                hint="End that one first, or give another --data-dir.",
            ) from error
        raise Unavailable(f"{options.data_dir} cannot be used: {error}", code="data-dir-unusable") from error


def _check_network(network: str) -> None:
    try:
        found = ipaddress.IPv4Network(network)
    except ValueError as error:
        raise InvalidRequest(f"The service network cannot be used: {error}", code="network-unusable") from None
    if found.num_addresses < 4:
        raise InvalidRequest(f"The service network {network} has too few addresses.", code="network-unusable")


def _users(options: ServeOptions) -> list[tuple[str, User]]:
    pairs: list[tuple[str, User]] = []
    if options.token_file is not None:
        try:
            pairs = read_token_file(options.token_file)
        except (OSError, ValueError) as error:
            raise InvalidRequest(
                f"The token file cannot be used: {error}",
                code="token-file-unusable",
                hint='Each line is: token,user,uid,"group,group"',
            ) from None
    return pairs


def _secrets_key(options: ServeOptions) -> bytes | None:
    path = options.secrets_key_file
    if path is None:
        return None
    if path.absolute().is_relative_to(options.data_dir.absolute()):
        raise InvalidRequest(
            f"The key file {path} is in the data folder.",
            code="secrets-key-misplaced",
            hint="Keep it elsewhere: whoever copies the folder must not get the key with it.",
        )
    try:
        return read_key(path)
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"The key file cannot be used: {error}", code="secrets-key-unusable") from None


async def _serve(options: ServeOptions, ready: Callable[[str], None], beside: Beside | None) -> None:
    pairs, key = _users(options), _secrets_key(options)
    try:
        token = admin_token(options.data_dir)
        known = [token for token, user in pairs if "system:masters" in user.groups]
        pairs = _with_admin(token, pairs)
        authority = Authority(options.data_dir, server_names(options.service_network))
        tls = authority.context()
        server = Server(
            Options(
                options.data_dir,
                options.durability,
                port=options.port,
                tokens=pairs,
                tls=tls,
                service_network=options.service_network,
                secrets_key=key,
            )
        )
    except ValueError as error:
        raise Unavailable(str(error), code="data-dir-unusable") from None
    except OSError as error:
        raise Unavailable(f"{options.data_dir} cannot be used: {error.strerror}", code="data-dir-unusable") from None
    try:
        await _start(server, options)
        if options.kubeconfig is not None:
            write_kubeconfig(options.kubeconfig, server.url, known[0] if known else token, authority.certificate)
        ready(server.url)
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, ended.set)
        tasks = [asyncio.create_task(_renew(authority, tls))]
        if options.token_file is not None:
            tasks.append(asyncio.create_task(_follow(options, token, server)))
        if beside is not None:
            own = options.data_dir / "node.kubeconfig"
            write_kubeconfig(own, server.url, token, authority.certificate)
            tasks.append(asyncio.create_task(beside(own)))
        try:
            await asyncio.wait(
                [*tasks, asyncio.create_task(ended.wait())],
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            for task in tasks:
                task.cancel()
            for found in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(found, Exception):
                    raise found
    except OSError as error:
        text = f"The kubeconfig {options.kubeconfig} cannot be written: {error.strerror}"
        raise Unavailable(text, code="kubeconfig-unwritable") from None
    finally:
        await server.stop()


def server_names(network: str) -> list[str]:
    """Return all names and addresses that the server's certificate is for: the machine's, and what pods call it."""
    return ["127.0.0.1", "localhost", service_address(network), *NAMES]


async def _renew(authority: Authority, tls: ssl.SSLContext) -> None:
    while True:
        await asyncio.sleep(RENEW_EVERY_S)
        await asyncio.to_thread(authority.renew, tls)


def _with_admin(token: str, pairs: Iterable[tuple[str, User]]) -> list[tuple[str, User]]:
    return [(token, ADMIN), *(pair for pair in pairs if pair[0] != token)]


async def _follow(options: ServeOptions, token: str, server: Server) -> None:
    """Take over a changed token file: one adds a token, lets clients go over to it, and takes the old one away.

    A file that cannot be used changes nothing; the log says why.
    """
    assert options.token_file is not None
    before = _signature(options.token_file)
    while True:
        await asyncio.sleep(TOKENS_EVERY_S)
        now = _signature(options.token_file)
        if now == before:
            continue
        before = now
        try:
            server.tokens.replace(_with_admin(token, _users(options)))
        except InvalidRequest as error:
            log.error("the tokens stay what they were: %s", error.message)
        else:
            log.info("the token file has changed")


def _signature(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_ino, found.st_mtime_ns, found.st_size)


async def _start(server: Server, options: ServeOptions) -> None:
    try:
        await server.start()
    except OSError as error:
        raise Conflict(
            f"Port {options.port} cannot be used: {error.strerror}",
            code="port-in-use",
            hint="Give another --port; 0 takes any free one.",
        ) from None
