"""From what a client sent to what the schema knows: types of built-in kinds, unknown and repeated fields.

Types that do not fit are errors of the request (400), as they are for servers that read into typed structures.
"""

from __future__ import annotations

import json
import re
from typing import Any

from rayctl.embedded.apiserver.errors import bad_request
from rayctl.embedded.apiserver.schema.formats import micro_time, seconds_time
from rayctl.embedded.apiserver.schema.node import Node

__all__ = ["TypeMismatch", "coerce", "load_json", "prune"]

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]|\xed[\xa0-\xbf]")
_COLON = re.compile(rb'"\s*:')
_GO = {str: "string", bool: "bool", int: "number", float: "number", dict: "object", list: "array"}
_WANTED = {"string": "string", "boolean": "bool", "integer": "int", "number": "float64"}


class TypeMismatch(Exception):
    """A value of another type than its field has."""


def load_json(raw: bytes) -> tuple[Any, list[str]]:
    """Return a JSON document and the paths of fields that are there twice (the last one counts).

    Raises:
        ValueError: Not JSON.
        RecursionError: Nested too deeply.
    """
    document = json.loads(raw, parse_float=_number)
    if _SURROGATE.search(raw):
        document = whole_text(document)
    if len(_COLON.findall(raw)) == _keys(document):
        return document, []
    # Texts that contain a quote and a colon come here as well; this way is slower.
    repeated: list[str] = []

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in found}) != len(found):
            seen: set[str] = set()
            twice = [name for name, _ in found if name in seen or seen.add(name)]  # type: ignore[func-returns-value]
            return _Repeated(found, twice)
        return dict(found)

    _name_repeated(json.loads(raw, object_pairs_hook=pairs), "", repeated)
    return document, repeated


