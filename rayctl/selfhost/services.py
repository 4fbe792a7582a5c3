"""What the resident installs on the Ray cluster and looks after: the proxy actor and the HTTP gateway.

Ray is imported inside the methods only, so that tests and the supervisor can use this module without it.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import json
import logging
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from rayctl.automl.port import PROXY_NAME, RAY_NAMESPACE
from rayctl.selfhost.ports import LOOPBACK

__all__ = ["GATEWAY", "Problem", "RayServices", "Services", "load"]

GATEWAY = "gateway"
log = logging.getLogger("rayctl.resident")


class Problem(Exception):
    """Something that the resident looks after does not work. ``part`` is ``proxy`` or ``gateway``."""

    def __init__(self, part: str, message: str, *, for_good: bool = False) -> None:
        super().__init__(message)
        self.part = part
        self.for_good = for_good


class Services(Protocol):
    """What the resident needs to be able to do. Every method blocks. ``http_port`` is where the gateway listens."""

    http_port: int

    def preload(self) -> None:
        """Import what will be needed, before there is a cluster to connect to."""

    def connect(self) -> None:
        """Connect this process to the cluster, as a driver that stays."""

    def order(self) -> list[tuple[str, str]]:
        """Return what to install, in this order, and the name of the step that is done then."""

    def install(self, part: str) -> None:
        """Create or replace ``proxy`` or ``gateway``; return when it works."""

    def check(self) -> None:
        """Return if everything answers; raise `Problem` otherwise."""

    def remove(self) -> None:
        """Take away what was installed (only on clusters that go on without us)."""


class RayServices:
    """The real thing.

    Args:
        address: ``host:port`` of the cluster's GCS.
        http_port: Where the gateway listens.
        temp_dir: The temp dir of the head if we started it: the cluster that answers must be that one.
        host: Where the gateway listens.
    """

    def __init__(self, address: str, http_port: int, temp_dir: Path | None, host: str = LOOPBACK) -> None:
        self._address = address
        self.http_port = http_port
        self._host = host
        self._temp_dir = temp_dir
        self._settings: Any = None

    def preload(self) -> None:
        """See `Services`."""
        with contextlib.suppress(Exception):  # whatever is wrong is reported by the import that needs it
            importlib.import_module("ray.serve")
            importlib.import_module("serve_apps.gateway")

    def order(self) -> list[tuple[str, str]]:
        """See `Services`.

        On a new cluster the gateway comes first: its replica creates the proxy actor, which then warms its workers
        up, and on few CPUs that would slow down the start of Serve. On a cluster that has a proxy already it comes
        first, because it may belong to the job of an earlier resident and then must be replaced.
        """
        import ray

        steps = [("gateway", "http"), ("proxy", "control_plane")]
        known = ray.util.list_named_actors(all_namespaces=True)
        there = any(each["name"] == PROXY_NAME and each["namespace"] == RAY_NAMESPACE for each in known)
        return steps[::-1] if there else steps

    def connect(self) -> None:
        """See `Services`."""
        import ray

        from rayctl.settings import ServiceSettings

        self._settings = ServiceSettings()
        ray.init(
            address=self._address,
            namespace=RAY_NAMESPACE,
            # Workers' output is in Ray's own logs; repeating it here would make the resident's log endless.
            log_to_driver=False,
            configure_logging=False,
        )
        self._check_identity()

    def _check_identity(self) -> None:
        """Any address of this machine may be answered by another cluster: compare the session with our folder."""
        if self._temp_dir is None:
            return
        from ray._private import worker

        session = str(worker.global_worker.node.session_name)
        if not (self._temp_dir / session).is_dir():
            raise RuntimeError(f"{self._address} is answered by another Ray cluster (session {session})")

    def install(self, part: str) -> None:
        """See `Services`."""
        if part == "proxy":
            found = importlib.import_module("rayctl.automl.ensure").ensure_proxy(self._settings)
            if inspect.isawaitable(found):
                import asyncio

                asyncio.run(_awaited(found))
        else:
            self._install_gateway()

    def _install_gateway(self) -> None:
        from ray import serve

        serve.start(
            proxy_location="HeadOnly",
            # Event streams stay open and results can be waited for: no limit per request.
            http_options={"host": self._host, "port": self.http_port, "request_timeout_s": None},
        )
        self._follow_serve()
        with contextlib.suppress(Problem):
            self._check_gateway()
            return  # it outlived an earlier resident; deploying it again would only interrupt its callers
        gateway = importlib.import_module("serve_apps.gateway")
        settings = self._settings.model_dump(mode="json", exclude_unset=True)
        serve.run(gateway.build(settings), name=GATEWAY, route_prefix="/")
        _wait_for(self._check_gateway, 30.0)

    def _follow_serve(self) -> None:
        """Take the port of a Serve that was there before us: it does not change while Serve runs."""
        from ray.serve.context import _get_global_client

        client = _get_global_client()
        options = client.http_config if client is not None else None
        if options is not None and options.port != self.http_port:
            log.warning("Serve runs already, on %s:%s; the gateway is there", options.host, options.port)
            self.http_port = int(options.port)

    def check(self) -> None:
        """See `Services`."""
        self._check_gateway()
        try:
            self._get("/readyz", timeout_s=8.0)
        except OSError as error:
            self._check_proxy()
            raise Problem("proxy", f"the service behind the gateway is not ready: {error}") from error

    def _check_gateway(self) -> None:
        try:
            answer = self._get("/healthz", timeout_s=3.0)
        except OSError as error:
            raise Problem(GATEWAY, f"the gateway does not answer: {error}") from error
        if answer.get("status") != "ok":
            raise Problem(GATEWAY, f"something else answers on port {self.http_port}")

    def _check_proxy(self) -> None:
        import ray
        from ray.exceptions import ActorDiedError, ActorUnavailableError, GetTimeoutError

        try:
            proxy = ray.get_actor(PROXY_NAME, namespace=RAY_NAMESPACE)
            ray.get(proxy.info.remote(), timeout=10.0)
        except (ValueError, ActorDiedError) as error:
            raise Problem("proxy", f"the proxy actor is gone: {error}", for_good=True) from error
        except (ActorUnavailableError, GetTimeoutError) as error:
            raise Problem("proxy", f"the proxy actor does not answer: {error}") from error

    def _get(self, path: str, *, timeout_s: float) -> dict[str, Any]:
        url = f"http://{self._host}:{self.http_port}{path}"
        # Not through a proxy server that the environment may name.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(url, timeout=timeout_s) as response:
                document = json.loads(response.read(65536))
        except ValueError as error:
            raise OSError(f"{path} is not answered with JSON") from error
        return document if isinstance(document, dict) else {}

    def remove(self) -> None:
        """See `Services`."""
        import ray
        from ray import serve

        log.info("leaving the cluster")
        try:
            serve.delete(GATEWAY)
            if not serve.status().applications:
                serve.shutdown()  # nobody else uses it
        except Exception:
            log.exception("the gateway could not be removed")
        # Killing is asynchronous: leaving at once would take the order back.
        deadline = time.monotonic() + 5.0
        while time.monotonic() < deadline:
            try:
                ray.kill(ray.get_actor(PROXY_NAME, namespace=RAY_NAMESPACE))
            except ValueError:
                log.info("removed the gateway and the proxy")
                return
            time.sleep(0.2)
        log.warning("the proxy actor is still there")


async def _awaited(found: Any) -> Any:
    return await found


def _wait_for(check: Callable[[], None], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return check()
        except Problem:
            if time.monotonic() >= deadline:
                raise
        time.sleep(0.1)


def load(address: str, http_port: int, temp_dir: Path | None) -> Services:
    """Return the services; ``RAYCTL_RESIDENT_SERVICES=module:factory`` puts others in their place (tests do)."""
    named = os.environ.get("RAYCTL_RESIDENT_SERVICES")
    if not named:
        return RayServices(address, http_port, temp_dir)
    module, _, factory = named.partition(":")
    made: Services = getattr(importlib.import_module(module), factory)(address, http_port, temp_dir)
    return made
