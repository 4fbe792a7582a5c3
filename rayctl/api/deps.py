"""What routes are given: the service, the caller, the settings, and checked path parameters."""

from __future__ import annotations

import inspect
import re
from typing import Annotated, cast

from fastapi import Depends, Header, Path, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from rayctl.api.auth import Principal
from rayctl.automl.port import AutoMLService
from rayctl.errors import MalformedRequest, NotFound
from rayctl.settings import ServiceSettings

__all__ = ["ArtifactName", "Caller", "DeploymentName", "IdempotencyKey", "RunId", "Service", "Settings"]

# Wider than what the service makes up, but nothing that a database or a file system could stumble over.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_KEY = re.compile(r"[\x21-\x7e]{1,200}")

_bearer = HTTPBearer(auto_error=False, description="A token from the service's token file.")


async def _service(request: Request) -> AutoMLService:
    source = request.app.state.service
    if callable(source):
        source = source()
        if inspect.isawaitable(source):
            source = await source
    return cast(AutoMLService, source)


def _caller(request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> Principal:
    # Checked by the middleware already; the second parameter is there for the OpenAPI document.
    return cast(Principal, request.state.caller)


def _settings(request: Request) -> ServiceSettings:
    return cast(ServiceSettings, request.app.state.settings)


def _run_id(run_id: Annotated[str, Path(description="The id of a run.")]) -> str:
    if not _NAME.fullmatch(run_id):
        raise NotFound("There is no run of this name.")
    return run_id


def _deployment_name(name: Annotated[str, Path(description="The name of a deployment.")]) -> str:
    if not _NAME.fullmatch(name):
        raise NotFound("There is no deployment of this name.")
    return name


def _artifact_name(name: Annotated[str, Path(description="The name of an artifact, as in the list.")]) -> str:
    if len(name) > 512 or not all(_NAME.fullmatch(part) for part in name.split("/")):
        raise NotFound("The run has no artifact of this name.")
    return name


def _idempotency_key(
    idempotency_key: Annotated[
        str | None, Header(description="The same key with the same request gives the same run, however often sent.")
    ] = None,
) -> str | None:
    if idempotency_key is not None and not _KEY.fullmatch(idempotency_key):
        raise MalformedRequest("The Idempotency-Key header must be 1 to 200 visible ASCII characters.")
    return idempotency_key


Service = Annotated[AutoMLService, Depends(_service)]
Caller = Annotated[Principal, Depends(_caller)]
Settings = Annotated[ServiceSettings, Depends(_settings)]
RunId = Annotated[str, Depends(_run_id)]
DeploymentName = Annotated[str, Depends(_deployment_name)]
ArtifactName = Annotated[str, Depends(_artifact_name)]
IdempotencyKey = Annotated[str | None, Depends(_idempotency_key)]
