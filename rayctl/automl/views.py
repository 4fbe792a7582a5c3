"""From rows of the state database to the documents that callers see. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rayctl.automl.baseline import baseline_warning
from rayctl.automl.leaderboard import rank, with_weights
from rayctl.automl.model import DataSummary, LeaderboardRow, RunRequest, RunState, RunView, TrialCounts
from rayctl.automl.partial import partial_warning
from rayctl.clock import iso
from rayctl.errors import ResultNotReady, RunFailed

__all__ = ["ended_without_result", "leaderboard_rows", "not_ready", "result_document", "run_view", "timeline"]


def run_view(row: Mapping[str, Any], now: float, queue_position: int | None = None) -> RunView:
    """Return the document of a run. ``now`` (seconds since the epoch) is for the elapsed time of a running one."""
    request = RunRequest.model_validate_json(row["request"])
    ended = row["finished_at"] if row["finished_at"] is not None else now
    result = json.loads(row["result"]) if row["result"] else {}
    combination = result.get("combination")
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
        ensemble_score=combination["score"] if combination else None,
        ensemble=combination["weights"] if combination else None,
        max_predict_ms=request.max_predict_ms,
        predict_ms=result.get("predict_ms"),
        continues=request.continues,
        replay_of=request.replay_of,
        tenant_version=row["tenant_version"],
        data=DataSummary.model_validate_json(row["summary"]),
        labels=request.labels,
        warnings=[
            warning
            for warning in (baseline_warning(combination), partial_warning(combination), _slow(request, result))
            if warning
        ],
        **times,
    )


def _slow(request: RunRequest, result: Mapping[str, Any]) -> str | None:
    most, found = request.max_predict_ms, result.get("predict_ms")
    if most is None or found is None or found <= most:
        return None
    return (
        f"1,000 rows take {found:.3g} ms to predict, more than the {most:.3g} ms of max_predict_ms: no trial was "
        "quicker, or the machine was busy. Linear models and small trees are quick."
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
        "ensemble": result.get("combination"),
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


def leaderboard_rows(row: Mapping[str, Any], trials: Sequence[LeaderboardRow]) -> list[LeaderboardRow]:
    """Return the trials in leaderboard order, with their weights in the delivered model if there is one."""
    ranked = rank(trials, row["greater_is_better"])
    combination = json.loads(row["result"]).get("combination") if row["result"] else None
    if combination is None:
        return ranked
    return with_weights(ranked, {int(trial): weight for trial, weight in combination["weights"].items()})


def timeline(
    events: Sequence[Mapping[str, Any]], started_at: str | None, greater_is_better: bool
) -> list[dict[str, Any]]:
    """Return the score over time from a run's events: one entry per done trial, and per choice of weights.

    Entries: ``elapsed_s`` with ``trial``, ``model``, ``score``, ``best`` (so far), or with ``ensemble`` (its score).
    """
    if started_at is None:
        return []
    began = _moment(started_at)
    entries: list[dict[str, Any]] = []
    best: float | None = None
    for event in events:
        elapsed = round((_moment(event["at"]) - began).total_seconds(), 3)
        data = event["data"]
        if event["kind"] == "trial" and data["score"] is not None:
            score = data["score"]
            better = best is None or (score > best if greater_is_better else score < best)
            best = score if better else best
            entries.append(
                {"elapsed_s": elapsed, "trial": data["trial"], "model": data["model"], "score": score, "best": best}
            )
        elif event["kind"] == "ensemble":
            entries.append({"elapsed_s": elapsed, "ensemble": data["score"]})
    return entries


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))  # Python 3.10 does not know the Z


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
        return RunFailed(
            f"Run {view.id} was cancelled; it has no result.",
            code="run-cancelled",
            hint=f"Go on with it: rayctl automl extend {view.id} --time-budget 2m.",
        )
    return RunFailed(
        f"Run {view.id} failed: {error.get('message') or view.reason}",
        code=error.get("code") or "run-failed",
        hint=error.get("hint") or f"See why: rayctl automl why {view.id}.",
    )
