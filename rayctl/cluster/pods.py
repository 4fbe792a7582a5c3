"""Pods of a cluster, built from its specification: pure, so that the same cluster always gives the same pods."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from rayctl import __version__
from rayctl.cluster import keys, names, raystart
from rayctl.cluster.auth import add_token, auth_of, give_token
from rayctl.cluster.autoscaler import autoscaler_container, service_account
from rayctl.cluster.env import init_env, ray_env
from rayctl.cluster.gcs_ft import inject
from rayctl.cluster.gcs_ft.options import fault_tolerance
from rayctl.cluster.options import ClusterOptions
from rayctl.cluster.probes import add_probes
from rayctl.cluster.revision import group_revision, head_revision
from rayctl.cluster.spec import ClusterSpec, GroupSpec
from rayctl.core.quantity import parse_quantity

__all__ = ["head_pod", "pod_labels", "worker_pod"]

Pod = dict[str, Any]
_FIXED = (keys.CLUSTER, keys.NODE_TYPE, keys.GROUP)
_WAIT = """\
waited=0
while true; do
  if [ "$waited" -le 120 ]; then
    ray health-check --address {address} >/dev/null 2>&1 && break
  else
    ray health-check --address {address} && break
  fi
  echo "The GCS at {address} does not answer yet ($waited s)."
  sleep 5
  waited=$((waited + 5))
done
echo "The GCS at {address} answers."
"""


def pod_labels(spec: ClusterSpec, node_type: str, group: str, *overrides: Mapping[str, str]) -> dict[str, str]:
    """Return a pod's labels: the defaults, then the user's; three of them are never the user's."""
    labels = {
        keys.IS_RAY_NODE: "yes",
        keys.IDENTIFIER: names.identifier(spec.name, node_type),
        keys.APP_NAME: keys.APP_VALUE,
        keys.CREATED_BY: keys.CREATED_BY_VALUE,
    }
    for override in overrides:
        labels.update(override)
    labels.update({keys.CLUSTER: spec.name, keys.NODE_TYPE: node_type, keys.GROUP: group})
    if spec.origin == "RayService":
        # A worker's readiness decides; the head is let in by the service's controller.
        labels[keys.SERVE] = "false" if node_type == keys.HEAD else "true"
    return labels


def head_pod(spec: ClusterSpec, options: ClusterOptions) -> Pod:
    """Return the head."""
    head, found = spec.head, fault_tolerance(spec)
    pod, metadata = _begin(spec, head.template, names.head_pod(spec.name))
    params = raystart.start_params(keys.HEAD, head.params, head.resources, head.labels, pod["containers"][0])
    auth = auth_of(spec, options)
    if spec.autoscaling:
        params["no-monitor"] = "true"
        pod["serviceAccountName"] = service_account(spec)
        sidecar = autoscaler_container(spec, options, pod["containers"][0].get("image", ""))
        give_token(sidecar, auth)
        pod["containers"].append(sidecar)
        if spec.autoscaler_version:
            env = pod["containers"][0].setdefault("env", [])
            value = "true" if spec.autoscaler_version == "v2" else "false"
            env.append({"name": "RAY_enable_autoscaler_v2", "value": value})
    metadata["labels"] = pod_labels(spec, keys.HEAD, keys.HEAD_GROUP, metadata["labels"], head.labels)
    inject.add_to_head(pod, metadata["annotations"], params, spec, found)
    if spec.autoscaling:
        # The dashboard shows what the autoscaler logs.
        for container in (pod["containers"][0], pod["containers"][-1]):
            _add_folder(pod, container, "ray-logs", "/tmp/ray", {})  # noqa: S108 (inside the pod)
    _finish(pod, spec, options, keys.HEAD, params, "")
    metadata["annotations"][keys.REVISION] = head_revision(spec)
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod}


def worker_pod(spec: ClusterSpec, group: GroupSpec, replica: int, host: int, options: ClusterOptions) -> Pod:
    """Return a worker. ``replica``: from 0; ``host``: from 0, in groups with several hosts per replica."""
    pod, metadata = _begin(spec, group.template, names.worker_pod(spec.name, group.name, replica * group.hosts + host))
    where = spec.head_host(options.cluster_domain)
    address = f"{where}:{spec.gcs_port}"
    ray = pod["containers"][0]
    auth = auth_of(spec, options)
    if options.inject_wait:
        waiter = _waiter(ray, address, options)
        give_token(waiter, auth)
        pod.setdefault("initContainers", []).append(waiter)
    params = raystart.start_params(keys.WORKER, group.params, group.resources, group.labels, ray, address)
    labels = pod_labels(spec, keys.WORKER, group.name, metadata["labels"], group.labels)
    labels[keys.REPLICA_INDEX] = str(replica)
    if group.hosts > 1:
        labels[keys.REPLICA_NAME] = names.replica_name(spec.name, group.name, replica)
        labels[keys.HOST_INDEX] = str(host)
    metadata["labels"] = labels
    inject.add_to_worker(ray.setdefault("env", []), fault_tolerance(spec))
    _finish(pod, spec, options, keys.WORKER, params, where)
    metadata["annotations"][keys.REVISION] = group_revision(spec, group)
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod}


