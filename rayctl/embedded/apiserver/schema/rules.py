"""Validation rules in CEL (``x-kubernetes-validations``): compiled once, evaluated on what the schema accepts.

CEL itself comes from the package ``cel-expr-python`` (the extra ``cel``). Without it, definitions with rules are
accepted, the rules are not checked, and whoever writes such a definition is warned.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from rayctl.embedded.apiserver.errors import FieldError, invalid_value, required
from rayctl.embedded.apiserver.schema.node import MISSING, Node, parse

__all__ = ["NOT_CHECKED", "check_definition", "check_rules", "has_rules", "matcher", "unchecked"]

KEYWORD = "x-kubernetes-validations"
NOT_CHECKED = (
    "some validation rules were not checked because the object was invalid; correct the existing errors to complete "
    "validation"
)
_REASONS = {
    "FieldValueInvalid": "Invalid value",
    "FieldValueRequired": "Required value",
    "FieldValueForbidden": "Forbidden",
    "FieldValueDuplicate": "Duplicate value",
}
_OF_KUBERNETES = frozenset(
    {"isSorted", "sum", "min", "max", "indexOf", "lastIndexOf", "find", "findAll", "url", "isURL", "quantity"}
    | {"isQuantity", "ip", "isIP", "cidr", "isCIDR", "format", "semver", "isSemver", "authorizer"}
)
"""Functions that kube-apiserver adds to CEL and that are not here: rules with them are accepted and not checked."""
_UNDECLARED = re.compile(r"undeclared reference to '([A-Za-z_]\w*)'")
_TEXT = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")
_CHAIN = re.compile(r"(?<![\w.])(?:self|oldSelf)((?:\.[A-Za-z_]\w*(?!\w*\s*\())+)")


@dataclass(frozen=True)
class _Compiled:
    """``program`` None: ``problem`` says why; ``foreign``: only because of a function that is not here."""

    program: Any
    problem: str = ""
    foreign: bool = False


@cache
def _environment() -> Any:
    """Return CEL with the two variables of rules; None if the package is not installed."""
    try:
        from cel_expr_python import cel
        from cel_expr_python.ext import ext_math, ext_optional, ext_strings
    except ImportError:
        return None
    extensions = [ext_strings.ExtStrings(), ext_math.ExtMath(), ext_optional.ExtOptional()]
    return cel.NewEnv(variables={"self": cel.Type.DYN, "oldSelf": cel.Type.DYN}, extensions=extensions)


@lru_cache(maxsize=2_000)
def _compile(rule: str) -> _Compiled:
    environment = _environment()
    assert environment is not None
    try:
        return _Compiled(environment.compile(rule))
    except RuntimeError as error:
        text = str(error).removeprefix("INVALID_ARGUMENT: ").removesuffix(" [INVALID_ARGUMENT]")
        names = set(_UNDECLARED.findall(text))
        return _Compiled(None, text, bool(names) and names <= _OF_KUBERNETES)


def matcher(pattern: str) -> Callable[[str], bool] | None:
    """Return a test for texts by RE2, CEL's engine; None without CEL, or if RE2 does not know the pattern's syntax."""
    if _environment() is None:
        return None
    compiled = _compile(f"self.matches({json.dumps(pattern)})")
    if compiled.program is None or not isinstance(_run(compiled, {"self": ""}), bool):
        return None
    return lambda text: _run(compiled, {"self": text}) is True


# Definitions ------------------------------------------------------------------------------------------


def _rules_below(schema: Any, path: str) -> Iterator[tuple[Mapping[str, Any], Any, str]]:
    """Yield (schema, its rules, its path) wherever there are rules."""
    if not isinstance(schema, Mapping):
        return
    if schema.get(KEYWORD) is not None:
        yield schema, schema[KEYWORD], f"{path}.{KEYWORD}"
    properties = schema.get("properties")
    for name, inner in properties.items() if isinstance(properties, Mapping) else ():
        yield from _rules_below(inner, f"{path}.properties[{name}]")
    for name in ("items", "additionalProperties"):
        yield from _rules_below(schema.get(name), f"{path}.{name}")


def check_definition(schema: Mapping[str, Any], path: str) -> list[FieldError]:
    """Return what is wrong with the rules of a schema that is structural."""
    errors: list[FieldError] = []
    for where, rules, place in _rules_below(schema, path):
        if not isinstance(rules, list):
            errors.append(invalid_value(place, rules, "must be a list"))
            continue
        for index, rule in enumerate(rules):
            errors += _check_rule(where, rule, f"{place}[{index}]")
    return errors


def _check_rule(schema: Mapping[str, Any], rule: Any, path: str) -> list[FieldError]:
    if not isinstance(rule, Mapping):
        return [invalid_value(path, rule, "must be an object")]
    for name in ("rule", "message", "messageExpression", "reason", "fieldPath"):
        if not isinstance(rule.get(name) or "", str):
            return [invalid_value(f"{path}.{name}", rule[name], "must be a string")]
    text = rule.get("rule") or ""
    if not text.strip():
        return [required(f"{path}.rule", "rule is not specified")]
    if rule.get("reason") and rule["reason"] not in _REASONS:
        return [invalid_value(f"{path}.reason", rule["reason"], f"must be one of {', '.join(sorted(_REASONS))}")]
    if _environment() is None:
        return []
    errors: list[FieldError] = []
    for name in ("rule", "messageExpression"):
        found = _compile(rule[name]) if rule.get(name) else None
        problem = "" if found is None or found.foreign else found.problem or _undefined(parse(schema), rule[name])
        if problem:
            errors.append(invalid_value(f"{path}.{name}", dict(rule), f"compilation failed: {problem}"))
    return errors


def _undefined(node: Node, rule: str) -> str:
    """Return the first field that a rule names and the schema does not have."""
    for chain in _CHAIN.findall(_TEXT.sub("''", rule)):
        at: Node | None = node
        for name in chain[1:].split("."):
            if at is None or at.preserve or at.values is not None or not at.properties or name.startswith("__"):
                break
            if name not in at.properties:
                if at is node and name in ("metadata", "apiVersion", "kind"):
                    break
                return f"undefined field '{name}'"
            at = at.properties[name]
    return ""


def unchecked(schema: Any) -> str:
    """Return what the author of a definition should know: which of its rules are not checked; empty if all are."""
    rules = [rule for _, found, _ in _rules_below(schema, "") if isinstance(found, list) for rule in found]
    if not rules:
        return ""
    if _environment() is None:
        return f"{KEYWORD}: {len(rules)} rules are stored and not checked, because cel-expr-python is not installed"
    foreign = [rule["rule"] for rule in rules if isinstance(rule, Mapping) and _compile(str(rule.get("rule"))).foreign]
    if not foreign:
        return ""
    return f"{KEYWORD}: not checked, because they use functions that are not offered here: {'; '.join(foreign)}"


# Objects ----------------------------------------------------------------------------------------------


@lru_cache(maxsize=1_000)
def _has_rules(node: Node) -> bool:
    below = [*node.properties.values(), *([node.values] if node.values else []), *([node.items] if node.items else [])]
    return bool(node.source.get(KEYWORD)) or any(_has_rules(inner) for inner in below)


def has_rules(node: Node) -> bool:
    """Whether there are rules, here or below, and something that can evaluate them."""
    return _has_rules(node) and _environment() is not None


def check_rules(node: Node, value: Any, old: Any, path: str) -> list[FieldError]:
    """Return which rules do not hold. ``old``: the value before; `MISSING` if there was none.

    Rules that speak of ``oldSelf`` are only for changes.
    """
    errors: list[FieldError] = []
    _check(node, value, old, path, errors)
    return errors


def _check(node: Node, value: Any, old: Any, path: str, errors: list[FieldError]) -> None:
    if value is None or not _has_rules(node):
        return
    for rule in node.source.get(KEYWORD) or ():
        error = _evaluate(rule, value, old, path)
        if error is not None:
            errors.append(error)
    if isinstance(value, dict):
        for name, inner in value.items():
            child = node.properties.get(name) or node.values
            if child is not None:
                before = old.get(name, MISSING) if isinstance(old, dict) else MISSING
                _check(child, inner, before, f"{path}.{name}" if path else name, errors)
    elif isinstance(value, list) and node.items is not None:
        before_by_key = _by_key(node, old)
        for index, inner in enumerate(value):
            before = before_by_key.get(_key(node, inner), MISSING)
            _check(node.items, inner, before, f"{path}[{index}]", errors)


def _key(node: Node, element: Any) -> str:
    return repr([element.get(name) for name in node.list_keys]) if isinstance(element, dict) else ""


def _by_key(node: Node, old: Any) -> dict[str, Any]:
    """Return a list's old elements; only those of lists by key can be told from each other."""
    if node.list_type != "map" or not isinstance(old, list):
        return {}
    return {_key(node, element): element for element in old}


