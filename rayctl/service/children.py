"""The objects of a RayService: its clusters, its services, its routes. Pure builders; names as KubeRay has them."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rayctl.cluster.names import identifier, short_hash
from rayctl.service.fingerprint import fingerprint
from rayctl.service.sides import CLAIM

__all__ = [
    "FINGERPRINT",
    "MOVED_AT",
    "MOVED_BY",
    "ORIGIN",
    "ORIGIN_KIND",
    "WEIGHTS",
    "Owner",
    "cluster_document",
    "cluster_name",
    "cluster_serve_service",
    "entry_name",
    "gateway",
    "head_service",
    "http_route",
    "route_weights",
    "selected",
    "serve_service",
]

ORIGIN = "ray.io/originated-from-cr-name"
ORIGIN_KIND = "ray.io/originated-from-crd"
FINGERPRINT = "rayctl.io/fingerprint"
WEIGHTS = "rayctl.io/weights"
"""On the serve service: JSON, cluster → percent. The embedded service proxy divides new connections by it."""
MOVED_AT = "rayctl.io/moved-at"
MOVED_BY = "rayctl.io/moved-by"
"""On both services: when they were last made to lead somewhere, and by which switch."""
_CLUSTER = "ray.io/cluster"
_SERVE = "ray.io/serve"
_STORAGE = "ray.io/external-storage-namespace"
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_HEAD_PORTS = (("client", 10001), ("dashboard", 8265), ("gcs-server", 6379), ("metrics", 8080), ("serve", 8000))
_HEAD_SELECTOR = ("ray.io/node-type", "ray.io/identifier", "app.kubernetes.io/name", "app.kubernetes.io/created-by")


@dataclass(frozen=True)
class Owner:
    """The RayService that everything here belongs to."""

    document: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.document["metadata"]["name"])

    @property
    def namespace(self) -> str:
        """Its namespace."""
        return str(self.document["metadata"].get("namespace", ""))

    @property
    def uid(self) -> str:
        """Its uid."""
        return str(self.document["metadata"].get("uid", ""))

    @property
    def labels(self) -> dict[str, str]:
        """What its children are found by."""
        return {ORIGIN: self.name, ORIGIN_KIND: "RayService"}

    def owns(self, document: Mapping[str, Any]) -> bool:
        """Whether an object is this very service's."""
        owners = document["metadata"].get("ownerReferences") or ()
        return any(owner.get("uid") == self.uid and owner.get("controller") for owner in owners)

    def metadata(self, name: str) -> dict[str, Any]:
        """Return the metadata of a child."""
        reference = {
            "apiVersion": self.document["apiVersion"],
            "kind": self.document["kind"],
            "name": self.name,
            "uid": self.uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }
        return {"name": name, "namespace": self.namespace, "labels": self.labels, "ownerReferences": [reference]}


def cluster_name(owner: Owner, generation: int, serial: int) -> str:
    """Return the name of the cluster that a switch makes: never that of an earlier one, and the same for everybody."""
    return f"{owner.name}-{short_hash(owner.uid, str(generation), str(serial), length=5)}"


def entry_name(owner: Owner, entry: str, serve: Mapping[str, Any]) -> str:
    """Return the name of the head or the serve service; ``serve``: the user's own, whose name is kept."""
    if entry == "serve":
        return str((serve.get("metadata") or {}).get("name") or f"{owner.name}-serve-svc")
    return f"{owner.name}-head-svc"


def selected(service: Mapping[str, Any] | None) -> str:
    """Return the cluster that a Service leads to; empty: none."""
    return str((((service or {}).get("spec") or {}).get("selector") or {}).get(_CLUSTER) or "")


