"""Uploads: files kept for later requests."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from rayctl.api.bodies import media_type, read_body, read_form
from rayctl.api.deps import Caller, Service, Settings
from rayctl.api.documents import UploadInfo, answer
from rayctl.api.tables import check_format, format_of
from rayctl.errors import MalformedRequest

__all__ = ["TABLE_BODY", "read_table_body", "router"]

router = APIRouter(tags=["data"])

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FORM = {
    "schema": {
        "type": "object",
        "required": ["data"],
        "properties": {"data": {"type": "string", "format": "binary"}},
    }
}
TABLE_BODY = {
    "text/csv": _BINARY,
    "application/vnd.apache.parquet": _BINARY,
    "application/vnd.apache.arrow.stream": _BINARY,
    "multipart/form-data": _FORM,
}
_DOCS: dict[str, Any] = {"requestBody": {"required": True, "content": TABLE_BODY}}
_FORM_OVERHEAD = 64 * 1024


async def read_table_body(request: Request, limit: int) -> tuple[bytes, str | None]:
    """Read a table that is sent as a file: as the body itself, or as the part ``data`` of a form.

    Returns the bytes and their format (None: the sender did not say).
    """
    if media_type(request) != "multipart/form-data":
        declared = format_of(request.headers.get("content-type"))  # before reading: a wrong type costs no transfer
        return await read_body(request, limit), declared
    form = await read_form(request, limit=limit + _FORM_OVERHEAD, field_limit=limit, names=frozenset({"data"}))
    if "data" not in form:
        raise MalformedRequest("The multipart form has no part named data.", code="missing-part")
    part = form["data"]
    return part.content, format_of(part.content_type, part.filename, strict=False)


@router.post("/v1/uploads", status_code=201, response_model=UploadInfo, openapi_extra=_DOCS)
async def upload(
    request: Request,
    service: Service,
    caller: Caller,
    settings: Settings,
    tenant: Annotated[
        str | None,
        Query(max_length=63, pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", description="Whom the file belongs to."),
    ] = None,
    format: Annotated[
        Literal["csv", "parquet", "arrow"] | None, Query(description="Of the file (default: by its type and contents).")
    ] = None,
) -> Response:
    """Keep a CSV, Parquet or Arrow file; requests name it as `{"data": {"upload": id}}`."""
    owner = caller.scope(tenant) or "default"
    data, declared = await read_table_body(request, settings.max_data_bytes)
    declared = format or declared
    check_format(data, declared)
    return answer(await service.upload(data, format=declared, tenant=owner), 201)
