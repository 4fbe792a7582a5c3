"""ResourceQuota: counted exactly, because there is one writer. Refused with 403."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from rayctl.embedded.apiserver.api import Api
from rayctl.embedded.apiserver.documents import copied
from rayctl.embedded.apiserver.errors import forbidden
from rayctl.embedded.apiserver.quantity import format_like, parse_quantity
from rayctl.embedded.apiserver.resources import Resource

__all__ = ["QuotaGate", "used_by"]

_PLAIN = frozenset({"pods", "services", "secrets", "configmaps", "persistentvolumeclaims", "resourcequotas"})
Amounts = dict[str, Decimal]


def used_by(resource: Resource, document: Mapping[str, Any]) -> Amounts:
    """Return what an object counts for."""
    count = f"count/{resource.plural}.{resource.group}" if resource.group else f"count/{resource.plural}"
    found: Amounts = {count: Decimal(1)}
    if not resource.group and resource.plural in _PLAIN:
        found[resource.plural] = Decimal(1)
    if resource.storage == "pods":
        if (document.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
            return {count: Decimal(1)}
        for part in ("requests", "limits"):
            for container in (document.get("spec") or {}).get("containers") or []:
                for name, value in ((container.get("resources") or {}).get(part) or {}).items():
                    key = f"{part}.{name}"
                    found[key] = found.get(key, Decimal(0)) + parse_quantity(value)
                    if part == "requests" and name in ("cpu", "memory"):
                        found[name] = found.get(name, Decimal(0)) + parse_quantity(value)
    return found


class QuotaGate:
    """The check before a new object is stored; also says what is used."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def __call__(self, resource: Resource, new: Mapping[str, Any], old: Mapping[str, Any] | None) -> None:
        """Refuse what is beyond a quota of its namespace.

        Raises:
            ApiError: 403.
        """
        namespace = new["metadata"].get("namespace", "")
        if old is not None or not namespace or resource.storage == "resourcequotas":
            return
        quotas = self._api.store.items("resourcequotas", namespace)
        if not quotas:
            return
        wanted = used_by(resource, new)
        for quota in quotas:
            hard = (quota.object.get("spec") or {}).get("hard") or {}
            self._check_named(resource, new, quota.name, hard)
            used = self.used(namespace, hard)
            over = [
                name
                for name in sorted(hard)
                if name in wanted and used[name] + wanted[name] > parse_quantity(hard[name])
            ]
            if over:
                asked = ",".join(f"{name}={format_like(wanted[name], hard[name])}" for name in over)
                have = ",".join(f"{name}={format_like(used[name], hard[name])}" for name in over)
                limit = ",".join(f"{name}={hard[name]}" for name in over)
                text = f"exceeded quota: {quota.name}, requested: {asked}, used: {have}, limited: {limit}"
                raise forbidden(resource.group, resource.plural, new["metadata"]["name"], text)

    @staticmethod
    def _check_named(resource: Resource, new: Mapping[str, Any], quota: str, hard: Mapping[str, Any]) -> None:
        """Under a quota on CPU or memory, every container has to say what it needs."""
        if resource.storage != "pods":
            return
        for name in sorted(hard):
            part, _, key = name.partition(".") if "." in name else ("requests", "", name)
            if part not in ("requests", "limits") or key not in ("cpu", "memory"):
                continue
            without = [
                container["name"]
                for container in new["spec"].get("containers") or []
                if key not in ((container.get("resources") or {}).get(part) or {})
            ]
            if without:
                text = f"failed quota: {quota}: must specify {name} for: {','.join(without)}"
                raise forbidden("", "pods", new["metadata"]["name"], text)

    def used(self, namespace: str, hard: Mapping[str, Any]) -> Amounts:
        """Return what is used of each limit in a namespace, what is on its way to the disk included."""
        total: Amounts = dict.fromkeys(hard, Decimal(0))
        for storage in self._api.store.resources():
            resource = self._api.registry.by_storage(storage)
            if resource is None or not resource.namespaced:
                continue
            count = f"count/{resource.plural}.{resource.group}" if resource.group else f"count/{resource.plural}"
            if count not in total and not (resource.plural in _PLAIN and not resource.group):
                continue
            for stored in self._api.store.items_newest(storage, namespace):
                for name, amount in used_by(resource, stored.object).items():
                    if name in total:
                        total[name] += amount
        return total

    def status(self, quota: Mapping[str, Any]) -> dict[str, Any]:
        """Return the status that a quota should have."""
        hard = copied((quota.get("spec") or {}).get("hard") or {})
        used = self.used(quota["metadata"]["namespace"], hard)
        return {"hard": hard, "used": {name: format_like(used[name], hard[name]) for name in hard}}
