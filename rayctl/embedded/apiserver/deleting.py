"""DELETE of one object and of a collection."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rayctl.embedded.apiserver.api import Answer, Api
from rayctl.embedded.apiserver.bodies import check_size, media_type
from rayctl.embedded.apiserver.changes import convert
from rayctl.embedded.apiserver.documents import copied
from rayctl.embedded.apiserver.errors import (
    ApiError,
    FieldError,
    bad_request,
    conflict,
    forbidden,
    invalid,
    invalid_value,
    not_found,
    not_supported,
    success,
)
from rayctl.embedded.apiserver.options import check_dry_run, list_options, whole_number
from rayctl.embedded.apiserver.protobuf import MEDIA, decode_protobuf
from rayctl.embedded.apiserver.reading import select
from rayctl.embedded.apiserver.requests import Info, Request
from rayctl.embedded.apiserver.resources import Resource
from rayctl.embedded.apiserver.schema.decode import load_json
from rayctl.embedded.apiserver.schema.formats import now_seconds
from rayctl.embedded.apiserver.store import Change, Stored

__all__ = ["DeleteOptions", "delete", "delete_collection", "delete_stored", "read_options"]

SLICE = 50
"""So many objects of a collection are deleted at a time."""
POLICIES = ("Foreground", "Background", "Orphan")
PROTECTED = frozenset({"default", "kube-system", "kube-public"})
CRD_FINALIZER = "customresourcecleanup.apiextensions.k8s.io"
_FINALIZERS = {"Foreground": "foregroundDeletion", "Orphan": "orphan"}


@dataclass(frozen=True)
class DeleteOptions:
    """What a client says about a deletion. ``policy`` empty: the kind's default."""

    dry_run: bool = False
    policy: str = ""
    grace_s: int | None = None
    uid: str | None = None
    revision: str | None = None


def read_options(request: Request) -> DeleteOptions:
    """Read the options: from the body, or from the query if there is none.

    Raises:
        ApiError: 400 or 422.
    """
    check_size(request)
    document: dict[str, Any] = {}
    if request.body.strip():
        try:
            if media_type(request) == MEDIA:
                found: Any = decode_protobuf(request.body)
            else:
                found, _ = load_json(request.body)
        except (ValueError, RecursionError) as error:
            raise bad_request(f"couldn't get version/kind; json parse error: {error}") from None
        if not isinstance(found, dict):
            raise bad_request("couldn't get version/kind; json parse error: json: cannot unmarshal into an object")
        document = found
        if document.get("kind", "DeleteOptions") != "DeleteOptions":
            version = document.get("apiVersion", "")
            raise bad_request(f'no kind "{document["kind"]}" is registered for version "{version}" in scheme')
        return _checked(document)
    document = {"dryRun": request.all("dryRun")}
    if request.first("propagationPolicy"):
        document["propagationPolicy"] = request.first("propagationPolicy")
    if request.first("orphanDependents"):
        document["orphanDependents"] = request.first("orphanDependents") in ("true", "1")
    grace = whole_number(request.first("gracePeriodSeconds"))
    if grace is not None:
        document["gracePeriodSeconds"] = grace
    return _checked(document)


def _checked(document: dict[str, Any]) -> DeleteOptions:
    errors: list[FieldError] = []
    dry = document.get("dryRun") or []
    dry_run = check_dry_run([str(value) for value in dry] if isinstance(dry, list) else [str(dry)], errors)
    policy, orphan = document.get("propagationPolicy"), document.get("orphanDependents")
    if policy is not None and orphan is not None:
        text = "orphanDependents and deletionPropagation cannot be both set"
        errors.append(invalid_value("propagationPolicy", policy, text))
    elif policy is not None and policy not in POLICIES:
        errors.append(not_supported("propagationPolicy", policy, [*POLICIES, "nil"]))
    grace = document.get("gracePeriodSeconds")
    if grace is not None and (not isinstance(grace, int) or isinstance(grace, bool)):
        raise bad_request("json: cannot unmarshal into Go struct field DeleteOptions.gracePeriodSeconds of type int64")
    if errors:
        raise invalid("meta.k8s.io", "DeleteOptions", "", errors)
    if orphan is not None:
        policy = "Orphan" if orphan else "Background"
    conditions = document.get("preconditions") or {}
    if not isinstance(conditions, dict):
        raise bad_request("json: cannot unmarshal into Go struct field DeleteOptions.preconditions")
    return DeleteOptions(dry_run, policy or "", grace, conditions.get("uid"), conditions.get("resourceVersion"))


