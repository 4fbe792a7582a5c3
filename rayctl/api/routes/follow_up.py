"""What comes after or instead of the rest of a run: its early end, its continuation, its repetition."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from pydantic import ValidationError
from starlette.responses import Response

from rayctl.api.bodies import media_type, parse_json, read_body, unsupported_media
from rayctl.api.deps import Caller, IdempotencyKey, RunId, Service, Settings
from rayctl.api.documents import ExtendOptions, answer
from rayctl.api.problems import invalid_document
from rayctl.automl.model import RunState, RunView
from rayctl.automl.port import AutoMLService
from rayctl.errors import InvalidRequest, RayctlError
from rayctl.settings import ServiceSettings

__all__ = ["router"]

router = APIRouter(tags=["runs"])

_POLL_AFTER_S = "1"
_DOCS: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ExtendOptions"}}},
    }
}


@router.post("/v1/runs/{run_id}:finish", status_code=202, response_model=RunView)
async def finish_run(run_id: RunId, service: Service, caller: Caller) -> Response:
    """End a run's search now; it delivers the best it has. Twice is fine, and so is a run that has ended."""
    return answer(await service.finish_early(run_id, tenant=caller.tenant), 202, {"Location": f"/v1/runs/{run_id}"})


async def _options(request: Request, settings: ServiceSettings) -> ExtendOptions:
    body = await read_body(request, settings.max_request_bytes)
    if body and media_type(request) != "application/json":
        raise unsupported_media(request, "application/json")
    try:
        options = ExtendOptions.model_validate(parse_json(body) if body else {})
    except ValidationError as exc:
        raise invalid_document(exc, "The body") from None
    if options.time_budget is None and options.max_trials is None:
        raise InvalidRequest(
            "By how much is the run to be continued?",
            code="missing-budget",
            hint='Send {"time_budget": "2m"}, {"max_trials": 20}, or both.',
        )
    return options


async def _accepted(service: AutoMLService, new_id: str, tenant: str | None, **known: str) -> Response:
    headers = {"Location": f"/v1/runs/{new_id}", "Retry-After": _POLL_AFTER_S}
    try:
        view = await service.get_run(new_id, tenant=tenant)
    except RayctlError:
        # The run is accepted, and an error here would make the caller ask for another one.
        view = {"id": new_id, "state": RunState.QUEUED, **known}
    return answer(view, 202, headers)


@router.post("/v1/runs/{run_id}:extend", status_code=202, response_model=RunView, openapi_extra=_DOCS)
async def extend_run(
    request: Request, run_id: RunId, service: Service, caller: Caller, settings: Settings, key: IdempotencyKey
) -> Response:
    """Continue an ended run with more budget, as a new run that takes over all of its trials.

    `max_trials` counts the new trials only. The same idempotency key gives the same new run.
    """
    options = await _options(request, settings)
    new_id = await service.extend(
        run_id,
        time_budget_s=options.time_budget,
        max_trials=options.max_trials,
        tenant=caller.tenant,
        idempotency_key=key,
    )
    return await _accepted(service, new_id, caller.tenant, continues=run_id)


@router.post("/v1/runs/{run_id}:replay", status_code=202, response_model=RunView)
async def replay_run(run_id: RunId, service: Service, caller: Caller, key: IdempotencyKey) -> Response:
    """Repeat exactly what finished in an ended run, as a new run: same data, seed and versions give the same scores.

    The same idempotency key gives the same new run.
    """
    new_id = await service.replay(run_id, tenant=caller.tenant, idempotency_key=key)
    return await _accepted(service, new_id, caller.tenant, replay_of=run_id)