def _begin(spec: ClusterSpec, template: Mapping[str, Any], name: str) -> tuple[Pod, dict[str, Any]]:
    """Return the pod's ``spec`` and ``metadata`` as far as the template says them; nothing in them is shared."""
    pod = copy.deepcopy(dict(template.get("spec") or {}))
    asked = template.get("metadata") or {}
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": spec.namespace,
        "labels": dict(asked.get("labels") or {}),
        "annotations": dict(asked.get("annotations") or {}),
        "ownerReferences": [spec.owner],
    }
    if asked.get("finalizers"):
        metadata["finalizers"] = list(asked["finalizers"])
    if spec.annotations.get(keys.OVERWRITE_COMMAND, "").lower() == "true":
        metadata["annotations"][keys.OVERWRITE_COMMAND] = "true"
    return pod, metadata


def _waiter(ray: Mapping[str, Any], address: str, options: ClusterOptions) -> dict[str, Any]:
    """Return what lets a worker start only when the head answers; there is no limit to its patience."""
    amounts = {"cpu": "200m", "memory": "256Mi"}
    found = {name: copy.deepcopy(ray[name]) for name in ("imagePullPolicy", "securityContext") if name in ray}
    return {
        **found,
        "name": "wait-gcs-ready",
        "image": ray.get("image", ""),
        "command": options.shell,
        "args": [_WAIT.format(address=address)],
        "env": copy.deepcopy(list(ray.get("env") or ())),
        "volumeMounts": copy.deepcopy(list(ray.get("volumeMounts") or ())),
        "resources": {"limits": dict(amounts), "requests": dict(amounts)},
    }


def _finish(
    pod: Pod, spec: ClusterSpec, options: ClusterOptions, node_type: str, params: Mapping[str, str], where: str
) -> None:
    """Add what head and workers have in common."""
    ray = pod["containers"][0]
    ports = ray.setdefault("ports", [])
    if not any(port.get("name") == "metrics" for port in ports):
        ports.append({"name": "metrics", "containerPort": keys.PORTS["metrics"], "protocol": "TCP"})
    if spec.autoscaler_version == "v2":
        pod["restartPolicy"] = "Never"
    auth = auth_of(spec, options)
    give_token(ray, auth)
    if "plasma-directory" not in params:
        _add_folder(pod, ray, "shared-mem", "/dev/shm", {"medium": "Memory", **_memory(ray)})  # noqa: S108
    line = raystart.command_line(node_type, params)
    _set_command(ray, line, spec, options)
    for container in pod.get("initContainers", ()):
        container.setdefault("env", []).extend(init_env(where))
    add_token(pod, auth, options.shell)
    ray_env(ray.setdefault("env", []), spec, node_type, where, line, __version__)
    if options.inject_probes:
        add_probes(ray, spec, node_type, params)


def _set_command(ray: dict[str, Any], line: str, spec: ClusterSpec, options: ClusterOptions) -> None:
    """Have the container start Ray after what the user has it do, unless he starts Ray himself."""
    own = " ".join(str(word) for word in (*(ray.get("command") or ()), *(ray.get("args") or ())))
    if spec.annotations.get(keys.OVERWRITE_COMMAND, "").lower() == "true" or "ray start" in own:
        return
    start = f"ulimit -n ${{RAY_START_ULIMIT_OPEN_FILES:-65536}}; {line}"
    ray["command"] = options.shell
    # Ray stays in the foreground, so nothing after it would run.
    ray["args"] = [f"{own} && {start}" if own else start]


def _memory(ray: Mapping[str, Any]) -> dict[str, str]:
    resources = ray.get("resources") or {}
    for kind in ("limits", "requests"):
        amount = (resources.get(kind) or {}).get("memory")
        if amount is not None:
            return {"sizeLimit": str(amount)} if parse_quantity(amount) else {}
    return {}


def _add_folder(pod: Pod, container: dict[str, Any], volume: str, path: str, source: dict[str, Any]) -> None:
    """Mount an empty folder in a container, unless something is mounted there."""
    mounts = container.setdefault("volumeMounts", [])
    if any(mount.get("mountPath") == path for mount in mounts):
        return
    volumes = pod.setdefault("volumes", [])
    if not any(there.get("name") == volume for there in volumes):
        volumes.append({"name": volume, "emptyDir": source})
    mounts.append({"name": volume, "mountPath": path})
