"""OpenAPI v3: as much as kubectl needs to explain, to apply and to check fields on the server."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from rayctl.embedded.apiserver.errors import PlainText
from rayctl.embedded.apiserver.registry import Registry, schema_definitions
from rayctl.embedded.apiserver.requests import Request, Response
from rayctl.embedded.apiserver.resources import Resource
from rayctl.embedded.apiserver.schema.node import OBJECT_META_SCHEMA
from rayctl.embedded.apiserver.store import dumps

__all__ = ["OpenApi"]

META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
LIST_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta"
_ACTIONS = (
    ("get", "get", "read"),
    ("put", "put", "replace"),
    ("patch", "patch", "patch"),
    ("delete", "delete", "delete"),
)
_PATCHES = ("application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml")


class OpenApi:
    """Documents per group and version, made when they are asked for and kept until the kinds change."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._version = -1
        self._documents: dict[str, bytes] = {}

    def answer(self, request: Request) -> Response | None:
        """Answer a request below ``/openapi``; None if it is for something else.

        Raises:
            PlainText: 404.
        """
        if not request.path.startswith("/openapi"):
            return None
        if self._version != self._registry.version:
            self._documents.clear()
            self._version = self._registry.version
        if request.path == "/openapi/v2":
            return _second_version(request)
        rest = request.path.removeprefix("/openapi/v3").strip("/")
        if not request.path.startswith("/openapi/v3"):
            raise PlainText(404, "404 page not found\n")
        if not rest:
            links = {name: self._link(name) for name in self._names()}
            return Response(200, dumps({"paths": links}), "text/plain; charset=utf-8")
        if rest not in self._names():
            raise PlainText(404, "")
        return Response(200, self._document(rest), headers=[("Cache-Control", "public, immutable")])

    def _names(self) -> list[str]:
        found = {"api/v1"}
        for resource in self._registry.all():
            if resource.group:
                found.add(f"apis/{resource.group}/{resource.version}")
        return sorted(found)

    def _link(self, name: str) -> dict[str, str]:
        digest = hashlib.sha256(self._document(name)).hexdigest().upper()
        return {"serverRelativeURL": f"/openapi/v3/{name}?hash={digest}"}

    def _document(self, name: str) -> bytes:
        found = self._documents.get(name)
        if found is None:
            parts = name.split("/")
            group, version = ("", parts[1]) if parts[0] == "api" else (parts[1], parts[2])
            found = self._documents[name] = dumps(_document(self._registry, group, version))
        return found


_V2_MEDIA = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"


def _second_version(request: Request) -> Response:
    """Answer with an OpenAPI v2 document without definitions.

    kubectl asks for it before it applies a ``List``, to check the items itself, and leaves out kinds that are not
    defined there. All fields are checked by this server in any case.
    """
    title, version = "Kubernetes", "unversioned"
    if _V2_MEDIA not in request.headers.get("accept", ""):
        return Response(200, dumps({"swagger": "2.0", "info": {"title": title, "version": version}, "paths": {}}))
    information = _text(1, title) + _text(2, version)
    return Response(
        200, _text(1, "2.0") + _text(2, information), _V2_MEDIA.replace("@", ".")
    )  # "@" is no part of a media type


def _text(number: int, content: str | bytes) -> bytes:
    """Return a field of a protobuf message; ``content``: at most 127 bytes."""
    found = content.encode() if isinstance(content, str) else content
    return bytes([number << 3 | 2, len(found)]) + found


