"""What every namespace has for its pods: the service account ``default``, and the server's authority."""

from __future__ import annotations

from typing import Any

from rayctl.embedded.apiserver.api import Api
from rayctl.embedded.apiserver.controllers.loop import Controller
from rayctl.embedded.apiserver.creating import create_document
from rayctl.embedded.apiserver.documents import copied
from rayctl.embedded.apiserver.errors import ApiError
from rayctl.embedded.apiserver.options import WriteOptions
from rayctl.embedded.apiserver.store import Event
from rayctl.embedded.apiserver.updating import Update, store_update

__all__ = ["ROOT_CA", "AccountsController"]

ROOT_CA = "kube-root-ca.crt"
_WRITING = WriteOptions(dry_run=False, manager="serviceaccount-controller", validation="Ignore")


class AccountsController(Controller):
    """Makes again what is deleted. Keys: (namespace,).

    Args:
        authority: The certificate (PEM) that the server's own is signed with; empty: there is none to be told.
    """

    def __init__(self, api: Api, authority: str = "") -> None:
        super().__init__(api)
        self._wanted: dict[str, dict[str, Any]] = {
            "serviceaccounts": {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
        }
        if authority:
            document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": ROOT_CA}}
            self._wanted["configmaps"] = {**document, "data": {"ca.crt": authority}}

    def all_keys(self) -> list[tuple[str, ...]]:
        return [(stored.name,) for stored in self.api.store.items("namespaces")]

    def keys_of(self, event: Event) -> list[tuple[str, ...]]:
        storage = event.now.key[0]
        if storage == "namespaces":
            return [(event.now.name,)] if event.type == "ADDED" else []
        wanted = self._wanted.get(storage)
        if wanted is None or event.type == "ADDED" or event.now.name != wanted["metadata"]["name"]:
            return []
        return [(event.now.namespace,)]

    async def sync(self, key: tuple[str, ...]) -> None:
        namespace = self.api.store.newest("namespaces", "", key[0])
        if namespace is None or namespace.object["metadata"].get("deletionTimestamp"):
            return
        for storage, wanted in self._wanted.items():
            resource = self.api.registry.by_storage(storage)
            assert resource is not None
            stored = self.api.store.newest(storage, key[0], wanted["metadata"]["name"])
            try:
                if stored is None:
                    document = copied(wanted)
                    document["metadata"]["namespace"] = key[0]
                    await create_document(self.api, resource, document, key[0], _WRITING)
                elif "data" in wanted and stored.object.get("data") != wanted["data"]:
                    new = copied(stored.object)
                    new["data"] = copied(wanted["data"])
                    await store_update(self.api, Update(resource, stored, stored.object, _WRITING), new)
            except ApiError as error:
                if error.code not in (403, 404, 409):  # the namespace is going, or somebody else was faster
                    raise
