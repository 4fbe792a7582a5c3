"""Which endpoints a service has: from the service and the pods of its namespace to slices and the older Endpoints.

Pure. The rules are those of Kubernetes' endpoint controllers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["MANAGED_BY", "OLD_MANAGED_BY", "SERVICE_NAME", "endpoints_of", "is_selected", "pod_facts", "slices_of"]

SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = ("endpointslice.kubernetes.io/managed-by", "endpointslice-controller.k8s.io")
OLD_MANAGED_BY = ("endpoints.kubernetes.io/managed-by", "endpoint-controller")
HEADLESS = "service.kubernetes.io/headless"
PER_SLICE = 100
LETTERS = "bcdfghjklmnpqrstvwxz2456789"
Document = Mapping[str, Any]
Ports = tuple[tuple[tuple[str, Any], ...], ...]


def is_selected(service: Document, labels: Mapping[str, str]) -> bool:
    """Whether a service's endpoints come from its selector, and these labels fit it."""
    spec = service.get("spec") or {}
    selector = spec.get("selector") or {}
    if not selector or spec.get("type") == "ExternalName":
        return False
    return all(labels.get(name) == value for name, value in selector.items())


def pod_facts(pod: Document) -> Any:
    """Return everything of a pod that endpoints depend on."""
    metadata, spec, status = pod["metadata"], pod.get("spec") or {}, pod.get("status") or {}
    return (
        metadata.get("labels"),
        bool(metadata.get("deletionTimestamp")),
        status.get("podIP"),
        status.get("phase"),
        _is_ready(pod),
        spec.get("nodeName"),
        spec.get("hostname"),
        spec.get("subdomain"),
    )


def _is_ready(pod: Document) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(found.get("type") == "Ready" and found.get("status") == "True" for found in conditions)


def _has_an_address(pod: Document) -> bool:
    status = pod.get("status") or {}
    return bool(status.get("podIP")) and status.get("phase") not in ("Succeeded", "Failed")


def _target(pod: Document, port: Document) -> int | None:
    """Return the number of the port that a service's port leads to; None if the pod has no port of that name."""
    wanted = port.get("targetPort", port["port"])
    if isinstance(wanted, int):
        return wanted or int(port["port"])
    spec = pod.get("spec") or {}
    sidecars = [found for found in spec.get("initContainers") or [] if found.get("restartPolicy") == "Always"]
    for container in [*(spec.get("containers") or []), *sidecars]:
        for found in container.get("ports") or []:
            if found.get("name") == wanted and found.get("protocol", "TCP") == port.get("protocol", "TCP"):
                return int(found["containerPort"])
    return None


def _ports(service: Document, pod: Document) -> Ports:
    found = []
    for port in service["spec"].get("ports") or []:
        number = _target(pod, port)
        if number is not None:
            entry = {"name": port.get("name", ""), "port": number, "protocol": port.get("protocol", "TCP")}
            if port.get("appProtocol"):
                entry["appProtocol"] = port["appProtocol"]
            found.append(tuple(sorted(entry.items())))
    return tuple(found)


def _reference(pod: Document) -> dict[str, Any]:
    metadata = pod["metadata"]
    return {"kind": "Pod", "namespace": metadata["namespace"], "name": metadata["name"], "uid": metadata["uid"]}


def _hostname(service: Document, pod: Document) -> str:
    spec = pod.get("spec") or {}
    return str(spec.get("hostname") or "") if spec.get("subdomain") == service["metadata"]["name"] else ""


def _endpoint(service: Document, pod: Document) -> dict[str, Any]:
    serving, terminating = _is_ready(pod), bool(pod["metadata"].get("deletionTimestamp"))
    always = bool(service["spec"].get("publishNotReadyAddresses"))
    found: dict[str, Any] = {
        "addresses": [pod["status"]["podIP"]],
        "conditions": {
            "ready": always or (serving and not terminating),
            "serving": serving,
            "terminating": terminating,
        },
    }
    if _hostname(service, pod):
        found["hostname"] = _hostname(service, pod)
    if (pod.get("spec") or {}).get("nodeName"):
        found["nodeName"] = pod["spec"]["nodeName"]
    found["targetRef"] = _reference(pod)
    return found


