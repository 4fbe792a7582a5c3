"""Objects seen through their schema: which fields they have, how two of them differ, merge and lose fields.

The rules (what is a member, the order of merged lists) are those of Kubernetes' structured merge and diff.
"""

from __future__ import annotations

from typing import Any

from rayctl.embedded.apiserver.apply.fields import Fields, key_element, name_element, value_element
from rayctl.embedded.apiserver.schema.node import MISSING, Node

__all__ = ["ANYTHING", "NotTyped", "check_typed", "difference", "fields_of", "merge", "named_members", "remove"]

ANYTHING = Node(preserve=True)
"""For what no schema describes: maps are owned field by field, lists as a whole."""


class NotTyped(Exception):
    """A value that its schema cannot hold; the text says where."""


def _child(node: Node, name: str) -> Node:
    return node.properties.get(name) or node.values or ANYTHING


def _is_named(node: Node, name: str) -> bool:
    """Whether a field is described by name (and not as an entry of a map)."""
    return name in node.properties


def _granular_map(node: Node, value: Any) -> bool:
    return isinstance(value, dict) and not node.atomic_map


def _granular_list(node: Node, value: Any) -> bool:
    return isinstance(value, list) and node.list_type != "atomic"


def element_of(node: Node, value: Any) -> str:
    """Return the path element of a list's element. Keys that are missing count with their defaults."""
    if node.list_type == "set":
        return value_element(value)
    assert node.items is not None
    keys = {}
    for key in node.list_keys:
        if isinstance(value, dict) and key in value:
            keys[key] = value[key]
        else:
            child = node.items.properties.get(key)
            if child is not None and child.default is not MISSING:
                keys[key] = child.default
    return key_element(keys)


def fields_of(node: Node, value: Any) -> Fields:
    """Return the fields that an object sets."""
    found = Fields()
    _collect(node, value, found)
    return found


def _collect(node: Node, value: Any, into: Fields) -> None:
    if _granular_map(node, value):
        for name, inner in value.items():
            child = into.children.setdefault(name_element(name), Fields())
            _collect(_child(node, name), inner, child)
            if inner is None or inner == {} or not _is_named(node, name):
                child.member = True
            if child.empty:
                del into.children[name_element(name)]
    elif _granular_list(node, value):
        assert node.items is not None
        for inner in value:
            child = into.children.setdefault(element_of(node, inner), Fields())
            _collect(node.items, inner, child)
            child.member = True
    else:
        into.member = True


def check_typed(node: Node, value: Any, path: str = "") -> None:
    """Check that a schema can hold an object: types, described fields, unique keys.

    Raises:
        NotTyped: with the place and the reason.
    """
    if value is None:
        return
    if node.int_or_string or node.format == "quantity" or (not node.type and not node.properties):
        return
    if node.type == "object" or node.properties:
        if not isinstance(value, dict):
            raise NotTyped(f"{path}: expected map, got {value!r}")
        for name, inner in value.items():
            if name not in node.properties and node.values is None and not node.preserve:
                raise NotTyped(f"{path}.{name}: field not declared in schema")
            check_typed(_child(node, name), inner, f"{path}.{name}")
    elif node.type == "array":
        if not isinstance(value, list):
            raise NotTyped(f"{path}: expected list, got {value!r}")
        _check_list(node, value, path)
    elif not _holds(node.type, value):
        wanted = {"integer": "numeric (int or float)", "number": "numeric (int or float)"}.get(node.type, node.type)
        raise NotTyped(f"{path}: expected {wanted}, got {value!r}")


def _check_list(node: Node, value: list[Any], path: str) -> None:
    assert node.items is not None
    seen: set[str] = set()
    for index, inner in enumerate(value):
        if node.list_type != "atomic":
            if inner is None or (node.list_type == "map" and not isinstance(inner, dict)):
                raise NotTyped(f"{path}[{index}]: associative list may not have null or plain elements")
            element = element_of(node, inner)
            if element in seen:
                raise NotTyped(f"{path}: duplicate entries for key {element[2:]}")
            seen.add(element)
        check_typed(node.items, inner, f"{path}[{index}]")


def _holds(wanted: str, value: Any) -> bool:
    if wanted == "string":
        return isinstance(value, str)
    if wanted == "boolean":
        return isinstance(value, bool)
    return isinstance(value, (int, float)) and not isinstance(value, bool)


# Differences ------------------------------------------------------------------------------------------


def difference(node: Node, old: Any, new: Any) -> tuple[Fields, Fields, Fields]:
    """Return (removed, modified, added) fields between two objects."""
    removed, modified, added = Fields(), Fields(), Fields()
    _compare(node, old, new, removed, modified, added, is_root=True)
    return removed, modified, added


