"""A schema as a tree of nodes, made once from its OpenAPI form. All processing of objects walks these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

__all__ = ["MISSING", "OBJECT_META", "Node", "parse"]

MISSING: Any = object()
"""No default."""

ListType = Literal["atomic", "set", "map"]


@dataclass(eq=False)
class Node:
    """One place of a schema.

    ``type``: ``object``, ``array``, ``string``, ``integer``, ``number``, ``boolean``, or empty for anything.
    ``values``: of a map's entries. ``preserve``: fields that are not described stay. ``merge_key`` and
    ``merge_strategy`` are those of strategic merge patches. ``checks``: keywords such as ``minimum``.
    """

    type: str = ""
    properties: dict[str, Node] = field(default_factory=dict)
    values: Node | None = None
    items: Node | None = None
    required: tuple[str, ...] = ()
    default: Any = MISSING
    nullable: bool = False
    preserve: bool = False
    embedded: bool = False
    int_or_string: bool = False
    list_type: ListType = "atomic"
    list_keys: tuple[str, ...] = ()
    atomic_map: bool = False
    merge_strategy: str = ""
    merge_key: str = ""
    format: str = ""
    checks: dict[str, Any] = field(default_factory=dict)
    source: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_map(self) -> bool:
        """A map with free keys."""
        return self.values is not None

    @cached_property
    def has_defaults(self) -> bool:
        """Whether a default is here or below."""
        below = [
            *self.properties.values(),
            *([self.values] if self.values else []),
            *([self.items] if self.items else []),
        ]
        return self.default is not MISSING or any(node.has_defaults for node in below)

    def child(self, name: str) -> Node | None:
        """Return the node of a field; None if it is not described."""
        return self.properties.get(name) or self.values


CHECKS = frozenset(
    {
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
        *("minLength", "maxLength", "pattern", "enum", "minItems", "maxItems", "uniqueItems"),
        *("minProperties", "maxProperties", "allOf", "anyOf", "oneOf", "not"),
    }
)


def parse(schema: Mapping[str, Any], definitions: Mapping[str, Mapping[str, Any]] | None = None) -> Node:
    """Return the tree of a schema. ``{"$ref": name}`` is looked up in ``definitions``; each of these is parsed once.

    Raises:
        KeyError: A definition that is not there.
    """
    return _Parser(definitions or {}).node(schema)


class _Parser:
    def __init__(self, definitions: Mapping[str, Mapping[str, Any]]) -> None:
        self._definitions = definitions
        self._done: dict[str, Node] = {}

    def node(self, schema: Mapping[str, Any]) -> Node:
        reference = schema.get("$ref")
        if reference is None:
            return self._fill(Node(), schema)
        shared = self._done.get(reference)
        if shared is None:
            shared = self._done[reference] = Node()
            self._fill(shared, self._definitions[reference])
        if len(schema) == 1:
            return shared
        # What stands beside the reference (how a list of it merges, a default) is this place's own.
        own = Node(**{name: getattr(shared, name) for name in shared.__dataclass_fields__})
        return self._mark(own, schema)

    def _fill(self, node: Node, schema: Mapping[str, Any]) -> Node:
        node.source = schema
        node.type = schema.get("type", "")
        node.properties = {name: self.node(found) for name, found in schema.get("properties", {}).items()}
        values = schema.get("additionalProperties")
        if isinstance(values, Mapping):
            node.values = self.node(values)
        elif values is True:
            node.values = Node(preserve=True, nullable=True)
        if "items" in schema:
            node.items = self.node(schema["items"])
        node.required = tuple(schema.get("required", ()))
        node.checks = {name: schema[name] for name in CHECKS & schema.keys()}
        return self._mark(node, schema)

    def _mark(self, node: Node, schema: Mapping[str, Any]) -> Node:
        if "default" in schema:
            node.default = schema["default"]
        node.nullable = bool(schema.get("nullable", node.nullable))
        node.preserve = bool(schema.get("x-kubernetes-preserve-unknown-fields", node.preserve))
        node.embedded = bool(schema.get("x-kubernetes-embedded-resource", node.embedded))
        node.int_or_string = bool(schema.get("x-kubernetes-int-or-string", node.int_or_string))
        node.list_type = schema.get("x-kubernetes-list-type", node.list_type)
        node.list_keys = tuple(schema.get("x-kubernetes-list-map-keys", node.list_keys))
        node.atomic_map = schema.get("x-kubernetes-map-type", "atomic" if node.atomic_map else "granular") == "atomic"
        node.merge_strategy = schema.get("x-kubernetes-patch-strategy", node.merge_strategy)
        node.merge_key = schema.get("x-kubernetes-patch-merge-key", node.merge_key)
        node.format = schema.get("format", node.format)
        return node


_STRING = {"type": "string"}
_STRINGS = {"type": "object", "additionalProperties": _STRING}
_TIME = {"type": "string", "format": "date-time"}

OBJECT_META_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "annotations": _STRINGS,
        "creationTimestamp": _TIME,
        "deletionGracePeriodSeconds": {"type": "integer", "format": "int64"},
        "deletionTimestamp": _TIME,
        "finalizers": {
            "type": "array",
            "items": _STRING,
            "x-kubernetes-list-type": "set",
            "x-kubernetes-patch-strategy": "merge",
        },
        "generateName": _STRING,
        "generation": {"type": "integer", "format": "int64"},
        "labels": _STRINGS,
        "managedFields": {
            "type": "array",
            "x-kubernetes-list-type": "atomic",
            "items": {
                "type": "object",
                "properties": {
                    "apiVersion": _STRING,
                    "fieldsType": _STRING,
                    "fieldsV1": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                    "manager": _STRING,
                    "operation": _STRING,
                    "subresource": _STRING,
                    "time": _TIME,
                },
            },
        },
        "name": _STRING,
        "namespace": _STRING,
        "ownerReferences": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["uid"],
            "x-kubernetes-patch-strategy": "merge",
            "x-kubernetes-patch-merge-key": "uid",
            "items": {
                "type": "object",
                "required": ["apiVersion", "kind", "name", "uid"],
                "x-kubernetes-map-type": "atomic",
                "properties": {
                    "apiVersion": _STRING,
                    "blockOwnerDeletion": {"type": "boolean"},
                    "controller": {"type": "boolean"},
                    "kind": _STRING,
                    "name": _STRING,
                    "uid": _STRING,
                },
            },
        },
        "resourceVersion": _STRING,
        "selfLink": _STRING,
        "uid": _STRING,
    },
}
OBJECT_META = parse(OBJECT_META_SCHEMA)
"""The schema of ``metadata``."""
