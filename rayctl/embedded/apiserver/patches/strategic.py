"""Strategic merge patch of built-in kinds: lists merge by key, directives delete, replace, retain and order.

Only the server's half is here: a patch comes with its directives, nothing is computed from two documents.
"""

from __future__ import annotations

import json
from typing import Any

from rayctl.embedded.apiserver.schema.node import Node

__all__ = ["BadDirective", "strategic_patch"]

DIRECTIVE = "$patch"
DELETE_PRIMITIVES = "$deleteFromPrimitiveList/"
ORDER = "$setElementOrder/"
RETAIN = "$retainKeys"
_ANYTHING = Node(preserve=True)


class BadDirective(Exception):
    """A patch that cannot be placed."""


def strategic_patch(node: Node, document: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """Return the patched document; neither argument is changed.

    Raises:
        BadDirective: An unknown directive, or an element without its merge key.
    """
    return _merge_map(node, document, patch)


def _child(node: Node, name: str) -> Node:
    return node.properties.get(name) or node.values or _ANYTHING


def _merge_map(node: Node, original: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    if DIRECTIVE in patch:
        if patch[DIRECTIVE] == "replace":
            return _without_directives({name: value for name, value in patch.items() if name != DIRECTIVE})
        if patch[DIRECTIVE] == "delete":
            return {}
        if patch[DIRECTIVE] != "merge":
            raise BadDirective(f"unknown patch type: {patch[DIRECTIVE]} in map: {json.dumps(patch)}")
    found = _retained(original, patch)
    for name, value in patch.items():
        if name not in (DIRECTIVE, RETAIN) and not name.startswith((DELETE_PRIMITIVES, ORDER)):
            _merge_field(node, found, patch, name, value)
    for name, value in patch.items():
        if name.startswith(DELETE_PRIMITIVES):
            field = name.removeprefix(DELETE_PRIMITIVES)
            if field in found:
                found[field] = [item for item in found[field] if item not in value]
        elif name.startswith(ORDER):
            field = name.removeprefix(ORDER)
            if field not in patch and field in found:
                child = _child(node, field)
                found[field] = _ordered(child.merge_key, found[field], value, found[field])
    return found


def _retained(original: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that ``$retainKeys`` leaves."""
    if RETAIN not in patch:
        return dict(original)
    keep = set(patch[RETAIN])
    if not set(patch) - {RETAIN, DIRECTIVE} <= keep:
        raise BadDirective("$retainKeys must be a super list of the fields in the patch")
    return {name: value for name, value in original.items() if name in keep}


def _merge_field(node: Node, found: dict[str, Any], patch: dict[str, Any], name: str, value: Any) -> None:
    child = _child(node, name)
    if value is None:
        found.pop(name, None)
    elif isinstance(value, dict) and isinstance(found.get(name), dict):
        found[name] = _merge_map(child, found[name], value)
    elif isinstance(value, list) and child.merge_strategy == "merge":
        merged = _merge_list(child, found.get(name) or [], value, patch.get(ORDER + name))
        if merged or name in found:
            found[name] = merged
    else:
        found[name] = _without_directives(value)


def _without_directives(value: Any) -> Any:
    """Return a value that is new, so that there is nothing to merge it with."""
    if isinstance(value, dict):
        return {
            name: _without_directives(inner)
            for name, inner in value.items()
            if inner is not None and name not in (DIRECTIVE, RETAIN) and not name.startswith((DELETE_PRIMITIVES, ORDER))
        }
    if isinstance(value, list):
        return [
            _without_directives(inner)
            for inner in value
            if not (isinstance(inner, dict) and inner.get(DIRECTIVE) in ("delete", "replace"))
        ]
    return value


def _merge_list(node: Node, original: list[Any], patch: list[Any], order: list[Any] | None) -> list[Any]:
    key = node.merge_key
    if not key:
        merged = list(original)
        merged.extend(item for item in patch if item not in merged)
        return _ordered("", merged, patch if order is None else order, original)
    assert node.items is not None
    for item in patch:
        if not isinstance(item, dict) or (key not in item and item.get(DIRECTIVE) != "replace"):
            raise BadDirective(f"map: {json.dumps(item)} does not contain declared merge key: {key}")
    if any(item.get(DIRECTIVE) == "replace" for item in patch):
        return [_without_directives(item) for item in patch if item.get(DIRECTIVE) != "replace"]
    merged = list(original)
    for item in patch:
        at = next((i for i, mine in enumerate(merged) if isinstance(mine, dict) and mine.get(key) == item[key]), None)
        directive = item.get(DIRECTIVE)
        if directive == "delete":
            merged = [mine for mine in merged if not (isinstance(mine, dict) and mine.get(key) == item[key])]
        elif directive not in (None, "merge"):
            raise BadDirective(f"unknown patch type: {directive} in map: {json.dumps(item)}")
        elif at is None:
            merged.append(_without_directives(item))
        else:
            merged[at] = _merge_map(node.items, merged[at], item)
    wanted = order if order is not None else [item for item in patch if item.get(DIRECTIVE) != "delete"]
    return _ordered(key, merged, wanted, original)


def _ordered(key: str, merged: list[Any], patch_order: list[Any], server_order: list[Any]) -> list[Any]:
    """Elements that the patch names in its order; the others keep their places among them."""

    def identity(item: Any) -> Any:
        return item.get(key) if key and isinstance(item, dict) else item

    wanted = [identity(item) for item in patch_order]
    served = [identity(item) for item in server_order]
    named = sorted((item for item in merged if identity(item) in wanted), key=lambda i: wanted.index(identity(i)))
    others = [item for item in merged if identity(item) not in wanted]
    others.sort(key=lambda i: served.index(identity(i)) if identity(i) in served else len(served))
    out: list[Any] = []
    while named or others:
        if not named:
            out.append(others.pop(0))
        elif not others:
            out.append(named.pop(0))
        else:
            left, right = identity(others[0]), identity(named[0])
            first = left in served and right in served and served.index(left) < served.index(right)
            out.append(others.pop(0) if first else named.pop(0))
    return out
