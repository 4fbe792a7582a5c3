"""Runs: create, list, look at, cancel, delete."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import ValidationError
from starlette.responses import Response

from rayctl.api.auth import Principal
from rayctl.api.bodies import media_type, parse_json, read_form, read_json, unsupported_media
from rayctl.api.deps import Caller, IdempotencyKey, RunId, Service, Settings
from rayctl.api.documents import RunPage, answer, etag_of, is_known
from rayctl.api.problems import invalid_document
from rayctl.api.tables import check_format, format_of
from rayctl.automl.model import RunRequest, RunState, RunView
from rayctl.errors import InvalidRequest, MalformedRequest, RayctlError
from rayctl.settings import ServiceSettings

__all__ = ["router"]

router = APIRouter(tags=["runs"])

_PARTS = frozenset({"request", "data"})
_POLL_AFTER_S = "1"
_CREATE_DOCS: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/RunRequest"},
                "example": {
                    "task": "classification",
                    "target": "churned",
                    "data": {"uri": "s3://bucket/customers.parquet"},
                    "metric": "roc_auc",
                    "time_budget_s": 600,
                },
            },
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["request", "data"],
                    "properties": {
                        "request": {"type": "string", "description": "The request as JSON text, without `data`."},
                        "data": {"type": "string", "format": "binary", "description": "A CSV, Parquet or Arrow file."},
                    },
                }
            },
        },
    }
}


def _checked(document: Any, caller: Principal) -> RunRequest:
    """Validate a request and settle for which tenant it is."""
    if not isinstance(document, dict):
        raise InvalidRequest("The request must be a JSON object.")
    tenant = document.get("tenant")
    if tenant is None or isinstance(tenant, str):  # anything else is left for the validation to refuse
        owner = caller.scope(tenant)
        document = {**document, "tenant": owner} if owner else document
    try:
        request = RunRequest.model_validate(document)
    except ValidationError as exc:
        raise invalid_document(exc, "The request") from None
    for index, entry in enumerate(request.search_space or ()):
        if entry.pickled_class is not None:  # the service refuses it as well; bytes to unpickle do not even pass here
            raise InvalidRequest(
                "Pickled classes are not accepted over HTTP.",
                code="pickled-class-over-http",
                errors=[{"pointer": f"/search_space/{index}/pickled_class", "message": "not accepted over HTTP"}],
                hint="Name a class that the service can import, or connect over Ray.",
            )
    if request.custom_metric is not None and request.custom_metric.pickled is not None:
        raise InvalidRequest(
            "Pickled functions are not accepted over HTTP.",
            code="pickled-metric-over-http",
            errors=[{"pointer": "/custom_metric/pickled", "message": "not accepted over HTTP"}],
            hint="Name a function that the service can import (module:function), or connect over Ray.",
        )
    return request


async def _read(request: Request, caller: Principal, settings: ServiceSettings) -> tuple[RunRequest, bytes | None]:
    if media_type(request) != "multipart/form-data":
        if media_type(request) != "application/json":
            raise unsupported_media(request, "application/json, or multipart/form-data with parts request and data")
        run = _checked(await read_json(request, settings.max_request_bytes), caller)
        if run.data is None:
            raise InvalidRequest(
                "The request names no data.",
                code="missing-data",
                errors=[{"pointer": "/data", "message": "is missing"}],
                hint="Give data.uri, data.upload or data.columns, or send the file as the part data of a form.",
            )
        return run, None
    form = await read_form(
        request,
        limit=settings.max_data_bytes + settings.max_request_bytes,
        field_limit=settings.max_request_bytes,
        names=_PARTS,
    )
    if "request" not in form:
        raise MalformedRequest("The multipart form has no part named request.", code="missing-part")
    run = _checked(parse_json(form["request"].content, "The part request"), caller)
    part = form.get("data")
    if (part is None) == (run.data is None):
        raise InvalidRequest(
            "Give the data once: as the part data, or as the field data of the request.",
            code="missing-data" if part is None else "data-given-twice",
            errors=[{"pointer": "/data", "message": "is missing" if part is None else "is given twice"}],
        )
    if part is None:
        return run, None
    check_format(part.content, format_of(part.content_type, part.filename, strict=False))
    return run, part.content


@router.post("/v1/runs", status_code=202, response_model=RunView, openapi_extra=_CREATE_DOCS)
async def create_run(
    request: Request, service: Service, caller: Caller, settings: Settings, key: IdempotencyKey
) -> Response:
    """Accept a request. The answer comes when the run is stored; it is then queued or running."""
    run, data = await _read(request, caller, settings)
    # Only what was given: a tenant's defaults count where the request says nothing.
    asked = run.model_dump(mode="json", exclude_unset=True)
    run_id = await service.do_auto_ml(asked, data, idempotency_key=key, via="http")
    headers = {"Location": f"/v1/runs/{run_id}", "Retry-After": _POLL_AFTER_S}
    try:
        view = await service.get_run(run_id, tenant=caller.tenant)
    except RayctlError:
        # The run is accepted, and an error here would make the caller send it again.
        view = {"id": run_id, "tenant": run.tenant, "task": run.task, "target": run.target, "state": RunState.QUEUED}
    return answer(view, 202, headers)


@router.get("/v1/runs", response_model=RunPage)
async def list_runs(
    service: Service,
    caller: Caller,
    tenant: Annotated[
        str | None, Query(max_length=63, pattern=r"^[a-z0-9-]*$", description="Runs of this tenant only.")
    ] = None,
    state: Annotated[RunState | None, Query(description="Runs in this state only.")] = None,
    limit: Annotated[int, Query(ge=1, le=500, description="Runs per page.")] = 50,
    cursor: Annotated[
        str | None,
        Query(max_length=512, pattern=r"^[\x21-\x7e]*$", description="`next` of the page before; none: the first."),
    ] = None,
) -> Response:
    """List runs, newest first."""
    page = await service.list_runs(
        tenant=caller.scope(tenant or None), state=state.value if state else None, limit=limit, cursor=cursor or None
    )
    return answer(page)


@router.get("/v1/runs/{run_id}", response_model=RunView, responses={304: {"description": "Not changed."}})
async def get_run(request: Request, run_id: RunId, service: Service, caller: Caller) -> Response:
    """Look at one run. With `If-None-Match` the answer is 304 while nothing but the clock has changed."""
    view = await service.get_run(run_id, tenant=caller.tenant)
    etag = etag_of(view)
    if is_known(request, etag):
        return Response(status_code=304, headers={"ETag": etag})
    headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
    if not RunState(view["state"]).is_terminal:
        headers["Retry-After"] = _POLL_AFTER_S
    return answer(view, headers=headers)


@router.post("/v1/runs/{run_id}:cancel", status_code=202, response_model=RunView)
async def cancel_run(run_id: RunId, service: Service, caller: Caller) -> Response:
    """Ask a run to stop. Twice is fine, and so is a run that has ended."""
    return answer(await service.cancel(run_id, tenant=caller.tenant), 202, {"Location": f"/v1/runs/{run_id}"})


@router.delete("/v1/runs/{run_id}", status_code=204, response_class=Response)
async def delete_run(run_id: RunId, service: Service, caller: Caller) -> Response:
    """Remove an ended run with its artifacts."""
    await service.delete_run(run_id, tenant=caller.tenant)
    return Response(status_code=204)
