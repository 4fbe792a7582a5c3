"""The service ``default/kubernetes``: under which address pods reach the API server, and where that leads."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Any

from rayctl.embedded.apiserver.api import Api
from rayctl.embedded.apiserver.creating import create_document
from rayctl.embedded.apiserver.documents import copied
from rayctl.embedded.apiserver.options import WriteOptions
from rayctl.embedded.apiserver.store import Change

__all__ = ["NAMES", "service_address", "service_documents", "service_port", "write_own_service"]

NAME = "kubernetes"
NAMES = (NAME, "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")
"""Host names of the service."""
PORT = 443
_WRITING = WriteOptions(dry_run=False, manager="kube-apiserver", validation="Ignore")
_UNPRIVILEGED = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
_CONTENT = ("addressType", "endpoints", "ports", "subsets")


def service_address(network: str) -> str:
    """Return the address of the service: the first of the network, which no other service gets."""
    return str(ipaddress.IPv4Network(network)[1])


def service_port(own: int) -> int:
    """Return the service's port: 443, or the server's own where this user may not open that."""
    if os.geteuid() == 0:
        return PORT
    lowest = int(_UNPRIVILEGED.read_text()) if _UNPRIVILEGED.exists() else 1024
    return PORT if lowest <= PORT else own


def service_documents(network: str, host: str, port: int, listens: int) -> dict[str, dict[str, Any]]:
    """Return storage → document. ``host``, ``port``: the server's; ``listens``: the service's port. Pure."""
    labels = {"component": "apiserver", "provider": NAME}
    metadata = {"name": NAME, "namespace": "default"}
    ports = [{"name": "https", "port": port, "protocol": "TCP"}]
    return {
        "services": {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {**metadata, "labels": labels},
            "spec": {
                "type": "ClusterIP",
                "clusterIP": service_address(network),
                "ports": [{"name": "https", "port": listens, "protocol": "TCP", "targetPort": port}],
                "sessionAffinity": "None",
            },
        },
        "endpoints": {
            "apiVersion": "v1",
            "kind": "Endpoints",
            "metadata": {**metadata, "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
            "subsets": [{"addresses": [{"ip": host}], "ports": ports}],
        },
        "endpointslices.discovery.k8s.io": {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**metadata, "labels": {"kubernetes.io/service-name": NAME}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [host], "conditions": {"ready": True}}],
            "ports": ports,
        },
    }


async def write_own_service(api: Api, network: str, host: str, port: int) -> None:
    """Have the service say where the server is now. What is right already is not written.

    Raises:
        ApiError: It cannot be stored, for example because another service has the address.
    """
    for storage, wanted in service_documents(network, host, port, service_port(port)).items():
        resource = api.registry.by_storage(storage)
        assert resource is not None
        stored = api.store.newest(storage, "default", NAME)
        if stored is not None and _says(stored.object, wanted):
            continue
        if stored is not None:
            # Made anew rather than changed: an address of a service can never be changed.
            await api.write(Change(stored.key, None))
        await create_document(api, resource, copied(wanted), "default", _WRITING)


def _says(there: dict[str, Any], wanted: dict[str, Any]) -> bool:
    if "spec" in wanted:
        return all(there["spec"].get(name) == wanted["spec"][name] for name in ("clusterIP", "ports"))
    return all(there.get(name) == wanted.get(name) for name in _CONTENT)
