"""Defaults, and nulls that stand where none may be."""

from __future__ import annotations

from typing import Any

from rayctl.embedded.apiserver.documents import copied
from rayctl.embedded.apiserver.schema.node import MISSING, Node

__all__ = ["apply_defaults", "drop_nulls"]


def apply_defaults(node: Node, value: Any) -> None:
    """Fill in what is missing, in place. A default comes only inside of objects that exist (or are a default)."""
    if not node.has_defaults:
        return
    if isinstance(value, dict):
        for name, child in node.properties.items():
            if child.default is not MISSING and (name not in value or (value[name] is None and not child.nullable)):
                value[name] = copied(child.default)
            if name in value:
                apply_defaults(child, value[name])
        if node.values is not None:
            for name, inner in value.items():
                if name not in node.properties:
                    value[name] = _with_defaults(node.values, inner)
    elif isinstance(value, list) and node.items is not None:
        for index, inner in enumerate(value):
            value[index] = _with_defaults(node.items, inner)


def _with_defaults(node: Node, value: Any) -> Any:
    """Return an element or an entry, or its default where a null stands for it."""
    if value is None and not node.nullable and node.default is not MISSING:
        value = copied(node.default)
    apply_defaults(node, value)
    return value


def drop_nulls(node: Node, value: Any) -> None:
    """Take nulls away, in place, where a described field is neither nullable nor has a default."""
    if isinstance(value, dict):
        for name in list(value):
            child = node.properties.get(name)
            if child is None:
                if node.values is not None and value[name] is not None:
                    drop_nulls(node.values, value[name])
                continue
            if value[name] is None:
                if not child.nullable and child.default is MISSING:
                    del value[name]
            else:
                drop_nulls(child, value[name])
    elif isinstance(value, list) and node.items is not None:
        for inner in value:
            drop_nulls(node.items, inner)