def whole_text(value: Any) -> Any:
    """Return a document whose texts are sound Unicode: pairs of surrogates joined, single ones replaced."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {whole_text(name): whole_text(inner) for name, inner in value.items()}
    return [whole_text(inner) for inner in value] if isinstance(value, list) else value


def _number(text: str) -> float:
    """Whole numbers are whole, however they were written."""
    value = float(text)
    return int(value) if value.is_integer() and abs(value) < 1e21 else value


class _Repeated(dict[str, Any]):
    def __init__(self, found: list[tuple[str, Any]], twice: list[str]) -> None:
        super().__init__(found)
        self.twice = twice


def _keys(value: Any) -> int:
    if isinstance(value, dict):
        return len(value) + sum(_keys(found) for found in value.values() if isinstance(found, (dict, list)))
    if isinstance(value, list):
        return sum(_keys(found) for found in value if isinstance(found, (dict, list)))
    return 0


def _name_repeated(value: Any, path: str, out: list[str]) -> None:
    if isinstance(value, _Repeated):
        out.extend(_join(path, name) for name in dict.fromkeys(value.twice))
    if isinstance(value, dict):
        for name, found in value.items():
            _name_repeated(found, _join(path, name), out)
    elif isinstance(value, list):
        for index, found in enumerate(value):
            _name_repeated(found, f"{path}[{index}]", out)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def coerce(node: Node, value: Any, kind: str, path: str, unknown: list[str]) -> Any:
    """Return a value as a typed server reads it: no nulls, no unknown fields (their paths go into ``unknown``).

    Raises:
        TypeMismatch: with a sentence in the API's words.
    """
    if node.int_or_string:
        if isinstance(value, bool) or not isinstance(value, (int, str)):
            raise TypeMismatch(
                f"cannot unmarshal {_go(value)} into Go struct field {kind}.{path} of type int or string"
            )
        return value
    wanted = node.type
    if node.format == "quantity" and isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    if wanted == "object":
        return _coerce_object(node, value, kind, path, unknown)
    if wanted == "array":
        if not isinstance(value, list):
            raise TypeMismatch(f"cannot unmarshal {_go(value)} into Go struct field {kind}.{path} of type []")
        assert node.items is not None
        items = node.items
        return [
            _zero(items) if found is None else coerce(items, found, kind, f"{path}[{index}]", unknown)
            for index, found in enumerate(value)
        ]
    if wanted in _WANTED and not _fits(wanted, value):
        raise TypeMismatch(
            f"cannot unmarshal {_go(value)} into Go struct field {kind}.{path} of type {_WANTED[wanted]}"
        )
    if node.format in ("date-time", "micro-time"):
        try:
            return micro_time(value) if node.format == "micro-time" else seconds_time(value)
        except ValueError:
            raise TypeMismatch(f'parsing time "{value}": cannot parse as an RFC 3339 time') from None
    if wanted == "integer" and isinstance(value, float):
        return int(value)
    if node.format == "byte" and isinstance(value, str):
        return _base64(value)
    return value


def _coerce_object(node: Node, value: Any, kind: str, path: str, unknown: list[str]) -> Any:
    if not isinstance(value, dict):
        wanted = "map[string]string" if node.is_map else path.rsplit(".", 1)[-1]
        raise TypeMismatch(f"cannot unmarshal {_go(value)} into Go struct field {kind}.{path} of type {wanted}")
    found: dict[str, Any] = {}
    for name, inner in value.items():
        child = node.properties.get(name)
        if child is None:
            if node.values is not None:
                where = f"{path}.{name}" if path else name
                found[name] = _zero(node.values) if inner is None else coerce(node.values, inner, kind, where, unknown)
            elif node.preserve:
                found[name] = inner
            else:
                unknown.append(_join(path, name))
        elif inner is not None:
            found[name] = coerce(child, inner, kind, _join(path, name), unknown)
    return found


def _zero(node: Node) -> Any:
    return {"string": "", "integer": 0, "number": 0, "boolean": False, "object": {}, "array": []}.get(node.type)


def _fits(wanted: str, value: Any) -> bool:
    if wanted == "string":
        return isinstance(value, str)
    if wanted == "boolean":
        return isinstance(value, bool)
    if isinstance(value, bool):
        return False
    if wanted == "integer":
        return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return isinstance(value, (int, float))


def _go(value: Any) -> str:
    return _GO.get(type(value), "null")


def _base64(value: str) -> str:
    import base64
    import binascii

    try:
        return base64.b64encode(base64.b64decode(value, validate=True)).decode()
    except (binascii.Error, ValueError):
        raise TypeMismatch("illegal base64 data at input byte 0") from None


def prune(node: Node, value: Any, path: str, unknown: list[str]) -> None:
    """Take fields out of a custom resource that its schema does not describe; their paths go into ``unknown``."""
    if isinstance(value, dict):
        if node.embedded:
            _prune_embedded(node, value, path, unknown)
            return
        for name in list(value):
            child = node.properties.get(name) or node.values
            if child is not None:
                prune(child, value[name], _join(path, name), unknown)
            elif not node.preserve:
                unknown.append(_join(path, name))
                del value[name]
    elif isinstance(value, list) and node.items is not None:
        for index, found in enumerate(value):
            prune(node.items, found, f"{path}[{index}]", unknown)


def _prune_embedded(node: Node, value: dict[str, Any], path: str, unknown: list[str]) -> None:
    from rayctl.embedded.apiserver.schema.node import OBJECT_META

    for name in list(value):
        if name in ("apiVersion", "kind"):
            continue
        if name == "metadata":
            prune(OBJECT_META, value[name], _join(path, name), unknown)
            continue
        child = node.properties.get(name) or node.values
        if child is not None:
            prune(child, value[name], _join(path, name), unknown)
        elif not node.preserve:
            unknown.append(_join(path, name))
            del value[name]


def unreadable(kind: str, error: Exception, raw: bytes) -> Exception:
    """Return the failure for a body that is no document of a kind."""
    text = raw.decode("utf-8", "replace") or "<empty>"
    shown = text if len(text) <= 30 else f"{text[:30]} ..."
    return bad_request(
        f"the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; "
        f"json parse error: {error} ({shown})"
    )
