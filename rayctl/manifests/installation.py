"""Everything that an installation on Kubernetes consists of, in the order in which it is applied. The one source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rayctl import __version__
from rayctl.manifests.access import CONTROLLERS, lease_rules, rules_of, token_rules, user_roles

__all__ = ["NAME", "Installation", "access", "cluster", "documents", "everywhere", "within"]

NAME = "rayctl-system"
"""The namespace by default, and the RayCluster that the control plane runs on."""
PODS_ACCOUNT = "rayctl"
TOKEN_VOLUME, TOKEN_FOLDER, TOKEN_FILE = "ray-auth-token", "/var/run/secrets/rayctl.io/auth", "token"
"""Where the pods of a Ray cluster have its token (as `rayctl.cluster.auth`)."""
Document = dict[str, Any]
_RBAC = "rbac.authorization.k8s.io"


@dataclass(frozen=True)
class Installation:
    """What can be chosen.

    Args:
        namespace: Where rayctl itself lives.
        watch_namespace: Only objects in it are looked after; empty: in all.
        image: Of head and workers: Ray and rayctl of the same versions as this one.
        ray_version: Ray's version in it.
        workers: Worker pods beside the head.
        cpu: Of the head.
        memory: Of the head.
        actors: Beside the head runs the job that makes the controllers' actors and stays.
    """

    namespace: str = NAME
    watch_namespace: str = ""
    image: str = f"rayctl:{__version__}"
    ray_version: str = "2.60.0"
    workers: Any = 0
    cpu: str = "2"
    memory: str = "4Gi"
    actors: bool = False


def documents(chosen: Installation) -> list[Document]:
    """Return all objects but the definitions of kinds (`rayctl.manifests.crd_documents`), which come first."""
    bind = within(chosen, chosen.watch_namespace) if chosen.watch_namespace else everywhere(chosen)
    return [_object(chosen, "v1", "Namespace", chosen.namespace, ""), *access(chosen), *bind, *cluster(chosen)]


def _object(chosen: Installation, version: str, kind: str, name: str, namespace: str | None = None) -> Document:
    labels = {"app.kubernetes.io/name": "rayctl", "app.kubernetes.io/part-of": "rayctl"}
    metadata: Document = {"name": name, "labels": labels}
    where = chosen.namespace if namespace is None else namespace
    if where:
        metadata["namespace"] = where
    return {"apiVersion": version, "kind": kind, "metadata": metadata}


def access(chosen: Installation) -> list[Document]:
    """Return accounts, leases and roles; not where the controllers' roles hold (`everywhere`, `within`)."""
    found = [_object(chosen, "v1", "ServiceAccount", name) for name in (PODS_ACCOUNT, *CONTROLLERS)]
    for name in CONTROLLERS:
        found.append({**_object(chosen, "coordination.k8s.io/v1", "Lease", name), "spec": {}})
        role = _object(chosen, f"{_RBAC}/v1", "Role", f"rayctl-lease-{name}")
        found += [{**role, "rules": lease_rules(name)}, _binding(chosen, f"rayctl-lease-{name}", "Role", name)]
        clusters = _object(chosen, f"{_RBAC}/v1", "ClusterRole", f"rayctl-{name}", "")
        found.append({**clusters, "rules": rules_of(name)})
    tokens = _object(chosen, f"{_RBAC}/v1", "Role", "rayctl-tokens")
    found += [{**tokens, "rules": token_rules()}, _binding(chosen, "rayctl-tokens", "Role", PODS_ACCOUNT)]
    for user, rules in user_roles().items():
        role = _object(chosen, f"{_RBAC}/v1", "ClusterRole", f"rayctl-user-{user}", "")
        role["metadata"]["labels"][f"{_RBAC}/aggregate-to-{user}"] = "true"
        if user == "edit":
            role["metadata"]["labels"][f"{_RBAC}/aggregate-to-admin"] = "true"
        found.append({**role, "rules": rules})
    return found


