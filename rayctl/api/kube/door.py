"""The HTTP API's way to a Kubernetes API: found by the settings, opened with the first request, opened anew when the
kubeconfig has changed; its failures in words that HTTP has."""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from rayctl.api.kube.failures import translated
from rayctl.errors import RayctlError, Unavailable
from rayctl.kube.calls import Call, Resource, Transport
from rayctl.kube.errors import Expired, KubernetesError, ObjectNotFound
from rayctl.settings import ServiceSettings

__all__ = ["MANAGER", "Door", "Open", "opened_by"]

MANAGER = "rayctl"
"""Field manager of what people do, here as with the command line."""
PAGE = 500
_LOCAL = "kubeconfig"
"""Below ``home``: the embedded server's, as `rayctl.client.kube.locate` finds it."""

Document = dict[str, Any]
Open = Callable[[], "Transport | Awaitable[Transport]"]


class Door:
    """One Kubernetes API server. To be used on one event loop.

    Args:
        open_transport: Returns the way to it.
        changed: Returns something that differs when the way is another now.
    """

    def __init__(self, open_transport: Open, changed: Callable[[], object] = lambda: None) -> None:
        self._open, self._changed = open_transport, changed
        self._transport: Transport | None = None
        self._known: object = None
        self._lock = asyncio.Lock()

    async def transport(self) -> Transport:
        """Return the way to the server.

        Raises:
            Unavailable: there is none.
        """
        async with self._lock:
            now = self._changed()
            if self._transport is not None and now == self._known:
                return self._transport
            before, self._transport = self._transport, None
            if before is not None:
                await before.close()
            try:
                found = self._open()
                self._transport = await found if inspect.isawaitable(found) else found
            except Unavailable:
                raise
            except RayctlError as error:
                hint = error.hint or "See the settings RAYCTL_KUBECONFIG and RAYCTL_KUBE_CONTEXT."
                raise Unavailable(error.message, code="no-kubernetes", hint=hint, retry_after_s=10) from error
            self._known = now
            return self._transport

    async def request(self, call: Call) -> Any:
        """Send a call, return its decoded answer. Raises errors of `rayctl.errors`, see `translated`."""
        try:
            return await (await self.transport()).request(call)
        except KubernetesError as error:
            raise translated(error) from error

    async def watch(self, call: Call, silence_s: float) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the events of a watch. Raises KubernetesError as it is: a follower must tell them apart."""
        async for event in (await self.transport()).watch(call, silence_s):
            yield event

    async def get(self, resource: Resource, namespace: str, name: str) -> Document:
        """Return an object. Raises NotFound."""
        found: Document = await self.request(Call.get(resource.path(namespace, name)))
        return found

    async def find(self, resource: Resource, namespace: str, name: str) -> Document | None:
        """Return an object, or None."""
        try:
            found: Document = await (await self.transport()).request(Call.get(resource.path(namespace, name)))
        except ObjectNotFound as error:
            if error.reason and error.reason != "NotFound":
                raise translated(error) from error
            return None
        except KubernetesError as error:
            raise translated(error) from error
        return found

    async def page(
        self,
        resource: Resource,
        namespace: str = "",
        labels: str = "",
        fields: str = "",
        limit: int = PAGE,
        cursor: str = "",
    ) -> tuple[list[Document], str, str]:
        """Return objects, the cursor of those after them (empty: there are none), and the resourceVersion."""
        call = Call.get(resource.path(namespace), 30.0).asking(
            labelSelector=labels or None, fieldSelector=fields or None, limit=limit, **{"continue": cursor or None}
        )
        answer = await self.request(call)
        metadata = answer.get("metadata") or {}
        items: list[Document] = answer.get("items") or []
        for item in items:  # items of lists come without these
            item.setdefault("apiVersion", resource.api_version)
            item.setdefault("kind", resource.kind)
        return items, str(metadata.get("continue") or ""), str(metadata.get("resourceVersion") or "")

    async def all(self, resource: Resource, namespace: str = "", labels: str = "", fields: str = "") -> list[Document]:
        """Return all objects of a namespace (empty: of all)."""
        return (await self.listed(resource, namespace, labels, fields))[0]

    async def listed(
        self, resource: Resource, namespace: str = "", labels: str = "", fields: str = ""
    ) -> tuple[list[Document], str]:
        """Return all objects of a namespace (empty: of all), and the resourceVersion at which that was so."""
        found, cursor, revision = await self.page(resource, namespace, labels, fields)
        while cursor:
            try:
                more, cursor, revision = await self.page(resource, namespace, labels, fields, cursor=cursor)
                found += more
            except RayctlError as error:
                if not isinstance(error.__cause__, Expired):
                    raise
                found, cursor, revision = await self.page(resource, namespace, labels, fields, limit=0)
        return found, revision

    async def close(self) -> None:
        """Close connections."""
        if self._transport is not None:
            await self._transport.close()
            self._transport = None


def opened_by(settings: ServiceSettings, environ: Mapping[str, str] = os.environ) -> Door:
    """Return the way that the settings name: a kubeconfig, a context, the cluster that this process is a pod of, or
    the embedded server below ``home``. The user's own kubeconfig is never taken without being named."""
    named = settings.kubeconfig
    local = settings.home / _LOCAL
    in_pod = bool(environ.get("KUBERNETES_SERVICE_HOST"))

    def file() -> Path | None:
        if named is not None:
            return named
        return local if settings.kube_context is None and not in_pod and local.exists() else None

    async def connect() -> Transport:
        from rayctl.kube.http import connected  # the official package takes a second to import

        path = file()
        if path is None and settings.kube_context is None and not in_pod:
            raise Unavailable(
                "This service works with no Kubernetes API.",
                code="no-kubernetes",
                hint="Start it with RAYCTL_KUBECONFIG (and RAYCTL_KUBE_CONTEXT), run it in a cluster, or use "
                "`rayctl up`, which brings a Kubernetes API of its own.",
                retry_after_s=30,
            )
        return await connected(None if path is None else str(path), settings.kube_context)

    def signature() -> object:
        path = file()
        try:
            found = path.stat() if path is not None else None
        except OSError:
            return None
        return (path, found.st_ino, found.st_mtime_ns) if found else None

    return Door(connect, signature)
