"""Which kinds a server has, by all the names that people give them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from rayctl.client.kube.connection import KubeConnection
from rayctl.errors import NotFound
from rayctl.kube.calls import Call, Resource
from rayctl.kube.kinds import KINDS

__all__ = ["Kinds", "Served", "discover"]

_AGGREGATED = (
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,"
    "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json"
)
_OURS = {
    "rc": "rayclusters.ray.io",
    "rsvc": "rayservices.ray.io",
    "rcf": "rayclusterfleets.orchestration.aibrix.ai",
    "rcrs": "rayclusterreplicasets.orchestration.aibrix.ai",
}
"""Short names that mean our kinds before all others: ``rc`` is also a ReplicationController's."""
_ALIASES = {
    "fleet": "rayclusterfleets",
    "fleets": "rayclusterfleets",
    "set": "rayclusterreplicasets",
    "sets": "rayclusterreplicasets",
    "cluster": "rayclusters",
    "clusters": "rayclusters",
}
"""rayctl's own words, where no kind of the server has them."""


@dataclass(frozen=True)
class Served:
    """A kind of a server, as discovery describes it."""

    resource: Resource
    singular: str = ""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: frozenset[str] = frozenset()
    subresources: frozenset[str] = frozenset()

    @property
    def label(self) -> str:
        """As output names it: ``pod``, ``raycluster.ray.io``."""
        name = self.singular or self.resource.kind.lower()
        return f"{name}.{self.resource.group}" if self.resource.group else name


class Kinds:
    """All kinds of a server; of a kind's versions the preferred one comes first."""

    def __init__(self, served: Iterable[Served]) -> None:
        self.served = tuple(served)

    def find(self, word: str) -> Served:
        """Return the kind that a word means: plural, singular, kind, short name; also ``word.group`` and
        ``word.version.group``.

        Raises:
            NotFound: None does.
        """
        lower = word.lower()
        found = self._match(_OURS.get(lower, lower)) or self._match(_ALIASES.get(lower, ""))
        if found is not None:
            return found
        raise self.unknown(word)

    def of(self, api_version: str, kind: str) -> Served:
        """Return a manifest's kind.

        Raises:
            NotFound: The server does not have it.
        """
        for served in self.served:
            if served.resource.api_version == api_version and served.resource.kind == kind:
                return served
        others = sorted({s.resource.api_version for s in self.served if s.resource.kind == kind})
        if others:
            raise NotFound(
                f"The server has no {kind} of {api_version}.",
                code="kind-not-served",
                hint=f"It has {kind} of {', '.join(others)}.",
            )
        raise self.unknown(kind)

    def in_category(self, word: str) -> tuple[Served, ...]:
        """Return the kinds of a category: ``all``, ``rayctl``."""
        return tuple(served for served in self.served if word.lower() in served.categories)

    def words(self) -> list[str]:
        """Return all names of all kinds."""
        return sorted({word for served in self.served for word in _names(served)})

    def unknown(self, word: str) -> NotFound:
        """Return the error for a kind that is not there."""
        lower = word.lower()
        meant = _ALIASES.get(lower) or _OURS.get(lower, lower).partition(".")[0]
        ours = [resource for resource in KINDS.values() if resource.group in ("ray.io", "orchestration.aibrix.ai")]
        missing = next((r for r in ours if meant in (r.plural, r.kind.lower())), None)
        if missing is not None:
            return NotFound(
                f"The server does not know the kind {missing.kind} ({missing.api_version}).",
                code="kind-not-served",
                hint="Its definition is not installed: `rayctl install` does that (see `rayctl doctor`).",
            )
        close = get_close_matches(word.lower(), self.words(), n=3)
        return NotFound(
            f"The server has no kind {word!r}.",
            code="kind-not-served",
            hint=f"Did you mean {' or '.join(close)}?" if close else "`rayctl get kinds` lists what it has.",
        )

    def _match(self, word: str) -> Served | None:
        if not word:
            return None
        name, _, rest = word.partition(".")
        for served in self.served:
            resource = served.resource
            if rest in ("", resource.group, f"{resource.version}.{resource.group}".rstrip(".")) and name in _names(
                served
            ):
                return served
        return None


def _names(served: Served) -> tuple[str, ...]:
    resource = served.resource
    return (resource.plural, served.singular or resource.kind.lower(), resource.kind.lower(), *served.short_names)


def discover(connection: KubeConnection) -> Kinds:
    """Ask a server what it has: two requests, or one per group of servers before 1.26.

    Raises:
        KubernetesError: It does not say.
    """
    core = connection.request(Call.get("/api"), _AGGREGATED)
    others = connection.request(Call.get("/apis"), _AGGREGATED)
    if core.get("kind") == "APIGroupDiscoveryList":
        return Kinds([*from_aggregated(core), *from_aggregated(others)])
    paths = ["/api/v1"]
    paths += [
        f"/apis/{version['groupVersion']}"
        for group in others.get("groups") or ()
        for version in _preferred_first(group)
    ]
    return Kinds([served for path in paths for served in from_list(connection.request(Call.get(path)))])


def _preferred_first(group: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    preferred = (group.get("preferredVersion") or {}).get("groupVersion")
    return sorted(group.get("versions") or (), key=lambda version: version["groupVersion"] != preferred)


def from_aggregated(document: Mapping[str, Any]) -> list[Served]:
    """Read an ``APIGroupDiscoveryList``: groups in order, of each its versions, the preferred one first."""
    found = []
    for group in document.get("items") or ():
        name = (group.get("metadata") or {}).get("name") or ""
        for version in group.get("versions") or ():
            for entry in version.get("resources") or ():
                kind = (entry.get("responseKind") or {}).get("kind")
                if not kind:
                    continue  # nothing that is stored
                resource = Resource(name, version["version"], entry["resource"], kind, entry["scope"] == "Namespaced")
                subresources = frozenset(sub["subresource"] for sub in entry.get("subresources") or ())
                found.append(_served(resource, entry, "singularResource", subresources))
    return found


def from_list(document: Mapping[str, Any]) -> list[Served]:
    """Read an ``APIResourceList``."""
    group, _, version = document["groupVersion"].rpartition("/")
    entries = document.get("resources") or ()
    subs: dict[str, set[str]] = {}
    for entry in entries:
        plural, slash, sub = entry["name"].partition("/")
        if slash:
            subs.setdefault(plural, set()).add(sub)
    found = []
    for entry in entries:
        if "/" not in entry["name"]:
            resource = Resource(group, version, entry["name"], entry["kind"], bool(entry["namespaced"]))
            found.append(_served(resource, entry, "singularName", frozenset(subs.get(entry["name"], ()))))
    return found


def _served(resource: Resource, entry: Mapping[str, Any], singular: str, subresources: frozenset[str]) -> Served:
    return Served(
        resource,
        str(entry.get(singular) or resource.kind.lower()),
        tuple(entry.get("shortNames") or ()),
        tuple(entry.get("categories") or ()),
        frozenset(entry.get("verbs") or ()),
        subresources,
    )
