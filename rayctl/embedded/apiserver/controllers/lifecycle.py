"""The ends of namespaces and of custom resource definitions, and the beginning of the latter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rayctl.embedded.apiserver.controllers.loop import Controller
from rayctl.embedded.apiserver.deleting import CRD_FINALIZER, DeleteOptions, delete_stored
from rayctl.embedded.apiserver.documents import copied
from rayctl.embedded.apiserver.errors import ApiError
from rayctl.embedded.apiserver.quotas import QuotaGate
from rayctl.embedded.apiserver.registry import CRDS
from rayctl.embedded.apiserver.schema.formats import now_seconds
from rayctl.embedded.apiserver.store import Change, Event

__all__ = ["DefinitionController", "NamespaceController", "QuotaController"]


class NamespaceController(Controller):
    """Empties namespaces that are being deleted. Keys: (name,)."""

    def all_keys(self) -> list[tuple[str, ...]]:
        return [(stored.name,) for stored in self.api.store.items("namespaces")]

    def keys_of(self, event: Event) -> list[tuple[str, ...]]:
        if event.now.key[0] == "namespaces":
            return [(event.now.name,)] if event.type != "DELETED" else []
        return [(event.now.namespace,)] if event.type == "DELETED" and event.now.namespace else []

    async def sync(self, key: tuple[str, ...]) -> None:
        stored = self.api.store.newest("namespaces", "", key[0])
        if stored is None or not stored.object["metadata"].get("deletionTimestamp"):
            return
        left = 0
        for storage in self.api.store.resources():
            resource = self.api.registry.by_storage(storage)
            if resource is None or not resource.namespaced:
                continue
            for found in self.api.store.items_newest(storage, key[0]):
                left += 1
                if not found.object["metadata"].get("deletionTimestamp"):
                    try:
                        await delete_stored(self.api, resource, found, DeleteOptions(policy="Background"))
                    except ApiError as error:
                        if error.code not in (404, 409):
                            raise
        if left:
            return  # every object that goes brings this key back
        current = self.api.store.newest("namespaces", "", key[0])
        if current is None:
            return
        if not current.object["metadata"].get("finalizers"):
            await self.api.write(Change(current.key, None))
            return
        new = copied(current.object)
        if new.get("spec", {}).pop("finalizers", None):
            await self.api.write(Change(current.key, new))


class DefinitionController(Controller):
    """Accepts the names of definitions, and deletes the objects of those that go. Keys: (name,)."""

    def all_keys(self) -> list[tuple[str, ...]]:
        return [(stored.name,) for stored in self.api.store.items(CRDS)]

    def keys_of(self, event: Event) -> list[tuple[str, ...]]:
        if event.now.key[0] != CRDS:
            return [(event.now.key[0],)] if event.type == "DELETED" else []
        if event.type == "DELETED":
            # Names are free again: others of the group may get theirs.
            return [(stored.name,) for stored in self.api.store.items(CRDS)]
        return [(event.now.name,)]

    async def sync(self, key: tuple[str, ...]) -> None:
        stored = self.api.store.newest(CRDS, "", key[0])
        if stored is None:
            return
        if stored.object["metadata"].get("deletionTimestamp"):
            await self._finish(key[0])
            return
        new = copied(stored.object)
        self._accept(new)
        if new != stored.object:
            await self.api.write(Change(stored.key, new))

    def _accept(self, definition: dict[str, Any]) -> None:
        spec, status = definition["spec"], definition.setdefault("status", {})
        conflict = self._conflict(definition)
        now = now_seconds(self.api.now())
        if conflict is None:
            status["acceptedNames"] = dict(spec["names"])
            _set(status, now, "NamesAccepted", "True", "NoConflicts", "no conflicts found")
            _set(status, now, "Established", "True", "InitialNamesAccepted", "the initial names have been accepted")
        else:
            reason, message = conflict
            _set(status, now, "NamesAccepted", "False", reason, message)
            if not _is_true(status, "Established"):
                _set(status, now, "Established", "False", "NotAccepted", "not all names are accepted")

    def _conflict(self, definition: Mapping[str, Any]) -> tuple[str, str] | None:
        spec = definition["spec"]
        names = spec["names"]
        for stored in self.api.store.items(CRDS):
            other = stored.object
            if stored.name == definition["metadata"]["name"] or other["spec"]["group"] != spec["group"]:
                continue
            taken = (other.get("status") or {}).get("acceptedNames") or {}
            found: tuple[str, str] | None = None
            words = {taken.get("plural"), taken.get("singular"), *(taken.get("shortNames") or ())}
            for reason, wanted in (
                ("PluralConflict", names.get("plural")),
                ("SingularConflict", names.get("singular")),
                *(("ShortNamesConflict", short) for short in names.get("shortNames") or ()),
            ):
                if found is None and wanted and wanted in words:
                    found = (reason, f'"{wanted}" is already in use')
            kinds = {taken.get("kind"), taken.get("listKind")}
            if names.get("listKind") in kinds:
                return ("ListKindConflict", f'"{names["listKind"]}" is already in use')
            if names.get("kind") in kinds:
                return ("KindConflict", f'"{names["kind"]}" is already in use')
            if found is not None:
                return found
        return None

    async def _finish(self, name: str) -> None:
        resource = self.api.registry.by_storage(name)
        left = self.api.store.items_newest(name, "")
        if resource is not None:
            for found in left:
                if not found.object["metadata"].get("deletionTimestamp"):
                    await delete_stored(self.api, resource, found, DeleteOptions())
            left = self.api.store.items_newest(name, "")
        if left:
            return
        stored = self.api.store.newest(CRDS, "", name)
        if stored is None:
            return
        kept = [item for item in stored.object["metadata"].get("finalizers") or [] if item != CRD_FINALIZER]
        if not kept:
            await self.api.write(Change(stored.key, None))
        elif kept != stored.object["metadata"].get("finalizers"):
            new = copied(stored.object)
            new["metadata"]["finalizers"] = kept
            await self.api.write(Change(stored.key, new))


def _is_true(status: Mapping[str, Any], kind: str) -> bool:
    return any(c["type"] == kind and c["status"] == "True" for c in status.get("conditions") or [])


def _set(status: dict[str, Any], now: str, kind: str, value: str, reason: str, message: str) -> None:
    conditions = status.setdefault("conditions", [])
    found = next((condition for condition in conditions if condition["type"] == kind), None)
    if found is None:
        found = {"type": kind}
        conditions.append(found)
    if found.get("status") != value:
        found["lastTransitionTime"] = now
    found |= {"status": value, "reason": reason, "message": message}


class QuotaController(Controller):
    """Keeps the status of quotas. Keys: (namespace, name)."""

    def all_keys(self) -> list[tuple[str, ...]]:
        return [stored.key[1:] for stored in self.api.store.items("resourcequotas")]

    def keys_of(self, event: Event) -> list[tuple[str, ...]]:
        namespace = event.now.namespace
        if not namespace:
            return []
        return [stored.key[1:] for stored in self.api.store.items("resourcequotas", namespace)]

    async def sync(self, key: tuple[str, ...]) -> None:
        stored = self.api.store.newest("resourcequotas", *key)
        if stored is None:
            return
        status = QuotaGate(self.api).status(stored.object)
        if stored.object.get("status") != status:
            new = copied(stored.object)
            new["status"] = status
            await self.api.write(Change(stored.key, new))
