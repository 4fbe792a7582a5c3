"""Bodies of requests: from bytes to an object of a kind, with everything that is strange about it told."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import yaml

from rayctl.embedded.apiserver.errors import (
    ApiError,
    FieldError,
    bad_request,
    invalid,
    invalid_value,
    too_large,
    unsupported_media_type,
)
from rayctl.embedded.apiserver.protobuf import MEDIA, NotReadable, decode_protobuf
from rayctl.embedded.apiserver.requests import Request
from rayctl.embedded.apiserver.resources import Resource
from rayctl.embedded.apiserver.schema.decode import TypeMismatch, coerce, load_json, prune, unreadable, whole_text
from rayctl.embedded.apiserver.schema.node import OBJECT_META

__all__ = ["MAX_BODY", "READABLE", "Decoded", "check_strict", "decode", "decode_parsed", "media_type", "parse_yaml"]

MAX_BODY = 3_145_728
MAX_DEPTH = 100
MAX_NODES = 100_000
READABLE = ("application/json", "application/yaml", "application/vnd.kubernetes.protobuf")


@dataclass
class Decoded:
    """An object, and the fields that were unknown or there twice."""

    document: dict[str, Any]
    strange: list[str]


def media_type(request: Request) -> str:
    """Return the body's type without parameters."""
    return request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()


def check_size(request: Request) -> None:
    """Refuse bodies beyond the limit.

    Raises:
        ApiError: 413.
    """
    if len(request.body) > MAX_BODY:
        raise too_large(f"Request entity too large: limit is {MAX_BODY}")


_DEEP = re.compile(rb"(?:[\[{]\s*){%d}" % (MAX_DEPTH + 2))
"""So many brackets in a row would cost the YAML scanner a quarter of a second before their depth is noticed."""


