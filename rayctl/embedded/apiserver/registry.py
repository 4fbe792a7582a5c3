"""All served kinds: the built-in ones, and those of the custom resource definitions in the store."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache, lru_cache
from importlib import resources as package
from typing import Any

from rayctl.embedded.apiserver.kinds.catalogue import BUILT_IN, BuiltIn
from rayctl.embedded.apiserver.kinds.definitions import resources_of
from rayctl.embedded.apiserver.kinds.rules import rules_for, selectable_of
from rayctl.embedded.apiserver.resources import Resource, Scale, with_metadata
from rayctl.embedded.apiserver.schema.node import OBJECT_META_SCHEMA, Node, parse
from rayctl.embedded.apiserver.store import Event, Store

__all__ = ["CRDS", "Registry", "schema_definitions"]

CRDS = "customresourcedefinitions.apiextensions.k8s.io"


@lru_cache(maxsize=1)
def schema_definitions() -> dict[str, Any]:
    """Return model → schema of everything that built-in kinds are made of."""
    text = package.files("rayctl.embedded.apiserver.kinds").joinpath("schemas.json").read_text()
    found: dict[str, Any] = json.loads(text)
    return found


@cache
def _node(model: str) -> Node:
    definitions = {**schema_definitions(), "V1ObjectMeta": OBJECT_META_SCHEMA, "V1ListMeta": {"type": "object"}}
    return with_metadata(parse(schema_definitions()[model], definitions))


def _built_in(kind: BuiltIn) -> Resource:
    storage = f"{kind.plural}.{kind.group}" if kind.group else kind.plural
    scale = None
    if "scale" in kind.subresources:
        scale = Scale(("spec", "replicas"), ("status", "replicas"), ("spec", "selector"))
    return Resource(
        group=kind.group,
        version=kind.version,
        kind=kind.kind,
        plural=kind.plural,
        singular=kind.singular,
        namespaced=kind.namespaced,
        node=_node(kind.model),
        storage=kind.storage or storage,
        rules=rules_for(kind),
        short_names=kind.short_names,
        categories=kind.categories,
        verbs=kind.verbs,
        subresources=kind.subresources,
        scale=scale,
        has_generation=kind.has_generation,
        selectable=selectable_of(kind),
        node_name=kind.model,
    )


class Registry:
    """Kinds by path. Follows the definitions in the store."""

    def __init__(self) -> None:
        self._built_in = {(kind.group, kind.version, kind.plural): _built_in(kind) for kind in BUILT_IN}
        self._custom: dict[tuple[str, str, str], Resource] = {}
        self._stored: dict[str, Resource] = {}
        self._terminating: set[str] = set()
        self.version = 0
        """Grows when the served kinds change."""

    def follow(self, store: Store) -> None:
        """Take over the definitions that are there, and every change from now on."""
        for stored in store.items(CRDS):
            self._put(stored.object)
        store.subscribe(self._told)

    def _told(self, event: Event) -> None:
        if event.now.key[0] != CRDS:
            return
        if event.type == "DELETED":
            self._drop(event.now.name)
        else:
            self._put(event.now.object)

    def _drop(self, storage: str) -> None:
        self._custom = {key: found for key, found in self._custom.items() if found.storage != storage}
        self._stored.pop(storage, None)
        self._terminating.discard(storage)
        self.version += 1

    def _put(self, definition: dict[str, Any]) -> None:
        storage = definition["metadata"]["name"]
        self._drop(storage)
        if not _condition(definition, "Established"):
            return
        served = {version["name"] for version in definition["spec"]["versions"] if version.get("served")}
        for resource in resources_of(definition):
            if resource.version in served:
                self._custom[(resource.group, resource.version, resource.plural)] = resource
            if resource.version == resource.stored_version:
                self._stored[storage] = resource
        if definition["metadata"].get("deletionTimestamp"):
            self._terminating.add(storage)

    # Questions ----------------------------------------------------------------------------------------

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        """Return the kind that is served at a path."""
        return self._built_in.get((group, version, plural)) or self._custom.get((group, version, plural))

    def stored(self, resource: Resource) -> Resource:
        """Return the version in which a kind is stored."""
        return self._stored.get(resource.storage, resource)

    def is_terminating(self, resource: Resource) -> bool:
        """Whether the definition of a kind is being deleted."""
        return resource.storage in self._terminating

    def all(self) -> Iterable[Resource]:
        """Yield every served kind in every version."""
        yield from self._built_in.values()
        yield from self._custom.values()

    def by_storage(self, storage: str) -> Resource | None:
        """Return a served version of what is stored under a name."""
        found = self._stored.get(storage)
        if found is not None:
            return found
        return next((resource for resource in self._built_in.values() if resource.storage == storage), None)

    def by_kind(self, api_version: str, kind: str) -> Resource | None:
        """Return a kind by its name, as owner references give it; any version of the group will do."""
        group = api_version.rpartition("/")[0]
        found = [r for r in self.all() if r.kind == kind and r.group == group]
        return next((r for r in found if r.api_version == api_version), found[0] if found else None)

    def groups(self) -> dict[str, list[str]]:
        """Return group → served versions, the preferred one first; the core group is not among them."""
        found: dict[str, list[str]] = {}
        for resource in self.all():
            if resource.group:
                versions = found.setdefault(resource.group, [])
                if resource.version not in versions:
                    versions.append(resource.version)
        for group, extra in (("authorization.k8s.io", "v1"), ("authentication.k8s.io", "v1")):
            found.setdefault(group, []).append(extra)
        return {group: sorted(versions, key=_priority) for group, versions in found.items()}

    def served(self, group: str, version: str) -> list[Resource]:
        """Return the kinds of a group and version."""
        return [found for found in self.all() if found.group == group and found.version == version]


def _condition(definition: dict[str, Any], kind: str) -> bool:
    conditions = (definition.get("status") or {}).get("conditions") or []
    return any(condition.get("type") == kind and condition.get("status") == "True" for condition in conditions)


def _priority(version: str) -> tuple[int, int, int, str]:
    """Stable versions first, then beta, then alpha; the newer the earlier."""
    import re

    found = re.fullmatch(r"v(\d+)(?:(alpha|beta)(\d+))?", version)
    if found is None:
        return (3, 0, 0, version)
    stage = {None: 0, "beta": 1, "alpha": 2}[found[2]]
    return (stage, -int(found[1]), -int(found[3] or 0), version)
