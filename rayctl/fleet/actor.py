"""The actor ``fleet-controller``: reconciles RayClusterFleets."""

from __future__ import annotations

import os

from rayctl.cluster.dashboard import DashboardClient
from rayctl.core.actor import Built, ControllerActor
from rayctl.fleet.controller import FleetController
from rayctl.kube.account import connected_for
from rayctl.kube.calls import Transport
from rayctl.kube.http import HttpTransport
from rayctl.replicaset.dashboard import DashboardObserver
from rayctl.replicaset.reader import TransportReader

__all__ = ["FleetControllerActor", "build_fleet_controller"]


def build_fleet_controller(transport: Transport) -> Built:
    """Return the controller of fleets on a transport."""
    observer = DashboardObserver(DashboardClient(transport), os.environ.get("RAYCTL_PROMETHEUS_URL"))
    return Built([FleetController(TransportReader(transport), observer)], close=[observer])


class FleetControllerActor(ControllerActor):
    """See `ControllerActor`."""

    async def connect(self) -> HttpTransport:
        """See `ControllerActor.connect`."""
        options = self._options
        return await connected_for("fleet-controller", options.accounts_namespace, options.kubeconfig, options.context)

    def build(self, transport: Transport) -> Built:
        """See `ControllerActor.build`."""
        return build_fleet_controller(transport)
