"""Ray's own autoscaler: a container beside the head, and what it may do through the Kubernetes API."""

from __future__ import annotations

from typing import Any

from rayctl.cluster import keys, names
from rayctl.cluster.env import field
from rayctl.cluster.options import ClusterOptions
from rayctl.cluster.spec import ClusterSpec

__all__ = ["CONTAINER", "access_objects", "account_is_users", "autoscaler_container", "service_account"]

CONTAINER = "autoscaler"
_RBAC = "rbac.authorization.k8s.io"


def service_account(spec: ClusterSpec) -> str:
    """Return the name of the head's account: the user's own, or the cluster's."""
    own = (spec.head.template.get("spec") or {}).get("serviceAccountName") or ""
    return names.check_name(own or spec.name)


def account_is_users(spec: ClusterSpec) -> bool:
    """Return whether the head's account is the user's own, which is never made here."""
    own = (spec.head.template.get("spec") or {}).get("serviceAccountName") or ""
    return bool(own) and own != spec.name


def autoscaler_container(spec: ClusterSpec, options: ClusterOptions, image: str) -> dict[str, Any]:
    """Return the container, with the user's changes in ``autoscalerOptions``; without its token."""
    line = "ray kuberay-autoscaler --cluster-name $(RAY_CLUSTER_NAME) --cluster-namespace $(RAY_CLUSTER_NAMESPACE)"
    asked = spec.autoscaler
    amounts = {"cpu": "500m", "memory": "512Mi"}
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": asked.get("image") or image,
        "imagePullPolicy": asked.get("imagePullPolicy") or "IfNotPresent",
        "command": asked.get("command") or options.shell,
        "args": asked.get("args") or [line],
        "env": [
            field("RAY_CLUSTER_NAME", f"metadata.labels['{keys.CLUSTER}']"),
            field("RAY_CLUSTER_NAMESPACE", "metadata.namespace"),
            field("RAY_HEAD_POD_NAME", "metadata.name"),
            {"name": "KUBERAY_CRD_VER", "value": "v1"},
            {"name": "KUBERAY_GEN_AUTOSCALER_START_CMD", "value": line},
            *(asked.get("env") or ()),
        ],
        "resources": asked.get("resources") or {"limits": amounts, "requests": amounts},
    }
    if asked.get("envFrom"):
        container["envFrom"] = list(asked["envFrom"])
    if asked.get("volumeMounts"):
        container["volumeMounts"] = list(asked["volumeMounts"])
    if asked.get("securityContext"):
        container["securityContext"] = asked["securityContext"]
    return container


def access_objects(spec: ClusterSpec) -> list[dict[str, Any]]:
    """Return ServiceAccount, Role and RoleBinding of the autoscaler; no account if the user names his own.

    It reads and labels pods of its namespace, and reads and scales its cluster, no other.
    """
    if not spec.autoscaling:
        return []
    account, name = service_account(spec), names.check_name(spec.name)
    found = [
        {
            **_object("rbac.authorization.k8s.io/v1", "Role", name, spec),
            "rules": [
                {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch", "patch"]},
                {"apiGroups": [""], "resources": ["pods/resize"], "verbs": ["patch"]},
                {
                    "apiGroups": ["ray.io"],
                    "resources": ["rayclusters"],
                    "resourceNames": [spec.name],
                    "verbs": ["get", "patch"],
                },
            ],
        },
        {
            **_object("rbac.authorization.k8s.io/v1", "RoleBinding", name, spec),
            "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": spec.namespace}],
            "roleRef": {"apiGroup": _RBAC, "kind": "Role", "name": name},
        },
    ]
    if not account_is_users(spec):
        found.insert(0, _object("v1", "ServiceAccount", account, spec))
    return found


def _object(api_version: str, kind: str, name: str, spec: ClusterSpec) -> dict[str, Any]:
    labels = {
        keys.CLUSTER: spec.name,
        keys.APP_NAME: keys.APP_VALUE,
        keys.CREATED_BY: keys.CREATED_BY_VALUE,
    }
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": spec.namespace,
            "labels": labels,
            "ownerReferences": [spec.owner],
        },
    }
