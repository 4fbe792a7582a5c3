"""Removing a deleted cluster's keys from Redis: a plain pod, because a Job adds nothing but a controller that must run.

The pod is the head's container with another command, so that it has the image, the variables, the certificates and the
network of what wrote the keys.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from importlib import resources
from typing import Any

from rayctl.cluster import keys, names
from rayctl.cluster.gcs_ft.options import FaultTolerance
from rayctl.cluster.options import ClusterOptions
from rayctl.cluster.spec import ClusterSpec

__all__ = ["DEADLINE_S", "cleanup_pod", "deletion_timeout_s"]

DEADLINE_S = 300
"""How long removing keys may take in all; then the cluster goes without."""
_KEPT = (
    "nodeSelector", "tolerations", "affinity", "imagePullSecrets", "securityContext", "priorityClassName",
    "schedulerName", "runtimeClassName", "hostNetwork", "dnsPolicy", "dnsConfig", "hostAliases", "serviceAccountName",
)  # fmt: skip
_CONTAINER = ("image", "imagePullPolicy", "securityContext", "envFrom", "volumeMounts", "workingDir")


def deletion_timeout_s(spec: ClusterSpec) -> float:
    """Return after how many seconds a deleted cluster goes although its keys may be left."""
    text = spec.annotations.get(keys.FT_DELETION_TIMEOUT, "")
    return float(text) if text.isdigit() and int(text) > 0 else float(DEADLINE_S)


def cleanup_pod(spec: ClusterSpec, found: FaultTolerance, options: ClusterOptions, left_s: float) -> dict[str, Any]:
    """Return the pod. ``left_s``: how long it may run."""
    template = copy.deepcopy(dict(spec.head.template.get("spec") or {}))
    head = (template.get("containers") or [{}])[0]
    container: dict[str, Any] = {name: head[name] for name in _CONTAINER if name in head}
    mounted = {mount.get("name") for mount in container.get("volumeMounts") or ()}
    amounts = {"cpu": "200m", "memory": "256Mi"}
    container |= {
        "name": "redis-cleanup",
        "command": options.shell,
        "args": ['exec "$(command -v python || command -v python3)" -c "$RAYCTL_SWEEP"'],
        "env": _env(head, spec, found),
        "resources": {"limits": amounts, "requests": amounts},
    }
    labels = {
        keys.CLUSTER: spec.name,
        keys.NODE_TYPE: keys.CLEANUP,
        keys.APP_NAME: keys.APP_VALUE,
        keys.CREATED_BY: keys.CREATED_BY_VALUE,
    }
    pod: dict[str, Any] = {
        **{name: template[name] for name in _KEPT if name in template},
        "restartPolicy": "Never",
        "activeDeadlineSeconds": max(1, int(min(DEADLINE_S, left_s))),
        "containers": [container],
    }
    if mounted:
        pod["volumes"] = [volume for volume in template.get("volumes") or () if volume.get("name") in mounted]
    metadata = {
        "name": names.cleanup_pod(spec.name),
        "namespace": spec.namespace,
        "labels": labels,
        "ownerReferences": [spec.owner],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod}


def _env(head: Mapping[str, Any], spec: ClusterSpec, found: FaultTolerance) -> list[dict[str, Any]]:
    """The head's variables, and how its keys are called and where they are."""
    own = {
        "RAY_REDIS_ADDRESS": {"value": found.address},
        "RAY_external_storage_namespace": {"value": found.namespace},
    }
    for name, credential in (("REDIS_USERNAME", found.username), ("REDIS_PASSWORD", found.password)):
        if credential is not None:
            own[name] = {part: credential[part] for part in credential if credential[part]}
    sweep = (resources.files("rayctl.cluster.gcs_ft") / "sweep.py").read_text(encoding="utf-8")
    own["RAYCTL_SWEEP"] = {"value": sweep}
    kept = [dict(item) for item in head.get("env") or () if item.get("name") not in own]
    for name, value in (("RAY_redis_db_connect_retries", "120"), ("RAY_redis_db_connect_wait_milliseconds", "500")):
        if not any(item.get("name") == name for item in kept):
            kept.append({"name": name, "value": value})
    return kept + [{"name": name, **value} for name, value in own.items()]
