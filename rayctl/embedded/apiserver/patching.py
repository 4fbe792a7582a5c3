"""PATCH: merge patch, JSON patch, strategic merge patch and apply."""

from __future__ import annotations

from typing import Any

from rayctl.embedded.apiserver.api import Answer, Api
from rayctl.embedded.apiserver.apply.managers import Writer, apply_object
from rayctl.embedded.apiserver.apply.typed import NotTyped, check_typed
from rayctl.embedded.apiserver.bodies import (
    Decoded,
    check_depth,
    check_size,
    check_strict,
    decode_parsed,
    media_type,
    parse_yaml,
    wrong_kind,
)
from rayctl.embedded.apiserver.changes import convert
from rayctl.embedded.apiserver.creating import create_document, in_storage
from rayctl.embedded.apiserver.documents import copied
from rayctl.embedded.apiserver.errors import (
    ApiError,
    bad_request,
    conflict,
    invalid,
    invalid_value,
    not_found,
    too_large,
    unsupported_media_type,
)
from rayctl.embedded.apiserver.options import WriteOptions, write_options
from rayctl.embedded.apiserver.patches.json_patch import MAX_OPERATIONS, PatchFailed, json_patch
from rayctl.embedded.apiserver.patches.merge import merge_patch
from rayctl.embedded.apiserver.patches.strategic import BadDirective, strategic_patch
from rayctl.embedded.apiserver.requests import Info, Request
from rayctl.embedded.apiserver.resources import Resource
from rayctl.embedded.apiserver.schema.decode import load_json
from rayctl.embedded.apiserver.store import Stored
from rayctl.embedded.apiserver.updating import MODIFIED, Update, check_name, ignored_by, store_update

__all__ = ["APPLY", "JSON", "MERGE", "STRATEGIC", "apply_patch", "patch", "patched_document"]

_KNOWN = ("apiVersion", "kind", "metadata")
JSON = "application/json-patch+json"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"


def is_apply(request: Request) -> bool:
    """Whether a request is a server-side apply."""
    return media_type(request) == APPLY


async def patch(api: Api, request: Request, info: Info, resource: Resource) -> Answer:
    """Patch an object, or apply to one that need not be there yet.

    Raises:
        ApiError: as the API has it.
    """
    kind = media_type(request)
    known = (JSON, MERGE, APPLY) if resource.custom else (JSON, MERGE, STRATEGIC, APPLY)
    if kind not in known:
        if resource.custom:
            raise unsupported_media_type((JSON, MERGE, APPLY))
        raise ApiError(415, "UnsupportedMediaType", "415: Unsupported Media Type", {})
    check_size(request)
    options = write_options(request, "PatchOptions", kind == APPLY)
    if kind == APPLY:
        return await apply_patch(api, request, info, resource, options)
    instructions, twice = read_patch(request, kind)
    stored = _find(api, info, resource)
    old = convert(resource, stored.object)
    changed = patched_document(kind, resource, old, instructions)
    warnings: list[str] = []
    if resource.custom and (changed.get("kind") != resource.kind or changed.get("apiVersion") != resource.api_version):
        failure = wrong_kind(changed, resource)
        if changed.get("apiVersion") != resource.api_version:
            # Of another version nothing is known.
            strange = [f'unknown field \\"{name}\\"' for name in changed if name not in _KNOWN]
            failure.warnings = strange  # type: ignore[attr-defined]
        raise failure
    found = _decoded(changed, resource)
    found.strange = twice + found.strange
    warnings += check_strict(found, options.validation, resource, patching=True)
    document = found.document
    check_name(document["metadata"], info.name)
    if resource.namespaced and document["metadata"].get("namespace", info.namespace) != info.namespace:
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
    target, document = in_storage(api, resource, document, stored.object)
    if target is not resource:
        old = stored.object
    update = Update(target, stored, old, options, info.subresource)
    result, more = await store_update(api, update, document)
    return Answer(200, result.object, resource, result, warnings + more)


def _find(api: Api, info: Info, resource: Resource) -> Stored:
    namespace = info.namespace if resource.namespaced else ""
    stored = api.store.newest(resource.storage, namespace, info.name)
    if stored is None:
        raise not_found(resource.group, resource.plural, info.name)
    return stored


def read_patch(request: Request, kind: str) -> tuple[Any, list[str]]:
    """Return the patch and what is there twice in it.

    Raises:
        ApiError: 400 or 413.
    """
    try:
        document, twice = load_json(request.body)
    except (ValueError, RecursionError) as error:
        raise bad_request(f"error decoding patch: {error}") from None
    wanted = list if kind == JSON else dict
    if not isinstance(document, wanted):
        raise bad_request(f"error decoding patch: json: cannot unmarshal into a value of type {wanted.__name__}")
    if kind == JSON and len(document) > MAX_OPERATIONS:
        text = f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(document)}"
        raise too_large(text)
    check_depth(document)
    return document, [f'duplicate field "{path}"' for path in twice] if kind != JSON else []


