"""The rules of services and of endpoint slices. Addresses are allotted by `rayctl.embedded.apiserver.addresses`."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from rayctl.embedded.apiserver.errors import (
    FieldError,
    duplicate,
    forbidden_field,
    invalid_value,
    not_supported,
    required,
)
from rayctl.embedded.apiserver.kinds.records import Record
from rayctl.embedded.apiserver.names import dns_label

__all__ = ["ServiceRules", "SliceRules"]

TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
PROTOCOLS = ("SCTP", "TCP", "UDP")


class ServiceRules(Record):
    """Ports, types, and what may not change."""

    name_rule = staticmethod(dns_label)
    returns_deleted = True

    def default(self, document: dict[str, Any]) -> None:
        spec = document.setdefault("spec", {})
        spec.setdefault("type", "ClusterIP")
        spec.setdefault("sessionAffinity", "None")
        for port in spec.get("ports") or []:
            port.setdefault("protocol", "TCP")
            if spec["type"] != "ExternalName":
                port.setdefault("targetPort", port.get("port"))
            if port.get("name") == "":
                del port["name"]
        if spec.get("ports") == []:
            del spec["ports"]
        if spec["type"] == "ExternalName":
            return
        spec.setdefault("internalTrafficPolicy", "Cluster")
        spec.setdefault("ipFamilies", ["IPv4"])
        spec.setdefault("ipFamilyPolicy", "SingleStack")
        if spec["type"] in ("NodePort", "LoadBalancer"):
            spec.setdefault("externalTrafficPolicy", "Cluster")
        if spec.get("clusterIP") and not spec.get("clusterIPs"):
            spec["clusterIPs"] = [spec["clusterIP"]]

    def prepare_create(self, document: dict[str, Any]) -> None:
        document["status"] = {"loadBalancer": {}}

    def prepare_update(self, new: dict[str, Any], old: Mapping[str, Any], subresource: str) -> None:
        before, spec = old.get("spec", {}), new.get("spec", {})
        for name in ("clusterIP", "clusterIPs"):
            if not spec.get(name) and before.get(name) and spec.get("type") != "ExternalName":
                spec[name] = before[name]
        if spec.get("clusterIP") and spec.get("clusterIP") != before.get("clusterIP"):
            spec["clusterIPs"] = [spec["clusterIP"]]

    def validate(self, document: Mapping[str, Any]) -> list[FieldError]:
        spec = document.get("spec") or {}
        errors: list[FieldError] = []
        if spec.get("type") not in TYPES:
            errors.append(not_supported("spec.type", spec.get("type"), TYPES))
        headless = spec.get("clusterIP") == "None"
        ports = spec.get("ports") or []
        if not ports and not headless and spec.get("type") != "ExternalName":
            errors.append(required("spec.ports"))
        if spec.get("type") == "ExternalName" and not spec.get("externalName"):
            errors.append(required("spec.externalName"))
        return errors + _check_ports(ports)

    def validate_update(self, new: Mapping[str, Any], old: Mapping[str, Any], subresource: str) -> list[FieldError]:
        errors: list[FieldError] = []
        before, after = old.get("spec") or {}, new.get("spec") or {}
        stays = not subresource and before.get("clusterIP") and after.get("type") != "ExternalName"
        if stays and after.get("clusterIP") != before["clusterIP"]:
            errors.append(invalid_value("spec.clusterIPs[0]", after.get("clusterIPs"), "may not change once set"))
        ingress = (new.get("status") or {}).get("loadBalancer", {}).get("ingress")
        if subresource == "status" and ingress and after.get("type") != "LoadBalancer":
            text = "may only be used when `spec.type` is 'LoadBalancer'"
            errors.append(forbidden_field("status.loadBalancer.ingress", text))
        return errors


def _check_ports(ports: list[Mapping[str, Any]]) -> list[FieldError]:
    errors: list[FieldError] = []
    names: set[str] = set()
    taken: set[tuple[Any, Any]] = set()
    for index, port in enumerate(ports):
        path = f"spec.ports[{index}]"
        name = port.get("name", "")
        if not name and len(ports) > 1:
            errors.append(required(f"{path}.name"))
        elif name:
            errors += [invalid_value(f"{path}.name", name, text) for text in dns_label(name)]
            if name in names:
                errors.append(duplicate(f"{path}.name", name))
            names.add(name)
        number = port.get("port", 0)
        if not 1 <= number <= 65535:
            errors.append(invalid_value(f"{path}.port", number, "must be between 1 and 65535, inclusive"))
        if port.get("protocol") not in PROTOCOLS:
            errors.append(not_supported(f"{path}.protocol", port.get("protocol"), PROTOCOLS))
        target = port.get("targetPort")
        if isinstance(target, int) and not 1 <= target <= 65535:
            errors.append(invalid_value(f"{path}.targetPort", target, "must be between 1 and 65535, inclusive"))
        key = (port.get("protocol"), number)
        if key in taken:
            errors.append(duplicate(path, {"protocol": key[0], "port": number}))
        taken.add(key)
    return errors


_FAMILIES = {"IPv4": ipaddress.IPv4Address, "IPv6": ipaddress.IPv6Address}


class SliceRules(Record):
    """Addresses are of the slice's type, which stays."""

    def default(self, document: dict[str, Any]) -> None:
        document.setdefault("endpoints", [])
        for port in document.get("ports") or []:
            port.setdefault("name", "")
            port.setdefault("protocol", "TCP")
        document.setdefault("ports", None)

    def validate(self, document: Mapping[str, Any]) -> list[FieldError]:
        errors: list[FieldError] = []
        kind = document.get("addressType")
        if kind not in ("IPv4", "IPv6", "FQDN"):
            return [not_supported("addressType", kind, ["FQDN", "IPv4", "IPv6"])]
        for index, endpoint in enumerate(document.get("endpoints") or []):
            path = f"endpoints[{index}].addresses"
            if not endpoint.get("addresses"):
                errors.append(required(path))
            for place, address in enumerate(endpoint.get("addresses") or []):
                family = _FAMILIES.get(kind)
                if family is None:
                    continue
                try:
                    family(address)
                except ValueError:
                    errors.append(invalid_value(path, address, f"must be an {kind} address"))
                    errors.append(invalid_value(f"{path}[{place}]", address, f"must be a valid {kind} address"))
        return errors

    def validate_update(self, new: Mapping[str, Any], old: Mapping[str, Any], subresource: str) -> list[FieldError]:
        if new.get("addressType") != old.get("addressType"):
            return [invalid_value("addressType", new.get("addressType"), "field is immutable")]
        return []
