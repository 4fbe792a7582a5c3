"""A RayCluster as it is wanted, read from its document into frozen data. Nothing is judged here (`validate`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rayctl.cluster import keys, names
from rayctl.core.plan import Ref

__all__ = ["ClusterSpec", "GroupSpec", "HeadSpec", "container_of", "env_of", "parse_cluster"]

Document = Mapping[str, Any]
MAX_INT32 = 2**31 - 1


def container_of(template: Document) -> Document:
    """Return Ray's container of a pod or a template: always the first; empty if there is none."""
    containers: Sequence[Document] = (template.get("spec") or {}).get("containers") or ({},)
    return containers[0] or {}


def env_of(template: Document) -> dict[str, Document]:
    """Return the variables of Ray's container, by name."""
    return {item["name"]: item for item in container_of(template).get("env") or () if "name" in item}


@dataclass(frozen=True)
class HeadSpec:
    """The head. ``service``: the user's own Service, as a base."""

    template: Document
    params: Mapping[str, str]
    resources: Mapping[str, str]
    labels: Mapping[str, str]
    service_type: str = ""
    service: Document | None = None
    ingress: bool = False
    ingress_options: Document | None = None


@dataclass(frozen=True)
class GroupSpec:
    """A group of workers.

    Args:
        name: Its name.
        template: Its pods.
        params: Parameters of ``ray start``.
        replicas, at_least, at_most: As the document has them; None if it does not.
        hosts: Pods of a replica.
        suspended: It has no pods for now.
        to_delete: Pods that are to go, by name.
    """

    name: str
    template: Document
    params: Mapping[str, str]
    resources: Mapping[str, str]
    labels: Mapping[str, str]
    replicas: int | None = None
    at_least: int | None = None
    at_most: int | None = None
    hosts: int = 1
    suspended: bool = False
    to_delete: tuple[str, ...] = ()

    @property
    def wanted(self) -> int:
        """Wanted replicas: what is asked for, within its limits; none while suspended."""
        if self.suspended:
            return 0
        least = self.at_least or 0
        most = MAX_INT32 if self.at_most is None else self.at_most
        asked = least if self.replicas is None else self.replicas
        return max(0, min(max(asked, least), most))


@dataclass(frozen=True)
class ClusterSpec:
    """A cluster as it is wanted.

    Args:
        upgrade: What a changed template does to running pods: ``None``, ``Recreate`` or ``RollingUpdate``.
        origin: The kind that made it: ``RayCluster`` (a user), ``RayService``, ``RayJob``.
        document: All of it.
    """

    name: str
    namespace: str
    uid: str
    generation: int
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    ray_version: str
    head: HeadSpec
    groups: tuple[GroupSpec, ...]
    suspend: bool
    managed_by: str
    upgrade: str
    autoscaling: bool
    autoscaler: Document
    origin: str
    document: Document

    @property
    def spec(self) -> Document:
        """The document's ``spec``."""
        return self.document.get("spec") or {}

    @property
    def ref(self) -> Ref:
        """The object."""
        return Ref("ray.io/v1", "RayCluster", self.namespace, self.name, self.uid)

    @property
    def owner(self) -> dict[str, Any]:
        """The owner reference of everything that belongs to it."""
        return {
            "apiVersion": "ray.io/v1",
            "kind": "RayCluster",
            "name": self.name,
            "uid": self.uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }

    @property
    def autoscaler_version(self) -> str:
        """``v1``, ``v2``, or empty: what this Ray uses by itself."""
        return str(self.autoscaler.get("version") or "") if self.autoscaling else ""

    @property
    def gcs_port(self) -> str:
        """The head's port."""
        return self.head.params.get("port", keys.GCS_PORT)

    @property
    def head_service(self) -> str:
        """The name of the head's service."""
        wanted = ((self.head.service or {}).get("metadata") or {}).get("name") or ""
        return names.head_service(self.name, wanted)

    def head_host(self, domain: str) -> str:
        """Return the host name at which workers find the head."""
        return f"{self.head_service}.{self.namespace}.svc.{domain}"

    def group(self, name: str) -> GroupSpec | None:
        """Return a group by name."""
        return next((group for group in self.groups if group.name == name), None)


def parse_cluster(document: Document) -> ClusterSpec:
    """Read a RayCluster."""
    metadata = document.get("metadata") or {}
    spec = document.get("spec") or {}
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    return ClusterSpec(
        name=metadata.get("name", ""),
        namespace=metadata.get("namespace", ""),
        uid=metadata.get("uid", ""),
        generation=int(metadata.get("generation") or 0),
        labels=labels,
        annotations=annotations,
        ray_version=str(spec.get("rayVersion") or ""),
        head=_head(spec.get("headGroupSpec") or {}),
        groups=tuple(_group(item) for item in spec.get("workerGroupSpecs") or ()),
        suspend=bool(spec.get("suspend")),
        managed_by=spec.get("managedBy") or "",
        upgrade=_upgrade(spec, annotations),
        autoscaling=bool(spec.get("enableInTreeAutoscaling")),
        autoscaler=spec.get("autoscalerOptions") or {},
        origin=_origin(labels),
        document=document,
    )


def _origin(labels: Mapping[str, str]) -> str:
    found = labels.get(keys.ORIGIN_KIND, "")
    return found if found in ("RayService", "RayJob") else "RayCluster"


def _upgrade(spec: Document, annotations: Mapping[str, str]) -> str:
    asked = (spec.get("upgradeStrategy") or {}).get("type") or "None"
    if asked == "None" and annotations.get(keys.UPGRADE_STRATEGY) == "RollingUpdate":
        return "RollingUpdate"
    return str(asked)


def _texts(found: Any) -> dict[str, str]:
    return {str(name): str(value) for name, value in (found or {}).items()}


def _head(found: Document) -> HeadSpec:
    return HeadSpec(
        template=found.get("template") or {},
        params=_texts(found.get("rayStartParams")),
        resources=_texts(found.get("resources")),
        labels=_texts(found.get("labels")),
        service_type=found.get("serviceType") or "",
        service=found.get("headService"),
        ingress=bool(found.get("enableIngress")),
        ingress_options=found.get("ingressOptions"),
    )


def _group(found: Document) -> GroupSpec:
    to_delete: Sequence[str] = (found.get("scaleStrategy") or {}).get("workersToDelete") or ()
    return GroupSpec(
        name=found.get("groupName") or "",
        template=found.get("template") or {},
        params=_texts(found.get("rayStartParams")),
        resources=_texts(found.get("resources")),
        labels=_texts(found.get("labels")),
        replicas=found.get("replicas"),
        at_least=found.get("minReplicas"),
        at_most=found.get("maxReplicas"),
        hosts=max(1, int(found.get("numOfHosts") or 1)),
        suspended=bool(found.get("suspend")),
        to_delete=tuple(to_delete),
    )