async def delete(api: Api, request: Request, info: Info, resource: Resource) -> Answer:
    """Delete an object, or mark it as going where something still has to be done.

    Raises:
        ApiError: as the API has it.
    """
    options = read_options(request)
    namespace = info.namespace if resource.namespaced else ""
    stored = api.store.newest(resource.storage, namespace, info.name)
    if stored is None:
        raise not_found(resource.group, resource.plural, info.name)
    return await delete_stored(api, resource, stored, options)


def _check_preconditions(resource: Resource, stored: Stored, options: DeleteOptions) -> None:
    metadata = stored.object["metadata"]
    name, kind = stored.name, resource.kind
    if options.uid is not None and options.uid != metadata["uid"]:
        if resource.storage == "namespaces":
            text = f"Precondition failed: UID in precondition: {options.uid}, UID in object meta: {metadata['uid']}"
            raise conflict(resource.group, resource.plural, name, text)
        text = f"the UID in the precondition ({options.uid}) does not match the UID in record ({metadata['uid']}). "
        raise conflict(resource.group, kind, name, text + "The object might have been deleted and then recreated")
    if options.revision is not None and options.revision != str(stored.revision):
        text = f"the ResourceVersion in the precondition ({options.revision}) does not match the ResourceVersion in "
        text += f"record ({stored.revision}). The object might have been modified"
        raise conflict(resource.group, kind, name, text)


async def delete_stored(api: Api, resource: Resource, stored: Stored, options: DeleteOptions) -> Answer:
    """Delete what was found. Returns the object if it is still there (or the kind answers so), else a Status.

    Raises:
        ApiError: as the API has it.
    """
    if resource.storage == "namespaces" and stored.name in PROTECTED:
        raise forbidden("", "namespaces", stored.name, "this namespace may not be deleted")
    _check_preconditions(resource, stored, options)
    if resource.storage == "namespaces":
        return await _delete_namespace(api, resource, stored, options)
    document: dict[str, Any] = dict(stored.object)
    metadata = document["metadata"] = dict(document["metadata"])
    finalizers = _finalizers(resource, metadata, options.policy)
    if resource.storage == CRDS and not metadata.get("deletionTimestamp"):
        finalizers = [*finalizers, *([] if CRD_FINALIZER in finalizers else [CRD_FINALIZER])]
        document = _terminating(document, now_seconds(api.now()))
    grace = _grace(resource, document, options)
    if not finalizers and not grace:
        if not options.dry_run:
            await api.write(Change(stored.key, None))
        if resource.rules.graceful:
            _mark(metadata, api.now(), 0)
            stored = Stored(stored.key, stored.revision, document, b"")
        return _gone(resource, stored)
    changed = finalizers != metadata.get("finalizers", [])
    if finalizers:
        metadata["finalizers"] = finalizers
    else:
        metadata.pop("finalizers", None)
    is_first = not metadata.get("deletionTimestamp")
    if is_first and resource.has_generation and resource.storage != CRDS:
        metadata["generation"] = metadata.get("generation", 0) + 1
    if is_first or grace < metadata.get("deletionGracePeriodSeconds", 0):
        changed = True
        _mark(metadata, api.now(), grace)
    if not changed:
        return Answer(200, stored.object, resource, stored)
    if options.dry_run:
        return Answer(200, document, resource, Stored(stored.key, stored.revision, document, b""))
    found = await api.write(Change(stored.key, copied(document)))
    return Answer(200, found.object, resource, found)


def _terminating(definition: dict[str, Any], now: str) -> dict[str, Any]:
    """Say in a definition's status that its objects are being deleted."""
    found = {**definition, "status": copied(definition.get("status") or {})}
    conditions = found["status"].setdefault("conditions", [])
    conditions.append(
        {
            "type": "Terminating",
            "status": "True",
            "lastTransitionTime": now,
            "reason": "InstanceDeletionPending",
            "message": "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
        }
    )
    return found


