"""Which address and port leads to which pods. Pure: from Services, pods and EndpointSlices.

A Service with a selector leads to the ready pods that it selects (to all with ``publishNotReadyAddresses``), one
without to the EndpointSlices that name it. A headless Service leads somewhere only where the kubelet has given it an
address (annotation ``rayctl.io/address``); its ports are then those of the pods, as with a name that resolves to
their addresses.

The annotation ``rayctl.io/on-loopback`` names ports (comma-separated) that are open at 127.0.0.1 too, for programs of
this machine that know no addresses of Services.

Weights: the annotation ``rayctl.io/weights`` (JSON, value of a pod label → weight) shares new connections between
groups of pods; the label is the one that the annotation ``rayctl.io/weights-label`` names, else ``ray.io/cluster``. A
group of weight 0, or that is not named, gets connections only while no other group has a ready pod. Where the selector
itself asks for one value of that label (which is right for all who know no weights), the named groups count instead.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rayctl.embedded.kubelet.network.plan import LOOPBACK
from rayctl.kube.store import Object

__all__ = ["ON_LOOPBACK", "Backend", "Table", "frontends"]

ADDRESS, PORTS = "rayctl.io/address", "rayctl.io/ports"
WEIGHTS, WEIGHTS_LABEL, DEFAULT_LABEL = "rayctl.io/weights", "rayctl.io/weights-label", "ray.io/cluster"
ON_LOOPBACK = "rayctl.io/on-loopback"
SERVICE_NAME = "kubernetes.io/service-name"


@dataclass(frozen=True, order=True)
class Backend:
    """One place that takes connections. ``group``: the value of the label that weights go by."""

    host: str
    port: int
    group: str = ""
    weight: float = 1.0


Table = dict[tuple[str, int], tuple[Backend, ...]]
"""(address, port) of a Service → its backends, none if no pod is ready."""


@dataclass(frozen=True)
class _Pod:
    ip: str
    labels: Mapping[str, str]
    ready: bool
    moved: Mapping[int, int]
    document: Object


def frontends(services: Iterable[Object], pods: Iterable[Object], slices: Iterable[Object]) -> Table:
    """Return the table."""
    by_namespace: dict[str, list[_Pod]] = {}
    for pod in pods:
        found = _parse(pod)
        if found is not None:
            by_namespace.setdefault(pod["metadata"].get("namespace", ""), []).append(found)
    named: dict[tuple[str, str], list[Object]] = {}
    for item in slices:
        labels = item["metadata"].get("labels") or {}
        named.setdefault((item["metadata"].get("namespace", ""), labels.get(SERVICE_NAME, "")), []).append(item)
    table: Table = {}
    for service in services:
        metadata, spec = service["metadata"], service.get("spec") or {}
        address, headless = _address(service)
        if not address:
            continue
        if spec.get("selector"):
            selected = _select(by_namespace.get(metadata.get("namespace", ""), []), spec, *_weights(service))
            table |= _of_pods(service, address, headless, selected)
        else:
            table |= _of_slices(spec, address, named.get((metadata.get("namespace", ""), metadata["name"]), []))
    return table


def _address(service: Object) -> tuple[str, bool]:
    spec = service.get("spec") or {}
    if spec.get("type") == "ExternalName":
        return "", False
    if spec.get("clusterIP") not in (None, "", "None"):
        return str(spec["clusterIP"]), False
    return str((service["metadata"].get("annotations") or {}).get(ADDRESS, "")), True


def _parse(pod: Object) -> _Pod | None:
    metadata, status = pod["metadata"], pod.get("status") or {}
    if not status.get("podIP") or status.get("phase") in ("Succeeded", "Failed"):
        return None
    conditions = {found.get("type"): found.get("status") for found in status.get("conditions") or ()}
    ready = conditions.get("Ready") == "True" and not metadata.get("deletionTimestamp")
    moved = _json((metadata.get("annotations") or {}).get(PORTS))
    ports = {int(wanted): int(real) for wanted, real in moved.items() if str(wanted).isdigit()}
    return _Pod(status["podIP"], metadata.get("labels") or {}, ready, ports, pod)


def _json(text: Any) -> Mapping[str, Any]:
    try:
        found = json.loads(text) if text else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _weights(service: Object) -> tuple[Mapping[str, Any], str]:
    """Return the weights of a Service, and the label that they go by."""
    annotations = service["metadata"].get("annotations") or {}
    return _json(annotations.get(WEIGHTS)), annotations.get(WEIGHTS_LABEL) or DEFAULT_LABEL


def _select(pods: list[_Pod], spec: Mapping[str, Any], weights: Mapping[str, Any], label: str) -> list[_Pod]:
    def matches(pod: _Pod) -> bool:
        return all(
            pod.labels.get(key) in weights if weights and key == label else pod.labels.get(key) == value
            for key, value in spec["selector"].items()
        )

    matching = [pod for pod in pods if matches(pod)]
    ready = [pod for pod in matching if pod.ready]
    if ready or not spec.get("publishNotReadyAddresses"):
        return ready
    return matching


def _of_pods(service: Object, address: str, headless: bool, pods: list[_Pod]) -> Table:
    table: Table = {}
    weights, label = _weights(service)
    open_too = (service["metadata"].get("annotations") or {}).get(ON_LOOPBACK, "").split(",")
    for port in (service.get("spec") or {}).get("ports") or ():
        if port.get("protocol", "TCP") != "TCP":
            continue
        wanted = port["port"] if headless else port.get("targetPort", port["port"])
        table[address, port["port"]] = _backends(pods, wanted, weights, label)
        if port.get("name") in open_too:
            table[LOOPBACK, port["port"]] = table[address, port["port"]]
    if headless:
        for number in sorted({number for pod in pods for number in pod.moved}):
            table.setdefault((address, number), _backends(pods, number, weights, label))
    return table


def _backends(pods: list[_Pod], wanted: Any, weights: Mapping[str, Any], label: str) -> tuple[Backend, ...]:
    found = []
    for pod in pods:
        number = wanted if isinstance(wanted, int) else _named_port(pod.document, str(wanted))
        if number is None:
            continue
        group = pod.labels.get(label, "") if weights else ""
        weight = _weight(weights.get(group)) if weights else 1.0
        moved = pod.moved.get(number)
        place = (pod.ip, number) if moved is None else (LOOPBACK, moved)
        found.append(Backend(*place, group, weight))
    return tuple(sorted(found))


def _weight(value: Any) -> float:
    return max(0.0, float(value)) if isinstance(value, (int, float)) and not isinstance(value, bool) else 0.0


def _named_port(pod: Object, name: str) -> int | None:
    if name.isdigit():
        return int(name)
    for container in pod["spec"].get("containers") or ():
        for port in container.get("ports") or ():
            if port.get("name") == name:
                return int(port["containerPort"])
    return None


def _of_slices(spec: Mapping[str, Any], address: str, slices: list[Object]) -> Table:
    table: Table = {}
    for port in spec.get("ports") or ():
        found = set()
        for item in slices:
            numbers = [p.get("port") for p in item.get("ports") or () if p.get("name", "") == port.get("name", "")]
            for endpoint in item.get("endpoints") or ():
                if (endpoint.get("conditions") or {}).get("ready", True) is not False:
                    found |= {Backend(host, number) for host in endpoint["addresses"] for number in numbers if number}
        table[address, port["port"]] = tuple(sorted(found))
    return table
