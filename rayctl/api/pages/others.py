"""Pages about runs, tenants and the system itself."""

from __future__ import annotations

from importlib import metadata
from typing import Any

import yaml
from fastapi import APIRouter, Request
from starlette.responses import Response

from rayctl import __version__
from rayctl.api.deps import Caller, RunId, Service
from rayctl.api.kube.deps import At, Kubernetes
from rayctl.api.pages.frame import shown
from rayctl.api.pages.plots import score_plot
from rayctl.automl.model import LeaderboardRow, RunState, RunView, TrialCounts
from rayctl.errors import Forbidden, NotFound, Unavailable
from rayctl.kube.calls import Call
from rayctl.kube.kinds import LEASES
from rayctl.telemetry.redaction import Redactor
from rayctl.views.readiness import moment

__all__ = ["EMPTY_RUN", "router"]

router = APIRouter(include_in_schema=False)
_PAGE = 50
_TRIALS = 200
# What a document of an older service may lack.
EMPTY_RUN: dict[str, Any] = {
    name: field.get_default(call_default_factory=True)
    for name, field in RunView.model_fields.items()
    if not field.is_required()
} | {"trials": TrialCounts().model_dump()}
_ROW: dict[str, Any] = {
    name: field.get_default(call_default_factory=True)
    for name, field in LeaderboardRow.model_fields.items()
    if not field.is_required()
}


@router.get("/ui/runs")
async def runs(request: Request, service: Service, caller: Caller, cursor: str = "") -> Response:
    """All runs, newest first."""
    found = await service.list_runs(tenant=caller.tenant, limit=_PAGE, cursor=cursor or None)
    busy = any(run["state"] in ("queued", "running") for run in found["items"])
    frame = {"poll": 3 if busy else 15}
    return shown(
        request,
        "runs.html",
        "runs",
        frame,
        rows=[{**EMPTY_RUN, **row} for row in found["items"]],
        cursor=cursor,
        next=found.get("next"),
    )


@router.get("/ui/runs/{run_id}")
async def run(request: Request, run_id: RunId, service: Service, caller: Caller) -> Response:
    """One run: its leaderboard and its scores, as they come."""
    view = await service.get_run(run_id, tenant=caller.tenant)
    rows = await service.leaderboard(run_id, tenant=caller.tenant)
    told = [*(view.get("warnings") or []), *((view.get("data") or {}).get("warnings") or [])]
    ended = RunState(view["state"]).is_terminal
    frame = {} if ended else {"live": f"/v1/runs/{run_id}/events", "events": "state trial leaderboard ensemble done"}
    return shown(
        request,
        "run.html",
        "runs",
        frame,
        run={**EMPTY_RUN, **view},
        rows=[{**_ROW, **row} for row in rows[:_TRIALS]],
        hidden=max(0, len(rows) - _TRIALS),
        warnings=told,
        ended=ended,
        plot=score_plot(rows, str(view["metric"]), bool(view["greater_is_better"])),
    )


@router.get("/ui/tenants")
async def tenants(request: Request, service: Service, caller: Caller) -> Response:
    """The registered tenants that the caller may see."""
    rows = await _tenants(service).list_tenants(caller.tenant)
    return shown(request, "tenants.html", "tenants", {"poll": 15}, rows=rows)


@router.get("/ui/tenants/{name}")
async def tenant(request: Request, name: str, service: Service, caller: Caller) -> Response:
    """One tenant: its configuration without secrets, its versions."""
    if caller.tenant not in (None, name):
        raise NotFound(f"There is no tenant {name!r}.", code="tenant-not-found")
    registry = _tenants(service)
    document = await registry.get_tenant(name)
    text = yaml.safe_dump(Redactor().value(document.get("config") or {}), sort_keys=False, allow_unicode=True)
    history = await registry.tenant_history(name)
    return shown(request, "tenant.html", "tenants", tenant=document, text=text, history=history)


def _tenants(service: Any) -> Any:
    return service  # one actor answers for both ports


@router.get("/ui/system")
async def system(request: Request, service: Service, caller: Caller, door: Kubernetes, at: At) -> Response:
    """Who leads, which versions, which limits. Operators see more than tenants."""
    info = await service.info()
    versions = {"rayctl": __version__, **_installed(), **{k: str(v) for k, v in (info.get("versions") or {}).items()}}
    missing, leases = None, []
    if caller.tenant is None:
        try:
            found = await door.request(Call.get("/version"))
            versions["Kubernetes API"] = str(found.get("gitVersion") or "unknown")
            where = request.app.state.settings.lease_namespace
            leases = [_lease(item, at) for item in await door.all(LEASES, where)]
        except (Unavailable, Forbidden) as error:
            missing = {"hint": "", **error.to_problem()}
    else:
        missing = {"detail": "The controllers are the operator's to see.", "hint": ""}
    return shown(
        request,
        "system.html",
        "system",
        {"poll": 5},
        leases=leases,
        missing=missing,
        versions=versions,
        runs=(info.get("runs") or {}) if caller.tenant is None else {},
        limits=info.get("limits") or {},
    )


def _installed() -> dict[str, str]:
    return {name: metadata.version(name) for name in ("ray", "kubernetes")}


def _lease(document: dict[str, Any], at: float) -> dict[str, Any]:
    spec = document.get("spec") or {}
    renewed = moment(spec.get("renewTime")) or 0.0
    over = at - renewed > float(spec.get("leaseDurationSeconds") or 15)
    holder = str(spec.get("holderIdentity") or "")
    return {
        "name": document["metadata"]["name"],
        "holder": holder,
        "state": "waiting" if not holder else "failed" if over else "ready",
        "transitions": int(spec.get("leaseTransitions") or 0),
        "renewed": spec.get("renewTime"),
    }
