"""The variables of Ray's container."""

from __future__ import annotations

from typing import Any

from rayctl.cluster import keys
from rayctl.cluster.spec import ClusterSpec

__all__ = ["add_missing", "field", "has", "init_env", "ray_env"]

Env = list[dict[str, Any]]


def has(env: Env, name: str) -> bool:
    """Return whether a variable is there."""
    return any(item.get("name") == name for item in env)


def add_missing(env: Env, name: str, value: str) -> None:
    """Add a variable unless the user has set it."""
    if not has(env, name):
        env.append({"name": name, "value": value})


def field(name: str, path: str) -> dict[str, Any]:
    """Return a variable whose value is a field of its pod."""
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def init_env(host: str) -> Env:
    """Return what every init container gets: where the head is (empty for the head itself)."""
    return [{"name": "FQ_RAY_IP", "value": host}, {"name": "RAY_IP", "value": host.split(".", 1)[0]}]


def ray_env(env: Env, spec: ClusterSpec, node_type: str, host: str, line: str, version: str) -> None:
    """Add to a container's variables all that Ray and its autoscaler expect on Kubernetes.

    ``host``: where workers find the head; ``line``: how Ray is started; ``version``: rayctl's.
    """
    worker = node_type == keys.WORKER
    if worker:
        env.extend(init_env(host))
    env.append(field("RAY_CLUSTER_NAME", f"metadata.labels['{keys.CLUSTER}']"))
    env.append(field("RAY_CLUSTER_NAMESPACE", "metadata.namespace"))
    env.append(field("RAY_CLOUD_INSTANCE_ID", "metadata.name"))
    env.append(field("RAY_NODE_TYPE_NAME", f"metadata.labels['{keys.GROUP}']"))
    env.append({"name": "KUBERAY_GEN_RAY_START_CMD", "value": line})
    add_missing(env, "RAY_PORT", spec.gcs_port)
    if spec.origin == "RayService":
        # A service's clients notice a dead replica sooner.
        add_missing(env, "RAY_timeout_ms_task_wait_for_death_info", "0")
        add_missing(env, "RAY_gcs_server_request_timeout_seconds", "5")
        add_missing(env, "RAY_SERVE_KV_TIMEOUT_S", "5")
    add_missing(env, "RAY_ADDRESS", f"{host if worker else '127.0.0.1'}:{spec.gcs_port}")
    add_missing(env, "RAY_USAGE_STATS_KUBERAY_IN_USE", "1")
    if not worker:
        tags = f"kuberay_version=rayctl-{version};kuberay_crd={spec.origin}"
        env.append({"name": "RAY_USAGE_STATS_EXTRA_TAGS", "value": tags})
    add_missing(env, "RAY_DASHBOARD_ENABLE_K8S_DISK_USAGE", "1")
