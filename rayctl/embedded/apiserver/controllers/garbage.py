"""The garbage collector: what nobody owns any more goes; foreground and orphan deletions are carried out."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from rayctl.embedded.apiserver.api import Api
from rayctl.embedded.apiserver.controllers.loop import Controller
from rayctl.embedded.apiserver.database import Key
from rayctl.embedded.apiserver.deleting import DeleteOptions, delete_stored
from rayctl.embedded.apiserver.documents import copied
from rayctl.embedded.apiserver.store import Change, Event, Stored

__all__ = ["GarbageCollector"]

FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"


class GarbageCollector(Controller):
    """Keys are the keys of objects."""

    def __init__(self, api: Api) -> None:
        self._dependents: dict[str, set[Key]] = defaultdict(set)
        self._by_uid: dict[str, Key] = {}
        for storage in api.store.resources():
            for stored in api.store.items(storage):
                self._index(stored, True)
        super().__init__(api)

    def _index(self, stored: Stored, there: bool) -> None:
        metadata = stored.object["metadata"]
        if there:
            self._by_uid[metadata["uid"]] = stored.key
        else:
            self._by_uid.pop(metadata["uid"], None)
        for owner in metadata.get("ownerReferences") or []:
            (self._dependents[owner["uid"]].add if there else self._dependents[owner["uid"]].discard)(stored.key)
            if not self._dependents[owner["uid"]]:
                del self._dependents[owner["uid"]]

    def all_keys(self) -> list[tuple[str, ...]]:
        found: list[tuple[str, ...]] = [key for keys in self._dependents.values() for key in keys]
        for storage in self.api.store.resources():
            going = (s for s in self.api.store.items(storage) if s.object["metadata"].get("deletionTimestamp"))
            found.extend(stored.key for stored in going)
        return found

    def keys_of(self, event: Event) -> list[tuple[str, ...]]:
        if event.before is not None:
            self._index(event.before, False)
        gone = event.type == "DELETED"
        if not gone:
            self._index(event.now, True)
        metadata = event.now.object["metadata"]
        found: list[tuple[str, ...]] = []
        if gone:
            found += self._dependents.get(metadata["uid"], ())
        elif metadata.get("ownerReferences") or metadata.get("deletionTimestamp"):
            found.append(event.now.key)
        if gone or metadata.get("deletionTimestamp"):
            # Owners that wait for this one to go.
            owners = (self._by_uid.get(owner["uid"]) for owner in metadata.get("ownerReferences") or [])
            found += [key for key in owners if key is not None]
        return found

    async def sync(self, key: tuple[str, ...]) -> None:
        stored = self.api.store.newest(*key)
        if stored is None:
            return
        metadata = stored.object["metadata"]
        if metadata.get("deletionTimestamp"):
            await self._finish_deletion(stored)
        if metadata.get("ownerReferences"):
            await self._check_owners(stored)

    async def _check_owners(self, stored: Stored) -> None:
        stored = self.api.store.newest(*stored.key) or stored
        owners = stored.object["metadata"].get("ownerReferences") or []
        alive = [owner for owner in owners if self._is_alive(owner, stored)]
        if len(alive) == len(owners) or stored.object["metadata"].get("deletionTimestamp"):
            return
        resource = self.api.registry.by_storage(stored.key[0])
        if resource is None:
            return
        if alive:
            new = _copy(stored)
            new["metadata"]["ownerReferences"] = alive
            await self.api.write(Change(stored.key, new))
            return
        policy = "Background"
        if FOREGROUND in stored.object["metadata"].get("finalizers", []):
            policy = "Foreground"
        options = DeleteOptions(policy=policy, uid=stored.object["metadata"]["uid"])
        await delete_stored(self.api, resource, stored, options)

    def _is_alive(self, owner: dict[str, Any], dependent: Stored) -> bool:
        key = self._by_uid.get(owner["uid"])
        if key is None:
            # An owner of a kind that is not known here may exist elsewhere; one that is known and not there does not.
            return self.api.registry.by_kind(owner["apiVersion"], owner["kind"]) is None
        if key[1] and key[1] != dependent.namespace:
            return False
        # An owner that waits for its dependents is as good as gone for those that it waits for.
        stored = self.api.store.newest(*key)
        if stored is None:
            return False
        waiting = FOREGROUND in stored.object["metadata"].get("finalizers", [])
        return not (waiting and stored.object["metadata"].get("deletionTimestamp"))

    async def _finish_deletion(self, stored: Stored) -> None:
        metadata = stored.object["metadata"]
        finalizers = metadata.get("finalizers") or []
        dependents = [
            found
            for key in list(self._dependents.get(metadata["uid"], ()))
            if (found := self.api.store.newest(*key)) is not None
        ]
        if ORPHAN in finalizers:
            for dependent in dependents:
                new = _copy(dependent)
                owners = [o for o in new["metadata"]["ownerReferences"] if o["uid"] != metadata["uid"]]
                if owners:
                    new["metadata"]["ownerReferences"] = owners
                else:
                    del new["metadata"]["ownerReferences"]
                await self.api.write(Change(dependent.key, new))
            await self._drop(stored, ORPHAN)
        elif FOREGROUND in finalizers:
            blocking = False
            for dependent in dependents:
                for owner in dependent.object["metadata"].get("ownerReferences") or []:
                    if owner["uid"] == metadata["uid"]:
                        blocking = blocking or bool(owner.get("blockOwnerDeletion"))
                self.add(dependent.key)
            if not blocking:
                await self._drop(stored, FOREGROUND)

    async def _drop(self, stored: Stored, finalizer: str) -> None:
        current = self.api.store.newest(*stored.key)
        if current is None or finalizer not in (current.object["metadata"].get("finalizers") or []):
            return
        new = _copy(current)
        left = [name for name in new["metadata"]["finalizers"] if name != finalizer]
        if left:
            new["metadata"]["finalizers"] = left
            await self.api.write(Change(current.key, new))
        elif new["metadata"].get("deletionGracePeriodSeconds"):
            del new["metadata"]["finalizers"]
            await self.api.write(Change(current.key, new))
        else:
            await self.api.write(Change(current.key, None))


def _copy(stored: Stored) -> dict[str, Any]:
    return copied(stored.object)
