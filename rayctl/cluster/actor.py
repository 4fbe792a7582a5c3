"""The actor ``raycluster-controller``: reconciles RayClusters, where KubeRay does not."""

from __future__ import annotations

from rayctl.cluster.controller import RayClusterController
from rayctl.core.actor import Built, ControllerActor
from rayctl.kube.account import connected_for
from rayctl.kube.calls import Transport
from rayctl.kube.http import HttpTransport

__all__ = ["RayClusterControllerActor", "build_raycluster_controller"]


def build_raycluster_controller(transport: Transport) -> Built:
    """Return the controller of Ray clusters on a transport."""
    return Built([RayClusterController(transport)])


class RayClusterControllerActor(ControllerActor):
    """See `ControllerActor`."""

    async def connect(self) -> HttpTransport:
        """See `ControllerActor.connect`."""
        options = self._options
        return await connected_for(
            "raycluster-controller", options.accounts_namespace, options.kubeconfig, options.context
        )

    def build(self, transport: Transport) -> Built:
        """See `ControllerActor.build`."""
        return build_raycluster_controller(transport)