def _document(registry: Registry, group: str, version: str) -> dict[str, Any]:
    schemas: dict[str, Any] = {META: OBJECT_META_SCHEMA, LIST_META: {"type": "object"}}
    paths: dict[str, Any] = {}
    for resource in registry.served(group, version):
        name = schema_name(resource)
        schemas[name] = _schema(resource, schemas)
        schemas[f"{name}List"] = _list_schema(resource, name)
        paths |= _paths(resource, name)
    return {
        "openapi": "3.0.0",
        "info": {"title": "rayctl", "version": "unversioned"},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def schema_name(resource: Resource) -> str:
    """Return the name of a kind's schema: its group turned round, its version, its kind."""
    if resource.custom:
        turned = ".".join(reversed(resource.group.split(".")))
        return f"{turned}.{resource.version}.{resource.kind}"
    short = resource.group.partition(".")[0] or "core"
    return f"io.k8s.api.{short}.{resource.version}.{resource.kind}"


def _gvk(resource: Resource, kind: str) -> list[dict[str, str]]:
    return [{"group": resource.group, "version": resource.version, "kind": kind}]


def _either(schema: Any) -> Any:
    """Return a schema in which numbers-or-texts say so in OpenAPI's own words as well."""
    if isinstance(schema, Mapping):
        found = {name: _either(value) for name, value in schema.items()}
        if found.get("x-kubernetes-int-or-string") is True and "anyOf" not in found and "allOf" not in found:
            found["anyOf"] = [{"type": "integer"}, {"type": "string"}]
        return found
    return [_either(value) for value in schema] if isinstance(schema, list) else schema


def _schema(resource: Resource, schemas: dict[str, Any]) -> dict[str, Any]:
    if resource.custom:
        found = _either(resource.source)
        found.setdefault("type", "object")
    else:
        definitions = schema_definitions()
        found = _referenced(definitions[resource.node_name], definitions, schemas)
    text = {"type": "string"}
    own = {"apiVersion": text, "kind": text, "metadata": {"allOf": [{"$ref": f"#/components/schemas/{META}"}]}}
    found = {**found, "properties": {**found.get("properties", {}), **own}}
    found["x-kubernetes-group-version-kind"] = _gvk(resource, resource.kind)
    return found


def _referenced(schema: dict[str, Any], definitions: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    """Return a built-in schema whose references point into the document; adds what they point to."""
    found: dict[str, Any] = {}
    for name, value in schema.items():
        if name == "$ref":
            if value == "V1ObjectMeta":
                return {"allOf": [{"$ref": f"#/components/schemas/{META}"}]}
            target = f"io.k8s.api.{value}"
            if target not in schemas:
                schemas[target] = {}
                schemas[target] = _referenced(definitions.get(value, {"type": "object"}), definitions, schemas)
            rest = {key: inner for key, inner in schema.items() if key != "$ref"}
            return {**rest, "allOf": [{"$ref": f"#/components/schemas/{target}"}]}
        if name == "properties":
            found[name] = {key: _referenced(inner, definitions, schemas) for key, inner in value.items()}
        elif name in ("items", "additionalProperties") and isinstance(value, dict):
            found[name] = _referenced(value, definitions, schemas)
        else:
            found[name] = value
    return found


def _list_schema(resource: Resource, name: str) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"allOf": [{"$ref": f"#/components/schemas/{LIST_META}"}]},
            "items": {"type": "array", "items": {"$ref": f"#/components/schemas/{name}"}},
        },
        "x-kubernetes-group-version-kind": _gvk(resource, resource.list_kind),
    }


def _camel(text: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in text.replace("-", ".").split("."))


def _paths(resource: Resource, name: str) -> dict[str, Any]:
    base = f"/apis/{resource.group}/{resource.version}" if resource.group else f"/api/{resource.version}"
    if resource.namespaced:
        base += "/namespaces/{namespace}"
    group = _camel(resource.group) if resource.custom else _camel(resource.group.partition(".")[0] or "core")
    scope = "Namespaced" if resource.namespaced else ""
    group = group if resource.custom else group[:1].lower() + group[1:]
    tail = f"{group}{_camel(resource.version)}{scope}{resource.kind}"
    reference = {"$ref": f"#/components/schemas/{name}"}
    content = {"application/json": {"schema": reference}}
    one: dict[str, Any] = {}
    for method, action, verb in _ACTIONS:
        one[method] = {
            "operationId": f"{verb}{tail}",
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": _gvk(resource, resource.kind)[0],
            "responses": {"200": {"description": "OK", "content": content}},
        }
        if method in ("put", "patch"):
            one[method]["parameters"] = [_query("dryRun"), _query("fieldManager"), _query("fieldValidation")]
        if method == "patch":
            one[method]["parameters"].append(_query("force", "boolean"))
            one[method]["requestBody"] = {"content": {media: {"schema": {"type": "object"}} for media in _PATCHES}}
    create = {
        "operationId": f"create{tail}",
        "x-kubernetes-action": "post",
        "x-kubernetes-group-version-kind": _gvk(resource, resource.kind)[0],
        "parameters": [_query("dryRun"), _query("fieldManager"), _query("fieldValidation")],
        "requestBody": {"content": content},
        "responses": {"201": {"description": "Created", "content": content}},
    }
    listing = {
        "operationId": f"list{tail}",
        "x-kubernetes-action": "list",
        "x-kubernetes-group-version-kind": _gvk(resource, resource.kind)[0],
        "responses": {"200": {"description": "OK"}},
    }
    return {f"{base}/{resource.plural}": {"get": listing, "post": create}, f"{base}/{resource.plural}/{{name}}": one}


def _query(name: str, kind: str = "string") -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": {"type": kind, "uniqueItems": True}}
