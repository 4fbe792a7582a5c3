"""Cluster addresses and node ports of services: allotted when a service is stored, free again when it is gone."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Mapping
from typing import Any

from rayctl.embedded.apiserver.api import Api
from rayctl.embedded.apiserver.errors import invalid, invalid_value
from rayctl.embedded.apiserver.resources import Resource

__all__ = ["Addresses"]

NODE_PORTS = (30000, 32767)


class Addresses:
    """A gate that completes services.

    Args:
        network: From which addresses are given, for example ``127.96.0.0/16``.
    """

    def __init__(self, api: Api, network: str) -> None:
        self._api = api
        self._network = ipaddress.IPv4Network(network)

    def __call__(self, resource: Resource, new: Mapping[str, Any], old: Mapping[str, Any] | None) -> None:
        """Give a service what it lacks, in place.

        Raises:
            ApiError: 422 for an address that is taken or outside of the network.
        """
        if resource.storage != "services":
            return
        spec = new["spec"]
        if spec.get("type") == "ExternalName":
            return
        self._give_address(resource, new, spec, old)
        if spec.get("type") in ("NodePort", "LoadBalancer"):
            self._give_ports(new, spec)

    def _give_address(
        self, resource: Resource, new: Mapping[str, Any], spec: dict[str, Any], old: Mapping[str, Any] | None
    ) -> None:
        wanted = spec.get("clusterIP")
        if wanted == "None" or (old is not None and wanted == old["spec"].get("clusterIP") and wanted):
            return
        taken = self._taken(new)
        if not wanted:
            spec["clusterIP"] = self._free(new, taken)
        elif wanted in taken or not self._is_inside(wanted):
            why = "provided IP is already allocated" if wanted in taken else "the provided network does not match"
            text = f"failed to allocate IP {wanted}: {why}"
            error = invalid_value("spec.clusterIPs", [wanted], text)
            raise invalid(resource.group, resource.kind, new["metadata"]["name"], [error])
        spec["clusterIPs"] = [spec["clusterIP"]]

    def _taken(self, new: Mapping[str, Any]) -> set[str]:
        uid = new["metadata"]["uid"]
        own = (new["metadata"].get("namespace"), new["metadata"]["name"]) == ("default", "kubernetes")
        kept = set() if own else {str(self._network[1])}  # the server's own service has the first one
        return kept | {
            stored.object["spec"].get("clusterIP", "")
            for stored in self._api.store.items_newest("services", "")
            if stored.object["metadata"]["uid"] != uid
        }

    def _is_inside(self, address: str) -> bool:
        try:
            return ipaddress.IPv4Address(address) in self._network
        except ValueError:
            return False

    def _free(self, new: Mapping[str, Any], taken: set[str]) -> str:
        """Return a free address: the same one for the same name, unless another service has it meanwhile."""
        size = self._network.num_addresses - 2
        name = f"{new['metadata'].get('namespace', '')}/{new['metadata']['name']}"
        first = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
        for step in range(size):
            address = str(self._network[(first + step) % size + 1])
            if address not in taken:
                return address
        raise invalid("", "Service", "", [invalid_value("spec.clusterIPs", [], "no address is left")])

    def _give_ports(self, new: Mapping[str, Any], spec: Mapping[str, Any]) -> None:
        uid = new["metadata"]["uid"]
        taken = {
            port.get("nodePort")
            for stored in self._api.store.items_newest("services", "")
            if stored.object["metadata"]["uid"] != uid
            for port in stored.object["spec"].get("ports") or []
        }
        for port in spec.get("ports") or []:
            if not port.get("nodePort"):
                port["nodePort"] = next(n for n in range(*NODE_PORTS) if n not in taken)
            taken.add(port["nodePort"])
