"""Predictions with the model of a finished run."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from rayctl.api.bodies import media_type, parse_json, read_body
from rayctl.api.deps import Caller, RunId, Service, Settings
from rayctl.api.documents import Predictions
from rayctl.api.routes.data import TABLE_BODY, read_table_body
from rayctl.api.tables import ANSWER_TYPES, check_format, choose_answer, render, table_from_json
from rayctl.settings import ServiceSettings

__all__ = ["router"]

router = APIRouter(tags=["predictions"])

_ROW = {"type": "object", "additionalProperties": True}
_JSON_BODY = {
    "schema": {
        "oneOf": [
            {"type": "object", "required": ["rows"], "properties": {"rows": {"type": "array", "items": _ROW}}},
            {"type": "object", "required": ["row"], "properties": {"row": _ROW}},
            {
                "type": "object",
                "required": ["columns"],
                "properties": {"columns": {"type": "object", "additionalProperties": {"type": "array"}}},
            },
        ]
    }
}


async def read_input(request: Request, settings: ServiceSettings) -> tuple[Any, str | None]:
    """Read the rows to predict for: an Arrow table (from JSON), or bytes with their format, or None (no body)."""
    kind = media_type(request)
    if not kind or kind == "application/json":
        body = await read_body(request, settings.max_request_bytes)
        if not body:
            return None, None
        document = parse_json(body)
        return await asyncio.to_thread(table_from_json, document), None
    data, declared = await read_table_body(request, settings.max_data_bytes)
    if not data:
        return None, None
    check_format(data, declared)
    return data, declared


@router.post(
    "/v1/runs/{run_id}:predict",
    response_model=Predictions,
    responses={200: {"content": {kind: {"schema": {"type": "string"}} for kind in ANSWER_TYPES[1:]}}},
    openapi_extra={"requestBody": {"required": False, "content": {"application/json": _JSON_BODY, **TABLE_BODY}}},
)
async def predict(
    request: Request,
    run_id: RunId,
    service: Service,
    caller: Caller,
    settings: Settings,
    proba: Annotated[bool, Query(description="Also the probability of each class.")] = False,
) -> Response:
    """Predict for rows, or without a body forecast the horizon after the training data (series)."""
    answer_type = choose_answer(request.headers.get("accept"))
    data, declared = await read_input(request, settings)
    table = await service.predict(run_id, data, proba=proba, format=declared, tenant=caller.tenant)
    return Response(await asyncio.to_thread(render, table, answer_type), media_type=answer_type)
