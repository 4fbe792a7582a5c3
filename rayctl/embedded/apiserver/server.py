"""The API server on a socket: aiohttp in front of `Handler`, and the controllers beside it."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from rayctl.embedded.apiserver.access.accounts import AccountTokens, signing_key
from rayctl.embedded.apiserver.access.rbac import Authorizer
from rayctl.embedded.apiserver.access.tokens import Tokens
from rayctl.embedded.apiserver.addresses import Addresses
from rayctl.embedded.apiserver.api import Api
from rayctl.embedded.apiserver.audit import Audit
from rayctl.embedded.apiserver.controllers.accounts import AccountsController
from rayctl.embedded.apiserver.controllers.garbage import GarbageCollector
from rayctl.embedded.apiserver.controllers.lifecycle import (
    DefinitionController,
    NamespaceController,
    QuotaController,
)
from rayctl.embedded.apiserver.controllers.loop import Controller
from rayctl.embedded.apiserver.controllers.services import EndpointsController
from rayctl.embedded.apiserver.database import Database, Durability
from rayctl.embedded.apiserver.fairness import Limits
from rayctl.embedded.apiserver.front import Front
from rayctl.embedded.apiserver.handler import Handler
from rayctl.embedded.apiserver.own_service import write_own_service
from rayctl.embedded.apiserver.quotas import QuotaGate
from rayctl.embedded.apiserver.registry import Registry
from rayctl.embedded.apiserver.requests import User
from rayctl.embedded.apiserver.schema.formats import now_seconds
from rayctl.embedded.apiserver.sealing import Sealer
from rayctl.embedded.apiserver.store import Change, Store

__all__ = ["SERVICE_NETWORK", "Options", "Server", "build_api"]

SERVICE_NETWORK = "127.96.0.0/16"
NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
DRAIN_S = 2.0


@dataclass(frozen=True)
class Options:
    """How a server is run.

    ``folder`` None: nothing is kept. ``tokens``: (token, user) pairs.
    ``hosts``: names under which clients may reach it, beside those of this machine. ``limits``: see `Limits`.
    ``secrets_key``: 32 bytes with which Secrets are encrypted where they are kept; None: they are not.
    """

    folder: Path | None = None
    durability: Durability = "normal"
    host: str = "127.0.0.1"
    hosts: Sequence[str] = ()
    port: int = 0
    tokens: Sequence[tuple[str, User]] = field(default_factory=tuple, repr=False)
    tls: ssl.SSLContext | None = None
    service_network: str = SERVICE_NETWORK
    controllers: bool = True
    secrets_key: bytes | None = field(default=None, repr=False)
    limits: Limits = field(default_factory=Limits)
    now: Callable[[], float] = time.time


def build_api(options: Options) -> Api:
    """Return state, kinds and gates, without any socket.

    Raises:
        ValueError, sqlite3.Error: The folder holds something that cannot be used.
    """
    database = None
    if options.folder is not None and options.durability != "memory":
        sealer = None if options.secrets_key is None else Sealer(options.secrets_key)
        database = Database(options.folder, options.durability, sealer)
    store = Store(database, options.now, grouping="thread" if options.durability == "full" else "loop")
    registry = Registry()
    registry.follow(store)
    api = Api(store, registry, options.now)
    api.gates += [Addresses(api, options.service_network), QuotaGate(api)]
    return api


async def make_namespaces(api: Api) -> None:
    """Make the namespaces that every cluster has."""
    for name in NAMESPACES:
        if api.store.newest("namespaces", "", name) is None:
            metadata = {
                "name": name,
                "uid": api.new_uid(),
                "creationTimestamp": now_seconds(api.now()),
                "labels": {"kubernetes.io/metadata.name": name},
            }
            document = {
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": metadata,
                "spec": {"finalizers": ["kubernetes"]},
                "status": {"phase": "Active"},
            }
            await api.write(Change(("namespaces", "", name), document))


class Server:
    """A running API server; `start` and `stop` from one event loop."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self.api = build_api(options)
        audit = None if options.folder is None else Audit(options.folder / "audit.log")
        self._audit = audit
        kept = options.folder if options.durability != "memory" else None
        self._accounts = AccountTokens(self.api.store, self.api.now, signing_key(kept))
        self.tokens = Tokens(options.tokens, self._accounts)
        self.handler = Handler(self.api, self.tokens, Authorizer(self.api.store), audit, options.limits)
        self._controllers: list[Controller] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._runner: web.ServerRunner | None = None
        self.url = ""

    async def start(self) -> None:
        """Begin to answer.

        Raises:
            OSError: The port is taken.
        """
        await make_namespaces(self.api)
        if self._options.controllers:
            kinds = (
                GarbageCollector,
                NamespaceController,
                DefinitionController,
                QuotaController,
                EndpointsController,
                AccountsController,
            )
            self._controllers = [kind(self.api) for kind in kinds]
        else:
            self._controllers = [DefinitionController(self.api)]
        self._tasks = [asyncio.create_task(controller.run()) for controller in self._controllers]
        front = Front(self.handler, [self._options.host, *self._options.hosts])
        self._runner = web.ServerRunner(front.server(), shutdown_timeout=DRAIN_S)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._options.host, self._options.port, ssl_context=self._options.tls)
        await site.start()
        port = self._runner.addresses[0][1]
        scheme = "https" if self._options.tls is not None else "http"
        self.url = f"{scheme}://{self._options.host}:{port}"
        if self._options.controllers:
            await write_own_service(self.api, self._options.service_network, self._options.host, port)

    async def stop(self) -> None:
        """End all watches and close everything."""
        self.handler.hub.close_all()
        if self._runner is not None:
            await self._runner.cleanup()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.api.store.settle()
        self.api.store.close()
        if self._audit is not None:
            self._audit.close()