def patched_document(kind: str, resource: Resource, old: Any, instructions: Any) -> dict[str, Any]:
    """Return an object with a patch of any kind but apply; the object is not changed.

    Raises:
        ApiError: 422 for operations that cannot be done, 500 for directives that make no sense.
    """
    try:
        if kind == JSON:
            changed = json_patch(old, instructions)
        elif kind == STRATEGIC:
            changed = strategic_patch(resource.node, old, instructions)
        else:
            changed = merge_patch(old, instructions)
    except PatchFailed:
        raise ApiError(422, "Invalid", "the server rejected our request due to an error in our request", {}) from None
    except BadDirective as error:
        raise ApiError(500, "", str(error)) from None
    if not isinstance(changed, dict):
        raise ApiError(422, "Invalid", "the server rejected our request due to an error in our request", {})
    check_depth(changed)
    return copied(changed)


def _decoded(changed: dict[str, Any], resource: Resource) -> Decoded:
    if not isinstance(changed.get("metadata", {}), dict):
        raise bad_patch("json: cannot unmarshal into Go struct field metadata")
    try:
        return decode_parsed(changed, resource)
    except ApiError as error:
        if error.code == 400 and not resource.custom:
            raise bad_patch(error.message.rpartition(": json: ")[2]) from None
        raise


def bad_patch(why: str) -> ApiError:
    """Return the failure for a patch whose result is no object of the kind."""
    error = invalid_value("patch", "{...}", f"json: {why}")
    failure = invalid("", "", "", [error])
    failure.details = {"causes": [error.cause]}
    return failure


# Apply ------------------------------------------------------------------------------------------------


async def apply_patch(api: Api, request: Request, info: Info, resource: Resource, options: WriteOptions) -> Answer:
    """Apply the body: server-side apply.

    Raises:
        ApiError: as the API has it.
    """
    applied = _read_applied(request, info, resource)
    namespace = info.namespace if resource.namespaced else ""
    stored = api.store.newest(resource.storage, namespace, info.name)
    if stored is None and info.subresource:
        raise not_found(resource.group, resource.plural, info.name)
    writer = Writer(options.manager, resource.api_version, info.subresource, resource.node, api.now())
    ignored = ignored_by(resource, info.subresource)
    if stored is None:
        return await _create_applied(api, info, resource, options, applied, writer)
    old = convert(resource, stored.object)
    wanted = applied["metadata"].get("resourceVersion")
    if wanted and wanted != str(stored.revision):
        raise conflict(resource.group, resource.plural, info.name, MODIFIED)
    _check_uid(applied, old["metadata"]["uid"], resource, info.name)
    merged = apply_object(writer, old, applied, options.force, ignored, lambda version: resource.node)
    found = decode_parsed(copied(merged), resource)
    warnings = check_strict(found, options.validation, resource)
    document = found.document
    document["metadata"]["resourceVersion"] = str(stored.revision)
    update = Update(resource, stored, old, options, info.subresource, applied=True)
    result, more = await store_update(api, update, document)
    return Answer(200, result.object, resource, result, warnings + more)


def _check_uid(applied: dict[str, Any], uid: str, resource: Resource, name: str) -> None:
    sent = applied["metadata"].get("uid")
    if sent and sent != uid:
        error = invalid_value("metadata.uid", sent, "field is immutable")
        raise invalid(resource.group, resource.kind, name, [error, error])


def _read_applied(request: Request, info: Info, resource: Resource) -> dict[str, Any]:
    try:
        document, _ = parse_yaml(request.body)
    except ValueError as error:
        raise bad_request(f"error decoding YAML: {error}") from None
    check_depth(document)
    found: dict[str, Any] = document if isinstance(document, dict) else {}
    version, kind = found.get("apiVersion", ""), found.get("kind", "")
    if version != resource.api_version or kind != resource.kind:
        group, _, bare = str(version).rpartition("/")
        raise bad_request(f"invalid object type: {group}/{bare}, Kind={kind}")
    metadata = found.setdefault("metadata", {})
    if not isinstance(metadata, dict):
        raise bad_request("metadata is not an object")
    if metadata.get("managedFields"):
        raise bad_request("metadata.managedFields must be nil")
    if "name" not in metadata and metadata.get("generateName"):
        raise bad_request(
            f"the name of the object ({info.name} based on URL) was undeterminable: name must be provided"
        )
    metadata.setdefault("name", info.name)
    try:
        check_typed(resource.node, found)
    except NotTyped as error:
        text = f"failed to create typed patch object (/{info.name}; {version}, Kind={kind}): {error}"
        raise ApiError(500, "", text) from None
    check_name(metadata, info.name)
    if resource.namespaced and metadata.get("namespace", info.namespace) != info.namespace:
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
    return found


async def _create_applied(
    api: Api, info: Info, resource: Resource, options: WriteOptions, applied: dict[str, Any], writer: Writer
) -> Answer:
    if resource.namespaced:
        applied["metadata"]["namespace"] = info.namespace
    _check_uid(applied, "", resource, info.name)
    applied["metadata"].pop("resourceVersion", None)
    live = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {}}
    merged = apply_object(writer, live, applied, options.force, ignored_by(resource, ""), lambda version: resource.node)
    found = decode_parsed(copied(merged), resource)
    warnings = check_strict(found, options.validation, resource)
    stored, more = await create_document(api, resource, found.document, info.namespace, options, applied=True)
    return Answer(201, stored.object, resource, stored, warnings + more)
