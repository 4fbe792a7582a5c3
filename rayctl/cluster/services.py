"""Services of a cluster: how the head, the workers of groups with several hosts, and Serve are reached."""

from __future__ import annotations

import copy
from typing import Any

from rayctl.cluster import keys, names
from rayctl.cluster.options import ClusterOptions
from rayctl.cluster.spec import ClusterSpec, container_of

__all__ = ["build_services", "head_ports", "head_service", "headless_service", "ingress", "serve_service"]

Service = dict[str, Any]
_SELECTED = (keys.CLUSTER, keys.NODE_TYPE, keys.IDENTIFIER, keys.APP_NAME, keys.CREATED_BY)


def head_ports(spec: ClusterSpec) -> dict[str, int]:
    """Return the head's ports by name: those of its container, or Ray's usual ones; always with the metrics."""
    declared = container_of(spec.head.template).get("ports") or ()
    found = {port.get("name") or f"{port['containerPort']}-port": int(port["containerPort"]) for port in declared}
    if not found:
        return dict(keys.PORTS)
    found.setdefault("metrics", keys.PORTS["metrics"])
    return found


def head_service(spec: ClusterSpec, options: ClusterOptions) -> Service:
    """Return the head's service: headless unless a type or an address is asked for, so that it works at once."""
    labels = _head_labels(spec)
    annotations = dict(spec.spec.get("headServiceAnnotations") or {})
    ports = [
        {"name": name, "port": port, "appProtocol": "tcp", "protocol": "TCP"}
        for name, port in sorted(head_ports(spec).items())
    ]
    if spec.head.service is not None:
        return _users_own(spec, labels, annotations, ports)
    wanted: dict[str, Any] = {"selector": dict(labels), "ports": ports}
    if spec.head.service_type:
        wanted["type"] = spec.head.service_type
    if not options.head_cluster_ip and spec.head.service_type in ("", "ClusterIP"):
        # There is one head at most, and workers must find it before it is ready.
        wanted |= {"clusterIP": "None", "publishNotReadyAddresses": True}
    return _service(spec, spec.head_service, labels, wanted, annotations)


def _head_labels(spec: ClusterSpec) -> dict[str, str]:
    """Return the five labels by which the head is found, with the values that its pod really has."""
    defaults = {
        keys.CLUSTER: spec.name,
        keys.NODE_TYPE: keys.HEAD,
        keys.IDENTIFIER: names.identifier(spec.name, keys.HEAD),
        keys.APP_NAME: keys.APP_VALUE,
        keys.CREATED_BY: keys.CREATED_BY_VALUE,
    }
    own = {**((spec.head.template.get("metadata") or {}).get("labels") or {}), **spec.head.labels}
    for name in (keys.IDENTIFIER, keys.APP_NAME, keys.CREATED_BY):
        defaults[name] = own.get(name, defaults[name])
    return defaults


def _users_own(
    spec: ClusterSpec, labels: dict[str, str], annotations: dict[str, str], ports: list[dict[str, Any]]
) -> Service:
    own = copy.deepcopy(dict(spec.head.service or {}))
    metadata, wanted = own.get("metadata") or {}, dict(own.get("spec") or {})
    wanted["selector"] = dict(labels)
    there = list(wanted.get("ports") or ())
    # The user's port of the same name or number counts: a service must not have two.
    taken = {port.get("name") for port in there} | {port.get("port") for port in there}
    wanted["ports"] = there + [port for port in ports if port["name"] not in taken and port["port"] not in taken]
    if not wanted.get("type") and spec.head.service_type:
        wanted["type"] = spec.head.service_type
    return _service(
        spec,
        spec.head_service,
        {**(metadata.get("labels") or {}), **labels},
        wanted,
        {**(metadata.get("annotations") or {}), **annotations},
    )


def headless_service(spec: ClusterSpec) -> Service:
    """Return the service through which workers of groups with several hosts find each other by name."""
    wanted = {
        "selector": {keys.CLUSTER: spec.name, keys.NODE_TYPE: keys.WORKER},
        "clusterIP": "None",
        "type": "ClusterIP",
        "publishNotReadyAddresses": True,
    }
    return _service(spec, names.headless_service(spec.name), {keys.HEADLESS_SERVICE: spec.name}, wanted)


def serve_service(spec: ClusterSpec) -> Service | None:
    """Return the service of Serve's applications; None if the head has no port called ``serve`` or ``serve-…``."""
    ports = [
        {"name": name, "port": port, "protocol": "TCP"}
        for name, port in sorted(head_ports(spec).items())
        if name == "serve" or name.startswith("serve-")
    ]
    if not ports:
        return None
    name = names.serve_service(spec.name)
    labels = {
        keys.ORIGIN_NAME: spec.name,
        keys.ORIGIN_KIND: "RayCluster",
        keys.SERVE: names.check_label(f"{spec.name}-serve"),
    }
    wanted: dict[str, Any] = {"selector": {keys.CLUSTER: spec.name}, "ports": ports}
    if spec.head.service_type:
        wanted["type"] = spec.head.service_type
    return _service(spec, name, labels, wanted)


def build_services(spec: ClusterSpec, options: ClusterOptions) -> list[Service]:
    """Return all services that a cluster is to have."""
    found = [head_service(spec, options)]
    if any(group.hosts > 1 for group in spec.groups):
        found.append(headless_service(spec))
    if spec.annotations.get(keys.ENABLE_SERVE_SERVICE) == "true":
        serve = serve_service(spec)
        if serve is not None:
            found.append(serve)
    return found


def ingress(spec: ClusterSpec) -> dict[str, Any] | None:
    """Return the Ingress of the dashboard; None if none is asked for."""
    if not spec.head.ingress:
        return None
    asked = spec.head.ingress_options or {}
    backend = {"service": {"name": spec.head_service, "port": {"number": head_ports(spec).get("dashboard", 8265)}}}
    path = {"path": asked.get("path") or "/", "pathType": asked.get("pathType") or "Prefix", "backend": backend}
    rule: dict[str, Any] = {"http": {"paths": [path]}}
    if asked.get("host"):
        rule["host"] = asked["host"]
    wanted: dict[str, Any] = {"rules": [rule]}
    if asked.get("tls"):
        wanted["tls"] = asked["tls"]
    annotations = {
        name: value for name, value in spec.annotations.items() if not name.startswith("kubectl.kubernetes.io/")
    }
    if annotations.get("kubernetes.io/ingress.class"):
        wanted["ingressClassName"] = annotations.pop("kubernetes.io/ingress.class")
    labels = {keys.CLUSTER: spec.name, keys.IDENTIFIER: f"{spec.name}-head-ingress"}
    found = _service(spec, names.ingress(spec.name), labels, wanted, annotations)
    return {**found, "apiVersion": "networking.k8s.io/v1", "kind": "Ingress"}


def _service(
    spec: ClusterSpec,
    name: str,
    labels: dict[str, str],
    wanted: dict[str, Any],
    annotations: dict[str, str] | None = None,
) -> Service:
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": spec.namespace,
        "labels": labels,
        "ownerReferences": [spec.owner],
    }
    if annotations:
        metadata["annotations"] = annotations
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": wanted}
