"""What a run found: leaderboard, result, artifacts."""

from __future__ import annotations

import csv
import io
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response, StreamingResponse

from rayctl.api.deps import ArtifactName, Caller, RunId, Service
from rayctl.api.documents import ArtifactList, Leaderboard, ResultDocument, answer, dump, is_known
from rayctl.api.files import CHUNK, content_type, pieces
from rayctl.automl.port import AutoMLService
from rayctl.errors import ResultNotReady, RunFailed

__all__ = ["router"]

router = APIRouter(tags=["results"])

_MAX_WAIT_S = 30.0
_NUMBERS = ("score", "std", "fit_s", "predict_s", "size_bytes", "weight")
_CSV_COLUMNS = ("rank", "trial", "model", "state", *_NUMBERS, "reused", "fold_scores", "params", "error")
# What a model or a page made of a caller's texts holds must never run as a script of this origin.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"


def _as_csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_CSV_COLUMNS)
    for row in rows:
        error = (row.get("error") or {}).get("message")
        folds = " ".join(f"{score:.6g}" for score in row.get("fold_scores") or ())
        flat = {**row, "params": dump(row.get("params") or {}).decode(), "error": error, "fold_scores": folds}
        writer.writerow([flat.get(column) for column in _CSV_COLUMNS])
    return text.getvalue()


@router.get("/v1/runs/{run_id}/leaderboard", response_model=Leaderboard)
async def leaderboard(
    run_id: RunId,
    service: Service,
    caller: Caller,
    limit: Annotated[int | None, Query(ge=1, le=100_000, description="At most this many trials.")] = None,
    format: Annotated[Literal["json", "csv"], Query(description="Of the answer.")] = "json",
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
    entry = None
    try:
        document = await service.get_result(run_id, tenant=tenant)
        entry = next((entry for entry in document.get("artifacts", []) if entry["name"] == name), None)
    except (ResultNotReady, RunFailed):
        pass  # some files exist without a result; they are then sent without their size
    if entry is None and name.startswith(("report.", "plots/")):
        files = await service.report(run_id, tenant=tenant)
        entry = next((entry for entry in files if entry["name"] == name), None)
    return entry


@router.get(
    "/v1/runs/{run_id}/artifacts/{name:path}",
    response_class=Response,
    responses={
        200: {"content": {"*/*": {"schema": {"type": "string", "format": "binary"}}}},
        304: {"description": "Not changed."},
    },
)
async def artifact(request: Request, run_id: RunId, name: ArtifactName, service: Service, caller: Caller) -> Response:
    """Download one file of the result, or of the report (`plots/roc.svg`), which is then built if it is not there."""
    entry = await _known_artifact(service, run_id, name, caller.tenant)
    # Always a download, never a page.
    file_name = name.rpartition("/")[2]
    headers = {"Content-Disposition": f'attachment; filename="{file_name}"', "Content-Security-Policy": _POLICY}
    if entry:
        headers |= {"X-Content-SHA256": entry["sha256"], "ETag": f'"{entry["sha256"]}"'}
        if is_known(request, headers["ETag"]):
            return Response(status_code=304, headers=headers)
        headers["Content-Length"] = str(entry["bytes"])
    # Read the first part before the answer begins: what is not there is then a proper 404.
    first = await service.artifact(run_id, name, offset=0, length=CHUNK, tenant=caller.tenant)
    size = entry["bytes"] if entry else None
    body = pieces(service, run_id, name, first, size, caller.tenant)
    return StreamingResponse(body, headers=headers, media_type=content_type(name))
