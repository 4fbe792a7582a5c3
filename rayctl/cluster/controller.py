"""The controller of RayClusters: what it watches, how it looks. What it decides is in `plan`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rayctl.cluster import keys, names
from rayctl.cluster.auth import auth_of
from rayctl.cluster.children import is_left_over, wanted_children
from rayctl.cluster.options import ClusterOptions
from rayctl.cluster.plan import plan_cluster, plan_refused
from rayctl.cluster.seen import ClusterSeen, is_owned, read_seen
from rayctl.cluster.spec import parse_cluster
from rayctl.cluster.status import provisioned_s
from rayctl.cluster.validate import check_cluster
from rayctl.core.controller import Caches, Document, Documents, Key, Refusal, Watch, owners_named, same_name
from rayctl.core.metrics import Metrics
from rayctl.core.plan import Plan
from rayctl.kube.calls import Call, Transport
from rayctl.kube.errors import KubernetesError, ObjectNotFound
from rayctl.kube.kinds import (
    DEPLOYMENTS,
    INGRESSES,
    NETWORK_POLICIES,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    RAY_CLUSTERS,
    ROLE_BINDINGS,
    ROLES,
    SECRETS,
    SERVICE_ACCOUNTS,
    SERVICES,
    kind_of,
)

__all__ = ["OPERATORS", "RayClusterController", "operator_of"]

_CHILDREN = (SERVICES, SERVICE_ACCOUNTS, ROLES, ROLE_BINDINGS, PERSISTENT_VOLUME_CLAIMS, INGRESSES, NETWORK_POLICIES)
OPERATORS = "app.kubernetes.io/name in (kuberay,kuberay-operator)"
"""Selects what may be KubeRay's operator."""


def _labelled(document: Document) -> list[Key]:
    """The cluster that a pod's label names: also of pods that belong to somebody else."""
    metadata = document["metadata"]
    name = (metadata.get("labels") or {}).get(keys.CLUSTER)
    return [(metadata.get("namespace", ""), name)] if name else []


def _nobody(document: Document) -> list[Key]:
    return []


