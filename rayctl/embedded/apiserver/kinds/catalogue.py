"""Which built-in kinds there are, and under which names."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["BUILT_IN", "BuiltIn"]

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True)
class BuiltIn:
    """A kind. ``model``: the class of the `kubernetes` package that its schema comes from."""

    group: str
    version: str
    kind: str
    plural: str
    model: str
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()
    has_generation: bool = False
    verbs: tuple[str, ...] = ALL_VERBS
    storage: str = ""

    @property
    def singular(self) -> str:
        """The name for one."""
        return self.kind.lower()


def _core(kind: str, plural: str, **more: object) -> BuiltIn:
    return BuiltIn("", "v1", kind, plural, f"V1{kind}", **more)  # type: ignore[arg-type]


def _in(group: str, kind: str, plural: str, model: str = "", version: str = "v1", **more: object) -> BuiltIn:
    return BuiltIn(group, version, kind, plural, model or f"V1{kind}", **more)  # type: ignore[arg-type]


RBAC = "rbac.authorization.k8s.io"

BUILT_IN = (
    _core("ConfigMap", "configmaps", short_names=("cm",)),
    _core("Endpoints", "endpoints", short_names=("ep",)),
    BuiltIn("", "v1", "Event", "events", "CoreV1Event", short_names=("ev",), storage="events"),
    _core("LimitRange", "limitranges", short_names=("limits",)),
    _core(
        "Namespace",
        "namespaces",
        namespaced=False,
        short_names=("ns",),
        subresources=("status", "finalize"),
        verbs=("create", "delete", "get", "list", "patch", "update", "watch"),
    ),
    _core("Node", "nodes", namespaced=False, short_names=("no",), subresources=("status",)),
    _core("PersistentVolume", "persistentvolumes", namespaced=False, short_names=("pv",), subresources=("status",)),
    _core("PersistentVolumeClaim", "persistentvolumeclaims", short_names=("pvc",), subresources=("status",)),
    _core(
        "Pod",
        "pods",
        short_names=("po",),
        categories=("all",),
        subresources=("status", "binding", "eviction", "log", "ephemeralcontainers"),
        has_generation=True,
    ),
    _core("ResourceQuota", "resourcequotas", short_names=("quota",), subresources=("status",)),
    _core("Secret", "secrets"),
    _core(
        "Service",
        "services",
        short_names=("svc",),
        categories=("all",),
        subresources=("status",),
        verbs=("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"),
    ),
    _core("ServiceAccount", "serviceaccounts", short_names=("sa",), subresources=("token",)),
    _in(
        "events.k8s.io",
        "Event",
        "events",
        "EventsV1Event",
        short_names=("ev",),
        storage="events",
    ),
    _in("coordination.k8s.io", "Lease", "leases"),
    _in("discovery.k8s.io", "EndpointSlice", "endpointslices", has_generation=True),
    _in(
        "policy",
        "PodDisruptionBudget",
        "poddisruptionbudgets",
        short_names=("pdb",),
        subresources=("status",),
        has_generation=True,
    ),
    _in(
        "scheduling.k8s.io",
        "PriorityClass",
        "priorityclasses",
        namespaced=False,
        short_names=("pc",),
        has_generation=True,
    ),
    _in("storage.k8s.io", "StorageClass", "storageclasses", namespaced=False, short_names=("sc",)),
    _in(RBAC, "Role", "roles"),
    _in(RBAC, "RoleBinding", "rolebindings"),
    _in(RBAC, "ClusterRole", "clusterroles", namespaced=False),
    _in(RBAC, "ClusterRoleBinding", "clusterrolebindings", namespaced=False),
    _in(
        "apps",
        "Deployment",
        "deployments",
        short_names=("deploy",),
        categories=("all",),
        subresources=("status", "scale"),
        has_generation=True,
    ),
    _in(
        "apps",
        "ReplicaSet",
        "replicasets",
        short_names=("rs",),
        categories=("all",),
        subresources=("status", "scale"),
        has_generation=True,
    ),
    _in(
        "apps",
        "StatefulSet",
        "statefulsets",
        short_names=("sts",),
        categories=("all",),
        subresources=("status", "scale"),
        has_generation=True,
    ),
    _in(
        "apps",
        "DaemonSet",
        "daemonsets",
        short_names=("ds",),
        categories=("all",),
        subresources=("status",),
        has_generation=True,
    ),
    _in("batch", "Job", "jobs", categories=("all",), subresources=("status",), has_generation=True),
    _in(
        "batch",
        "CronJob",
        "cronjobs",
        short_names=("cj",),
        categories=("all",),
        subresources=("status",),
        has_generation=True,
    ),
    _in(
        "autoscaling",
        "HorizontalPodAutoscaler",
        "horizontalpodautoscalers",
        "V2HorizontalPodAutoscaler",
        "v2",
        short_names=("hpa",),
        categories=("all",),
        subresources=("status",),
    ),
    _in(
        "networking.k8s.io", "Ingress", "ingresses", short_names=("ing",), subresources=("status",), has_generation=True
    ),
    _in("networking.k8s.io", "IngressClass", "ingressclasses", namespaced=False, has_generation=True),
    _in("networking.k8s.io", "NetworkPolicy", "networkpolicies", short_names=("netpol",), has_generation=True),
    _in(
        "apiextensions.k8s.io",
        "CustomResourceDefinition",
        "customresourcedefinitions",
        namespaced=False,
        short_names=("crd", "crds"),
        categories=("api-extensions",),
        subresources=("status",),
        has_generation=True,
    ),
)
