"""The scale subresource: a kind's replicas in a form that every autoscaler understands."""

from __future__ import annotations

from typing import Any

from rayctl.embedded.apiserver.api import Answer, Api
from rayctl.embedded.apiserver.bodies import media_type, parse
from rayctl.embedded.apiserver.changes import at_path, convert
from rayctl.embedded.apiserver.documents import copied
from rayctl.embedded.apiserver.errors import (
    ApiError,
    bad_request,
    conflict,
    internal,
    not_found,
    unsupported_media_type,
)
from rayctl.embedded.apiserver.options import write_options
from rayctl.embedded.apiserver.patching import APPLY, JSON, MERGE, bad_patch, patched_document, read_patch
from rayctl.embedded.apiserver.requests import Info, Request
from rayctl.embedded.apiserver.resources import Resource
from rayctl.embedded.apiserver.store import Stored
from rayctl.embedded.apiserver.updating import MODIFIED, Update, store_update

__all__ = ["read_scale", "scale_of", "write_scale"]


def scale_of(resource: Resource, document: dict[str, Any], strict: bool = True) -> dict[str, Any]:
    """Return an object's Scale. ``strict``: there must be a field to read replicas from.

    Raises:
        ApiError: 500, if there is no such field.
    """
    assert resource.scale is not None
    wanted = at_path(document, resource.scale.spec)
    if wanted is None and strict:
        raise internal(f'the spec replicas field ".{".".join(resource.scale.spec)}" does not exist')
    metadata = document["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    status: dict[str, Any] = {"replicas": at_path(document, resource.scale.status) or 0}
    if resource.scale.selector:
        selector = at_path(document, resource.scale.selector)
        if isinstance(selector, dict):
            pairs = selector.get("matchLabels", selector)
            selector = ",".join(f"{key}={value}" for key, value in sorted(pairs.items()))
        if selector:
            status["selector"] = selector
    spec = {"replicas": wanted} if wanted else {}
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {name: metadata[name] for name in kept if name in metadata},
        "spec": spec,
        "status": status,
    }


def _find(api: Api, info: Info, resource: Resource) -> Stored:
    stored = api.store.newest(resource.storage, info.namespace if resource.namespaced else "", info.name)
    if stored is None:
        raise not_found(resource.group, resource.plural, info.name)
    return stored


def read_scale(api: Api, info: Info, resource: Resource) -> Answer:
    """GET of ``/scale``."""
    stored = _find(api, info, resource)
    return Answer(200, scale_of(resource, convert(resource, stored.object)), resource)


async def write_scale(api: Api, request: Request, info: Info, resource: Resource) -> Answer:
    """PUT and PATCH of ``/scale``.

    Raises:
        ApiError: as the API has it.
    """
    stored = _find(api, info, resource)
    old = convert(resource, stored.object)
    if request.method == "PUT":
        options = write_options(request, "UpdateOptions")
        wanted, _ = parse(request, "Scale")
        if not isinstance(wanted, dict) or wanted.get("kind", "Scale") != "Scale":
            raise bad_request("no kind is registered for the type v1.Scale in scheme")
    else:
        kind = media_type(request)
        if kind not in (JSON, MERGE, APPLY):
            raise unsupported_media_type((JSON, MERGE, APPLY))
        options = write_options(request, "PatchOptions", kind == APPLY)
        if kind == APPLY:
            document, _ = parse(Request(request.method, request.path, body=request.body, headers=_YAML), "Scale")
            wanted = {**scale_of(resource, old, strict=False), "spec": _part(document, "spec")}
        else:
            instructions, _ = read_patch(request, kind)
            wanted = patched_document(kind, resource, scale_of(resource, old, strict=False), instructions)
    revision = _part(wanted, "metadata").get("resourceVersion")
    if revision and revision != str(stored.revision):
        raise conflict(resource.group, resource.plural, info.name, MODIFIED)
    replicas = _part(wanted, "spec").get("replicas", 0)
    if not isinstance(replicas, int) or isinstance(replicas, bool):
        if request.method == "PUT":
            raise bad_request("json: cannot unmarshal into Go struct field ScaleSpec.spec.replicas of type int32")
        raise bad_patch("cannot unmarshal into Go struct field ScaleSpec.spec.replicas of type int32")
    new = copied(dict(old))
    _set(new, resource.scale.spec if resource.scale else (), replicas)
    update = Update(resource, stored, old, options, "scale")
    result, warnings = await store_update(api, update, new)
    return Answer(200, scale_of(resource, convert(resource, result.object)), resource, None, warnings)


def _part(document: Any, name: str) -> dict[str, Any]:
    """Return an object's part, or an empty one."""
    found = document.get(name) if isinstance(document, dict) else None
    if found is not None and not isinstance(found, dict):
        raise bad_request(f"json: cannot unmarshal into Go struct field Scale.{name}")
    return found or {}


_YAML = {"content-type": "application/yaml"}


def _set(document: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for part in path[:-1]:
        inner = document.setdefault(part, {})
        if not isinstance(inner, dict):
            raise ApiError(500, "InternalError", f"Internal error occurred: {part} is no object")
        document = inner
    document[path[-1]] = value
