"""Which controllers there are, and running them: all in one process in the foreground, or each as a Ray actor."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from rayctl.cluster.actor import RayClusterControllerActor, build_raycluster_controller
from rayctl.core.actor import ActorOptions, Built, ControllerActor
from rayctl.core.execute import ServePort
from rayctl.core.host import ControllerHost
from rayctl.errors import InvalidRequest
from rayctl.fleet.actor import FleetControllerActor, build_fleet_controller
from rayctl.kube.calls import Call, Transport
from rayctl.kube.errors import AlreadyExists
from rayctl.kube.http import connected
from rayctl.kube.kinds import CUSTOM_RESOURCE_DEFINITIONS, NAMESPACES
from rayctl.manifests import crd_documents
from rayctl.replicaset.actor import ReplicaSetControllerActor, build_replicaset_controller
from rayctl.selfhost.scrape import Scraped
from rayctl.service.actor import RayServiceControllerActor, build_rayservice_controller
from rayctl.telemetry.metrics import Metrics

__all__ = ["ACTORS", "CONTROLLERS", "build_controllers", "ensure_actors", "install_definitions", "run_controllers"]

CONTROLLERS: dict[str, Callable[[Transport], Built]] = {
    "fleet-controller": build_fleet_controller,
    "replicaset-controller": build_replicaset_controller,
    "raycluster-controller": build_raycluster_controller,
    "rayservice-controller": build_rayservice_controller,
}
"""Name → what makes it."""

ACTORS: dict[str, type[ControllerActor]] = {
    "fleet-controller": FleetControllerActor,
    "replicaset-controller": ReplicaSetControllerActor,
    "raycluster-controller": RayClusterControllerActor,
    "rayservice-controller": RayServiceControllerActor,
}
"""Name of the actor → its class."""


def build_controllers(transport: Transport, names: Sequence[str] = ()) -> Built:
    """Return several controllers (all, if none is named) for one process.

    Raises:
        InvalidRequest: There is no controller of such a name.
    """
    unknown = sorted(set(names) - set(CONTROLLERS))
    if unknown:
        raise InvalidRequest(
            f"There is no controller {', '.join(unknown)}.",
            code="unknown-controller",
            hint=f"There are {', '.join(CONTROLLERS)}.",
        )
    built = [CONTROLLERS[name](transport) for name in names or CONTROLLERS]
    serve: ServePort | None = next((one.serve for one in built if one.serve is not None), None)
    controllers = [controller for one in built for controller in one.controllers]
    return Built(controllers, serve, [what for one in built for what in one.close])


async def install_definitions(transport: Transport, lease_namespace: str) -> None:
    """Apply rayctl's definitions, and make the namespace of the leases."""
    for definition in crd_documents():
        path = CUSTOM_RESOURCE_DEFINITIONS.path(name=definition["metadata"]["name"])
        await transport.request(Call.apply(path, definition, "rayctl"))
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": lease_namespace}}
    with suppress(AlreadyExists):
        await transport.request(Call("POST", NAMESPACES.path(), body=namespace))


async def run_controllers(
    options: ActorOptions,
    names: Sequence[str],
    install: bool,
    told: Callable[[str], None],
    scraped: Callable[[Callable[[], bytes]], Scraped] | None = None,
) -> None:
    """Run controllers in this process until SIGINT or SIGTERM; leases are given back then.

    Args:
        options: Where and how.
        names: Which; empty: all.
        install: Apply the definitions first.
        told: Takes a line for people now and then.
        scraped: Makes the port for Prometheus of what returns the metrics; None: there is none.

    Raises:
        RayctlError: The API server cannot be used.
    """
    transport = await connected(options.kubeconfig, options.context)
    try:
        if install:
            await install_definitions(transport, options.lease_namespace)
        built = build_controllers(transport, names)
        settings = options.host_settings()
        metrics = Metrics()
        host = ControllerHost(transport, built.controllers, settings, time.time, built.serve, metrics)

        def text() -> bytes:
            host.sample()
            return metrics.text()

        port = None if scraped is None else scraped(text)
        if port is not None:
            told(f"Metrics at {await port.start()}")
        running = asyncio.ensure_future(host.run())
        loop = asyncio.get_running_loop()
        for sign in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(sign, running.cancel)
        told(f"Controllers run as {settings.identity}: {', '.join(names or CONTROLLERS)}")
        try:
            with suppress(asyncio.CancelledError):
                await running
        finally:
            if port is not None:
                await port.stop()
            for one in built.close:
                await one.close()
    finally:
        await transport.close()


def ensure_actors(options: ActorOptions, names: Sequence[str] = ()) -> dict[str, Any]:
    """Return the handles of the controller actors of this Ray cluster; made, if they are not there.

    To be called by the bootstrap job that stays, with Ray connected.
    """
    import ray

    from rayctl.automl.port import RAY_NAMESPACE

    return {
        name: ray.remote(ACTORS[name])
        .options(
            name=name,
            namespace=RAY_NAMESPACE,
            lifetime="detached",
            get_if_exists=True,
            max_restarts=-1,
            max_task_retries=-1,
            num_cpus=0,
            max_concurrency=100,
        )
        .remote(options)
        for name in names or ACTORS
    }
