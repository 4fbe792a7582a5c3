"""The controller of RayService: gathers documents and what Serve APIs say, and decides with `plan_service`."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from rayctl.cluster.controller import OPERATORS, operator_of
from rayctl.core.controller import Caches, Document, Documents, Key, Refusal, Watch, owners_named, same_name
from rayctl.core.metrics import Metrics
from rayctl.core.plan import Plan, Reason
from rayctl.kube.calls import Resource
from rayctl.kube.kinds import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    GATEWAYS,
    HTTP_ROUTES,
    PODS,
    RAY_CLUSTERS,
    RAY_SERVICES,
    SERVICES,
)
from rayctl.service.children import ORIGIN, ORIGIN_KIND, Owner, entry_name
from rayctl.service.history import SERVICE
from rayctl.service.phases import phases_of
from rayctl.service.plan import plan_service, with_refusal
from rayctl.service.record import Phase, parse_record
from rayctl.service.seen import ENTRIES, see
from rayctl.service.spec import INCREMENTAL

__all__ = ["RayServiceController", "ServeLook"]

_CLUSTER = "ray.io/cluster"
OPERATOR_S = 60.0
"""How often it is looked whether KubeRay's operator is still there: nobody says so when it goes."""
_MADE = re.compile(r"(?:-raycluster)?-[a-z0-9]{5}$")
"""What RayService's cluster names end with, here and in KubeRay."""


class ServeLook(Protocol):
    """The way to look at Ray clusters' Serve APIs. Failures are documents, no exceptions; each call has a timeout."""

    async def look(self, cluster: Document) -> Mapping[str, Any]:
        """Return ``{"ok": bool, "error": …, "details": the API's answer, "accepted", "rejected", "rejection": …}``."""
        ...

    async def in_flight(self, cluster: Document, pods: Sequence[Document]) -> int | None:
        """Return how many requests a cluster is answering; None if that cannot be found out."""
        ...


class RayServiceController:
    """See `rayctl.core.controller.Controller`.

    Args:
        serve: The way to look at Serve APIs.
        validate: What is wrong with a RayClusterSpec, one sentence each.
        gateway_api: Finds out whether the API server has the Gateway API.
    """

    name = "rayservice-controller"
    resource: Resource = RAY_SERVICES

    def __init__(
        self,
        serve: ServeLook,
        validate: Callable[[Mapping[str, Any]], Sequence[str]] = lambda spec: (),
        gateway_api: Callable[[], Awaitable[bool]] | None = None,
    ) -> None:
        self._serve, self._validate, self._gateway_api = serve, validate, gateway_api
        named = owners_named("RayService")
        self.watches: Sequence[Watch] = (
            Watch(RAY_SERVICES, same_name),
            Watch(RAY_CLUSTERS, named),
            Watch(PODS, _service_of_pod, selector=_CLUSTER, labels=(_CLUSTER,)),
            Watch(SERVICES, _service_of_child, labels=(ORIGIN,)),
            Watch(CONFIG_MAPS, named, selector=SERVICE),
            Watch(GATEWAYS, named, optional=True),
            Watch(HTTP_ROUTES, named, optional=True),
            Watch(DEPLOYMENTS, _nobody, OPERATORS, optional=True),
        )

    async def look(self, key: Key, caches: Caches) -> Documents | None:
        """See `rayctl.core.controller.Controller.look`."""
        namespace, name = key
        service = caches.get(RAY_SERVICES, namespace, name)
        if service is None:
            return None
        uid = service["metadata"]["uid"]
        operator = next((found for item in caches.all(DEPLOYMENTS) if (found := operator_of(item, namespace))), "")
        if operator:
            return {"service": _with_kind(service, RAY_SERVICES), "operator": operator}

        def owned(resource: Resource) -> list[Document]:
            return [_with_kind(item, resource) for item in caches.owned(resource, uid)]

        service = _with_kind(service, RAY_SERVICES)
        clusters = owned(RAY_CLUSTERS)
        mine = {cluster["metadata"]["name"] for cluster in clusters}
        pods = [
            _with_kind(pod, PODS)
            for cluster in sorted(mine)
            for pod in caches.labelled(PODS, _CLUSTER, cluster)
            if pod["metadata"].get("namespace") == namespace
        ]
        services = _services(service, caches)
        weighted = ((service.get("spec") or {}).get("upgradeStrategy") or {}).get("type") == INCREMENTAL
        serve, in_flight = await self._ask(service, clusters, pods)
        return {
            "service": service,
            "clusters": clusters,
            "pods": pods,
            "services": services,
            "revisions": owned(CONFIG_MAPS),
            "routes": owned(HTTP_ROUTES) if weighted else [],
            "gateways": owned(GATEWAYS) if weighted else [],
            "gateway_api": weighted and self._gateway_api is not None and await self._gateway_api(),
            "operator": operator,
            "serve": serve,
            "in_flight": in_flight,
        }

    async def _ask(
        self, service: Document, clusters: Sequence[Document], pods: Sequence[Document]
    ) -> tuple[dict[str, Any], dict[str, int | None]]:
        """Ask the Serve APIs of all clusters side by side, and the one that is drained for its requests in flight."""
        there = [cluster for cluster in clusters if not cluster["metadata"].get("deletionTimestamp")]
        record = parse_record(service.get("status") or {})
        drained = record.retiring if record is not None and record.phase in (Phase.SWITCHED, Phase.ROLLED_BACK) else ""
        leaving = [cluster for cluster in there if cluster["metadata"]["name"] == drained]
        answers, counts = await asyncio.gather(
            asyncio.gather(*(self._serve.look(cluster) for cluster in there)),
            asyncio.gather(*(self._serve.in_flight(cluster, _pods_of(cluster, pods)) for cluster in leaving)),
        )
        serve = {cluster["metadata"]["name"]: dict(answer) for cluster, answer in zip(there, answers, strict=True)}
        flying = {cluster["metadata"]["name"]: count for cluster, count in zip(leaving, counts, strict=True)}
        return serve, flying

    def plan(self, found: Documents, now: float) -> Plan:
        """See `rayctl.core.controller.Controller.plan`."""
        if found.get("operator"):
            text = f"KubeRay's operator {found['operator']} looks after RayServices here"
            return Plan((), (Reason("managed-by", "KubeRay", text),), now + OPERATOR_S)
        return plan_service(see(found, self._validate), now)

    def measure(self, old: Document, new: Document, metrics: Metrics) -> None:
        """See `rayctl.core.controller.Measuring`: how long the phases of a switchover that has ended took."""
        before, after = (parse_record(document.get("status") or {}) for document in (old, new))
        for phase, seconds in phases_of(before, after).items():
            metrics.switched(phase, seconds)

    def refused(self, found: Documents, refusal: Refusal, now: float) -> Plan:
        """See `rayctl.core.controller.Controller.refused`."""
        if found.get("operator"):
            return Plan()
        ref = getattr(refusal.action, "ref", None)
        what = f"{type(refusal.action).__name__} of {ref}" if ref is not None else type(refusal.action).__name__
        return with_refusal(see(found, self._validate), f"{what} was refused: {refusal.message}", now)


