"""From what a client sent to what may be stored: the steps that creates and updates have in common."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from rayctl.embedded.apiserver.documents import copied
from rayctl.embedded.apiserver.errors import FieldError, invalid_value
from rayctl.embedded.apiserver.metadata import validate_metadata, validate_metadata_update
from rayctl.embedded.apiserver.resources import Resource, Scale
from rayctl.embedded.apiserver.schema.decode import prune
from rayctl.embedded.apiserver.schema.defaults import apply_defaults, drop_nulls
from rayctl.embedded.apiserver.schema.node import MISSING
from rayctl.embedded.apiserver.schema.rules import NOT_CHECKED, check_rules, has_rules
from rayctl.embedded.apiserver.schema.validate import NOWHERE, validate, validate_lists

__all__ = ["at_path", "convert", "fill_in", "same_state", "spec_changed", "validate_new", "validate_update"]

_META = ("apiVersion", "kind", "metadata")


def fill_in(resource: Resource, document: dict[str, Any]) -> None:
    """Apply defaults, in place."""
    if resource.custom:
        drop_nulls(resource.node, document)
        apply_defaults(resource.node, document)
    resource.rules.default(document)


def convert(resource: Resource, document: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object of another version of a kind in this one: what it does not know goes.

    The result may share parts with what was given if it has this version already.
    """
    if document.get("apiVersion") == resource.api_version:
        if not resource.custom or not resource.node.has_defaults:
            return dict(document)
        found = copied(dict(document))
        apply_defaults(resource.node, found)
        return found
    found = copied(dict(document))
    found["apiVersion"] = resource.api_version
    if resource.custom:
        prune(resource.node, found, "", [])
        return found
    return resource.rules.from_storage(found)


def at_path(document: Any, path: tuple[str, ...]) -> Any:
    """Return what stands at a path; None if there is nothing."""
    for part in path:
        document = document.get(part) if isinstance(document, dict) else None
    return document


def _check_scale(scale: Scale, document: Mapping[str, Any]) -> list[FieldError]:
    errors: list[FieldError] = []
    for path in (scale.spec, scale.status):
        value = at_path(document, path)
        shown = "." + ".".join(path)
        if value is None:
            inner: Any = document
            for part in path[:-1]:
                inner = inner.get(part) if isinstance(inner, dict) else inner
            if inner is not None and not isinstance(inner, dict):
                errors.append(invalid_value(shown, inner, "accessor error: value is not a map"))
            continue
        if not isinstance(value, int) or isinstance(value, bool):
            errors.append(invalid_value(shown, value, "accessor error: value is not an integer"))
        elif value < 0:
            errors.append(invalid_value(shown, value, "should be a non-negative integer"))
        elif value > 2**31 - 1:
            errors.append(invalid_value(shown, value, "should be less than or equal to 2147483647"))
    return errors


def _check_content(
    resource: Resource, document: Mapping[str, Any], old: Mapping[str, Any] | None = None
) -> list[FieldError]:
    content = {name: value for name, value in document.items() if name not in _META}
    errors = validate(resource.node, content, "")
    errors += validate_lists(resource.node, content, "")
    if resource.scale is not None:
        errors += _check_scale(resource.scale, document)
    if has_rules(resource.node):
        if errors:
            return [*errors, FieldError("Invalid", NOWHERE, f"Invalid value: null: {NOT_CHECKED}")]
        before = MISSING if old is None else _seen_by_rules(old)
        errors = check_rules(resource.node, _seen_by_rules(document), before, "")
    return errors


def _seen_by_rules(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object as rules see it: of its metadata only the names."""
    names = {name: value for name, value in document["metadata"].items() if name in ("name", "generateName")}
    return {**document, "metadata": names}


def validate_new(resource: Resource, document: Mapping[str, Any]) -> list[FieldError]:
    """Return everything that is wrong with a new object."""
    errors = validate_metadata(document["metadata"], resource.rules.name_rule, not resource.custom)
    if resource.custom:
        errors += _check_content(resource, document)
    return errors + resource.rules.validate(document)


def validate_update(
    resource: Resource, new: Mapping[str, Any], old: Mapping[str, Any], subresource: str
) -> list[FieldError]:
    """Return everything that is wrong with a change. Errors that were there before, and not touched, are let pass."""
    # Twice, because kube-apiserver checks metadata before and in a kind's own rules, and tells both.
    errors = 2 * validate_metadata_update(new["metadata"], old["metadata"], not resource.custom)
    if resource.custom:
        found = _check_content(resource, new, old)
        if found:
            # What was stored before the schema became stricter may stay as it is.
            before = {(error.kind, error.field) for error in _check_content(resource, old)}
            found = [e for e in found if (e.kind, e.field) not in before or not _unchanged(new, old, e.field)]
        errors += found
    errors += resource.rules.validate_update(new, old, subresource)
    if not resource.custom and not subresource:
        errors += resource.rules.validate(new)
    return errors


_STEP = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]")


def _unchanged(new: Any, old: Any, path: str) -> bool:
    """Whether the value at a cause's path is the same as before."""
    if path == NOWHERE:
        return all(new.get(name) == old.get(name) for name in {*new, *old} - {"metadata"})
    for name, index in _STEP.findall(path):
        if name:
            new, old = (value.get(name) if isinstance(value, dict) else None for value in (new, old))
        else:
            at = int(index)
            new, old = (value[at] if isinstance(value, list) and at < len(value) else None for value in (new, old))
    return bool(new == old)


def spec_changed(resource: Resource, new: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    """Whether a change counts for ``metadata.generation``."""
    ignored = {"metadata", "status"} if resource.has_status else {"metadata"}
    names = (new.keys() | old.keys()) - ignored
    return any(new.get(name) != old.get(name) for name in names)


def same_state(new: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    """Whether nothing has changed but, at most, times in managedFields."""
    if new.keys() != old.keys():
        return False
    for name, value in new.items():
        if name != "metadata" and not _equal(value, old[name]):
            return False
    return _equal(_without_times(new["metadata"]), _without_times(old["metadata"]))


def _without_times(metadata: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(metadata)
    if "managedFields" in found:
        found["managedFields"] = sorted(
            ({name: value for name, value in entry.items() if name != "time"} for entry in found["managedFields"]),
            key=lambda entry: (entry["manager"], entry["operation"], entry["apiVersion"], entry.get("subresource", "")),
        )
    return found


def _equal(left: Any, right: Any) -> bool:
    """Like ``==``, but 1 is not True."""
    if isinstance(left, dict):
        return (
            isinstance(right, dict)
            and left.keys() == right.keys()
            and all(_equal(value, right[name]) for name, value in left.items())
        )
    if isinstance(left, list):
        return (
            isinstance(right, list)
            and len(left) == len(right)
            and all(_equal(a, b) for a, b in zip(left, right, strict=True))
        )
    return bool(left == right) and isinstance(left, bool) == isinstance(right, bool)
