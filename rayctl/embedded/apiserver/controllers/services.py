"""Keeps the endpoints of services with selectors: EndpointSlices, and the older Endpoints. Keys: (namespace, name)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rayctl.embedded.apiserver.controllers.endpoints import (
    MANAGED_BY,
    OLD_MANAGED_BY,
    SERVICE_NAME,
    endpoints_of,
    is_selected,
    pod_facts,
    slices_of,
)
from rayctl.embedded.apiserver.controllers.loop import Controller
from rayctl.embedded.apiserver.creating import create_document
from rayctl.embedded.apiserver.deleting import DeleteOptions, delete_stored
from rayctl.embedded.apiserver.documents import copied
from rayctl.embedded.apiserver.errors import ApiError
from rayctl.embedded.apiserver.options import WriteOptions
from rayctl.embedded.apiserver.resources import Resource
from rayctl.embedded.apiserver.store import Event, Stored
from rayctl.embedded.apiserver.updating import Update, store_update

__all__ = ["EndpointsController"]

SLICES = "endpointslices.discovery.k8s.io"
_CONTENT = ("addressType", "endpoints", "ports", "subsets")
_WRITING = WriteOptions(dry_run=False, manager="endpoints-controller", validation="Ignore")


class EndpointsController(Controller):
    """Writes only what differs; what others made for a service without a selector is left alone."""

    def all_keys(self) -> list[tuple[str, ...]]:
        found = {stored.key[1:] for stored in self.api.store.items("services")}
        for storage, mark in ((SLICES, MANAGED_BY), ("endpoints", OLD_MANAGED_BY)):
            found |= {(s.namespace, _service_of(s)) for s in self.api.store.items(storage) if _is_ours(s, mark)}
        return sorted(found)

    def keys_of(self, event: Event) -> list[tuple[str, ...]]:
        now, before, storage = event.now, event.before, event.now.key[0]
        if storage == "services":
            return [now.key[1:]]
        if storage in (SLICES, "endpoints"):
            mark = MANAGED_BY if storage == SLICES else OLD_MANAGED_BY
            return [(s.namespace, _service_of(s)) for s in (now, before) if s is not None and _is_ours(s, mark)]
        if storage != "pods":
            return []
        if before is not None and event.type != "DELETED" and pod_facts(before.object) == pod_facts(now.object):
            return []
        labels = [s.object["metadata"].get("labels") or {} for s in (now, before) if s is not None]
        services = self.api.store.items("services", now.namespace)
        return [s.key[1:] for s in services if any(is_selected(s.object, found) for found in labels)]

    async def sync(self, key: tuple[str, ...]) -> None:
        namespace, name = key
        service = self.api.store.newest("services", namespace, name)
        ours = [
            stored
            for stored in self.api.store.items_newest(SLICES, namespace)
            if _is_ours(stored, MANAGED_BY) and _service_of(stored) == name
        ]
        older = self.api.store.newest("endpoints", namespace, name)
        if service is None:
            if older is not None and _is_ours(older, OLD_MANAGED_BY):
                ours.append(older)
            await self._delete(ours)
            return
        spec = service.object["spec"]
        if service.object["metadata"].get("deletionTimestamp") or not spec.get("selector"):
            return
        if spec.get("type") == "ExternalName":
            return
        pods = [stored.object for stored in self.api.store.items_newest("pods", namespace)]
        try:
            for wanted in [endpoints_of(service.object, pods), *slices_of(service.object, pods)]:
                await self._put(wanted)
                ours = [stored for stored in ours if stored.name != wanted["metadata"]["name"]]
        except ApiError as error:
            if error.code not in (403, 404):  # the namespace is going
                raise
            return
        await self._delete(ours)

    async def _put(self, wanted: dict[str, Any]) -> None:
        resource = self._resource(SLICES if wanted["kind"] == "EndpointSlice" else "endpoints")
        metadata = wanted["metadata"]
        stored = self.api.store.newest(resource.storage, metadata["namespace"], metadata["name"])
        if stored is None:
            await create_document(self.api, resource, copied(wanted), metadata["namespace"], _WRITING)
        elif not _same(stored.object, wanted):
            new = copied(stored.object)
            for name in _CONTENT:
                new.pop(name, None)
                if name in wanted:
                    new[name] = copied(wanted[name])
            new["metadata"]["labels"] = dict(metadata["labels"])
            if "ownerReferences" in metadata:
                new["metadata"]["ownerReferences"] = copied(metadata["ownerReferences"])
            await store_update(self.api, Update(resource, stored, stored.object, _WRITING), new)

    async def _delete(self, surplus: list[Stored]) -> None:
        for stored in surplus:
            options = DeleteOptions(policy="Background", uid=stored.object["metadata"]["uid"])
            try:
                await delete_stored(self.api, self._resource(stored.key[0]), stored, options)
            except ApiError as error:
                if error.code not in (404, 409):
                    raise

    def _resource(self, storage: str) -> Resource:
        found = self.api.registry.by_storage(storage)
        assert found is not None
        return found


def _is_ours(stored: Stored, mark: tuple[str, str]) -> bool:
    return (stored.object["metadata"].get("labels") or {}).get(mark[0]) == mark[1]


def _service_of(stored: Stored) -> str:
    if stored.key[0] == "endpoints":
        return stored.name
    return str((stored.object["metadata"].get("labels") or {}).get(SERVICE_NAME, ""))


def _same(there: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    owners = wanted["metadata"].get("ownerReferences")
    return (
        all(there.get(name) == wanted.get(name) for name in _CONTENT)
        and there["metadata"].get("labels") == wanted["metadata"]["labels"]
        and (owners is None or there["metadata"].get("ownerReferences") == owners)
    )