def everywhere(chosen: Installation) -> list[Document]:
    """Return what lets the controllers work in all namespaces."""
    return [_binding(chosen, f"rayctl-{name}", "ClusterRole", name, everywhere=True) for name in CONTROLLERS]


def within(chosen: Installation, namespace: str) -> list[Document]:
    """Return what lets the controllers work in one namespace, and in their own."""
    return [
        _binding(chosen, f"rayctl-{name}", "ClusterRole", name, where)
        for where in dict.fromkeys((namespace, chosen.namespace))
        for name in CONTROLLERS
    ]


def _binding(
    chosen: Installation,
    role: str,
    kind: str,
    account: str,
    namespace: str | None = None,
    everywhere: bool = False,
) -> Document:
    own = _object(
        chosen,
        f"{_RBAC}/v1",
        "ClusterRoleBinding" if everywhere else "RoleBinding",
        role,
        "" if everywhere else namespace,
    )
    return {
        **own,
        "roleRef": {"apiGroup": _RBAC, "kind": kind, "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": chosen.namespace}],
    }


def cluster(chosen: Installation) -> list[Document]:
    """Return the RayCluster that the control plane runs on, and the service under which it is found."""
    ray = _object(chosen, "ray.io/v1", "RayCluster", NAME)
    ray["spec"] = {
        "rayVersion": chosen.ray_version,
        "authOptions": {"mode": "token"},
        "headGroupSpec": {
            "rayStartParams": {"dashboard-host": "0.0.0.0", "num-cpus": "0"},  # noqa: S104  (in a pod; a token guards it)
            "template": {"spec": _pod(chosen, "ray-head", chosen.cpu, chosen.memory)},
        },
        "workerGroupSpecs": [
            {
                "groupName": "workers",
                "replicas": chosen.workers,
                "minReplicas": 0,
                "maxReplicas": chosen.workers,
                "rayStartParams": {},
                "template": {"spec": _pod(chosen, "ray-worker", "2", "4Gi")},
            }
        ],
    }
    if chosen.actors:
        ray["spec"]["headGroupSpec"]["template"]["spec"]["containers"].append(_bootstrap(chosen))
    service = _object(chosen, "v1", "Service", "rayctl")
    service["spec"] = {
        "type": "ClusterIP",
        "selector": {"ray.io/cluster": NAME, "ray.io/node-type": "head"},
        "ports": [
            {"name": "http", "port": 8000, "targetPort": 8000, "protocol": "TCP"},
            {"name": "metrics", "port": 8080, "targetPort": 8080, "protocol": "TCP"},
        ],
    }
    return [ray, service]


def _bootstrap(chosen: Installation) -> Document:
    """Return the container of `rayctl.selfhost.bootstrap`. Its volume is the one that every Ray pod has."""
    return {
        "name": "bootstrap",
        "image": chosen.image,
        "command": ["python", "-m", "rayctl.selfhost.bootstrap"],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "resources": {"requests": {"cpu": "100m", "memory": "512Mi"}, "limits": {"memory": "512Mi"}},
        "env": [
            {"name": "RAYCTL_NAMESPACE", "value": chosen.namespace},
            {"name": "RAYCTL_WATCH_NAMESPACE", "value": chosen.watch_namespace},
            {"name": "RAY_AUTH_MODE", "value": "token"},
            {"name": "RAY_AUTH_TOKEN_PATH", "value": f"{TOKEN_FOLDER}/{TOKEN_FILE}"},
        ],
        "volumeMounts": [{"name": TOKEN_VOLUME, "mountPath": TOKEN_FOLDER, "readOnly": True}],
    }


def _pod(chosen: Installation, container: str, cpu: str, memory: str) -> Document:
    amounts = {"cpu": cpu, "memory": memory}
    return {
        "serviceAccountName": PODS_ACCOUNT,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": container,
                "image": chosen.image,
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                "resources": {"requests": amounts, "limits": {"memory": memory}},
                "env": [{"name": "RAYCTL_WATCH_NAMESPACE", "value": chosen.watch_namespace}],
            }
        ],
    }
