"""What the planners of rayctl's controllers say to a change of controllers, about every cluster and service."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from rayctl.cli.kubernetes import Kube
from rayctl.cluster.controller import RayClusterController
from rayctl.cluster.handover import Handover, give_back_cluster, take_over_cluster
from rayctl.cluster.options import ClusterOptions
from rayctl.cluster.seen import read_seen
from rayctl.kube.errors import ObjectNotFound
from rayctl.kube.kinds import DEPLOYMENTS, RAY_CLUSTERS, RAY_SERVICES
from rayctl.kube.listed import Listed
from rayctl.service.controller import RayServiceController
from rayctl.service.handover import give_back_service, take_over_service
from rayctl.service.problems import cluster_problems
from rayctl.service.seen import see

__all__ = ["judge"]

Document = dict[str, Any]


def judge(kube: Kube, namespaces: Sequence[str], give_back: bool) -> list[Handover]:
    """Ask the planners about every cluster and service of these namespaces."""
    found: list[Handover] = []
    now = time.time()

    async def look(transport: Any) -> None:
        clusters = RayClusterController(transport)
        services = RayServiceController(_Unasked(), cluster_problems)
        caches = {
            id(controller): Listed(
                lambda resource, selector: _listed(kube, resource, selector),
                {watch.resource: watch.selector for watch in controller.watches},
                hidden=(DEPLOYMENTS,),
            )
            for controller in (clusters, services)
        }
        for namespace in namespaces:
            for item in kube.list(RAY_SERVICES, namespace):
                documents = await services.look((namespace, item["metadata"]["name"]), caches[id(services)])
                if documents is not None:
                    service = see(documents, cluster_problems)
                    found.append(give_back_service(service) if give_back else take_over_service(service, now))
            for item in kube.list(RAY_CLUSTERS, namespace):
                documents = await clusters.look((namespace, item["metadata"]["name"]), caches[id(clusters)])
                if documents is not None:
                    cluster = read_seen(documents, ClusterOptions())
                    found.append(give_back_cluster(cluster) if give_back else take_over_cluster(cluster, now))

    kube.run(look)
    return found


def _listed(kube: Kube, resource: Any, selector: str) -> list[Document]:
    try:
        return kube.list(resource, "", selector)
    except ObjectNotFound:
        return []  # a kind that this server does not have


class _Unasked:
    """Clusters' Serve APIs, which cannot be reached from where this runs."""

    async def look(self, cluster: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"ok": False, "error": "was not asked", "accepted": "", "rejected": "", "rejection": "", "headIP": ""}

    async def in_flight(self, cluster: Mapping[str, Any], pods: Sequence[Mapping[str, Any]]) -> int | None:
        return None
