"""The actor ``replicaset-controller``: reconciles RayClusterReplicaSets."""

from __future__ import annotations

import os

from rayctl.cluster.dashboard import DashboardClient
from rayctl.core.actor import Built, ControllerActor
from rayctl.kube.account import connected_for
from rayctl.kube.calls import Transport
from rayctl.kube.http import HttpTransport
from rayctl.replicaset.controller import ReplicaSetController
from rayctl.replicaset.dashboard import DashboardObserver
from rayctl.replicaset.reader import TransportReader

__all__ = ["ReplicaSetControllerActor", "build_replicaset_controller"]


def build_replicaset_controller(transport: Transport) -> Built:
    """Return the controller of replica sets on a transport."""
    reader = TransportReader(transport)
    observer = DashboardObserver(DashboardClient(transport), os.environ.get("RAYCTL_PROMETHEUS_URL"), reader)
    return Built([ReplicaSetController(observer, reader)], close=[observer])


class ReplicaSetControllerActor(ControllerActor):
    """See `ControllerActor`."""

    async def connect(self) -> HttpTransport:
        """See `ControllerActor.connect`."""
        options = self._options
        return await connected_for(
            "replicaset-controller", options.accounts_namespace, options.kubeconfig, options.context
        )

    def build(self, transport: Transport) -> Built:
        """See `ControllerActor.build`."""
        return build_replicaset_controller(transport)
