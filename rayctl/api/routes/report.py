"""The report of an ended run: a page, the data behind it, and its pictures."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response, StreamingResponse

from rayctl.api.deps import Caller, RunId, Service
from rayctl.api.documents import ArtifactList, answer, is_known
from rayctl.api.files import CHUNK, pieces
from rayctl.errors import NotFound

__all__ = ["router"]

router = APIRouter(tags=["results"])

_FILES = {"html": ("report.html", "text/html; charset=utf-8"), "json": ("report.json", "application/json")}
# The page names the one script it has (it sorts tables) by its hash, before anything that a caller could have written.
_SCRIPT = re.compile(rb"script-src 'sha256-([A-Za-z0-9+/]{43}=)'")
_HEAD = 700


def _policy(page: bytes) -> str:
    """Return the policy for a page: no request to anywhere, no script but its own, and no origin."""
    found = _SCRIPT.search(page[:_HEAD])
    script = f"'sha256-{found.group(1).decode()}'" if found else "'none'"
    return (
        f"default-src 'none'; script-src {script}; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'; sandbox allow-scripts"
    )


@router.get(
    "/v1/runs/{run_id}/report",
    response_class=Response,
    responses={
        200: {"content": {"text/html": {"schema": {"type": "string"}}, "application/json": {"schema": {}}}},
        304: {"description": "Not changed."},
    },
)
async def report(
    request: Request,
    run_id: RunId,
    service: Service,
    caller: Caller,
    format: Annotated[Literal["html", "json"], Query(description="The page, or the data behind it.")] = "html",
) -> Response:
    """The report of an ended run as one page that needs nothing else, or the data behind it.

    It is built when it is asked for the first time, which takes some seconds; 409 `run-not-ended` before the end.
    """
    name, kind = _FILES[format]
    entry = _entry(await service.report(run_id, tenant=caller.tenant), name)
    etag = f'"{entry["sha256"]}"'
    headers = {"ETag": etag, "Cache-Control": "private, no-cache", "Referrer-Policy": "no-referrer"}
    if is_known(request, etag):
        return Response(status_code=304, headers=headers)
    first = await service.artifact(run_id, name, offset=0, length=CHUNK, tenant=caller.tenant)
    headers |= {"Content-Length": str(entry["bytes"]), "X-Content-SHA256": entry["sha256"]}
    if format == "html":
        headers["Content-Security-Policy"] = _policy(first)
        headers["Content-Disposition"] = f'inline; filename="{run_id}.html"'
    body = pieces(service, run_id, name, first, entry["bytes"], caller.tenant)
    return StreamingResponse(body, headers=headers, media_type=kind)


def _entry(files: list[dict[str, Any]], name: str) -> dict[str, Any]:
    for entry in files:
        if entry["name"] == name:
            return entry
    raise NotFound(f"The report has no file {name}.", code="artifact-not-found")


@router.get("/v1/runs/{run_id}/report/files", response_model=ArtifactList)
async def report_files(run_id: RunId, service: Service, caller: Caller) -> Response:
    """The files of the report (page, data, pictures); each is downloaded as an artifact of the run."""
    return answer({"items": await service.report(run_id, tenant=caller.tenant)})
