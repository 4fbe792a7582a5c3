"""All numbers of a report in one JSON document: what pictures, page and text are made from. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rayctl.automl.metrics import METRICS
from rayctl.automl.outcomes import outcomes
from rayctl.automl.report.classification import Labelled, classification_data, read_labelled
from rayctl.automl.report.command import brief, submit_command
from rayctl.automl.report.fmt import percent, plural
from rayctl.automl.report.inputs import ReportInputs
from rayctl.automl.report.regression import Numbers, read_numbers, regression_data
from rayctl.automl.report.scores import class_scores, constant_scores, number_scores
from rayctl.automl.report.series import Series, forecast_scores, read_series, series_data
from rayctl.automl.report.trials import costs, leaderboard, score_over_time, weights
from rayctl.automl.report.verdict import verdict

__all__ = ["report_data"]

_STEPS_PER_SEASON = {"h": 24, "H": 24, "D": 7, "B": 5, "W": 52, "M": 12, "MS": 12, "ME": 12, "Q": 4, "QS": 4, "QE": 4}
_IMBALANCE = 10.0
_SUSPICIOUS_AUC = 0.9995
# What a run's document may leave out.
_OPTIONAL: dict[str, Any] = dict.fromkeys(
    ("name", "reason", "error", "time_budget_s", "finished_at", "elapsed_s", "data")
)
_OPTIONAL |= {"tenant": "default", "seed": 0}
_REPRODUCE = dict.fromkeys(("request", "seed", "versions", "data_fingerprint"))
_OPTIONAL_DATA: dict[str, Any] = {"series": None, "frequency": None, "classes": None, "warnings": []}


def report_data(inputs: ReportInputs) -> dict[str, Any]:
    """Return the document; equal inputs give an equal one. It has neither NaN nor infinities (they become None)."""
    run, request = _OPTIONAL | inputs.run, inputs.request
    if run["data"] is not None:
        run["data"] = _OPTIONAL_DATA | run["data"]
    board = leaderboard(inputs.rows, inputs.combination)
    rows = _read_validation(inputs)
    seed = int(run.get("seed") or 0)
    document: dict[str, Any] = {
        "version": 1,
        "kind": _kind(run, rows),
        "run": run,
        "leaderboard": board,
        "weights": weights(board, inputs.combination),
        "score_over_time": score_over_time(inputs.timeline, run.get("time_budget_s")),
        "costs": costs(board, bool(run["greater_is_better"]), inputs.parts),
        "outcomes": outcomes(board),
        "importance": inputs.importance,
        "importance_error": inputs.importance_error,
        "metrics": _metrics(rows, run, inputs.combination.get("score"), own=bool(request.get("custom_metric"))),
        "classification": None,
        "regression": None,
        "forecast": None,
        "reproduce": _reproduce(inputs),
    }
    if isinstance(rows, Labelled):
        document["classification"] = classification_data(rows)
    elif isinstance(rows, Numbers):
        document["regression"] = regression_data(rows, seed)
    elif isinstance(rows, Series):
        document["forecast"] = series_data(rows, seed)
    document["verdict"] = verdict(document, inputs.combination)
    document["warnings"] = _warnings(document, rows, request)
    found: dict[str, Any] = _finite(document)
    return found


def _reproduce(inputs: ReportInputs) -> dict[str, Any]:
    line, missing = submit_command(inputs.request) if inputs.request else ("", [])
    exact = f"rayctl automl replay {inputs.run['id']}" if inputs.run["state"] == "succeeded" else None
    more = {"request": brief(inputs.request or None), "command": line, "command_lacks": missing, "replay": exact}
    return _REPRODUCE | inputs.reproduce | more


def _read_validation(inputs: ReportInputs) -> Labelled | Numbers | Series | None:
    table, request = inputs.validation, inputs.request
    if table is None or table.num_rows == 0:
        return None
    task = inputs.run["task"]
    if task == "classification":
        return read_labelled(table, inputs.combination.get("settings") or {})
    if task == "regression":
        return read_numbers(table)
    return read_series(
        table,
        inputs.history,
        inputs.forecast,
        id_columns=request.get("id_columns") or [],
        time_column=str(request.get("time_column")),
        target=inputs.run["target"],
        season=_season(inputs),
    )


def _season(inputs: ReportInputs) -> int:
    """Steps of a season: as the model resolved it, as asked for, or usual for the frequency."""
    settings = inputs.combination.get("settings") or {}
    known = settings.get("season_length") or inputs.request.get("season_length")
    if known:
        return int(known[0] if isinstance(known, (list, tuple)) else known)
    frequency = (inputs.run.get("data") or {}).get("frequency") or inputs.request.get("frequency") or ""
    return _STEPS_PER_SEASON.get(str(frequency).split("-")[0], 1)


def _kind(run: Mapping[str, Any], rows: Labelled | Numbers | Series | None) -> str:
    if run["task"] != "classification":
        return str(run["task"])
    classes = rows.classes if isinstance(rows, Labelled) else (run.get("data") or {}).get("classes") or []
    return {0: "classification", 2: "binary"}.get(len(classes), "multiclass")


def _metrics(
    rows: Labelled | Numbers | Series | None, run: Mapping[str, Any], score: float | None, *, own: bool
) -> list[dict[str, Any]]:
    """Return each metric over all validation rows, per fold, and for a constant answer (tables); the run's first.

    ``own``: the run's metric is a function of the caller's, of which only the ``score`` is known, whatever its name.
    """
    wanted = "" if own else run["metric"]
    whole: dict[str, float] = {}
    constant: dict[str, float] = {}
    folds: list[dict[str, float]] = []
    if isinstance(rows, Labelled):
        k = len(rows.classes)
        whole = class_scores(rows.truth, rows.proba, rows.decided, k, wanted)
        for fold in np.unique(rows.fold):
            at = rows.fold == fold
            folds.append(
                class_scores(
                    rows.truth[at], None if rows.proba is None else rows.proba[at], rows.decided[at], k, wanted
                )
            )
        constant = constant_scores(rows.truth, k, proba=rows.proba is not None, also=wanted)
    elif isinstance(rows, Numbers):
        whole = number_scores(rows.truth, rows.predicted, wanted)
        for fold in np.unique(rows.fold):
            at = rows.fold == fold
            folds.append(number_scores(rows.truth[at], rows.predicted[at], wanted))
        constant = number_scores(rows.truth, np.full(len(rows.truth), rows.truth.mean()), wanted)
    elif isinstance(rows, Series):
        by_fold = forecast_scores(rows, wanted)
        names = sorted({fold for scores in by_fold.values() for fold in scores})
        folds = [{name: scores[fold] for name, scores in by_fold.items() if fold in scores} for fold in names]
        whole = {name: float(np.mean(list(scores.values()))) for name, scores in by_fold.items()}
    found: list[dict[str, Any]] = []
    if rows is not None and own and score is not None:
        up = bool(run["greater_is_better"])
        found.append({"name": run["metric"], "value": score, "folds": [], "std": None, "constant": None})
        found[0] |= {"greater_is_better": up, "of_run": True}
    for name, value in whole.items():
        parts = [scores[name] for scores in folds if math.isfinite(scores.get(name, math.nan))]
        found.append(
            {
                "name": name,
                "value": value,
                "folds": parts,
                "std": float(np.std(parts)) if len(parts) > 1 else None,
                "constant": constant.get(name),
                "greater_is_better": METRICS[name].greater_is_better,
                "of_run": name == wanted,
            }
        )
    return sorted(found, key=lambda item: not item["of_run"])


def _warnings(
    document: Mapping[str, Any], rows: Labelled | Numbers | Series | None, request: Mapping[str, Any]
) -> list[str]:
    run = document["run"]
    found = [str(text) for text in (*(run.get("warnings") or ()), *((run.get("data") or {}).get("warnings") or ()))]
    counts, board = document["verdict"]["counts"], document["leaderboard"]
    if isinstance(rows, Labelled):
        found += _class_warnings(document["classification"])
    if isinstance(rows, Series):
        for item in document["forecast"]["coverage"]:
            wanted = float(item["level"]) / 100 if item["level"].isdecimal() else math.nan
            chance = 2 * math.sqrt(wanted * (1 - wanted) / item["rows"])  # two standard errors, were they independent
            if abs(item["inside"] - wanted) > max(0.1, chance):
                found.append(f"The {item['level']} % intervals held {percent(item['inside'], 0)} of the true values.")
    if rows is not None and rows.dropped:
        found.append(
            f"{plural(rows.dropped, 'validation row')} without a truth or a prediction are not in the figures."
        )
    if counts["failed"]:
        found.append(f"{plural(counts['failed'], 'trial')} failed; the leaderboard says why.")
    for row in board:
        if row["weight"] > 0 and (row["error"] or {}).get("code") == "incomplete":
            found.append(f"Trial #{row['trial']}: {row['error']['message']}")
    capped = sum(row["stopped_folds"] > 0 and row["weight"] > 0 for row in board)
    if capped:
        have = "member of the model was" if capped == 1 else "members of the model were"
        found.append(f"{capped} {have} stopped by time before the fit ended by itself; a longer budget may help.")
    if request.get("weight_column"):
        found.append(f"The score weighs rows by {request['weight_column']!r}; the other figures count every row once.")
    return found


def _class_warnings(data: Mapping[str, Any]) -> list[str]:
    counts: Sequence[int] = data["class_counts"]
    total, small = sum(counts), int(np.argmin(counts))
    found = []
    if max(counts) >= _IMBALANCE * max(min(counts), 1):
        found.append(
            f"The classes are imbalanced: {data['classes'][small]!r} has {counts[small]:,} of {total:,} validation "
            f"rows ({percent(counts[small] / total)}). Accuracy says little here; look at precision and recall."
        )
    curves = data["curves"] or []
    if len(counts) == 2 and curves and curves[0]["auc"] > _SUSPICIOUS_AUC and total >= 500:
        found.append("The classes are told apart almost without error. Check that no column gives the answer away.")
    return found


def _finite(value: Any) -> Any:
    """Return JSON without NaN and infinities, with plain Python types and text keys."""
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, (bool, int, float)) else str(value)