def cluster_document(owner: Owner, name: str, spec: Mapping[str, Any], serial: int) -> dict[str, Any]:
    """Return the RayCluster of a side.

    A storage namespace that the user has pinned gets the cluster's name added: two clusters that shared one would take
    each other's applications for their own.
    """
    metadata = owner.metadata(name)
    above = owner.document["metadata"]
    metadata["labels"] = {**(above.get("labels") or {}), **metadata["labels"]}
    inherited = {
        key: value
        for key, value in (above.get("annotations") or {}).items()
        if key != _LAST_APPLIED and not key.startswith("rayctl.io/")
    }
    if inherited.get(_STORAGE):
        inherited[_STORAGE] = f"{inherited[_STORAGE]}-{name}"
    groups = spec.get("workerGroupSpecs") or ()
    metadata["annotations"] = {
        **inherited,
        FINGERPRINT: str(fingerprint(spec)),
        CLAIM: str(serial),
        "ray.io/num-worker-groups": str(len(groups)),
    }
    built = copy.deepcopy(dict(spec))
    options = built.get("gcsFaultToleranceOptions")
    if isinstance(options, dict) and options.get("externalStorageNamespace"):
        options["externalStorageNamespace"] = f"{options['externalStorageNamespace']}-{name}"
    return {"apiVersion": "ray.io/v1", "kind": "RayCluster", "metadata": metadata, "spec": built}


def _head_template(cluster: Mapping[str, Any]) -> Mapping[str, Any]:
    group = (cluster.get("spec") or {}).get("headGroupSpec") or {}
    return group.get("template") or {}


def _head_ports(cluster: Mapping[str, Any]) -> list[dict[str, Any]]:
    containers = (_head_template(cluster).get("spec") or {}).get("containers") or [{}]
    ports = {
        str(port.get("name") or f"{port['containerPort']}-port"): int(port["containerPort"])
        for port in containers[0].get("ports") or ()
    } or dict(_HEAD_PORTS)
    ports.setdefault("metrics", 8080)
    return [
        {"name": name, "port": port, "targetPort": port, "protocol": "TCP", "appProtocol": "tcp"}
        for name, port in sorted(ports.items())
    ]


def head_service(owner: Owner, cluster: Mapping[str, Any], moved_at: str = "") -> dict[str, Any]:
    """Return the head service that leads to a cluster: all ports of its head."""
    group = (cluster.get("spec") or {}).get("headGroupSpec") or {}
    name = str(cluster["metadata"]["name"])
    labels = {
        "ray.io/node-type": "head",
        "ray.io/identifier": identifier(name, "head"),
        "app.kubernetes.io/name": "kuberay",
        "app.kubernetes.io/created-by": "kuberay-operator",
    }
    overridden = (_head_template(cluster).get("metadata") or {}).get("labels") or {}
    selector = {key: str(overridden.get(key, labels[key])) for key in _HEAD_SELECTOR}
    selector["ray.io/node-type"] = "head"
    selector[_CLUSTER] = name
    base = copy.deepcopy(dict(group.get("headService") or {}))
    spec = base.get("spec") or {}
    kind = spec.get("type") or group.get("serviceType") or "ClusterIP"
    own = list(spec.get("ports") or ())
    taken = {port.get("name") for port in own}
    built = {
        **spec,
        "type": kind,
        "selector": selector,
        "ports": own + [port for port in _head_ports(cluster) if port["name"] not in taken],
    }
    if not base and kind == "ClusterIP":
        built |= {"clusterIP": "None", "publishNotReadyAddresses": True}
    metadata = owner.metadata(entry_name(owner, "head", {}))
    return _service(metadata, base, built, moved_at, {})