def _services(service: Document, caches: Caches) -> list[Document]:
    """Return the Services that are this RayService's, and those that have the names of its own."""
    owner = Owner(service)
    user = (service.get("spec") or {}).get("serveService") or {}
    found = {
        item["metadata"]["name"]: item
        for item in caches.labelled(SERVICES, ORIGIN, owner.name)
        if item["metadata"].get("namespace") == owner.namespace
    }
    for entry in ENTRIES:
        named = caches.get(SERVICES, owner.namespace, entry_name(owner, entry, user))
        if named is not None:
            found[named["metadata"]["name"]] = named
    return [_with_kind(found[name], SERVICES) for name in sorted(found)]


def _with_kind(document: Document, resource: Resource) -> Document:
    """Return an object that says its kind: those of lists do not."""
    return document if "kind" in document else {"apiVersion": resource.api_version, "kind": resource.kind, **document}


def _nobody(document: Document) -> Iterable[Key]:
    return ()


def _pods_of(cluster: Document, pods: Sequence[Document]) -> list[Document]:
    name = cluster["metadata"]["name"]
    return [pod for pod in pods if (pod["metadata"].get("labels") or {}).get(_CLUSTER) == name]


def _service_of_pod(pod: Document) -> Iterable[Key]:
    """Return the service whose cluster a pod may belong to: its name is what a cluster's name begins with."""
    metadata = pod["metadata"]
    cluster = (metadata.get("labels") or {}).get(_CLUSTER, "")
    name = _MADE.sub("", cluster)
    return [(metadata.get("namespace", ""), name)] if name != cluster else []


def _service_of_child(service: Document) -> Iterable[Key]:
    """Return the RayService that a Service belongs to."""
    metadata = service["metadata"]
    labels = metadata.get("labels") or {}
    if labels.get(ORIGIN_KIND) not in (None, "RayService"):
        return []
    return [(metadata.get("namespace", ""), labels[ORIGIN])] if labels.get(ORIGIN) else []