class _StrictLoader(yaml.SafeLoader):
    """YAML without aliases, whose expansion could be made arbitrarily large, and not deeper than JSON may be."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not accepted")
        self.depth += 1
        if self.depth > MAX_DEPTH + 1:
            raise yaml.YAMLError(f"the document is nested deeper than {MAX_DEPTH}")
        found = super().compose_node(parent, index)
        self.depth -= 1
        return found


# YAML 1.1 as Go's library reads it: a bare y or n is a boolean.
_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:bool",
    re.compile(r"^(?:y|Y|n|N|yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF)$"),
    list("yYnNtTfFoO"),
)
_StrictLoader.bool_values = {**yaml.SafeLoader.bool_values, "y": True, "n": False}
# Times stay texts, as they do in JSON.
_StrictLoader.yaml_implicit_resolvers = {
    letter: [(tag, regexp) for tag, regexp in found if tag != "tag:yaml.org,2002:timestamp"]
    for letter, found in _StrictLoader.yaml_implicit_resolvers.items()
}


def _twice(node: Any, path: str, out: list[str]) -> None:
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            name = str(key.value)
            where = f"{path}.{name}" if path else name
            if name in seen:
                out.append(where)
            seen.add(name)
            _twice(value, where, out)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _twice(value, f"{path}[{index}]", out)


def parse_yaml(raw: bytes) -> tuple[Any, list[str]]:
    """Return a YAML document and the paths of keys that are there twice.

    Raises:
        ValueError: Not YAML, or more than one document.
    """
    if raw.lstrip()[:1] == b"{":
        # JSON is YAML, and most clients send it; this is faster and reads its escapes right.
        with suppress(ValueError, RecursionError):
            return load_json(raw)
    if _DEEP.search(raw):
        raise ValueError(f"error converting YAML to JSON: the document is nested deeper than {MAX_DEPTH}")
    try:
        loader = _StrictLoader(raw)
        try:
            node = loader.get_single_node()
            twice: list[str] = []
            _twice(node, "", twice)
            document = None if node is None else loader.construct_document(node)
        finally:
            loader.dispose()
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"error converting YAML to JSON: {error}") from None
    return _text_keys(document), twice


def _text_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {whole_text(_key(name)): _text_keys(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_text_keys(inner) for inner in value]
    return whole_text(value) if isinstance(value, str) else value


def _key(name: Any) -> str:
    if isinstance(name, bool):
        return "true" if name else "false"
    return name if isinstance(name, str) else str(name)


def parse(request: Request, kind: str) -> tuple[Any, list[str]]:
    """Return the body as plain data and the fields that are there twice.

    Raises:
        ApiError: 400, 413 or 415.
    """
    check_size(request)
    found = media_type(request)
    if found == MEDIA:
        try:
            return decode_protobuf(request.body), []
        except NotReadable:
            raise unsupported_media_type(READABLE[:2]) from None
    if found not in READABLE[:2]:
        raise unsupported_media_type(READABLE)
    try:
        if found == "application/yaml":
            document, twice = parse_yaml(request.body)
        else:
            document, twice = load_json(request.body)
    except (ValueError, RecursionError) as error:
        raise unreadable(kind, error, request.body) from None
    check_depth(document)
    return document, [f'duplicate field "{path}"' for path in twice]


def check_depth(document: Any) -> None:
    """Refuse documents that are nested too deeply or have too many values.

    Raises:
        ApiError: 400.
    """
    level, count, depth = [document], 0, 0
    while level:
        depth += 1
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                below.extend(value.values())
            elif isinstance(value, list):
                below.extend(value)
        count += len(below)
        if depth > MAX_DEPTH or count > MAX_NODES:
            raise bad_request(f"the document is nested deeper than {MAX_DEPTH} or has more than {MAX_NODES} values")
        level = [value for value in below if isinstance(value, (dict, list))]


def decode(request: Request, resource: Resource) -> Decoded:
    """Read an object of a kind.

    Raises:
        ApiError: 400, 413, 415, or 422 for a custom resource of another kind.
    """
    document, twice = parse(request, resource.kind)
    found = decode_parsed(document, resource, request.body)
    found.strange = twice + found.strange
    return found


def decode_parsed(document: Any, resource: Resource, raw: bytes = b"") -> Decoded:
    """Give plain data the form of a kind: names checked, unknown fields out, types right (of built-in kinds).

    Raises:
        ApiError: 400, or 422 for a custom resource of another kind.
    """
    kind = resource.kind
    shown = raw[:30].decode("utf-8", "replace")
    if not isinstance(document, dict):
        if document is None:
            text = f"the object provided is unrecognized (must be of type {kind})"
            raise bad_request(f"{text}: Object 'Kind' is missing in 'null' ({shown})")
        raise unreadable(kind, ValueError("json: cannot unmarshal into an object"), raw)
    _check_names(document, resource, shown)
    if resource.custom:
        return _decode_custom(document, resource)
    strange: list[str] = []
    try:
        found = coerce(resource.node, document, kind, "", strange)
    except TypeMismatch as error:
        raise _cannot_be_handled(resource, f"json: {error}") from None
    found["apiVersion"], found["kind"] = resource.api_version, kind
    found.setdefault("metadata", {})
    return Decoded(found, [f'unknown field "{path}"' for path in strange])


def _check_names(document: dict[str, Any], resource: Resource, shown: str) -> None:
    version, kind = document.get("apiVersion", ""), document.get("kind", "")
    if not isinstance(version, str) or not isinstance(kind, str):
        raise bad_request(f"the object provided is unrecognized (must be of type {resource.kind}): ({shown})")
    if resource.custom and (not kind or not version):
        missing = "Kind" if not kind else "apiVersion"
        raise bad_request(
            f"the object provided is unrecognized (must be of type {resource.kind}): "
            f"Object '{missing}' is missing in '{shown}' ({shown})"
        )
    if version and version != resource.api_version:
        raise bad_request(
            f"the API version in the data ({version}) does not match the expected API version ({resource.api_version})"
        )
    if kind and kind != resource.kind:
        if not resource.custom:
            raise bad_request(
                f'{kind} in version "{resource.version}" cannot be handled as a {resource.kind}: unknown conversion'
            )
        raise wrong_kind(document, resource)


def wrong_kind(document: dict[str, Any], resource: Resource) -> ApiError:
    """Return the failure for a custom resource of another kind or version than its path says."""
    kind = document.get("kind", "")
    metadata = document.get("metadata")
    name = metadata.get("name", "") if isinstance(metadata, dict) else ""
    errors: list[FieldError] = []
    if document.get("apiVersion") != resource.api_version:
        errors.append(invalid_value("apiVersion", document.get("apiVersion"), f"must be {resource.api_version}"))
    if kind != resource.kind:
        errors.append(invalid_value("kind", kind, f"must be {resource.kind}"))
    return invalid(resource.group, kind, name, errors)


def _cannot_be_handled(resource: Resource, why: str) -> ApiError:
    return bad_request(f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: {why}')


def _decode_custom(document: dict[str, Any], resource: Resource) -> Decoded:
    unknown: list[str] = []
    metadata = document.get("metadata")
    try:
        document["metadata"] = coerce(
            OBJECT_META, {} if metadata is None else metadata, "ObjectMeta", "metadata", unknown
        )
    except TypeMismatch as error:
        raise _cannot_be_handled(resource, f"json: {error}") from None
    prune(resource.node, document, "", unknown)
    return Decoded(document, [f'unknown field "{path}"' for path in sorted(unknown)])


def check_strict(found: Decoded, validation: str, resource: Resource, patching: bool = False) -> list[str]:
    """Return the warnings for strange fields, as the client wants it.

    Raises:
        ApiError: 400 (422 for a patch) if the client wants that.
    """
    if not found.strange or validation == "Ignore":
        return []
    if validation == "Strict":
        joined = ", ".join(found.strange)
        if patching:
            error = invalid_value("patch", "{...}", f"strict decoding error: {joined}")
            failure = invalid("", "", "", [error])
            failure.details = {"causes": [error.cause]}
            raise failure
        raise _cannot_be_handled(resource, f"strict decoding error: {joined}")
    return found.strange