def serve_service(
    owner: Owner,
    cluster: Mapping[str, Any],
    user: Mapping[str, Any],
    moved_at: str = "",
    weights: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """Return the serve service that leads to a cluster, on the user's base; his ports win over those of the head."""
    name = str(cluster["metadata"]["name"])
    base = copy.deepcopy(dict(user))
    spec = base.get("spec") or {}
    group = (cluster.get("spec") or {}).get("headGroupSpec") or {}
    built = {
        **spec,
        "type": spec.get("type") or group.get("serviceType") or "ClusterIP",
        "selector": {_CLUSTER: name, _SERVE: "true"},
        "ports": _serve_ports(cluster, spec),
    }
    metadata = owner.metadata(entry_name(owner, "serve", user))
    metadata["labels"][_SERVE] = f"{owner.name}-serve"
    added = {} if weights is None else {WEIGHTS: json.dumps(dict(weights), sort_keys=True)}
    return _service(metadata, base, built, moved_at, added)


def _serve_ports(cluster: Mapping[str, Any], user: Mapping[str, Any]) -> list[dict[str, Any]]:
    own = list(user.get("ports") or ())
    taken = {port.get("name") for port in own}
    found = [port for port in _head_ports(cluster) if port["name"] == "serve" or port["name"].startswith("serve-")]
    return own + [port for port in found if port["name"] not in taken]


def _service(
    metadata: dict[str, Any], base: Mapping[str, Any], spec: dict[str, Any], moved_at: str, added: Mapping[str, str]
) -> dict[str, Any]:
    above = base.get("metadata") or {}
    metadata["labels"] = {**(above.get("labels") or {}), **metadata["labels"]}
    annotations = {**(above.get("annotations") or {}), **added}
    if moved_at:
        annotations[MOVED_AT] = moved_at
    if annotations:
        metadata["annotations"] = annotations
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}


def cluster_serve_service(owner: Owner, cluster: Mapping[str, Any]) -> dict[str, Any]:
    """Return the serve service of one cluster, which weighted routes lead to; it goes with the cluster."""
    name = str(cluster["metadata"]["name"])
    metadata = {
        "name": f"{name}-serve-svc",
        "namespace": owner.namespace,
        "labels": {**owner.labels, _SERVE: f"{name}-serve"},
        "ownerReferences": [
            {
                "apiVersion": cluster["apiVersion"],
                "kind": "RayCluster",
                "name": name,
                "uid": cluster["metadata"]["uid"],
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }
    spec = {"type": "ClusterIP", "selector": {_CLUSTER: name, _SERVE: "true"}, "ports": _serve_ports(cluster, {})}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}


def gateway(owner: Owner, gateway_class: str) -> dict[str, Any]:
    """Return the Gateway ``<service>-gateway`` with one HTTP listener on port 80."""
    listener = {
        "name": f"{owner.name}-listener",
        "protocol": "HTTP",
        "port": 80,
        "allowedRoutes": {"namespaces": {"from": "Same"}},
    }
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": owner.metadata(f"{owner.name}-gateway"),
        "spec": {"gatewayClassName": gateway_class, "listeners": [listener]},
    }


def http_route(owner: Owner, weights: Mapping[str, int], port: int) -> dict[str, Any]:
    """Return the HTTPRoute ``<service>-httproute`` with one backend for each cluster that has a weight."""
    backends = [
        {"kind": "Service", "group": "", "name": f"{name}-serve-svc", "port": port, "weight": weight}
        for name, weight in sorted(weights.items())
    ]
    rule = {"matches": [{"path": {"type": "PathPrefix", "value": "/"}}], "backendRefs": backends}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": owner.metadata(f"{owner.name}-httproute"),
        "spec": {"parentRefs": [{"name": f"{owner.name}-gateway"}], "rules": [rule]},
    }


def route_weights(route: Mapping[str, Any] | None) -> dict[str, int]:
    """Return the weights that an HTTPRoute gives to clusters."""
    found: dict[str, int] = {}
    for rule in ((route or {}).get("spec") or {}).get("rules") or ():
        for backend in rule.get("backendRefs") or ():
            name = str(backend.get("name", ""))
            if name.endswith("-serve-svc"):
                found[name.removesuffix("-serve-svc")] = int(backend.get("weight", 1))
    return found
