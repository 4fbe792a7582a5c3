"""Changing objects: create, apply, patch, delete, scale, suspend, resume, plan."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ValidationError
from starlette.responses import Response

from rayctl.api.auth import Principal, Role
from rayctl.api.bodies import media_type, read_body, read_json, unsupported_media
from rayctl.api.deps import Caller, IdempotencyKey, Settings
from rayctl.api.documents import answer
from rayctl.api.kube.admission import check_tenant_document
from rayctl.api.kube.changes import Target, changed, created_or_applied, deleted
from rayctl.api.kube.deps import DryRun, Namespace
from rayctl.api.kube.documents import ObjectDocument, Operation, object_answer
from rayctl.api.kube.kinds import KINDS, Kind
from rayctl.api.kube.scope import seen_namespace
from rayctl.api.kube.wish import Wished
from rayctl.api.problems import invalid_document
from rayctl.core.steering import Steered
from rayctl.errors import InvalidRequest
from rayctl.settings import ServiceSettings

__all__ = ["body_of", "body_schema", "document_of", "placed", "router"]

router = APIRouter(tags=["clusters"])
Force = Annotated[bool, Query(description="Take over fields that somebody else owns.")]
BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"type": "object", "description": "The Kubernetes object."}}},
    }
}
_MERGE = "application/merge-patch+json"


async def body_of(request: Request, settings: ServiceSettings, model: type[BaseModel]) -> Any:
    """Return the body as a model; without a body, the model's defaults."""
    if media_type(request):
        found = await read_json(request, settings.max_request_bytes)
    elif await read_body(request, settings.max_request_bytes):
        raise unsupported_media(request, "application/json")
    else:
        found = {}
    try:
        return model.model_validate(found)
    except ValidationError as error:
        raise invalid_document(error, "The request") from None


async def document_of(request: Request, settings: ServiceSettings, kind: Kind, caller: Principal) -> dict[str, Any]:
    """Return the body as an object of a kind. Raises InvalidRequest, Forbidden."""
    found = await read_json(request, settings.max_request_bytes)
    if not isinstance(found, dict):
        raise InvalidRequest("An object must be a JSON object.", code="not-an-object")
    for field, wanted in (("apiVersion", kind.resource.api_version), ("kind", kind.resource.kind)):
        if found.setdefault(field, wanted) != wanted:
            raise _differs(field, wanted)
    if not isinstance(found.setdefault("metadata", {}), dict):
        raise InvalidRequest("metadata must be an object.", errors=[{"pointer": "/metadata", "message": "object"}])
    found.pop("status", None)
    if caller.tenant is not None:
        check_tenant_document(found)
    return found


def placed(document: dict[str, Any], namespace: str, name: str) -> dict[str, Any]:
    """Return the document with the name and the namespace that the address says."""
    metadata = document["metadata"]
    for field, wanted in (("name", name), ("namespace", namespace)):
        if metadata.setdefault(field, wanted) != wanted:
            raise _differs(f"metadata/{field}", wanted)
    return document


def _differs(field: str, wanted: str) -> InvalidRequest:
    return InvalidRequest(
        "The document says something else than the address.",
        code="other-object",
        errors=[{"pointer": f"/{field}", "message": f"must be {wanted}"}],
    )


def body_schema(model: type[BaseModel], required: bool = True) -> dict[str, Any]:
    content = {"application/json": {"schema": model.model_json_schema()}}
    return {"requestBody": {"required": required, "content": content}}


def _add_create(kind: Kind) -> None:
    async def create_object(
        request: Request,
        caller: Caller,
        settings: Settings,
        key: IdempotencyKey,
        namespace: Namespace = None,
        dry_run: DryRun = False,
    ) -> Response:
        document = await document_of(request, settings, kind, caller)
        name = document["metadata"].get("name")
        if not isinstance(name, str) or not name:
            raise InvalidRequest(
                "The object has no name.", errors=[{"pointer": "/metadata/name", "message": "missing"}]
            )
        where = seen_namespace(caller, namespace or document["metadata"].get("namespace")) or "default"
        target = Target(request.app.state.door, kind, where, name, None, dry_run)
        document = placed(document, where, name)

        async def work() -> Response:
            return await created_or_applied(target, document, create=True)

        return await request.app.state.memory.once(caller, key, [request.url.path, where, dry_run, document], work)

    router.add_api_route(
        f"/v1/{kind.word}",
        create_object,
        methods=["POST"],
        status_code=201,
        operation_id=f"create_{kind.word}",
        description=f"Create a {kind.one}; 409 if there is one of this name.",
        openapi_extra=BODY,
        response_model=ObjectDocument,
    )


def _add_apply(kind: Kind) -> None:
    async def apply_object(
        wish: Wished,
        settings: Settings,
        force: Force = False,
    ) -> Response:
        document = await document_of(wish.request, settings, kind, wish.caller)
        target = wish.target(kind, document["metadata"].get("namespace"))
        document = placed(document, target.namespace, target.name)

        async def work() -> Response:
            return await created_or_applied(target, document, force=force)

        return await wish.once(document, work)

    router.add_api_route(
        f"/v1/{kind.word}/{{name}}",
        apply_object,
        methods=["PUT"],
        operation_id=f"apply_{kind.word}",
        description=f"Create or change a {kind.one} so that it is as the document says (server-side apply).",
        openapi_extra=BODY,
        responses={201: {"description": "It was created.", "model": ObjectDocument}},
        response_model=ObjectDocument,
    )


def _add_patch(kind: Kind) -> None:
    async def patch_object(
        wish: Wished,
        settings: Settings,
    ) -> Response:
        found = await read_json(wish.request, settings.max_request_bytes)
        if not isinstance(found, dict):
            raise InvalidRequest("A merge patch must be a JSON object.", code="not-an-object")
        changes = {field: value for field, value in found.items() if field != "status"}
        if not isinstance(changes.get("metadata", {}), dict):
            raise InvalidRequest("metadata must be an object.", errors=[{"pointer": "/metadata", "message": "object"}])
        if wish.caller.tenant is not None:
            check_tenant_document(changes)
        target = wish.target(kind)

        async def work() -> Response:
            return object_answer(await changed(target, Steered("patched", changes)))

        return await wish.once(changes, work)

    router.add_api_route(
        f"/v1/{kind.word}/{{name}}",
        patch_object,
        methods=["PATCH"],
        operation_id=f"patch_{kind.word}",
        description=f"Change fields of a {kind.one} (merge patch, RFC 7386).",
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {_MERGE: {"schema": {"type": "object"}}, "application/json": {"schema": {"type": "object"}}},
            }
        },
        response_model=ObjectDocument,
    )


def _add_delete(kind: Kind) -> None:
    async def delete_object(
        wish: Wished,
        orphan: Annotated[bool, Query(description="Leave what it owns.")] = False,
    ) -> Response:
        wish.caller.need(Role.ADMIN)
        operation = await deleted(wish.target(kind), "Orphan" if orphan else "Background")
        return answer(operation, 202, {"Location": f"/v1/operations/{operation['id']}", "Retry-After": "1"})

    router.add_api_route(
        f"/v1/{kind.word}/{{name}}",
        delete_object,
        methods=["DELETE"],
        status_code=202,
        operation_id=f"delete_{kind.word}",
        description=f"Delete a {kind.one} and what it owns. The answer is the operation to follow.",
        response_model=Operation,
    )


for _kind in KINDS:
    for _add in (_add_create, _add_apply, _add_patch, _add_delete):
        _add(_kind)
