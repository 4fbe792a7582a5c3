"""The actor ``rayservice-controller``: reconciles RayServices, where KubeRay does not."""

from __future__ import annotations

from rayctl.core.actor import Built, ControllerActor
from rayctl.kube.calls import Transport
from rayctl.kube.http import HttpTransport, connected
from rayctl.service.controller import RayServiceController
from rayctl.service.serve_api import ServeApi

__all__ = ["RayServiceControllerActor", "build_rayservice_controller"]


def build_rayservice_controller(transport: Transport) -> Built:
    """Return the controller of services on a transport."""
    serve = ServeApi(transport)
    return Built([RayServiceController(serve)], serve, [serve])


class RayServiceControllerActor(ControllerActor):
    """See `ControllerActor`."""

    async def connect(self) -> HttpTransport:
        """See `ControllerActor.connect`."""
        return await connected(self._options.kubeconfig, self._options.context)

    def build(self, transport: Transport) -> Built:
        """See `ControllerActor.build`."""
        return build_rayservice_controller(transport)
