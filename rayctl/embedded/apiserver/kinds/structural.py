"""Whether a schema of a custom resource definition is structural: every place has a type, said in one place."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from rayctl.embedded.apiserver.errors import FieldError, forbidden_field, invalid_value, required
from rayctl.embedded.apiserver.schema.decode import prune
from rayctl.embedded.apiserver.schema.node import parse
from rayctl.embedded.apiserver.schema.validate import validate

__all__ = ["check_structure"]

TYPES = ("object", "array", "string", "integer", "number", "boolean")
MAX_PATTERN = 4096
_COMBINATIONS = ("allOf", "anyOf", "oneOf")
_NOT_IN_COMBINATIONS = ("type", "default", "additionalProperties", "nullable", "title", "description")
_FORBIDDEN = ("$ref", "definitions", "dependencies", "patternProperties", "additionalItems", "id", "$schema")


def check_structure(schema: Any, path: str) -> list[FieldError]:
    """Return everything that is wrong with the schema of a version."""
    if not isinstance(schema, Mapping):
        return [invalid_value(path, schema, "must be an object")]
    errors: list[FieldError] = []
    _check_shape(schema, path, errors)
    if errors:
        return errors
    kind = schema.get("type")
    if not kind:
        errors.append(required(f"{path}.type", "must not be empty at the root"))
    elif kind != "object":
        errors.append(invalid_value(f"{path}.type", kind, "must be object at the root"))
    if schema.get("nullable"):
        errors.append(forbidden_field(f"{path}.nullable", "nullable cannot be true at the root"))
    if not errors:
        _check(schema, path, errors, is_root=True)
    return errors


_TEXTS = ("type", "format", "pattern", "title", "description", "x-kubernetes-list-type", "x-kubernetes-map-type")
_NUMBERS = ("minimum", "maximum", "multipleOf")
_COUNTS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
_FLAGS = (
    *("nullable", "uniqueItems", "exclusiveMinimum", "exclusiveMaximum", "x-kubernetes-int-or-string"),
    *("x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"),
)


def _check_shape(schema: Any, path: str, errors: list[FieldError]) -> None:
    """Check that a schema is one at all: keywords have values of their types, here and below."""
    if not isinstance(schema, Mapping):
        errors.append(invalid_value(path, schema, "must be an object"))
        return

    def want(names: tuple[str, ...], good: Callable[[Any], bool], what: str) -> None:
        for name in names:
            if schema.get(name) is not None and not good(schema[name]):
                errors.append(invalid_value(f"{path}.{name}", schema[name], f"must be {what}"))

    want(_TEXTS, lambda value: isinstance(value, str), "a string")
    want(_FLAGS, lambda value: isinstance(value, bool), "a boolean")
    want(_NUMBERS, _is_number, "a number")
    want(_COUNTS, lambda value: _is_number(value) and value == int(value), "an integer")
    want(("enum",), lambda value: isinstance(value, list), "a list")
    want(("required", "x-kubernetes-list-map-keys"), _are_texts, "a list of strings")
    for name in _COMBINATIONS:
        branches = schema.get(name) or []
        want((name,), lambda value: isinstance(value, list), "a list")
        for index, branch in enumerate(branches if isinstance(branches, list) else []):
            _check_shape(branch, f"{path}.{name}[{index}]", errors)
    if schema.get("not") is not None:
        _check_shape(schema["not"], f"{path}.not", errors)
    if schema.get("items") is not None and not isinstance(schema["items"], list):
        _check_shape(schema["items"], f"{path}.items", errors)
    if schema.get("additionalProperties") is not None and not isinstance(schema["additionalProperties"], bool):
        _check_shape(schema["additionalProperties"], f"{path}.additionalProperties", errors)
    want(("properties",), lambda value: isinstance(value, Mapping), "an object")
    properties = schema.get("properties")
    for name, inner in properties.items() if isinstance(properties, Mapping) else ():
        _check_shape(inner, f"{path}.properties[{name}]", errors)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _check(schema: Any, path: str, errors: list[FieldError], is_root: bool = False) -> None:
    if not isinstance(schema, Mapping):
        errors.append(invalid_value(path, schema, "must be an object"))
        return
    free = schema.get("x-kubernetes-int-or-string") or (
        schema.get("x-kubernetes-preserve-unknown-fields") and not schema.get("x-kubernetes-embedded-resource")
    )
    kind = schema.get("type")
    if not kind and not free:
        errors.append(required(f"{path}.type", "must not be empty for specified object fields"))
    elif kind and kind not in TYPES:
        errors.append(invalid_value(f"{path}.type", kind, f"must be one of {', '.join(TYPES)}"))
    for name in _FORBIDDEN:
        if schema.get(name):
            errors.append(forbidden_field(f"{path}.{name}", f"{name} is not supported"))
    if schema.get("uniqueItems"):
        text = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        errors.append(forbidden_field(f"{path}.uniqueItems", text))
    _check_pattern(schema, path, errors)
    _check_list(schema, path, errors)
    _check_map(schema, path, errors, is_root)
    _check_combinations(schema, path, errors)
    _check_default(schema, path, errors)


def _check_pattern(schema: Mapping[str, Any], path: str, errors: list[FieldError]) -> None:
    pattern = schema.get("pattern")
    if not pattern:
        return
    try:
        re.compile(pattern)
    except re.error as error:
        text = f"must be a valid regular expression, but isn't: {error}"
        errors.append(invalid_value(f"{path}.pattern", pattern, text))
    if len(pattern) > MAX_PATTERN:
        errors.append(invalid_value(f"{path}.pattern", "", f"must be at most {MAX_PATTERN} characters long"))


def _check_list(schema: Mapping[str, Any], path: str, errors: list[FieldError]) -> None:
    items = schema.get("items")
    if schema.get("type") == "array" and items is None:
        errors.append(required(f"{path}.items", "must be specified"))
    if isinstance(items, list):
        errors.append(forbidden_field(f"{path}.items", "items must be a schema object and not an array"))
        return
    if items is not None:
        _check(items, f"{path}.items", errors)
    kind, keys = schema.get("x-kubernetes-list-type"), schema.get("x-kubernetes-list-map-keys") or []
    if kind not in (None, "atomic", "set", "map"):
        errors.append(invalid_value(f"{path}.x-kubernetes-list-type", kind, "must be one of atomic, set, map"))
    if kind != "map":
        if keys:
            text = "must be map if x-kubernetes-list-map-keys is non-empty"
            errors.append(invalid_value(f"{path}.x-kubernetes-list-type", kind, text))
        return
    if not keys:
        text = "must not be empty if x-kubernetes-list-type is map"
        errors.append(required(f"{path}.x-kubernetes-list-map-keys", text))
    properties = (items or {}).get("properties") or {}
    for index, key in enumerate(keys):
        if key not in properties:
            text = "entries must all be names of item properties"
            errors.append(invalid_value(f"{path}.x-kubernetes-list-map-keys[{index}]", key, text))
        elif key not in ((items or {}).get("required") or []) and "default" not in properties[key]:
            text = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
            errors.append(required(f"{path}.items.properties[{key}].default", text))


def _check_map(schema: Mapping[str, Any], path: str, errors: list[FieldError], is_root: bool) -> None:
    properties, values = schema.get("properties") or {}, schema.get("additionalProperties")
    if properties and values not in (None, False):
        text = "additionalProperties and properties are mutual exclusive"
        errors.append(forbidden_field(f"{path}.additionalProperties", text))
    elif isinstance(values, Mapping):
        _check(values, f"{path}.additionalProperties", errors)
    for name, inner in properties.items():
        where = f"{path}.properties[{name}]"
        if name == "metadata" and (is_root or schema.get("x-kubernetes-embedded-resource")):
            allowed = {"type", "properties", "description", "x-kubernetes-preserve-unknown-fields"}
            more = set((inner or {}).get("properties") or {}) - {"name", "generateName"}
            if more or set(inner or {}) - allowed:
                text = "must not specify anything other than name and generateName, but metadata is implicit"
                errors.append(forbidden_field(where, text))
            continue
        _check(inner, where, errors)


def _check_combinations(schema: Mapping[str, Any], path: str, errors: list[FieldError]) -> None:
    for name in _COMBINATIONS:
        for index, branch in enumerate(schema.get(name) or []):
            _check_branch(branch, schema, f"{path}.{name}[{index}]", errors)
    if schema.get("not"):
        _check_branch(schema["not"], schema, f"{path}.not", errors)


def _check_branch(branch: Any, outer: Mapping[str, Any], path: str, errors: list[FieldError]) -> None:
    if not isinstance(branch, Mapping):
        errors.append(invalid_value(path, branch, "must be an object"))
        return
    allowed = bool(outer.get("x-kubernetes-int-or-string"))
    for name in _NOT_IN_COMBINATIONS:
        if name in branch and not (allowed and name == "type"):
            errors.append(forbidden_field(f"{path}.{name}", "must be empty to be structural"))
    for name, inner in (branch.get("properties") or {}).items():
        known = (outer.get("properties") or {}).get(name)
        if known is None and not outer.get("x-kubernetes-preserve-unknown-fields"):
            where = path.rpartition(".")[0]
            text = f"because it is defined in {path}.properties[{name}]"
            errors.append(required(f"{where}.properties[{name}]", text))
        _check_branch(inner, known or {}, f"{path}.properties[{name}]", errors)
    if isinstance(branch.get("items"), Mapping):
        _check_branch(branch["items"], outer.get("items") or {}, f"{path}.items", errors)
    _check_combinations(branch, path, errors)


def _check_default(schema: Mapping[str, Any], path: str, errors: list[FieldError]) -> None:
    if "default" not in schema or any(error.field.startswith(path + ".") for error in errors):
        return
    try:
        node = parse(schema)
        found = validate(node, schema["default"], f"{path}.default")
        unknown: list[str] = []
        if not found:
            prune(node, _copy(schema["default"]), "", unknown)
    except (TypeError, KeyError, re.error):
        return  # the schema itself is broken, and that is told elsewhere
    errors.extend(found)
    if unknown:
        errors.append(invalid_value(f"{path}.default", schema["default"], "must not have unknown fields"))


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _copy(inner) for name, inner in value.items()}
    return [_copy(inner) for inner in value] if isinstance(value, list) else value