def _evaluate(rule: Mapping[str, Any], value: Any, old: Any, path: str) -> FieldError | None:
    text = str(rule["rule"])
    compiled = _compile(text)
    if compiled.program is None:
        return None
    variables = {"self": value}
    if re.search(r"\boldSelf\b", text):
        if old is MISSING or old is None:
            return None
        variables["oldSelf"] = old
    found = _run(compiled, variables)
    if found is True:
        return None
    message = _message(rule, variables) if found is False else f"rule evaluation error: {found}"
    reason = str(rule.get("reason") or "FieldValueInvalid")
    where = path + str(rule.get("fieldPath") or "") if path else str(rule.get("fieldPath") or "").lstrip(".")
    if reason == "FieldValueInvalid" and not isinstance(value, (dict, list)):
        return invalid_value(where, value, message)
    return FieldError(reason.removeprefix("FieldValue"), where or "<nil>", f"{_REASONS[reason]}: {message}")


def _run(compiled: _Compiled, variables: Mapping[str, Any]) -> Any:
    """Return the result; an exception if there is none: no such field, a number beyond 64 bits, too many steps."""
    try:
        result = compiled.program.eval(data=variables)
    except (RuntimeError, OverflowError, TypeError, ValueError) as error:
        return error
    return RuntimeError(result.value()) if result.type().name() == "ERROR" else result.plain_value()


def _message(rule: Mapping[str, Any], variables: Mapping[str, Any]) -> str:
    expression = rule.get("messageExpression")
    if expression:
        compiled = _compile(str(expression))
        if compiled.program is not None:
            found = _run(compiled, variables)
            if isinstance(found, str) and found.strip():
                return found
    return str(rule.get("message") or f"failed rule: {rule['rule']}")
