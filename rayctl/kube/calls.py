"""What is asked of the Kubernetes API: kinds and their paths, requests, and the one door that they all go through."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol
from urllib.parse import quote, urlencode

__all__ = ["APPLY", "JSON", "MERGE", "OPENED", "Call", "Resource", "Transport"]

JSON = "application/json"
MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"
OPENED = "OPENED"
"""The type of a watch's first event, which is the transport's and has no object."""


@dataclass(frozen=True, order=True)
class Resource:
    """A kind as paths name it. ``group`` is empty for the core kinds; ``plural`` is ``pods``."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """As objects carry it: ``v1``, ``apps/v1``."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """Return the path of one object, or of all in a namespace (empty: in all namespaces).

        Raises:
            ValueError: A name without the namespace that this kind needs.
        """
        parts = ["/apis", self.group, self.version] if self.group else ["/api", self.version]
        if self.namespaced and namespace:
            parts += ["namespaces", quote(namespace, safe="")]
        elif self.namespaced and name:
            raise ValueError(f"{self.kind} {name} needs a namespace")
        parts.append(self.plural)
        if name:
            parts.append(quote(name, safe=""))
        if subresource:
            parts.append(subresource)
        return "/".join(parts)


@dataclass(frozen=True)
class Call:
    """One request. ``timeout_s``: until its answer is complete; of a watch, until its headers are there."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    body: Any = None
    content_type: str = JSON
    timeout_s: float = 15.0

    @property
    def writes(self) -> bool:
        """Whether it is to change something."""
        if self.method == "GET":
            return False
        return ("dryRun", "All") not in self.query

    @property
    def target(self) -> str:
        """Path and query as they are sent."""
        return f"{self.path}?{urlencode(self.query)}" if self.query else self.path

    def asking(self, **parameters: str | int | bool | None) -> Call:
        """Return this call with more query parameters; None leaves one out, True is ``true``."""
        added = tuple(
            (name, str(value).lower() if isinstance(value, bool) else str(value))
            for name, value in parameters.items()
            if value is not None
        )
        return replace(self, query=(*self.query, *added))

    @staticmethod
    def get(path: str, timeout_s: float = 15.0) -> Call:
        """Return the request that reads a path."""
        return Call("GET", path, timeout_s=timeout_s)

    @staticmethod
    def apply(path: str, document: Mapping[str, Any], manager: str, force: bool = True) -> Call:
        """Return the server-side apply of a document."""
        return Call("PATCH", path, body=document, content_type=APPLY).asking(fieldManager=manager, force=force)


class Transport(Protocol):
    """The one door to an API server. Faults are injected, requests fenced and counted here."""

    async def request(self, call: Call) -> Any:
        """Send a request, return the decoded answer.

        Raises:
            KubernetesError: The one that says what to do.
        """
        ...

    def watch(self, call: Call, silence_s: float) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the events of a watch (``type``, ``object``) until the server ends it.

        Before them comes `OPENED`: the server has accepted the watch.

        Raises:
            KubernetesError: It was refused; it broke; or not a byte came for ``silence_s`` seconds (`NoAnswer`).
        """
        ...

    async def close(self) -> None:
        """Close connections."""
        ...
