"""The Node object and its heartbeat."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rayctl import __version__
from rayctl.embedded.apiserver.schema.formats import now_micro, now_seconds
from rayctl.kube.calls import MERGE, Call, Transport
from rayctl.kube.errors import AlreadyExists, ObjectNotFound
from rayctl.kube.kinds import LEASES, NODES

__all__ = ["NodeFacts", "beat", "machine_capacity", "node_document", "register"]

LEASE_NAMESPACE = "kube-node-lease"
SOCKET = "rayctl.io/kubelet-socket"
NETWORK = "rayctl.io/network"


@dataclass(frozen=True)
class NodeFacts:
    """What is told of the node. ``capacity``: as in `rayctl.embedded.kubelet.scheduling.default_capacity`."""

    name: str
    capacity: Mapping[str, str]
    mode: str
    socket: str
    labels: Mapping[str, str]


def machine_capacity() -> tuple[int, int, int]:
    """Return the machine's cores, its memory in bytes, and its NVIDIA GPUs."""
    gpus = sum(1 for name in os.listdir("/dev") if name.startswith("nvidia") and name[6:].isdigit())
    return os.cpu_count() or 1, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), gpus


def node_labels(name: str, mode: str) -> dict[str, str]:
    """Return the labels that nodes have everywhere, and the network mode."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    return {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": machine,
        NETWORK: mode,
    }


def node_document(facts: NodeFacts, now: float, ready: bool = True) -> dict[str, Any]:
    """Return the Node. Pure."""
    reason = (
        ("KubeletReady", "kubelet is posting ready status") if ready else ("KubeletStopped", "the kubelet has ended")
    )
    condition = {
        "type": "Ready",
        "status": "True" if ready else "Unknown",
        "reason": reason[0],
        "message": reason[1],
        "lastHeartbeatTime": now_seconds(now),
        "lastTransitionTime": now_seconds(now),
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": facts.name,
            "labels": dict(facts.labels),
            "annotations": {SOCKET: facts.socket, NETWORK: facts.mode},
        },
        "status": {
            "capacity": dict(facts.capacity),
            "allocatable": dict(facts.capacity),
            "conditions": [condition],
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}, {"type": "Hostname", "address": facts.name}],
            "nodeInfo": {
                "kubeletVersion": f"rayctl-{__version__}",
                "containerRuntimeVersion": f"rayctl://{__version__}",
                "osImage": platform.platform(),
                "kernelVersion": platform.release(),
                "operatingSystem": "linux",
                "architecture": node_labels(facts.name, facts.mode)["kubernetes.io/arch"],
                "machineID": "",
                "systemUUID": "",
                "bootID": "",
                "kubeProxyVersion": "",
            },
        },
    }


async def register(transport: Transport, facts: NodeFacts, now: float, ready: bool = True) -> None:
    """Make or update the Node. Raises KubernetesError."""
    document = node_document(facts, now, ready)
    try:
        await transport.request(Call("POST", NODES.path(), body=document))
    except AlreadyExists:
        changes = {"metadata": {key: document["metadata"][key] for key in ("labels", "annotations")}}
        await transport.request(Call("PATCH", NODES.path("", facts.name), body=changes, content_type=MERGE))
    status = {"status": document["status"]}
    await transport.request(Call("PATCH", NODES.path("", facts.name, "status"), body=status, content_type=MERGE))


async def beat(transport: Transport, name: str, lease_s: int, now: float) -> None:
    """Say that the node lives. Raises KubernetesError."""
    spec = {"holderIdentity": name, "leaseDurationSeconds": lease_s, "renewTime": now_micro(now)}
    path = LEASES.path(LEASE_NAMESPACE, name)
    try:
        await transport.request(Call("PATCH", path, body={"spec": spec}, content_type=MERGE))
    except ObjectNotFound:
        metadata = {"namespace": LEASE_NAMESPACE, "name": name}
        document = {"apiVersion": LEASES.api_version, "kind": LEASES.kind, "metadata": metadata, "spec": spec}
        await transport.request(Call("POST", LEASES.path(LEASE_NAMESPACE), body=document))
