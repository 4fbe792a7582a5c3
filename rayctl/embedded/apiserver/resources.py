"""A served kind in one version: its names, its schema, its subresources, its rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rayctl.embedded.apiserver.apply.fields import Fields
from rayctl.embedded.apiserver.jsonpath import JsonPath
from rayctl.embedded.apiserver.names import Rule, dns_subdomain
from rayctl.embedded.apiserver.schema.node import OBJECT_META, Node
from rayctl.embedded.apiserver.selectors import Reader

if TYPE_CHECKING:
    from rayctl.embedded.apiserver.errors import FieldError

__all__ = ["Column", "Resource", "Rules", "Scale", "field_reader"]


@dataclass(frozen=True)
class Column:
    """A column of tables. ``read``: (object, now) → the cell."""

    name: str
    type: str
    read: Callable[[Mapping[str, Any], float], Any]
    description: str = ""
    format: str = ""
    priority: int = 0


@dataclass(frozen=True)
class Scale:
    """Where the scale subresource finds its numbers: dotted paths without the leading dot, split."""

    spec: tuple[str, ...]
    status: tuple[str, ...]
    selector: tuple[str, ...] = ()


class Rules:
    """What is special about a kind. The defaults are those of custom resources."""

    name_rule: Rule = staticmethod(dns_subdomain)
    unconditional_update = False
    """A PUT without resourceVersion is taken."""
    returns_deleted = False
    """DELETE answers with the object instead of a Status."""
    graceful = False
    """Deletion has a grace period (pods)."""

    def default(self, document: dict[str, Any]) -> None:
        """Fill in defaults that are no constants, in place; on reading as on writing."""

    def prepare_create(self, document: dict[str, Any]) -> None:
        """Set what is the server's in a new object, in place."""

    def prepare_update(self, new: dict[str, Any], old: Mapping[str, Any], subresource: str) -> None:
        """Restore what an update may not touch, in place."""

    def validate(self, document: Mapping[str, Any]) -> list[FieldError]:
        """Return what is wrong with an object."""
        return []

    def validate_update(self, new: Mapping[str, Any], old: Mapping[str, Any], subresource: str) -> list[FieldError]:
        """Return what an update may not do."""
        return []

    def from_storage(self, document: dict[str, Any]) -> dict[str, Any]:
        """Return a stored object in the form of this kind, where two kinds share what is stored (events)."""
        return document

    def warnings(self, document: Mapping[str, Any]) -> list[str]:
        """Return what the client should know about a new object."""
        return []

    def update_warnings(self, new: Mapping[str, Any], old: Mapping[str, Any]) -> list[str]:
        """Return what the client should know about a change."""
        return []


def field_reader(*path: str) -> Reader:
    """Return what reads a field for a selector; what is missing is the empty text."""

    def read(document: Mapping[str, Any]) -> str:
        found: Any = document
        for part in path:
            found = found.get(part) if isinstance(found, dict) else None
        if found is None:
            return ""
        return str(found).lower() if isinstance(found, bool) else str(found)

    return read


@dataclass(eq=False)
class Resource:
    """A kind in one version.

    ``storage``: the name under which objects are stored; all versions of a kind share it. ``stored_version``: in which
    version they are stored. ``node``: the schema of a whole object, ``metadata`` included.
    """

    group: str
    version: str
    kind: str
    plural: str
    singular: str
    namespaced: bool
    node: Node
    storage: str
    rules: Rules
    list_kind: str = ""
    custom: bool = False
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()
    scale: Scale | None = None
    has_generation: bool = True
    columns: tuple[Column, ...] | None = None
    selectable: dict[str, Reader] = field(default_factory=dict)
    stored_version: str = ""
    deprecation: str = ""
    source: Mapping[str, Any] = field(default_factory=dict)
    node_name: str = ""
    """Of a built-in kind: the model that its schema comes from."""

    def __post_init__(self) -> None:
        self.list_kind = self.list_kind or f"{self.kind}List"
        self.stored_version = self.stored_version or self.version

    @cached_property
    def api_version(self) -> str:
        """``group/version``, or the version alone for the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @cached_property
    def has_status(self) -> bool:
        """Whether ``/status`` is served (then the main path leaves status alone)."""
        return "status" in self.subresources

    @cached_property
    def readers(self) -> dict[str, Reader]:
        """The fields that selectors may name."""
        found = {"metadata.name": field_reader("metadata", "name")}
        if self.namespaced or self.custom:
            found["metadata.namespace"] = field_reader("metadata", "namespace")
        return found | self.selectable

    @cached_property
    def kept_by_main(self) -> Fields:
        """Fields that writes to the main path do not own."""
        found = Fields()
        if self.has_status:
            found.add(("f:status",))
        return found

    @cached_property
    def kept_by_status(self) -> Fields:
        """Fields that writes to ``/status`` do not own."""
        found = Fields()
        names = set(self.node.properties) - {"status", "apiVersion", "kind"} | {"spec", "metadata"}
        for name in names:
            found.add((f"f:{name}",))
        return found

    def is_stored(self, api_version: str) -> bool:
        """Whether this is the version that objects are stored in."""
        return api_version == (f"{self.group}/{self.stored_version}" if self.group else self.stored_version)


def with_metadata(node: Node) -> Node:
    """Return the schema of a whole object, from the schema of what a kind describes."""
    text = Node(type="string")
    properties = {**node.properties, "apiVersion": text, "kind": text, "metadata": OBJECT_META}
    found = Node(**{name: getattr(node, name) for name in node.__dataclass_fields__})
    found.properties = properties
    found.type = "object"
    return found


def json_path_reader(path: str) -> Reader:
    """Return what reads a custom resource's selectable field."""
    compiled = JsonPath.parse(path)

    def read(document: Mapping[str, Any]) -> str:
        found = compiled.find(document)
        if not found or found[0] is None:
            return ""
        return str(found[0]).lower() if isinstance(found[0], bool) else str(found[0])

    return read