def _compare(
    node: Node, old: Any, new: Any, removed: Fields, modified: Fields, added: Fields, is_root: bool = False
) -> None:
    if old is MISSING:
        _mark(node, new, added, is_root)
    elif new is MISSING:
        _mark(node, old, removed, is_root)
    elif _granular_map(node, old) and _granular_map(node, new):
        for name in dict.fromkeys([*old, *new]):
            before, after = old.get(name, MISSING), new.get(name, MISSING)
            if before is not after and before != after:
                _descend(node, _child(node, name), name_element(name), before, after, (removed, modified, added))
    elif _granular_list(node, old) and _granular_list(node, new):
        assert node.items is not None
        before_all = {element_of(node, inner): inner for inner in old}
        after_all = {element_of(node, inner): inner for inner in new}
        for element in dict.fromkeys([*before_all, *after_all]):
            before, after = before_all.get(element, MISSING), after_all.get(element, MISSING)
            if before is MISSING or after is MISSING or before != after:
                _descend(node, node.items, element, before, after, (removed, modified, added))
    elif old != new or type(old) is not type(new):
        if _is_container(node, old) or _is_container(node, new):
            _mark_below(node, old, removed)
            _mark_below(node, new, added)
        modified.member = True


def _is_container(node: Node, value: Any) -> bool:
    return _granular_map(node, value) or _granular_list(node, value)


def _descend(
    node: Node, child: Node, element: str, before: Any, after: Any, sets: tuple[Fields, Fields, Fields]
) -> None:
    removed, modified, added = (found.children.get(element) or Fields() for found in sets)
    _compare(child, before, after, removed, modified, added)
    for found, inner in zip(sets, (removed, modified, added), strict=True):
        if not inner.empty:
            found.children[element] = inner


def _mark(node: Node, value: Any, into: Fields, is_root: bool) -> None:
    """Add a value that is new (or gone), with everything below it."""
    if not is_root:
        into.member = True
    _mark_below(node, value, into)


def _mark_below(node: Node, value: Any, into: Fields) -> None:
    if _granular_map(node, value):
        for name, inner in value.items():
            _mark(_child(node, name), inner, into.children.setdefault(name_element(name), Fields()), False)
    elif _granular_list(node, value):
        assert node.items is not None
        for inner in value:
            _mark(node.items, inner, into.children.setdefault(element_of(node, inner), Fields()), False)


# Merging ----------------------------------------------------------------------------------------------


def merge(node: Node, live: Any, applied: Any) -> Any:
    """Return the live object with everything that was applied to it."""
    if applied is MISSING:
        return live
    if live is MISSING or live is None:
        return applied
    if _granular_map(node, live) and _granular_map(node, applied):
        found = dict(live)
        for name, inner in applied.items():
            found[name] = merge(_child(node, name), live.get(name, MISSING), inner)
        return found
    if _granular_list(node, live) and _granular_list(node, applied):
        return _merge_lists(node, live, applied)
    if applied is None and _is_container(node, live):
        return live
    return applied


def _merge_lists(node: Node, live: list[Any], applied: list[Any]) -> list[Any]:
    """Elements of the applied list in its order, the others where they were."""
    assert node.items is not None
    left = [element_of(node, inner) for inner in live]
    right = [element_of(node, inner) for inner in applied]
    on_left, on_right = dict(zip(left, live, strict=True)), dict(zip(right, applied, strict=True))
    shared = [element for element in right if element in on_left]
    upcoming = iter(shared)
    following = next(upcoming, None)
    out: list[Any] = []
    at_left = at_right = 0
    while at_left < len(left) or at_right < len(right):
        if at_left < len(left) and at_right < len(right):
            element = left[at_left]
            if element == right[at_right]:
                out.append(merge(node.items, on_left[element], on_right[element]))
                at_left, at_right = at_left + 1, at_right + 1
                following = next(upcoming, None)
                continue
            if element in on_right and following is not None and following != element:
                at_left += 1  # it comes later, where the applied list has it
                continue
        if at_left < len(left):
            element = left[at_left]
            if element not in on_right:
                out.append(live[at_left])
                at_left += 1
                continue
            if at_right >= len(right):
                at_left += 1
                continue
        element = right[at_right]
        out.append(merge(node.items, on_left.get(element, MISSING), on_right[element]))
        if element == following:
            following = next(upcoming, None)
        at_right += 1
    return out


# Removing ---------------------------------------------------------------------------------------------


def remove(node: Node, value: Any, fields: Fields) -> Any:
    """Return an object without the members of a set; MISSING if nothing of it is left."""
    if _granular_map(node, value):
        found = {}
        for name, inner in value.items():
            element = name_element(name)
            below = fields.children.get(element)
            if below is None:
                found[name] = inner
            elif not below.member:
                left = remove(_child(node, name), inner, below)
                # A field that lost its content is still there: it was not itself removed.
                found[name] = None if left is MISSING else left
        return found if found else MISSING
    if _granular_list(node, value):
        assert node.items is not None
        kept = []
        for inner in value:
            below = fields.children.get(element_of(node, inner))
            if below is None:
                kept.append(inner)
            elif not below.member:
                left = remove(node.items, inner, below)
                if left is not MISSING:
                    kept.append(left)
        return kept if kept else MISSING
    return value


def named_members(node: Node, fields: Fields) -> Fields:
    """Return a set in which described fields that have members below them are members as well."""
    children = {}
    for element, child in fields.children.items():
        if element[0] == "f":
            name = element[2:]
            below = named_members(_child(node, name), child)
            below.member = child.member or _is_named(node, name)
        else:
            below = named_members(node.items or ANYTHING, child)
            below.member = child.member
        children[element] = below
    return Fields(fields.member, children)
