"""The kinds that rayctl reads and writes, and how an object's apiVersion and kind become a path."""

from __future__ import annotations

from rayctl.kube.calls import Resource

__all__ = [
    "CLUSTER_ROLES",
    "CLUSTER_ROLE_BINDINGS",
    "CONFIG_MAPS",
    "CUSTOM_RESOURCE_DEFINITIONS",
    "DEPLOYMENTS",
    "ENDPOINTS",
    "ENDPOINT_SLICES",
    "EVENTS",
    "FLEETS",
    "GATEWAYS",
    "HTTP_ROUTES",
    "INGRESSES",
    "JOBS",
    "KINDS",
    "LEASES",
    "NAMESPACES",
    "NETWORK_POLICIES",
    "NODES",
    "PERSISTENT_VOLUMES",
    "PERSISTENT_VOLUME_CLAIMS",
    "PODS",
    "POD_DISRUPTION_BUDGETS",
    "RAY_CLUSTERS",
    "RAY_SERVICES",
    "REPLICA_SETS",
    "ROLES",
    "ROLE_BINDINGS",
    "SECRETS",
    "SERVICES",
    "SERVICE_ACCOUNTS",
    "kind_of",
]

NAMESPACES = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
NODES = Resource("", "v1", "nodes", "Node", namespaced=False)
PODS = Resource("", "v1", "pods", "Pod")
SERVICES = Resource("", "v1", "services", "Service")
ENDPOINTS = Resource("", "v1", "endpoints", "Endpoints")
CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")
SECRETS = Resource("", "v1", "secrets", "Secret")
SERVICE_ACCOUNTS = Resource("", "v1", "serviceaccounts", "ServiceAccount")
PERSISTENT_VOLUME_CLAIMS = Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
PERSISTENT_VOLUMES = Resource("", "v1", "persistentvolumes", "PersistentVolume", namespaced=False)
INGRESSES = Resource("networking.k8s.io", "v1", "ingresses", "Ingress")
NETWORK_POLICIES = Resource("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy")
ENDPOINT_SLICES = Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
EVENTS = Resource("events.k8s.io", "v1", "events", "Event")
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease")
DEPLOYMENTS = Resource("apps", "v1", "deployments", "Deployment")
JOBS = Resource("batch", "v1", "jobs", "Job")
POD_DISRUPTION_BUDGETS = Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
ROLES = Resource("rbac.authorization.k8s.io", "v1", "roles", "Role")
ROLE_BINDINGS = Resource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding")
CLUSTER_ROLES = Resource("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", namespaced=False)
CLUSTER_ROLE_BINDINGS = Resource(
    "rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False
)
CUSTOM_RESOURCE_DEFINITIONS = Resource(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False
)
RAY_CLUSTERS = Resource("ray.io", "v1", "rayclusters", "RayCluster")
RAY_SERVICES = Resource("ray.io", "v1", "rayservices", "RayService")
FLEETS = Resource("orchestration.aibrix.ai", "v1alpha1", "rayclusterfleets", "RayClusterFleet")
REPLICA_SETS = Resource("orchestration.aibrix.ai", "v1alpha1", "rayclusterreplicasets", "RayClusterReplicaSet")
GATEWAYS = Resource("gateway.networking.k8s.io", "v1", "gateways", "Gateway")
HTTP_ROUTES = Resource("gateway.networking.k8s.io", "v1", "httproutes", "HTTPRoute")

KINDS: dict[tuple[str, str], Resource] = {
    (found.api_version, found.kind): found
    for found in (
        NAMESPACES,
        NODES,
        PODS,
        SERVICES,
        ENDPOINTS,
        CONFIG_MAPS,
        SECRETS,
        SERVICE_ACCOUNTS,
        PERSISTENT_VOLUME_CLAIMS,
        PERSISTENT_VOLUMES,
        INGRESSES,
        NETWORK_POLICIES,
        ENDPOINT_SLICES,
        EVENTS,
        LEASES,
        DEPLOYMENTS,
        JOBS,
        POD_DISRUPTION_BUDGETS,
        ROLES,
        ROLE_BINDINGS,
        CLUSTER_ROLES,
        CLUSTER_ROLE_BINDINGS,
        CUSTOM_RESOURCE_DEFINITIONS,
        RAY_CLUSTERS,
        RAY_SERVICES,
        FLEETS,
        REPLICA_SETS,
        GATEWAYS,
        HTTP_ROUTES,
    )
}
"""(apiVersion, kind) → resource."""


def kind_of(api_version: str, kind: str) -> Resource:
    """Return the resource of a kind.

    Raises:
        KeyError: rayctl does not know it.
    """
    return KINDS[api_version, kind]
