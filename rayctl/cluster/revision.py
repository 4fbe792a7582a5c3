"""Whether a running pod is what its specification says now: a hash of what it was built from, kept on the pod.

It is made of the user's document, not of the built pod, so that a newer rayctl does not replace running pods. Replicas,
tolerations and the way in which fault tolerance is said do not count. A hash of another scheme counts as unknown, and
what is unknown is left alone.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from rayctl.cluster import keys
from rayctl.cluster.gcs_ft.options import fault_tolerance
from rayctl.cluster.spec import ClusterSpec, GroupSpec

__all__ = ["group_revision", "head_revision", "is_outdated"]

SCHEME = "1"
_FT_VARIABLES = ("RAY_REDIS_ADDRESS", "REDIS_PASSWORD", "REDIS_USERNAME", "RAY_external_storage_namespace")
_FT_PARAMS = ("redis-password", "redis-username")


def is_outdated(annotations: Mapping[str, str], wanted: str) -> bool:
    """Return whether a pod with these annotations was built from something else than what is wanted."""
    found = annotations.get(keys.REVISION, "")
    return found.split(":", 1)[0] == SCHEME and found != wanted


def head_revision(spec: ClusterSpec) -> str:
    """Return the hash of what the head is built from."""
    head, found = spec.head, fault_tolerance(spec)
    template = _template(head.template)
    params = dict(head.params)
    if found.backend == "redis":
        for container in (template.get("spec") or {}).get("containers", ())[:1]:
            container["env"] = [item for item in container.get("env") or () if item.get("name") not in _FT_VARIABLES]
        for name in _FT_PARAMS:
            params.pop(name, None)
    return _hash(
        spec,
        template,
        params,
        head.resources,
        head.labels,
        spec.autoscaler if spec.autoscaling else None,
        [
            found.backend,
            found.address,
            found.namespace if found.pinned else "",
            found.username,
            found.password,
            found.storage,
        ],
    )


def group_revision(spec: ClusterSpec, group: GroupSpec) -> str:
    """Return the hash of what a group's workers are built from."""
    parts = (_template(group.template), group.params, group.resources, group.labels)
    return _hash(spec, *parts, group.hosts, fault_tolerance(spec).on)


def _template(template: Mapping[str, Any]) -> dict[str, Any]:
    found = copy.deepcopy(dict(template))
    for name in ("tolerations", "schedulingGates"):
        (found.get("spec") or {}).pop(name, None)
    return found


def _hash(spec: ClusterSpec, *parts: Any) -> str:
    common = [spec.ray_version, spec.autoscaling, spec.spec.get("authOptions"), _overwrites(spec), spec.gcs_port]
    text = json.dumps(_plain([common, *parts]), sort_keys=True, separators=(",", ":"), default=str)
    return f"{SCHEME}:{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _plain(value: Any) -> Any:
    """Leave out what is empty: a field that is missing, null or empty is the same."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items() if item not in (None, {}, [], "")}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _overwrites(spec: ClusterSpec) -> str:
    return spec.annotations.get(keys.OVERWRITE_COMMAND, "").lower()
