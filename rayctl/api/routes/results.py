"""What a run found: leaderboard, result, artifacts."""

from __future__ import annotations

import csv
import io
import mimetypes
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from starlette.responses import Response, StreamingResponse

from rayctl.api.deps import ArtifactName, Caller, RunId, Service
from rayctl.api.documents import ArtifactList, Leaderboard, ResultDocument, answer, dump
from rayctl.automl.port import AutoMLService
from rayctl.errors import ResultNotReady, RunFailed, Unavailable

__all__ = ["router"]

router = APIRouter(tags=["results"])

_CHUNK = 4 * 1024 * 1024
_MAX_WAIT_S = 30.0
_CSV_COLUMNS = ("rank", "trial", "model", "state", "score", "std", "fit_s", "predict_s", "params", "error")


def _as_csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_CSV_COLUMNS)
    for row in rows:
        error = (row.get("error") or {}).get("message")
        flat = {**row, "params": dump(row.get("params") or {}).decode(), "error": error}
        writer.writerow([flat.get(column) for column in _CSV_COLUMNS])
    return text.getvalue()


@router.get("/v1/runs/{run_id}/leaderboard", response_model=Leaderboard)
async def leaderboard(
    run_id: RunId,
    service: Service,
    caller: Caller,
    limit: Annotated[int | None, Query(ge=1, le=100_000)] = None,
    format: Literal["json", "csv"] = "json",
) -> Response:
    """The trials: done ones best first, then failed, then skipped. Also while the run goes on."""
    rows = await service.leaderboard(run_id, limit=limit, tenant=caller.tenant)
    if format == "csv":
        return Response(_as_csv(rows), media_type="text/csv")
    return answer({"items": rows})


@router.get("/v1/runs/{run_id}/result", response_model=ResultDocument)
async def result(
    run_id: RunId,
    service: Service,
    caller: Caller,
    wait: Annotated[float, Query(ge=0, le=_MAX_WAIT_S, description="Seconds to wait for the end.")] = 0.0,
) -> Response:
    """The result of an ended run; before that 409 `result-not-ready`, and 409 `run-failed` if there is none."""
    return answer(await service.get_result(run_id, wait_s=wait, tenant=caller.tenant))


@router.get("/v1/runs/{run_id}/artifacts", response_model=ArtifactList)
async def artifacts(run_id: RunId, service: Service, caller: Caller) -> Response:
    """The files of an ended run."""
    document = await service.get_result(run_id, tenant=caller.tenant)
    return answer({"items": document.get("artifacts", [])})


async def _known_artifact(service: AutoMLService, run_id: str, name: str, tenant: str | None) -> dict[str, Any] | None:
    try:
        document = await service.get_result(run_id, tenant=tenant)
    except (ResultNotReady, RunFailed):
        return None  # some files exist without a result; they are then sent without their size
    return next((entry for entry in document.get("artifacts", []) if entry["name"] == name), None)


async def _rest(
    service: AutoMLService, run_id: str, name: str, first: bytes, size: int | None, tenant: str | None
) -> AsyncIterator[bytes]:
    chunk, sent = first, 0
    while chunk:
        yield chunk
        sent += len(chunk)
        if sent == size or len(chunk) < _CHUNK:
            break
        chunk = await service.artifact(run_id, name, offset=sent, length=_CHUNK, tenant=tenant)
    if size is not None and sent != size:  # breaks the connection: the receiver must not take it for the whole file
        raise Unavailable(f"The artifact ended after {sent} of {size} bytes.")


@router.get(
    "/v1/runs/{run_id}/artifacts/{name:path}",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}},
)
async def artifact(run_id: RunId, name: ArtifactName, service: Service, caller: Caller) -> Response:
    """Download one file."""
    entry = await _known_artifact(service, run_id, name, caller.tenant)
    # Read the first part before the answer begins: what is not there is then a proper 404.
    first = await service.artifact(run_id, name, offset=0, length=_CHUNK, tenant=caller.tenant)
    size = entry["bytes"] if entry else None
    # Always a download, never a page: what a model writes must not run as a script of this origin.
    headers = {"Content-Disposition": f'attachment; filename="{name.rpartition("/")[2]}"'}
    if entry:
        headers |= {"Content-Length": str(size), "X-Content-SHA256": entry["sha256"], "ETag": f'"{entry["sha256"]}"'}
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return StreamingResponse(_rest(service, run_id, name, first, size, caller.tenant), headers=headers, media_type=kind)
