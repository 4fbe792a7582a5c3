"""Reading from the API server itself, for what is needed seldom and must be fresh, or is not worth a watch."""

from __future__ import annotations

from typing import Any, Protocol

from rayctl.core.controller import Document
from rayctl.kube.calls import Call, Resource, Transport
from rayctl.kube.errors import ObjectNotFound

__all__ = ["Reader", "TransportReader"]


class Reader(Protocol):
    """Reads objects, past all caches."""

    async def get(self, resource: Resource, namespace: str, name: str) -> Document | None:
        """Return an object, or None. Raises KubernetesError."""
        ...

    async def list(self, resource: Resource, namespace: str, selector: str) -> list[Document]:
        """Return the objects that a label selector selects, by name. Raises KubernetesError."""
        ...


class TransportReader:
    """A `Reader` on a transport."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def get(self, resource: Resource, namespace: str, name: str) -> Document | None:
        """See `Reader.get`."""
        try:
            found: Document = await self._transport.request(Call.get(resource.path(namespace, name)))
        except ObjectNotFound:
            return None
        return found

    async def list(self, resource: Resource, namespace: str, selector: str) -> list[Document]:
        """See `Reader.list`."""
        call = Call.get(resource.path(namespace)).asking(labelSelector=selector)
        items: list[dict[str, Any]] = (await self._transport.request(call)).get("items") or []
        return sorted(items, key=lambda item: str(item["metadata"]["name"]))
