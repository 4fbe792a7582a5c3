"""Is it alive, is it ready, what is it."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request
from starlette.responses import Response

from rayctl import __version__
from rayctl.api.deps import Caller, Service
from rayctl.api.documents import ServiceInfo, VersionInfo, answer
from rayctl.api.measuring import CONTENT_TYPE, metrics_of
from rayctl.errors import Forbidden, RayctlError, Unavailable

__all__ = ["router"]

router = APIRouter(tags=["system"])

_READY_TIMEOUT_S = 5.0
# Tenants are told what concerns every caller; resources and counts of runs would tell about other tenants.
_FOR_TENANTS = ("versions", "limits")


@router.get("/healthz")
async def healthz() -> Response:
    """Whether this process answers. Needs no token and asks nobody else."""
    return answer({"status": "ok"})


@router.get("/readyz")
async def readyz(request: Request, service: Service) -> Response:
    """Whether the service behind answers, too. Needs no token."""
    state = request.app.state
    if state.readiness is None or state.readiness.done():  # one question at a time, however many strangers ask
        state.readiness = asyncio.create_task(asyncio.wait_for(service.info(), _READY_TIMEOUT_S))
    try:
        await asyncio.shield(state.readiness)
    except asyncio.TimeoutError:
        raise Unavailable("The AutoML service does not answer.", code="not-ready", retry_after_s=2) from None
    except RayctlError as exc:
        raise Unavailable("The AutoML service is not ready.", code="not-ready", retry_after_s=2) from exc
    return answer({"status": "ready"})


@router.get("/version", response_model=VersionInfo)
async def version(caller: Caller) -> Response:
    """The version of the service and of its API."""
    return answer({"name": "rayctl", "version": __version__, "api": "v1"})


@router.get("/v1/info", response_model=ServiceInfo)
async def info(service: Service, caller: Caller) -> Response:
    """Versions and limits; for operators also resources and counts of runs."""
    document = await service.info()
    if caller.tenant is not None:
        document = {key: document[key] for key in _FOR_TENANTS if key in document}
    return answer(document)


@router.get("/metrics", responses={200: {"content": {"text/plain": {}}}}, response_class=Response)
async def metrics(request: Request, service: Service, caller: Caller) -> Response:
    """For Prometheus: runs by state, and what the controllers count, where they are actors beside this service.

    Counts are over all tenants, so this is for operators' tokens.
    """
    if caller.tenant is not None:
        raise Forbidden("Metrics are for operators: they count what all tenants do.", code="operators-only")
    text = await metrics_of(service, request.app.state.counted)
    return Response(text, headers={"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store"})
