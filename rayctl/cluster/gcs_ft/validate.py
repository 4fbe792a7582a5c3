"""Combinations of fault tolerance settings that are refused, the same as KubeRay refuses; each says why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rayctl.cluster import keys
from rayctl.cluster.gcs_ft.inject import FOLDER, VOLUME
from rayctl.cluster.gcs_ft.options import fault_tolerance, first_address
from rayctl.cluster.options import ClusterOptions
from rayctl.cluster.problems import Problem
from rayctl.cluster.spec import ClusterSpec, container_of, env_of
from rayctl.cluster.versions import parse_version

__all__ = ["check", "warnings"]

Document = Mapping[str, Any]
Found = list[tuple[str, str]]
HEAD = "spec.headGroupSpec"
ENV = f"{HEAD}.template.spec.containers[0].env"
OPTIONS = "spec.gcsFaultToleranceOptions"


def check(spec: ClusterSpec, options: ClusterOptions) -> list[Problem]:
    """Return everything that is wrong with a cluster's fault tolerance."""
    asked = spec.spec.get("gcsFaultToleranceOptions")
    found: Found = []
    found += _names_of_users(spec)
    if asked is None:
        found += _without_options(spec)
    else:
        for rule in (_two_sources, _managed_elsewhere, _backend(options)):
            found += rule(spec, asked)
    return [Problem("InvalidRayClusterSpec", path, message) for path, message in found]


def _without_options(spec: ClusterSpec) -> Found:
    on = spec.annotations.get(keys.FT_ENABLED, "").lower() == "true"
    if not on and "RAY_REDIS_ADDRESS" in env_of(spec.head.template):
        text = "RAY_REDIS_ADDRESS alone would make Ray keep its state there without workers, names and cleanup fitting"
        return [(ENV, f"{text}; use gcsFaultToleranceOptions.redisAddress")]
    return []


def _names_of_users(spec: ClusterSpec) -> Found:
    found: Found = []
    hint = "the user name of Redis is set by gcsFaultToleranceOptions.redisUsername only"
    if spec.head.params.get("redis-username"):
        found.append((f"{HEAD}.rayStartParams.redis-username", hint))
    if "REDIS_USERNAME" in env_of(spec.head.template):
        found.append((ENV, f"REDIS_USERNAME: {hint}"))
    return found


def _two_sources(spec: ClusterSpec, asked: Document) -> Found:
    found: Found = []
    if spec.annotations.get(keys.FT_ENABLED):
        text = "the annotation and gcsFaultToleranceOptions are both there; remove the annotation, whatever its value"
        found.append((f"metadata.annotations.{keys.FT_ENABLED}", text))
    if spec.annotations.get(keys.STORAGE_NAMESPACE):
        text = "use gcsFaultToleranceOptions.externalStorageNamespace instead"
        found.append((f"metadata.annotations.{keys.STORAGE_NAMESPACE}", text))
    return found


def _managed_elsewhere(spec: ClusterSpec, asked: Document) -> Found:
    found: Found = []
    env = env_of(spec.head.template)
    if spec.head.params.get("redis-password"):
        text = "use gcsFaultToleranceOptions.redisPassword instead"
        found.append((f"{HEAD}.rayStartParams.redis-password", text))
    for variable, field in (("REDIS_PASSWORD", "redisPassword"), ("RAY_REDIS_ADDRESS", "redisAddress")):
        if variable in env:
            found.append((ENV, f"{variable}: use gcsFaultToleranceOptions.{field} instead"))
    return found


def _backend(options: ClusterOptions) -> Callable[[ClusterSpec, Document], Found]:
    def check_backend(spec: ClusterSpec, asked: Document) -> Found:
        if asked.get("backend") != "rocksdb":
            if asked.get("storage") is not None:
                return [(f"{OPTIONS}.storage", "a volume is used by the backend rocksdb only, and this is redis")]
            return []
        found: Found = []
        if not options.embedded_storage:
            found.append((f"{OPTIONS}.backend", "the embedded backend rocksdb is switched off on this installation"))
        for field in ("redisAddress", "redisUsername", "redisPassword", "externalStorageNamespace"):
            if asked.get(field):
                found.append((f"{OPTIONS}.{field}", "this is for the backend redis only, and this is rocksdb"))
        return found + _claim(asked) + _reserved(spec)

    return check_backend


def _claim(asked: Document) -> Found:
    storage = asked.get("storage") or {}
    if storage.get("claimName") and any(storage.get(name) for name in ("size", "storageClassName", "accessModes")):
        text = "size, storageClassName and accessModes are for claims that are made here, not for one of your own"
        return [(f"{OPTIONS}.storage.claimName", text)]
    return []


def _reserved(spec: ClusterSpec) -> Found:
    found: Found = []
    env = env_of(spec.head.template)
    for variable in ("RAY_gcs_storage", "RAY_gcs_storage_path"):
        if variable in env:
            found.append((ENV, f"{variable} is set by the backend rocksdb itself"))
    for mount in container_of(spec.head.template).get("volumeMounts") or ():
        if mount.get("mountPath") == FOLDER or mount.get("name") == VOLUME:
            text = f"the mount {VOLUME} at {FOLDER} is made by the backend rocksdb itself"
            found.append((f"{HEAD}.template.spec.containers[0].volumeMounts", text))
    for volume in (spec.head.template.get("spec") or {}).get("volumes") or ():
        if volume.get("name") == VOLUME:
            text = f"the volume {VOLUME} is made by the backend rocksdb itself"
            found.append((f"{HEAD}.template.spec.volumes", text))
    return found


def warnings(spec: ClusterSpec) -> list[tuple[str, str]]:
    """Return what works but should be changed, or will not do what it seems to: (reason, sentence)."""
    found = fault_tolerance(spec)
    told: list[tuple[str, str]] = []
    if found.route == "annotation" or spec.annotations.get(keys.FT_ENABLED):
        text = f"the annotation {keys.FT_ENABLED} is deprecated; rewrite the manifest with `rayctl migrate gcs-ft`"
        told.append(("DeprecatedFaultToleranceAnnotation", text))
    if found.backend == "redis":
        told += _redis_warnings(spec, found.address, found.pinned, found.route)
    version = parse_version(spec.ray_version)
    if found.backend == "rocksdb" and version is not None and version < (2, 57, 0):
        text = f"Ray {spec.ray_version} has no embedded store (2.57 is the first that has): nothing outlives the head"
        told.append(("EmbeddedStoreNotSupported", text))
    return told


def _redis_warnings(spec: ClusterSpec, address: str, pinned: bool, route: str) -> list[tuple[str, str]]:
    told = []
    if not address and route == "options":
        text = "gcsFaultToleranceOptions has no redisAddress: the head keeps nothing"
        told.append(("RedisAddressMissing", text))
    elif address:
        try:
            first_address(address)
        except ValueError as error:
            told.append(("RedisAddressNotUnderstood", str(error)))
    if pinned and spec.origin == "RayService":
        text = "a fixed storage namespace lets the next cluster of this RayService read the state of the one before"
        told.append(("StorageNamespaceShared", f"{text}; leave it out, and each cluster has its own"))
    return told
