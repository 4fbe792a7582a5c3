"""Tenants: register, look at, change, roll back, remove. Writing is the operator's; a tenant may read its own."""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Query, Request
from starlette.responses import Response

from rayctl.api.auth import Principal, Role
from rayctl.api.bodies import media_type, parse_json, read_body, unsupported_media
from rayctl.api.deps import Caller, Service, Settings
from rayctl.api.documents import TenantHistory, TenantList, TenantVersion, answer
from rayctl.errors import Forbidden, InvalidRequest, MalformedRequest, NotFound
from rayctl.settings import ServiceSettings
from rayctl.tenancy.envelope import MAX_ENVELOPE_BYTES, peek
from rayctl.tenancy.model import NAME_PATTERN
from rayctl.tenancy.port import TenantService

__all__ = ["router"]

router = APIRouter(tags=["tenants"])

ENVELOPE_TYPE = "application/vnd.rayctl.envelope"
_DOCS: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"type": "object", "description": "Fields of a tenant's configuration."}},
            ENVELOPE_TYPE: {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


def _tenants(service: Service) -> TenantService:
    return service  # type: ignore[return-value]  # one actor answers for both ports


def _name(name: Annotated[str, Path(description="The name of a tenant.")]) -> str:
    if not re.fullmatch(NAME_PATTERN, name):
        raise NotFound(f"There is no tenant {name!r}.", code="tenant-not-found")
    return name


def _based_on(
    if_match: Annotated[str | None, Header(description="The version that a change is based on.")] = None,
    if_none_match: Annotated[str | None, Header(description="With *: only if it is not there yet.")] = None,
) -> int | None:
    if if_none_match is not None:
        if if_none_match.strip() != "*":
            raise MalformedRequest("If-None-Match is only understood as * here.")
        return 0
    if if_match is None or if_match.strip() == "*":
        return None
    text = if_match.strip().strip('"')
    if not text.isdigit() or len(text) > 9:
        raise MalformedRequest('If-Match must be the version as the ETag said it, for example "3".')
    return int(text)


Tenants = Annotated[TenantService, Depends(_tenants)]
Name = Annotated[str, Depends(_name)]
BasedOn = Annotated["int | None", Depends(_based_on)]
Note = Annotated[str, Query(max_length=2000, description="Why, for the history.")]
Author = Annotated[str, Query(max_length=200, description="Who, for the history.")]


def _operator(caller: Principal) -> None:
    if caller.tenant is not None:
        raise Forbidden(
            "Tenants are changed with the operator's token.",
            code="operator-only",
            hint="Ask the operator; this token may only read its own tenant.",
        )
    caller.need(Role.ADMIN)


def _own(caller: Principal, name: str) -> None:
    """Another tenant is not found, whether it is there or not."""
    if caller.tenant not in (None, name):
        raise NotFound(f"There is no tenant {name!r}.", code="tenant-not-found")


async def _document(request: Request, settings: ServiceSettings, name: str) -> Any:
    """Return the body: an envelope as bytes, or JSON with the tenant's name put in."""
    if media_type(request) == ENVELOPE_TYPE:
        data = await read_body(request, MAX_ENVELOPE_BYTES)
        if peek(data).tenant != name:
            raise _other(name)
        return data
    if media_type(request) != "application/json":
        raise unsupported_media(request, f"application/json or {ENVELOPE_TYPE}")
    document = parse_json(await read_body(request, settings.max_request_bytes))
    if not isinstance(document, dict):
        raise InvalidRequest("A tenant's configuration must be a JSON object.", code="invalid-tenant-config")
    if document.setdefault("tenant", name) != name:
        raise _other(name)
    return document


def _other(name: str) -> InvalidRequest:
    return InvalidRequest(
        "The document names another tenant than the address.",
        code="invalid-tenant-config",
        errors=[{"pointer": "/tenant", "message": f"must be {name}"}],
    )


def _etag(document: dict[str, Any]) -> dict[str, str]:
    return {} if document.get("version") is None else {"ETag": f'"{document["version"]}"'}


@router.get("/v1/tenants", response_model=TenantList)
async def list_tenants(service: Tenants, caller: Caller) -> Response:
    """The registered tenants; a tenant sees itself."""
    return answer({"items": await service.list_tenants(caller.tenant)})


@router.get("/v1/tenants/{name}", response_model=TenantVersion)
async def get_tenant(
    name: Name,
    service: Tenants,
    caller: Caller,
    version: Annotated[
        int | None, Query(ge=1, le=999_999_999, description="An earlier version (default: the newest).")
    ] = None,
) -> Response:
    """A tenant's configuration with what it uses now."""
    _own(caller, name)
    document = await service.get_tenant(name, version)
    return answer(document, 200, _etag(document))


@router.put("/v1/tenants/{name}", response_model=TenantVersion, openapi_extra=_DOCS)
async def put_tenant(
    request: Request,
    name: Name,
    service: Tenants,
    caller: Caller,
    settings: Settings,
    based_on: BasedOn,
    dry_run: Annotated[bool, Query(description="Check and say what would come of it; change nothing.")] = False,
    note: Note = "",
    author: Author = "",
) -> Response:
    """Register a tenant (`If-None-Match: *`) or its next version (`If-Match: "<version>"`).

    Without either the document is the newest version, whatever was there. The same contents again change nothing.
    """
    _operator(caller)
    document = await _document(request, settings, name)
    written = await service.put_tenant(document, expected=based_on, author=author, note=note, dry_run=dry_run)
    return answer(written, 200, _etag(written))


@router.get("/v1/tenants/{name}/history", response_model=TenantHistory)
async def tenant_history(name: Name, service: Tenants, caller: Caller) -> Response:
    """All versions, newest first, with what each changed."""
    _own(caller, name)
    return answer({"items": await service.tenant_history(name)})


@router.post("/v1/tenants/{name}:rollback", response_model=TenantVersion)
async def rollback_tenant(
    name: Name,
    service: Tenants,
    caller: Caller,
    based_on: BasedOn,
    version: Annotated[
        int, Query(ge=1, le=999_999_999, description="The version whose contents become the newest again.")
    ],
    note: Note = "",
    author: Author = "",
) -> Response:
    """Make an earlier version the newest one, as a version of its own."""
    _operator(caller)
    written = await service.rollback_tenant(name, version, expected=based_on, author=author, note=note)
    return answer(written, 200, _etag(written))


@router.delete("/v1/tenants/{name}", status_code=204, response_class=Response)
async def delete_tenant(name: Name, service: Tenants, caller: Caller) -> Response:
    """Remove a tenant and its versions. Refused while it has runs under way or deployments; ended runs stay."""
    _operator(caller)
    await service.delete_tenant(name)
    return Response(status_code=204)
