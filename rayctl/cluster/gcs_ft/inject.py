"""What fault tolerance of the GCS adds to the pods."""

from __future__ import annotations

from typing import Any

from rayctl.cluster import keys
from rayctl.cluster.env import Env, add_missing, has
from rayctl.cluster.gcs_ft.options import FaultTolerance
from rayctl.cluster.spec import ClusterSpec

__all__ = ["VOLUME", "add_to_head", "add_to_worker", "claim"]

VOLUME, FOLDER = "gcs-storage", "/data/gcs"
RECONNECT_S = "600"
"""How long workers wait for a new head; Ray's own 60 s are less than a new pod takes."""


def add_to_worker(env: Env, found: FaultTolerance) -> None:
    """Have a worker wait for a new head."""
    if found.on:
        add_missing(env, "RAY_gcs_rpc_server_reconnect_timeout_s", RECONNECT_S)


def add_to_head(
    pod: dict[str, Any], annotations: dict[str, str], params: dict[str, str], spec: ClusterSpec, found: FaultTolerance
) -> None:
    """Have the head keep its state.

    ``pod``: its ``spec``; ``params``: those of ``ray start``. Passwords are named there, never written.
    """
    annotations[keys.FT_ENABLED] = "true" if found.on else "false"
    env: Env = pod["containers"][0].setdefault("env", [])
    if found.backend == "rocksdb":
        add_missing(env, "RAY_gcs_storage", "rocksdb")
        add_missing(env, "RAY_gcs_storage_path", FOLDER)
        mount = {"name": VOLUME, "mountPath": FOLDER}
        if (found.storage or {}).get("subPath"):
            mount["subPath"] = (found.storage or {})["subPath"]
        pod["containers"][0].setdefault("volumeMounts", []).append(mount)
        source = {"claimName": found.claim(spec.name)}
        pod.setdefault("volumes", []).append({"name": VOLUME, "persistentVolumeClaim": source})
    if found.backend != "redis":
        return
    annotations[keys.STORAGE_NAMESPACE] = found.namespace
    add_missing(env, "RAY_external_storage_namespace", found.namespace)
    if found.route == "annotation":
        if not has(env, "REDIS_PASSWORD") and found.password is not None:
            env.append({"name": "REDIS_PASSWORD", **found.password})
        return
    env.append({"name": "RAY_REDIS_ADDRESS", "value": found.address})
    for credential, variable, param in (
        (found.username, "REDIS_USERNAME", "redis-username"),
        (found.password, "REDIS_PASSWORD", "redis-password"),
    ):
        if credential is not None:
            params[param] = f"${variable}"
            env.append({"name": variable, **{name: credential[name] for name in credential if credential[name]}})


def claim(spec: ClusterSpec, found: FaultTolerance) -> dict[str, Any] | None:
    """Return the volume claim of the embedded backend; None if there is none to be made."""
    if found.backend != "rocksdb" or found.claim_is_users:
        return None
    storage = found.storage or {}
    metadata: dict[str, Any] = {
        "name": found.claim(spec.name),
        "namespace": spec.namespace,
        "labels": {keys.CLUSTER: spec.name},
    }
    if storage.get("deletionPolicy") != "Retain":
        metadata["ownerReferences"] = [spec.owner]
    wanted: dict[str, Any] = {
        "accessModes": list(storage.get("accessModes") or ["ReadWriteOnce"]),
        "resources": {"requests": {"storage": str(storage.get("size") or "1Gi")}},
    }
    if storage.get("storageClassName"):
        wanted["storageClassName"] = storage["storageClassName"]
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": wanted}