CRDS = "customresourcedefinitions.apiextensions.k8s.io"


def _finalizers(resource: Resource, metadata: Mapping[str, Any], policy: str) -> list[str]:
    """Return the finalizers after the request's policy has replaced those of another policy."""
    found = list(metadata.get("finalizers", []))
    wanted = _FINALIZERS.get(policy)
    if policy:
        found = [name for name in found if name not in _FINALIZERS.values() or name == wanted]
        if wanted and wanted not in found:
            found.append(wanted)
    return found


def _mark(metadata: dict[str, Any], now: float, grace: int) -> None:
    """Say that an object is going, and when it may be gone."""
    metadata["deletionTimestamp"] = now_seconds(now + grace)
    metadata["deletionGracePeriodSeconds"] = grace


def _grace(resource: Resource, document: Mapping[str, Any], options: DeleteOptions) -> int:
    """Return the seconds until something may be gone."""
    if not resource.rules.graceful:
        return 0
    spec, status = document.get("spec", {}), document.get("status", {})
    if not spec.get("nodeName") or status.get("phase") in ("Succeeded", "Failed"):
        return 0
    wanted = options.grace_s if options.grace_s is not None else spec.get("terminationGracePeriodSeconds", 30)
    return 1 if wanted < 0 else int(wanted)


def _gone(resource: Resource, stored: Stored) -> Answer:
    if resource.rules.returns_deleted:
        return Answer(200, stored.object, resource, stored)
    details: dict[str, Any] = {"name": stored.name}
    if resource.group:
        details["group"] = resource.group
    details |= {"kind": resource.plural, "uid": stored.object["metadata"]["uid"]}
    return Answer(200, success(details))


async def _delete_namespace(api: Api, resource: Resource, stored: Stored, options: DeleteOptions) -> Answer:
    document = copied(stored.object)
    metadata = document["metadata"]
    if not metadata.get("deletionTimestamp"):
        metadata["deletionTimestamp"] = now_seconds(api.now())
        metadata.setdefault("deletionGracePeriodSeconds", 0)
        metadata.pop("deletionGracePeriodSeconds")
        document.setdefault("status", {})["phase"] = "Terminating"
        finalizers = _finalizers(resource, metadata, options.policy)
        if finalizers:
            metadata["finalizers"] = finalizers
        if options.dry_run:
            return Answer(200, document, resource, Stored(stored.key, stored.revision, document, b""))
        if not document.get("spec", {}).get("finalizers") and not finalizers:
            await api.write(Change(stored.key, None))
            return Answer(200, document, resource, Stored(stored.key, stored.revision, document, b""))
        found = await api.write(Change(stored.key, document))
        return Answer(200, found.object, resource, found)
    if document.get("spec", {}).get("finalizers") or metadata.get("finalizers"):
        return Answer(200, stored.object, resource, stored)
    if not options.dry_run:
        await api.write(Change(stored.key, None))
    return _gone(resource, stored)


async def delete_collection(api: Api, request: Request, info: Info, resource: Resource) -> Answer:
    """Delete everything that is selected; answers with the list of it.

    Raises:
        ApiError: as the API has it.
    """
    options = read_options(request)
    wanted = list_options(request, watching=False)
    found = select(api, resource, info.namespace if resource.namespaced else "", wanted)
    items = []
    for number, stored in enumerate(found, 1):
        if number % SLICE == 0:
            await asyncio.sleep(0)  # others are answered meanwhile; writes of a store in memory do not wait
        items.append(convert(resource, stored.object))
        current = api.store.newest(*stored.key)
        if current is None:
            continue
        try:
            await delete_stored(api, resource, current, options)
        except ApiError as error:
            if error.code not in (404, 409):
                raise
    document = {
        "kind": resource.list_kind,
        "apiVersion": resource.api_version,
        "metadata": {"resourceVersion": str(api.store.revision)},
        "items": items,
    }
    return Answer(200, document, resource)
