"""The fields of a new object in wire form, in one walk: what `managers.record_update` would find, sooner."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rayctl.embedded.apiserver.apply.fields import Fields
from rayctl.embedded.apiserver.apply.typed import ANYTHING, element_of
from rayctl.embedded.apiserver.schema.node import Node

__all__ = ["created_fields"]

_SERVERS = frozenset(
    {"name", "namespace", "creationTimestamp", "selfLink", "uid", "clusterName", "generation", "managedFields"}
    | {"resourceVersion"}
)
"""Fields of metadata that nobody owns."""


class _Repeated(Exception):
    """A list has two elements with the same keys."""


def created_fields(node: Node, document: Mapping[str, Any], ignored: Fields) -> dict[str, Any] | None:
    """Return the FieldsV1 that the author of a new object owns; None if that needs the longer way.

    ``ignored``: fields that this write cannot own.
    """
    found: dict[str, Any] = {}
    try:
        for name in sorted(document):
            if name in ("apiVersion", "kind") or ignored.has(f"f:{name}"):
                continue
            child = node.properties.get(name) or node.values or ANYTHING
            value = document[name]
            if name == "metadata":
                owned = {key: inner for key, inner in value.items() if key not in _SERVERS}
                below = _below(child, owned)
                if below:
                    found["f:metadata"] = below
                continue
            below = _below(child, value)
            found[f"f:{name}"] = {".": {}, **below} if below else {}
    except _Repeated:
        return None
    return found


def _below(node: Node, value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        if node.atomic_map:
            return {}
        found: dict[str, Any] = {}
        properties, others = node.properties, node.values or ANYTHING
        for name in sorted(value):
            inner = value[name]
            if isinstance(inner, (dict, list)):
                below = _below(properties.get(name) or others, inner)
                found[f"f:{name}"] = {".": {}, **below} if below else {}
            else:
                found[f"f:{name}"] = {}
        return found
    if isinstance(value, list) and node.list_type != "atomic":
        assert node.items is not None
        elements = {element_of(node, inner): inner for inner in value}
        if len(elements) != len(value):
            raise _Repeated
        found = {}
        for element in sorted(elements):
            below = _below(node.items, elements[element])
            found[element] = {".": {}, **below} if below else {}
        return found
    return {}
