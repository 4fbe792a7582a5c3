"""PUT, and what every change of an existing object has in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rayctl.embedded.apiserver.api import Answer, Api
from rayctl.embedded.apiserver.apply.fields import Fields
from rayctl.embedded.apiserver.apply.managers import Writer, record_update
from rayctl.embedded.apiserver.bodies import check_strict, decode
from rayctl.embedded.apiserver.changes import convert, fill_in, same_state, spec_changed, validate_update
from rayctl.embedded.apiserver.creating import check_place, in_storage, stored_form
from rayctl.embedded.apiserver.documents import copied
from rayctl.embedded.apiserver.errors import ApiError, bad_request, conflict, invalid, invalid_value, not_found
from rayctl.embedded.apiserver.metadata import deduplicate_owners, undomained, without_empty
from rayctl.embedded.apiserver.options import WriteOptions, write_options
from rayctl.embedded.apiserver.requests import Info, Request
from rayctl.embedded.apiserver.resources import Resource
from rayctl.embedded.apiserver.store import Change, Stored

__all__ = ["MODIFIED", "Update", "check_name", "ignored_by", "replace", "store_update"]

MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


@dataclass(frozen=True)
class Update:
    """A change on its way. ``old``: the stored object in the request's version, never changed."""

    resource: Resource
    stored: Stored
    old: Mapping[str, Any]
    options: WriteOptions
    subresource: str = ""
    applied: bool = False
    """It has its managers already."""


async def replace(api: Api, request: Request, info: Info, resource: Resource) -> Answer:
    """Replace an object by the body.

    Raises:
        ApiError: as the API has it.
    """
    options = write_options(request, "UpdateOptions")
    found = decode(request, resource)
    warnings = check_strict(found, options.validation, resource)
    metadata = found.document["metadata"]
    check_name(metadata, info.name)
    check_place(resource, metadata, info.namespace)
    stored = api.store.newest(resource.storage, metadata.get("namespace", ""), info.name)
    if stored is None:
        raise not_found(resource.group, resource.plural, info.name)
    uid = metadata.get("uid")
    if uid and uid != stored.object["metadata"]["uid"]:
        text = (
            f"Precondition failed: UID in precondition: {uid}, UID in object meta: {stored.object['metadata']['uid']}"
        )
        raise conflict(resource.group, resource.plural, info.name, text)
    target, document = in_storage(api, resource, found.document, stored.object)
    update = Update(target, stored, convert(target, stored.object), options, info.subresource)
    result, more = await store_update(api, update, document)
    return Answer(200, result.object, resource, result, warnings + more)


def check_name(metadata: Mapping[str, Any], name: str) -> None:
    """Check the body's name against the path's.

    Raises:
        ApiError: 400.
    """
    if not metadata.get("name"):
        raise bad_request(f"the name of the object ({name} based on URL) was undeterminable: name must be provided")
    if metadata["name"] != name:
        raise bad_request(f"the name of the object ({metadata['name']}) does not match the name on the URL ({name})")


def _check_revision(update: Update, metadata: Mapping[str, Any]) -> None:
    resource, name = update.resource, update.stored.name
    revision = metadata.get("resourceVersion", "")
    if not revision:
        if not resource.rules.unconditional_update:
            error = invalid_value("metadata.resourceVersion", 0, "must be specified for an update")
            failure = invalid(resource.group, resource.kind, name, [error])
            assert failure.details is not None
            failure.details["kind"] = resource.plural
            raise failure
    elif not (revision.isascii() and revision.isdigit()):
        raise ApiError(500, "", f'strconv.ParseUint: parsing "{revision}": invalid syntax')
    elif int(revision) != update.stored.revision:
        raise conflict(resource.group, resource.plural, name, MODIFIED)


def ignored_by(resource: Resource, subresource: str) -> Fields:
    """Return the fields that a write through a path cannot change."""
    if subresource in ("", "scale"):
        return resource.kept_by_main
    return resource.kept_by_status if subresource == "status" else Fields()


def _restore(update: Update, new: dict[str, Any]) -> dict[str, Any]:
    """Put back what a write through this path may not touch; returns the new object."""
    old, resource = update.old, update.resource
    before = old["metadata"]
    if update.subresource == "status":
        sent = new["metadata"].get("managedFields")
        found = {name: value for name, value in old.items() if name != "status"}
        if "status" in new:
            found["status"] = new["status"]
        found["metadata"] = dict(before)
        if update.applied and sent is not None:
            found["metadata"]["managedFields"] = sent
        elif update.applied:
            found["metadata"].pop("managedFields", None)
        new = found
    elif resource.has_status:
        new.pop("status", None)
        if "status" in old:
            new["status"] = old["status"]
    metadata = new["metadata"]
    for name in ("creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"):
        if name in before:
            metadata[name] = before[name]
        else:
            metadata.pop(name, None)
    metadata.pop("selfLink", None)
    metadata.setdefault("uid", before["uid"])
    metadata["resourceVersion"] = before["resourceVersion"]
    return new


async def store_update(api: Api, update: Update, new: dict[str, Any]) -> tuple[Stored, list[str]]:
    """Store a new state of an object, if it is one; returns what is there now and warnings.

    Raises:
        ApiError: as the API has it.
    """
    resource, old = update.resource, update.old
    _check_revision(update, new["metadata"])
    new = _restore(update, new)
    metadata = new["metadata"]
    without_empty(metadata)
    warnings = deduplicate_owners(metadata)
    fill_in(resource, new)
    resource.rules.prepare_update(new, old, update.subresource)
    if resource.has_generation and spec_changed(resource, new, old):
        metadata["generation"] = old["metadata"].get("generation", 0) + 1
    if not update.applied:
        writer = Writer(update.options.manager, resource.api_version, update.subresource, resource.node, api.now())
        record_update(writer, old, new, ignored_by(resource, update.subresource))
    errors = validate_update(resource, new, old, update.subresource)
    if errors:
        raise invalid(resource.group, resource.kind, update.stored.name, errors)
    warnings += resource.rules.update_warnings(new, old)
    api.check_gates(resource, new, old)
    if resource.custom and metadata.get("finalizers") != old["metadata"].get("finalizers"):
        warnings += undomained(metadata)
    if same_state(new, old):
        return update.stored, warnings
    if update.options.dry_run:
        return Stored(update.stored.key, update.stored.revision, new, b""), warnings
    if _is_released(new):
        # The last finalizer is gone. What is answered is the object with its old revision; the event has the new one.
        answer = copied(new)
        await api.write(Change(update.stored.key, None))
        return Stored(update.stored.key, update.stored.revision, answer, b""), warnings
    stored = await api.write(Change(update.stored.key, stored_form(api, resource, new)))
    return stored, warnings


def _is_released(new: Mapping[str, Any]) -> bool:
    metadata = new["metadata"]
    if not metadata.get("deletionTimestamp") or metadata.get("finalizers"):
        return False
    if new["kind"] == "Namespace" and new["apiVersion"] == "v1":
        return not new.get("spec", {}).get("finalizers")
    return not metadata.get("deletionGracePeriodSeconds")