def _labels(service: Document) -> dict[str, str]:
    found = {name: value for name, value in (service["metadata"].get("labels") or {}).items() if name != HEADLESS}
    if service["spec"].get("clusterIP") == "None":
        found[HEADLESS] = ""
    return found


def _suffix(service: Document, ports: Ports, index: int) -> str:
    digest = hashlib.sha256(json.dumps([service["metadata"]["uid"], ports, index]).encode()).digest()
    return "".join(LETTERS[byte % len(LETTERS)] for byte in digest[:5])


def slices_of(service: Document, pods: Iterable[Document]) -> list[dict[str, Any]]:
    """Return the EndpointSlices that a service with a selector should have; one without endpoints if there are none.

    Their names are functions of the service's uid, the ports and a number. ``pods``: of the service's namespace.
    """
    groups: dict[Ports, list[dict[str, Any]]] = {}
    for pod in sorted(pods, key=lambda found: str(found["metadata"]["name"])):
        if is_selected(service, pod["metadata"].get("labels") or {}) and _has_an_address(pod):
            groups.setdefault(_ports(service, pod), []).append(_endpoint(service, pod))
    metadata = service["metadata"]
    owner = {"apiVersion": "v1", "kind": "Service", "name": metadata["name"], "uid": metadata["uid"]}
    labels = {**_labels(service), SERVICE_NAME: metadata["name"], MANAGED_BY[0]: MANAGED_BY[1]}
    found = []
    for ports, endpoints in sorted(groups.items()) or [((), [])]:
        for index, at in enumerate(range(0, max(1, len(endpoints)), PER_SLICE)):
            found.append(
                {
                    "apiVersion": "discovery.k8s.io/v1",
                    "kind": "EndpointSlice",
                    "metadata": {
                        "name": f"{metadata['name']}-{_suffix(service, ports, index)}",
                        "namespace": metadata["namespace"],
                        "labels": labels,
                        "ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": True}],
                    },
                    "addressType": "IPv4",
                    "endpoints": endpoints[at : at + PER_SLICE],
                    "ports": [dict(port) for port in ports] or None,
                }
            )
    return found


def endpoints_of(service: Document, pods: Iterable[Document]) -> dict[str, Any]:
    """Return the Endpoints that a service with a selector should have.

    Pods that are being deleted are in it only if those that are not ready are published.
    """
    always = bool(service["spec"].get("publishNotReadyAddresses"))
    groups: dict[Ports, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {}
    for pod in sorted(pods, key=lambda found: str(found["metadata"]["name"])):
        if not is_selected(service, pod["metadata"].get("labels") or {}) or not _has_an_address(pod):
            continue
        if pod["metadata"].get("deletionTimestamp") and not always:
            continue
        ports = _ports(service, pod)
        if not ports and service["spec"].get("ports"):
            continue
        address: dict[str, Any] = {"ip": pod["status"]["podIP"]}
        if _hostname(service, pod):
            address["hostname"] = _hostname(service, pod)
        if (pod.get("spec") or {}).get("nodeName"):
            address["nodeName"] = pod["spec"]["nodeName"]
        address["targetRef"] = _reference(pod)
        ready = always or _is_ready(pod)
        groups.setdefault(ports, ([], []))[0 if ready else 1].append(address)
    subsets = []
    for ports, (ready_ones, others) in sorted(groups.items(), key=lambda item: item[0]):
        subset: dict[str, Any] = {}
        if ready_ones:
            subset["addresses"] = ready_ones
        if others:
            subset["notReadyAddresses"] = others
        if ports:
            subset["ports"] = [{name: value for name, value in port if value != ""} for port in ports]
        subsets.append(subset)
    metadata = service["metadata"]
    found: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "labels": {**_labels(service), OLD_MANAGED_BY[0]: OLD_MANAGED_BY[1]},
        },
    }
    if subsets:
        found["subsets"] = subsets
    return found
