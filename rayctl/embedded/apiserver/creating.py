"""POST: a new object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rayctl.embedded.apiserver.api import Answer, Api
from rayctl.embedded.apiserver.apply.managers import Writer, record_update
from rayctl.embedded.apiserver.bodies import check_strict, decode
from rayctl.embedded.apiserver.changes import convert, fill_in, validate_new
from rayctl.embedded.apiserver.documents import copied
from rayctl.embedded.apiserver.errors import ApiError, already_exists, bad_request, invalid
from rayctl.embedded.apiserver.kinds.records import check_event, event_to_core
from rayctl.embedded.apiserver.metadata import deduplicate_owners, undomained, without_empty
from rayctl.embedded.apiserver.names import random_suffix
from rayctl.embedded.apiserver.options import WriteOptions, write_options
from rayctl.embedded.apiserver.requests import Info, Request
from rayctl.embedded.apiserver.resources import Resource
from rayctl.embedded.apiserver.schema.formats import now_seconds
from rayctl.embedded.apiserver.store import Change, Stored

__all__ = ["create", "create_document"]

MAX_GENERATED_BASE = 58
NAME_TRIES = 8
_NOT_THE_CLIENTS = ("deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "generation", "creationTimestamp")


async def create(api: Api, request: Request, info: Info, resource: Resource) -> Answer:
    """Create the object in the body.

    Raises:
        ApiError: as the API has it.
    """
    options = write_options(request, "CreateOptions")
    found = decode(request, resource)
    warnings = check_strict(found, options.validation, resource)
    document = found.document
    if info.name and resource.custom:
        # Odd but so: a POST to an object's own path is a creation of that name.
        document["metadata"].setdefault("name", info.name)
    check_place(resource, document["metadata"], info.namespace)
    shown = resource
    resource, document = in_storage(api, resource, document, None)
    if document["metadata"].get("resourceVersion"):
        raise ApiError(500, "", "resourceVersion should not be set on objects to be created")
    stored, more = await create_document(api, resource, document, info.namespace, options)
    return Answer(201, stored.object, shown, stored, warnings + more)


def in_storage(
    api: Api, resource: Resource, document: dict[str, Any], old: Mapping[str, Any] | None
) -> tuple[Resource, dict[str, Any]]:
    """Return kind and form in which something is stored, where two kinds share what is stored (events).

    Raises:
        ApiError: 422 for what the newer kind does not allow.
    """
    if resource.storage != "events" or not resource.group:
        return resource, document
    core = api.registry.find("", "v1", "events")
    assert core is not None
    found = event_to_core(document)
    core.rules.default(found)
    errors = check_event(found, old)
    if errors:
        raise invalid("", core.kind, found["metadata"].get("name", ""), errors)
    return core, found


def check_place(resource: Resource, metadata: dict[str, Any], namespace: str) -> None:
    """Check an object's namespace against that of the path, and fill it in.

    Raises:
        ApiError: 400.
    """
    if not resource.namespaced:
        metadata.pop("namespace", None)
    elif metadata.get("namespace") and metadata["namespace"] != namespace:
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
    else:
        metadata["namespace"] = namespace


async def create_document(
    api: Api, resource: Resource, document: dict[str, Any], namespace: str, options: WriteOptions, applied: bool = False
) -> tuple[Stored, list[str]]:
    """Store a new object; returns it and what the client should be warned of. ``applied``: it has its managers already.

    Raises:
        ApiError: as the API has it.
    """
    metadata = document["metadata"]
    managed = metadata.get("managedFields") if applied else None
    for name in _NOT_THE_CLIENTS:
        metadata.pop(name, None)
    without_empty(metadata)
    warnings = deduplicate_owners(metadata)
    if resource.custom:
        warnings += undomained(metadata)
    generated = not metadata.get("name") and bool(metadata.get("generateName"))
    if generated:
        metadata["name"] = _generated(api, metadata["generateName"])
    api.check_namespace(resource, namespace, metadata.get("name", ""))
    _complete(api, resource, document)
    if managed:
        metadata["managedFields"] = managed
    elif not applied:
        writer = Writer(options.manager, resource.api_version, "", resource.node, api.now())
        record_update(writer, None, document, resource.kept_by_main)
    errors = validate_new(resource, document)
    if errors:
        raise invalid(resource.group, resource.kind, metadata.get("name", ""), errors)
    warnings += resource.rules.warnings(document)
    _find_free_name(api, resource, metadata, generated)
    api.check_gates(resource, document, None)
    key = (resource.storage, metadata.get("namespace", ""), metadata["name"])
    if options.dry_run:
        return Stored(key, 0, document, b""), warnings
    stored = await api.write(Change(key, stored_form(api, resource, document)))
    return stored, warnings


def _complete(api: Api, resource: Resource, document: dict[str, Any]) -> None:
    """Set what is the server's to set."""
    metadata = document["metadata"]
    metadata["uid"] = api.new_uid()
    metadata["creationTimestamp"] = now_seconds(api.now())
    if resource.has_generation:
        metadata["generation"] = 1
    if resource.has_status:
        document.pop("status", None)
    fill_in(resource, document)
    resource.rules.prepare_create(document)


def _find_free_name(api: Api, resource: Resource, metadata: dict[str, Any], generated: bool) -> None:
    """Check that the name is free; another one is tried if it was generated.

    Raises:
        ApiError: 409.
    """
    for attempt in range(NAME_TRIES):
        existing = api.store.newest(resource.storage, metadata.get("namespace", ""), metadata["name"])
        if existing is None:
            return
        if not generated or attempt == NAME_TRIES - 1:
            terminating = bool(existing.object["metadata"].get("deletionTimestamp"))
            raise already_exists(resource.group, resource.plural, metadata["name"], terminating)
        metadata["name"] = _generated(api, metadata["generateName"])


def stored_form(api: Api, resource: Resource, document: dict[str, Any]) -> dict[str, Any]:
    """Return an object in the version that its kind is stored in."""
    if resource.version == resource.stored_version:
        return document
    stored = api.registry.stored(resource)
    return convert(stored, copied(document))


def _generated(api: Api, base: str) -> str:
    return base[:MAX_GENERATED_BASE] + random_suffix(api.choose)
