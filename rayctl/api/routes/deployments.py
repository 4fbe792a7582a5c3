"""Deployments: models served as Ray Serve applications."""

from __future__ import annotations

import re
from typing import Any

from fastapi import APIRouter, Request
from pydantic import ValidationError
from starlette.responses import Response

from rayctl.api.bodies import media_type, parse_json, read_body, unsupported_media
from rayctl.api.deps import Caller, DeploymentName, RunId, Service, Settings
from rayctl.api.documents import DeploymentInfo, DeploymentList, DeployOptions, answer
from rayctl.api.problems import invalid_document
from rayctl.errors import InvalidRequest
from rayctl.settings import ServiceSettings

__all__ = ["router"]

router = APIRouter(tags=["deployments"])

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_DOCS: dict[str, Any] = {
    "requestBody": {
        "required": False,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/DeployOptions"}}},
    }
}


async def _options(request: Request, settings: ServiceSettings) -> DeployOptions:
    body = await read_body(request, settings.max_request_bytes)
    if not body:
        return DeployOptions()
    if media_type(request) != "application/json":
        raise unsupported_media(request, "application/json, or no body")
    try:
        options = DeployOptions.model_validate(parse_json(body))
    except ValidationError as exc:
        raise invalid_document(exc, "The body") from None
    if options.name is not None and not _NAME.fullmatch(options.name):
        raise InvalidRequest(
            "The name of a deployment is 1 to 63 lower-case letters, digits and inner hyphens.",
            errors=[{"pointer": "/name", "message": "is not a name"}],
        )
    return options


@router.post("/v1/runs/{run_id}:deploy", status_code=201, response_model=DeploymentInfo, openapi_extra=_DOCS)
async def deploy(request: Request, run_id: RunId, service: Service, caller: Caller, settings: Settings) -> Response:
    """Serve the model of a finished run as an application of its own."""
    options = await _options(request, settings)
    return answer(await service.deploy(run_id, name=options.name, tenant=caller.tenant), 201)


@router.get("/v1/deployments", response_model=DeploymentList)
async def list_deployments(service: Service, caller: Caller) -> Response:
    """The models that are served."""
    return answer({"items": await service.list_deployments(tenant=caller.tenant)})


@router.delete("/v1/deployments/{name}", status_code=204, response_class=Response)
async def undeploy(name: DeploymentName, service: Service, caller: Caller) -> Response:
    """Stop serving a model."""
    await service.undeploy(name, tenant=caller.tenant)
    return Response(status_code=204)
