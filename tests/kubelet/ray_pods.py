"""A head, a worker and their Service and Secret as KubeRay would make them, written by hand."""

from __future__ import annotations

import base64
import secrets
from typing import Any

from rayctl.kube.kinds import PODS, SECRETS, SERVICES
from tests.kubelet.node import Node

ULIMIT = "ulimit -n 65536; "


def _fields() -> list[dict[str, Any]]:
    def field(name: str, path: str) -> dict[str, Any]:
        return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}

    return [
        field("RAY_CLUSTER_NAME", "metadata.labels['ray.io/cluster']"),
        field("RAY_CLUSTER_NAMESPACE", "metadata.namespace"),
        field("RAY_CLOUD_INSTANCE_ID", "metadata.name"),
    ]


def _token(cluster: str) -> list[dict[str, Any]]:
    reference = {"secretKeyRef": {"name": cluster, "key": "auth_token"}}
    return [{"name": "RAY_AUTH_MODE", "value": "token"}, {"name": "RAY_AUTH_TOKEN", "valueFrom": reference}]


def _probe(delay_s: int) -> dict[str, Any]:
    action = {"path": "/api/healthz", "port": 52365}
    return {
        "httpGet": action,
        "initialDelaySeconds": delay_s,
        "periodSeconds": 2,
        "timeoutSeconds": 5,
        "failureThreshold": 60,
    }


def _container(name: str, cluster: str, line: str, env: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "image": "rayproject/ray:2.60.0",
        "command": ["/bin/bash", "-c", "--"],
        "args": [ULIMIT + line],
        "env": [*_fields(), *_token(cluster), *env],
        "resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
        "volumeMounts": [{"name": "shared-mem", "mountPath": "/dev/shm"}],  # noqa: S108
        **more,
    }


def _pod(name: str, cluster: str, kind: str, container: dict[str, Any], first: list[dict[str, Any]]) -> dict[str, Any]:
    labels = {"ray.io/cluster": cluster, "ray.io/node-type": kind, "ray.io/is-ray-node": "yes"}
    volume = {"name": "shared-mem", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}}
    spec: dict[str, Any] = {"containers": [container], "volumes": [volume], "terminationGracePeriodSeconds": 10}
    if first:
        spec["initContainers"] = first
    return {"metadata": {"name": name, "labels": labels}, "spec": spec}


async def make_cluster(node: Node, cluster: str) -> str:
    """Create a cluster's objects; return its token."""
    token = secrets.token_hex()
    data = {"auth_token": base64.b64encode(token.encode()).decode()}
    await node.create(SECRETS, {"metadata": {"name": cluster}, "data": data})
    selector = {"ray.io/cluster": cluster, "ray.io/node-type": "head"}
    ports = [("client", 10001), ("dashboard", 8265), ("gcs-server", 6379), ("metrics", 8080), ("serve", 8000)]
    service = {
        "selector": selector,
        "clusterIP": "None",
        "publishNotReadyAddresses": True,
        "ports": [{"name": name, "port": port, "targetPort": port} for name, port in ports],
    }
    await node.create(SERVICES, {"metadata": {"name": f"{cluster}-head-svc"}, "spec": service})
    usual = "--block --dashboard-agent-listen-port=52365 --memory=1073741824 --metrics-export-port=8080 --num-cpus=1"
    line = f"ray start --head {usual} --dashboard-host=0.0.0.0"
    ports = [{"name": name, "containerPort": port} for name, port in ports[:3]]  # type: ignore[misc]
    env = [{"name": "RAY_ADDRESS", "value": "127.0.0.1:6379"}, {"name": "RAY_PORT", "value": "6379"}]
    head = _container("ray-head", cluster, line, env, ports=ports, readinessProbe=_probe(2))
    await node.create(PODS, _pod(f"{cluster}-head", cluster, "head", head, []))
    name = f"{cluster}-head-svc.default.svc.cluster.local"
    env = [{"name": "FQ_RAY_IP", "value": name}, {"name": "RAY_ADDRESS", "value": f"{name}:6379"}]
    wait = f"until ray health-check --address {name}:6379 > /dev/null 2>&1; do sleep 1; done"
    first = {**_container("wait-gcs-ready", cluster, wait, env), "resources": {}}
    line = f"ray start --address={name}:6379 {usual} --resources='{{\"worker\": 1}}'"
    worker = _container("ray-worker", cluster, line, env, readinessProbe=_probe(2))
    await node.create(PODS, _pod(f"{cluster}-worker", cluster, "worker", worker, [first]))
    return token
