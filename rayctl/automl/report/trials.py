"""What a run's trials say: leaderboard, weights, score over time, and what each model cost. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rayctl.automl.report.fmt import clean, model_name

__all__ = ["costs", "fold_range", "leaderboard", "score_over_time", "weights"]

Row = dict[str, Any]


def leaderboard(rows: Sequence[Row], combination: Mapping[str, Any]) -> list[Row]:
    """Return the trials as they are shown; ``weight`` comes from the combination where the row has none."""
    chosen = {int(trial): float(weight) for trial, weight in (combination.get("weights") or {}).items()}
    found = []
    for row in rows:
        trial = int(row["trial"])
        error = row.get("error") or None
        weight = row.get("weight")
        found.append(
            {
                "rank": row.get("rank"),
                "trial": trial,
                "model": clean(row["model"]),
                "family": model_name(row["model"]),
                "params": row.get("params") or {},
                "state": str(getattr(row["state"], "value", row["state"])),
                "score": row.get("score"),
                "std": row.get("std"),
                "fold_scores": list(row.get("fold_scores") or []),
                "fit_s": row.get("fit_s"),
                # Zero: forecast while it was fitted, and nothing kept of the windows but the forecasts.
                "predict_s": row.get("predict_s") or None,
                "size_bytes": row.get("size_bytes") or None,
                "weight": chosen.get(trial, 0.0) if weight is None else float(weight),
                "reused": bool(row.get("reused")),
                "stopped_folds": len(row.get("stopped_at") or {}),
                "error": {"code": clean(error.get("code")), "message": clean(error.get("message"))} if error else None,
            }
        )
    return found


def fold_range(board: Sequence[Row]) -> tuple[float, float] | None:
    """Return limits for dots of fold scores: those of the better half, so that hopeless trials do not flatten them."""
    done = [row for row in board if row["state"] == "done" and row["score"] is not None]
    half = done[: max(3, (len(done) + 1) // 2)]
    values = [value for row in half for value in [*row["fold_scores"], row["score"]] if value is not None]
    if not values:
        return None
    low, high = min(values), max(values)
    pad = (high - low) * 0.15 or abs(high) * 0.01 or 0.01
    return low - pad, high + pad


def weights(board: Sequence[Row], combination: Mapping[str, Any]) -> dict[str, Any]:
    """Return the delivered model's members, heaviest first, the same by model, and the history of the selection."""
    members = sorted((row for row in board if row["weight"] > 0), key=lambda row: (-row["weight"], row["trial"]))
    families: dict[str, float] = {}
    for row in members:
        families[row["family"]] = families.get(row["family"], 0.0) + row["weight"]
    by_family = sorted(families.items(), key=lambda item: (-item[1], item[0]))
    return {
        "trials": [{key: row[key] for key in ("trial", "family", "weight", "score")} for row in members],
        "families": [{"family": name, "weight": weight} for name, weight in by_family],
        "history": list(combination.get("history") or []),
        "settings": dict(combination.get("settings") or {}),
    }


def score_over_time(timeline: Sequence[Row], budget_s: float | None) -> dict[str, Any]:
    """Return the timeline as three lists: finished trials, the best so far, the ensemble so far (``[x, y]`` pairs)."""
    trials: list[Row] = []
    best: list[list[float]] = []
    ensemble: list[list[float]] = []
    for entry in sorted(timeline, key=lambda entry: float(entry["elapsed_s"])):
        at = float(entry["elapsed_s"])
        if entry.get("ensemble") is not None:
            ensemble.append([at, float(entry["ensemble"])])
        if entry.get("score") is not None:
            trials.append({"elapsed_s": at, "score": entry["score"], "trial": entry["trial"], "model": entry["model"]})
        if entry.get("best") is not None and (not best or best[-1][1] != entry["best"]):
            best.append([at, float(entry["best"])])
    end = max((float(entry["elapsed_s"]) for entry in timeline), default=0.0)
    return {"trials": trials, "best": best, "ensemble": ensemble, "end_s": end, "budget_s": budget_s}


def costs(board: Sequence[Row], greater_is_better: bool, parts: int = 1) -> list[Row]:
    """Return per model: trials by outcome, seconds of fitting over all scored folds, best score. Most expensive first.

    Trials that were taken from earlier runs cost this one nothing. ``parts``: tasks per fold.
    """
    found: dict[str, Row] = {}
    for row in board:
        start = {"family": row["family"], "done": 0, "failed": 0, "skipped": 0, "fit_s": 0.0, "best": None}
        item = found.setdefault(row["family"], start)
        item[row["state"]] = item.get(row["state"], 0) + 1
        if row["fit_s"] is not None and not row["reused"]:
            item["fit_s"] += row["fit_s"] * parts * max(1, len(row["fold_scores"]))
        if row["score"] is not None:
            pick = max if greater_is_better else min
            item["best"] = row["score"] if item["best"] is None else pick(item["best"], row["score"])
    return sorted(found.values(), key=lambda item: (-item["fit_s"], item["family"]))
