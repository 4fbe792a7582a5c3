"""Whether an object obeys its schema: all causes at once, in the API's words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rayctl.embedded.apiserver.errors import (
    FieldError,
    duplicate,
    invalid_value,
    not_supported,
    required,
    too_long,
    too_many,
    type_invalid,
)
from rayctl.embedded.apiserver.schema.formats import FORMATS
from rayctl.embedded.apiserver.schema.node import Node, parse
from rayctl.embedded.apiserver.schema.patterns import matches

__all__ = ["validate", "validate_lists"]

INT32 = 2**31
NOWHERE = "<nil>"
"""Where kube-apiserver puts causes that its validation library gives no place."""


def validate(node: Node, value: Any, path: str) -> list[FieldError]:
    """Return everything that is wrong with a value; ``path`` is where it stands (empty for the whole object)."""
    errors: list[FieldError] = []
    _check(node, value, path, errors)
    return errors


def _check(node: Node, value: Any, path: str, errors: list[FieldError]) -> None:
    if value is None:
        if not node.nullable and (node.type or node.int_or_string):
            errors.append(type_invalid(path, value, _wanted(node)))
        return
    if not _right_type(node, value):
        if node.type == "integer" and node.format in ("int32", "int64") and isinstance(value, float):
            text = f"Checked value must be of type integer with format {node.format} in {path}"
            errors.append(invalid_value(NOWHERE, "", text))
        errors.append(type_invalid(path, value, _wanted(node)))
        return
    if isinstance(value, str):
        _check_text(node, value, path, errors)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        _check_number(node, value, path, errors)
    elif isinstance(value, dict):
        _check_object(node, value, path, errors)
    elif isinstance(value, list):
        _check_list(node, value, path, errors)
    if node.checks:
        _check_enum(node, value, path, errors)
        _check_combinations(node, value, path, errors)


def _wanted(node: Node) -> str:
    return "integer,string" if node.int_or_string else node.type


def _right_type(node: Node, value: Any) -> bool:
    if node.int_or_string:
        return isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool))
    wanted = node.type
    if not wanted:
        return True
    if wanted == "object":
        return isinstance(value, dict)
    if wanted == "array":
        return isinstance(value, list)
    if wanted == "string":
        return isinstance(value, str)
    if wanted == "boolean":
        return isinstance(value, bool)
    if isinstance(value, bool):
        return False
    if wanted == "integer":
        return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return isinstance(value, (int, float))


def _check_text(node: Node, value: str, path: str, errors: list[FieldError]) -> None:
    checks = node.checks
    if "maxLength" in checks and len(value) > checks["maxLength"]:
        errors.append(too_long(path, checks["maxLength"]))
    if "minLength" in checks and len(value) < checks["minLength"]:
        errors.append(invalid_value(path, value, f"{path} in body should be at least {checks['minLength']} chars long"))
    if "pattern" in checks and not matches(checks["pattern"], value):
        errors.append(invalid_value(path, value, f"{path} in body should match '{checks['pattern']}'"))
    known = FORMATS.get(node.format)
    if known is not None and node.type in ("string", "") and not known(value):
        errors.append(
            FieldError(
                "TypeInvalid",
                path,
                f'Invalid value: "{value}": {path} in body must be of type {node.format}: "{value}"',
            )
        )


def _check_number(node: Node, value: float, path: str, errors: list[FieldError]) -> None:
    checks = node.checks
    if "maximum" in checks:
        limit, strict = checks["maximum"], checks.get("exclusiveMaximum") is True
        if value > limit or (strict and value == limit):
            word = "less than" if strict else "less than or equal to"
            errors.append(invalid_value(path, value, f"{path} in body should be {word} {limit}"))
    if "minimum" in checks:
        limit, strict = checks["minimum"], checks.get("exclusiveMinimum") is True
        if value < limit or (strict and value == limit):
            word = "greater than" if strict else "greater than or equal to"
            errors.append(invalid_value(path, value, f"{path} in body should be {word} {limit}"))
    if "multipleOf" in checks:
        quotient = value / checks["multipleOf"]
        if abs(quotient - round(quotient)) > 1e-9:
            errors.append(invalid_value(path, value, f"{path} in body should be a multiple of {checks['multipleOf']}"))
    if node.type == "integer" and node.format == "int32" and not -INT32 <= value < INT32:
        errors.append(invalid_value(NOWHERE, "", f"Checked value must be of type integer with format int32 in {path}"))


def _check_object(node: Node, value: dict[str, Any], path: str, errors: list[FieldError]) -> None:
    checks = node.checks
    if "maxProperties" in checks and len(value) > checks["maxProperties"]:
        errors.append(too_many(path, len(value), checks["maxProperties"]))
    if "minProperties" in checks and len(value) < checks["minProperties"]:
        detail = f"{path} in body should have at least {checks['minProperties']} properties"
        errors.append(invalid_value(path, value, detail))
    for name in node.required:
        if name not in value:
            errors.append(required(_join(path, name)))
    if node.embedded:
        for name in ("apiVersion", "kind"):
            if not isinstance(value.get(name), str) or not value[name]:
                errors.append(required(_join(path, name), "must not be empty"))
    for name, inner in value.items():
        child = node.properties.get(name)
        if child is not None:
            _check(child, inner, _join(path, name), errors)
        elif node.values is not None:
            _check(node.values, inner, _join(path, name), errors)


def _check_list(node: Node, value: list[Any], path: str, errors: list[FieldError]) -> None:
    checks = node.checks
    if "maxItems" in checks and len(value) > checks["maxItems"]:
        errors.append(too_many(path, len(value), checks["maxItems"]))
    if "minItems" in checks and len(value) < checks["minItems"]:
        errors.append(
            invalid_value(path, len(value), f"{path} in body should have at least {checks['minItems']} items")
        )
    if node.items is not None:
        for index, inner in enumerate(value):
            _check(node.items, inner, f"{path}[{index}]", errors)


def _check_enum(node: Node, value: Any, path: str, errors: list[FieldError]) -> None:
    if "enum" in node.checks and value not in node.checks["enum"]:
        errors.append(not_supported(path, value, node.checks["enum"]))


def _check_combinations(node: Node, value: Any, path: str, errors: list[FieldError]) -> None:
    checks = node.checks
    for branch in checks.get("allOf", ()):
        _check(_branch(branch), value, path, errors)
    if "anyOf" in checks and not any(_passes(branch, value, path) for branch in checks["anyOf"]):
        errors.append(invalid_value(NOWHERE, "", f'"{path}" must validate at least one schema (anyOf)'))
        _explain(checks["anyOf"], value, path, errors)
    if "oneOf" in checks:
        passing = sum(_passes(branch, value, path) for branch in checks["oneOf"])
        if passing != 1:
            found = "Found none valid" if passing == 0 else f"Found {passing} valid alternatives"
            errors.append(
                invalid_value(NOWHERE, "", f'"{path}" must validate one and only one schema (oneOf). {found}')
            )
            if passing == 0:
                _explain(checks["oneOf"], value, path, errors)
    if "not" in checks and _passes(checks["not"], value, path):
        errors.append(invalid_value(NOWHERE, "", f'"{path}" must not validate the schema (not)'))


def _explain(branches: Iterable[dict[str, Any]], value: Any, path: str, errors: list[FieldError]) -> None:
    """Add what the nearest alternative misses."""
    tried = [validate(_branch(branch), value, path) for branch in branches]
    best = min(tried, key=len, default=[])
    errors.extend(best)


_branches: dict[int, tuple[dict[str, Any], Node]] = {}


def _branch(schema: dict[str, Any]) -> Node:
    """Parse an alternative once; the schema is kept so that its identity stays its own."""
    found = _branches.get(id(schema))
    if found is None or found[0] is not schema:
        found = _branches[id(schema)] = (schema, parse(schema))
    return found[1]


def _passes(branch: dict[str, Any], value: Any, path: str) -> bool:
    return not validate(_branch(branch), value, path)


def validate_lists(node: Node, value: Any, path: str) -> list[FieldError]:
    """Return repeated elements of sets and repeated keys of lists by key."""
    errors: list[FieldError] = []
    _check_unique(node, value, path, errors)
    return errors


def _check_unique(node: Node, value: Any, path: str, errors: list[FieldError]) -> None:
    if isinstance(value, dict):
        for name, inner in value.items():
            child = node.properties.get(name) or node.values
            if child is not None and isinstance(inner, (dict, list)):
                _check_unique(child, inner, _join(path, name), errors)
    elif isinstance(value, list) and node.items is not None:
        if node.list_type != "atomic":
            _check_repeated(node, value, path, errors)
        for index, inner in enumerate(value):
            if isinstance(inner, (dict, list)):
                _check_unique(node.items, inner, f"{path}[{index}]", errors)


def _check_repeated(node: Node, value: list[Any], path: str, errors: list[FieldError]) -> None:
    seen: list[Any] = []
    told: list[Any] = []
    for index, inner in enumerate(value):
        key = inner
        if node.list_type == "map":
            if not isinstance(inner, dict):
                continue
            key = {name: inner[name] for name in node.list_keys if name in inner}
        if key in seen:
            if key not in told:
                told.append(key)
                errors.append(duplicate(f"{path}[{index}]", key))
        else:
            seen.append(key)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
