"""The service account ``default``, which every namespace has for its pods."""

from __future__ import annotations

from rayctl.embedded.apiserver.controllers.loop import Controller
from rayctl.embedded.apiserver.creating import create_document
from rayctl.embedded.apiserver.errors import ApiError
from rayctl.embedded.apiserver.options import WriteOptions
from rayctl.embedded.apiserver.store import Event

__all__ = ["AccountsController"]

ACCOUNTS, NAME = "serviceaccounts", "default"
_WRITING = WriteOptions(dry_run=False, manager="serviceaccount-controller", validation="Ignore")


class AccountsController(Controller):
    """Makes the account, and makes it again when it is deleted. Keys: (namespace,)."""

    def all_keys(self) -> list[tuple[str, ...]]:
        return [(stored.name,) for stored in self.api.store.items("namespaces")]

    def keys_of(self, event: Event) -> list[tuple[str, ...]]:
        storage = event.now.key[0]
        if storage == "namespaces":
            return [(event.now.name,)] if event.type == "ADDED" else []
        if storage == ACCOUNTS and event.type == "DELETED" and event.now.name == NAME:
            return [(event.now.namespace,)]
        return []

    async def sync(self, key: tuple[str, ...]) -> None:
        namespace = self.api.store.newest("namespaces", "", key[0])
        if namespace is None or namespace.object["metadata"].get("deletionTimestamp"):
            return
        if self.api.store.newest(ACCOUNTS, key[0], NAME) is not None:
            return
        resource = self.api.registry.by_storage(ACCOUNTS)
        assert resource is not None
        metadata = {"name": NAME, "namespace": key[0]}
        document = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}
        try:
            await create_document(self.api, resource, document, key[0], _WRITING)
        except ApiError as error:
            if error.code not in (403, 404, 409):  # the namespace is going, or somebody else was faster
                raise