class RayClusterController:
    """See `rayctl.core.controller.Controller`.

    Args:
        transport: To ask whether a token's Secret is there: Secrets are never listed or watched.
        options: How clusters are built.
    """

    name = "raycluster-controller"
    resource = RAY_CLUSTERS

    def __init__(self, transport: Transport, options: ClusterOptions | None = None) -> None:
        self._transport = transport
        self._options = options or ClusterOptions()
        owned = owners_named("RayCluster")
        self.watches = (
            Watch(RAY_CLUSTERS, same_name),
            Watch(PODS, _labelled, keys.CLUSTER, (keys.CLUSTER,)),
            *(Watch(kind, owned) for kind in _CHILDREN),
            Watch(DEPLOYMENTS, _nobody, OPERATORS, optional=True),
        )

    async def look(self, key: Key, caches: Caches) -> Documents | None:
        """Gather the cluster, the pods with its label, its other objects, and whether KubeRay is at work here."""
        namespace, name = key
        cluster = caches.get(RAY_CLUSTERS, namespace, name)
        if cluster is not None and _is_leaving(cluster):
            cluster = await self._newest(cluster)
        if cluster is None:
            return None
        pods = [
            _with_kind(pod, "v1", "Pod")
            for pod in caches.labelled(PODS, keys.CLUSTER, name)
            if pod["metadata"].get("namespace", "") == namespace
        ]
        operator = next((found for item in caches.all(DEPLOYMENTS) if (found := operator_of(item, namespace))), "")
        documents: dict[str, Any] = {
            "cluster": _with_kind(cluster, "ray.io/v1", "RayCluster"),
            "pods": pods,
            "children": self._children(cluster, caches),
            "operator": operator,
        }
        documents["token_secret"] = await self._secret(documents)
        return documents

    async def _newest(self, cluster: Document) -> Document | None:
        """Return a cluster as it is now; None if it is gone.

        What is made for a cluster that is gone, the garbage collector deletes at once, and it would be made again.
        """
        metadata = cluster["metadata"]
        try:
            found = await self._transport.request(Call.get(RAY_CLUSTERS.path(metadata["namespace"], metadata["name"])))
        except ObjectNotFound:
            return None
        except KubernetesError:
            return cluster  # its revision guards all that is written
        return found if found["metadata"]["uid"] == metadata["uid"] else None

    def _children(self, cluster: Document, caches: Caches) -> list[Document]:
        """Return the objects that belong to the cluster, and those of others that have a name it needs."""
        namespace, uid = cluster["metadata"].get("namespace", ""), cluster["metadata"]["uid"]
        found: dict[tuple[str, str], Document] = {}
        for kind in _CHILDREN:
            for item in caches.owned(kind, uid):
                found[kind.kind, item["metadata"]["name"]] = _with_kind(item, kind.api_version, kind.kind)
        spec = parse_cluster(cluster)
        if check_cluster(spec, self._options):
            return [found[place] for place in sorted(found)]
        wanted = [(item["apiVersion"], item["kind"], item["metadata"]["name"]) for item in self._wanted(cluster)]
        if spec.autoscaling:
            own = (spec.head.template.get("spec") or {}).get("serviceAccountName") or spec.name
            wanted.append(("v1", "ServiceAccount", names.check_name(own)))
        for api_version, kind_name, name in wanted:
            if (kind_name, name) not in found:
                other = caches.get(kind_of(api_version, kind_name), namespace, name)
                if other is not None:
                    found[kind_name, name] = _with_kind(other, api_version, kind_name)
        return [found[place] for place in sorted(found)]

    def _wanted(self, cluster: Document) -> list[dict[str, Any]]:
        return wanted_children(ClusterSeen(parse_cluster(cluster), self._options))

    async def _secret(self, found: Mapping[str, Any]) -> str:
        """Ask for the token's Secret when it matters: before the first pods, and when pods cannot start.

        The Secret is made before the pods are, so where pods run it is there; its content is not kept. Returns
        ``there``, ``missing``, ``old`` (left over from a cluster of the same name), ``unknown`` (no answer), or
        nothing if nobody has asked.
        """
        spec = parse_cluster(found["cluster"])
        auth = auth_of(spec, self._options)
        if not auth.ours or found["operator"] or found["cluster"]["metadata"].get("deletionTimestamp"):
            return ""
        own = [pod for pod in found["pods"] if is_owned(pod, spec.uid)]
        states = [
            (item.get("state") or {}).get("waiting") or {}
            for pod in own
            for kind in ("initContainerStatuses", "containerStatuses")
            for item in (pod.get("status") or {}).get(kind) or ()
        ]
        if own and not any(state.get("reason") == "CreateContainerConfigError" for state in states):
            return ""
        try:
            secret = await self._transport.request(Call.get(SECRETS.path(spec.namespace, auth.secret)))
        except ObjectNotFound:
            return "missing"
        except KubernetesError:
            return "unknown"
        return "old" if is_left_over(secret, spec.uid) else "there"

    def plan(self, found: Documents, now: float) -> Plan:
        """Decide."""
        return plan_cluster(read_seen(found, self._options), now)

    def measure(self, old: Document, new: Document, metrics: Metrics) -> None:
        """See `rayctl.core.controller.Measuring`: how long a cluster took to be complete for the first time."""
        seconds = provisioned_s(old, new)
        if seconds is not None:
            metrics.provisioned(seconds)

    def refused(self, found: Documents, refusal: Refusal, now: float) -> Plan:
        """Tell what was refused."""
        return plan_refused(read_seen(found, self._options), refusal, now)


def _is_leaving(cluster: Document) -> bool:
    metadata = cluster["metadata"]
    return bool(metadata.get("deletionTimestamp")) and keys.FINALIZER in (metadata.get("finalizers") or ())


def _with_kind(document: Document, api_version: str, kind: str) -> Document:
    """Return an object that says its kind: those of lists do not."""
    return document if "kind" in document else {"apiVersion": api_version, "kind": kind, **document}


def operator_of(deployment: Document, namespace: str) -> str:
    """Return ``namespace/name`` of a KubeRay operator that is at work in a namespace; empty if this is none.

    An operator scaled to nothing is not at work, once its pods are gone; one that is broken is: it may come back at
    any time.
    """
    metadata, spec = deployment["metadata"], deployment.get("spec") or {}
    labels = metadata.get("labels") or {}
    is_operator = labels.get(keys.APP_NAME) == "kuberay-operator" or (
        labels.get("app.kubernetes.io/component") == "kuberay-operator"
    )
    pods_left = (deployment.get("status") or {}).get("replicas")
    if not is_operator or (spec.get("replicas") == 0 and not pods_left):
        return ""
    watched = _watched_namespaces(spec)
    if watched and namespace not in watched:
        return ""
    return f"{metadata.get('namespace', '')}/{metadata['name']}"


def _watched_namespaces(spec: Mapping[str, Any]) -> set[str]:
    """Return the namespaces that an operator is limited to; none: it is not."""
    found: set[str] = set()
    for container in ((spec.get("template") or {}).get("spec") or {}).get("containers") or ():
        words = [str(word) for word in (*(container.get("command") or ()), *(container.get("args") or ()))]
        for index, word in enumerate(words):
            name, _, value = word.lstrip("-").partition("=")
            if word.startswith("-") and name == "watch-namespace":
                value = value or (words[index + 1] if index + 1 < len(words) else "")
                found |= {part.strip() for part in value.split(",") if part.strip()}
    return found
