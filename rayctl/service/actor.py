"""The actor ``rayservice-controller``: reconciles RayServices, where KubeRay does not."""

from __future__ import annotations

import asyncio

from rayctl.cluster.dashboard import DashboardClient
from rayctl.core.actor import Built, ControllerActor
from rayctl.kube.account import connected_for
from rayctl.kube.calls import Call, Transport
from rayctl.kube.errors import KubernetesError, ObjectNotFound
from rayctl.kube.http import HttpTransport
from rayctl.kube.kinds import HTTP_ROUTES
from rayctl.service.controller import RayServiceController
from rayctl.service.problems import cluster_problems
from rayctl.service.serve_api import ServeApi

__all__ = ["GatewayApi", "RayServiceControllerActor", "build_rayservice_controller"]

ASKED_S = 60.0


class GatewayApi:
    """Whether the API server has the Gateway API; asked once a minute."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._known: tuple[float, bool] | None = None

    async def __call__(self) -> bool:
        now = asyncio.get_running_loop().time()
        if self._known is None or now - self._known[0] > ASKED_S:
            try:
                await self._transport.request(Call.get(f"/apis/{HTTP_ROUTES.group}/{HTTP_ROUTES.version}", 4.0))
                self._known = now, True
            except ObjectNotFound:
                self._known = now, False
            except KubernetesError:
                return self._known is not None and self._known[1]  # not the moment to change one's mind
        return self._known[1]


def build_rayservice_controller(transport: Transport) -> Built:
    """Return the controller of RayServices on a transport."""
    serve = ServeApi(DashboardClient(transport))
    return Built([RayServiceController(serve, cluster_problems, GatewayApi(transport))], serve, [serve])


class RayServiceControllerActor(ControllerActor):
    """See `ControllerActor`."""

    async def connect(self) -> HttpTransport:
        """See `ControllerActor.connect`."""
        options = self._options
        return await connected_for(
            "rayservice-controller", options.accounts_namespace, options.kubeconfig, options.context
        )

    def build(self, transport: Transport) -> Built:
        """See `ControllerActor.build`."""
        return build_rayservice_controller(transport)
