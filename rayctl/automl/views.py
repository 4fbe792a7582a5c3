"""From rows of the state database to the documents that callers see. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rayctl.automl.model import DataSummary, LeaderboardRow, RunRequest, RunState, RunView, TrialCounts
from rayctl.clock import iso
from rayctl.errors import ResultNotReady, RunFailed

__all__ = ["ended_without_result", "not_ready", "result_document", "run_view"]


def run_view(row: Mapping[str, Any], now: float, queue_position: int | None = None) -> RunView:
    """Return the document of a run. ``now`` (seconds since the epoch) is for the elapsed time of a running one."""
    request = RunRequest.model_validate_json(row["request"])
    ended = row["finished_at"] if row["finished_at"] is not None else now
    counts = {name: row[name] for name in ("planned", "done", "failed", "skipped", "running")}
    times = {name: iso(row[name]) if row[name] is not None else None for name in ("started_at", "finished_at")}
    return RunView(
        id=row["id"],
        name=request.name,
        tenant=row["tenant"],
        task=request.task,
        target=request.target,
        state=RunState(row["state"]),
        reason=row["reason"],
        error=json.loads(row["error"]) if row["error"] else None,
        metric=row["metric"],
        greater_is_better=row["greater_is_better"],
        seed=request.seed,
        time_budget_s=row["time_budget_s"],
        max_trials=request.max_trials,
        created_at=iso(row["created_at"]),
        deadline_at=iso(row["deadline_at"]) if row["deadline_at"] is not None else None,
        elapsed_s=round(max(0.0, ended - row["started_at"]), 3) if row["started_at"] is not None else 0.0,
        queue_position=queue_position,
        cancel_requested=row["cancel_requested"],
        trials=TrialCounts(**counts),
        best_score=row["best_score"],
        best_model=row["best_model"],
        best_trial=row["best_trial"],
        data=DataSummary.model_validate_json(row["summary"]),
        labels=request.labels,
        **times,
    )


def result_document(
    row: Mapping[str, Any], view: RunView, rows: list[LeaderboardRow], forecast: Any = None
) -> dict[str, Any]:
    """Return what `AutoMLService.get_result` promises. ``rows`` are in leaderboard order."""
    result = json.loads(row["result"])
    delivered = next(entry for entry in rows if entry.trial == result["trial"])
    document: dict[str, Any] = {
        "run": view.model_dump(mode="json"),
        "best": delivered.model_dump(mode="json"),
        "leaderboard": [entry.model_dump(mode="json") for entry in rows],
        "artifacts": result["artifacts"],
        "reproduce": {
            "seed": view.seed,
            "versions": result["versions"],
            "data_fingerprint": view.data.fingerprint if view.data else None,
            "request": json.loads(row["request"]),
        },
    }
    if forecast is not None:
        document["forecast"] = forecast
    return document


def not_ready(view: RunView) -> ResultNotReady:
    """The error for a result that was asked for too early."""
    return ResultNotReady(
        f"Run {view.id} is {view.state.value}; it has no result yet.",
        hint=f"Wait for it: rayctl automl watch {view.id}. The leaderboard is there already.",
        retry_after_s=1,
    )


def ended_without_result(view: RunView) -> RunFailed:
    """The error for the result of a run that failed or was cancelled."""
    error = view.error or {}
    if view.state is RunState.CANCELLED:
        return RunFailed(f"Run {view.id} was cancelled; it has no result.", code="run-cancelled")
    return RunFailed(
        f"Run {view.id} failed: {error.get('message') or view.reason}",
        code=error.get("code") or "run-failed",
        hint=error.get("hint"),
    )
