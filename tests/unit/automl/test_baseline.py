"""The answer of a run in which no trial ended in time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import rayctl
from rayctl.automl import tasks
from rayctl.automl.baseline import BASELINE, baseline_warning, falls_back, is_baseline, next_number
from rayctl.automl.engine import Combination, engine_for
from rayctl.automl.failures import TaskFailure
from rayctl.automl.ingest import normalize, to_table
from rayctl.automl.leaderboard import rank
from rayctl.automl.model import DataSummary, LeaderboardRow, RunRequest, TrialState
from rayctl.automl.replay import Replay
from rayctl.automl.tabular.baseline import class_shares, weighted_median

RNG = np.random.default_rng(0)
ROWS = 120
COLUMNS: dict[str, Any] = {"x": RNG.normal(size=ROWS), "kind": np.array(["a", "b"])[RNG.integers(0, 2, ROWS)]}
TARGETS: dict[str, Any] = {
    "binary": np.where(RNG.random(ROWS) < 0.25, "yes", "no"),
    "multiclass": RNG.choice(["p", "q", "r"], ROWS, p=[0.6, 0.3, 0.1]),
    "regression": np.exp(RNG.normal(size=ROWS)),
}


def delivered(
    table: pa.Table, request: RunRequest, trial: int = 4
) -> tuple[LeaderboardRow, Combination, dict[str, bytes]]:
    engine = engine_for(request.task)
    summary = engine.validate(table, request)
    prepared = engine.prepare(table, request)
    candidate = engine.baseline(summary, request)
    folds = engine.split(prepared, request)
    made = tasks.fall_back(prepared, folds, trial, candidate, request.model_dump_json(), tasks.Caps())
    assert not isinstance(made, TaskFailure), made
    return made


def asked(kind: str, **fields: Any) -> tuple[pa.Table, RunRequest]:
    task = "regression" if kind == "regression" else "classification"
    table = normalize(pa.table({**COLUMNS, "y": TARGETS[kind]}))
    return table, RunRequest(**{"task": task, "target": "y", "validation": {"folds": 3}, **fields})


@pytest.mark.parametrize(
    ("kind", "metric", "low", "high"),
    [
        ("binary", "roc_auc", 0.5, 0.5),
        ("binary", "accuracy", 0.7, 0.8),
        ("multiclass", "log_loss", 0.8, 1.05),
        ("regression", "r2", -0.1, 0.0),
    ],
)
def test_it_is_scored_on_rows_that_it_has_not_seen(kind: str, metric: str, low: float, high: float) -> None:
    row, combination, files = delivered(*asked(kind, metric=metric))
    assert (row.trial, row.model, row.state) == (4, BASELINE, TrialState.DONE)
    assert len(row.fold_scores) == 3
    assert row.score is not None
    assert low <= row.score <= high
    assert combination.weights == {4: 1.0}
    assert set(files) == {"model.zip", "predictions.parquet"}
    assert is_baseline(row)


def test_a_regression_is_answered_by_the_mean_or_the_median_as_the_metric_wants(tmp_path: Any) -> None:
    for metric, middle in (("rmse", np.mean), ("mae", np.median)):
        table, request = asked("regression", metric=metric, ensemble=False)
        (tmp_path / "model.zip").write_bytes(delivered(table, request)[2]["model.zip"])
        answers = rayctl.load_model(tmp_path / "model.zip").predict(table)["prediction"]
        np.testing.assert_allclose(answers, middle(TARGETS["regression"]))


def test_the_stored_model_gives_the_share_of_each_class() -> None:
    table, request = asked("multiclass", ensemble=False)
    bundle = delivered(table, request)[2]["model.zip"]
    found = engine_for(request.task).predict(bundle, table, proba=True)
    shares = [float(np.mean(TARGETS["multiclass"] == name)) for name in "pqr"]
    np.testing.assert_allclose([found[f"proba_{name}"][0].as_py() for name in "pqr"], shares, atol=0.01)
    assert set(found["prediction"].to_pylist()) == {"p"}


def test_weights_of_rows_and_classes_count() -> None:
    table, request = asked("binary", ensemble=False, weight_column="w", metric="accuracy")
    table = table.append_column("w", pa.array(np.where(TARGETS["binary"] == "yes", 10.0, 1.0)))
    found = engine_for(request.task).predict(delivered(table, request)[2]["model.zip"], table)
    assert set(found["prediction"].to_pylist()) == {"yes"}
    table, request = asked("binary", ensemble=False, class_weight="balanced")
    found = engine_for(request.task).predict(delivered(table, request)[2]["model.zip"], table, proba=True)
    assert found["proba_yes"][0].as_py() == pytest.approx(0.5)


def test_it_is_exported_like_any_model() -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="an extra")
    from rayctl.automl.onnx import export_onnx, onnx_inputs

    table, request = asked("multiclass")
    bundle = delivered(table, request)[2]["model.zip"]
    session = onnxruntime.InferenceSession(export_onnx(bundle), providers=["CPUExecutionProvider"])
    (found,) = session.run(["probabilities"], onnx_inputs(bundle, table))
    expected = engine_for(request.task).predict(bundle, table, proba=True)
    np.testing.assert_allclose(found[:, 0], expected["proba_p"].to_numpy(), atol=1e-6)


def test_series_are_continued_by_the_naive_method() -> None:
    days = pd.date_range("2024-01-01", periods=70, freq="D")
    frame = pd.DataFrame({"ds": days, "y": np.tile(np.arange(7.0), 10)})
    request = RunRequest(task="forecasting", target="y", time_column="ds", horizon=7)
    row, _, files = delivered(normalize(to_table(frame)), request)
    assert is_baseline(row)
    forecast = engine_for(request.task).predict(files["model.zip"], None)
    assert forecast["prediction"].to_pylist() == list(np.arange(7.0))
    assert "forecast.csv" in files


def test_shares_are_weighted_and_never_zero() -> None:
    shares = class_shares(np.array([0, 0, 1, 1]), np.array([1.0, 1.0, 3.0, 3.0]), 3)
    assert shares.sum() == pytest.approx(1.0)
    assert shares[1] > shares[0] > shares[2] > 0


@pytest.mark.parametrize(
    ("values", "mass", "middle"),
    [
        ([3, 1, 2], [1, 1, 1], 2),
        ([1, 2, 3, 4], [1, 1, 1, 1], 2.5),
        ([1, 2, 3], [5, 1, 1], 1),
        ([1, 2, 3], [0, 0, 1], 3),
        ([7], [1], 7),
    ],
)
def test_the_weighted_median(values: list[float], mass: list[float], middle: float) -> None:
    assert weighted_median(np.array(values, float), np.array(mass, float)) == middle


def test_it_answers_only_where_the_caller_named_no_models_and_nothing_else_is_wrong() -> None:
    free = RunRequest(task="regression", target="y")
    named = RunRequest(task="regression", target="y", search_space=[{"model": "ridge"}])
    assert falls_back({"code": "no-trial-finished"}, free)
    assert not falls_back({"code": "no-trial-finished"}, named)
    assert not falls_back({"code": "all-trials-failed"}, free)
    assert not falls_back(None, free)


def test_its_number_comes_after_all_trials_and_it_is_no_trial_to_repeat() -> None:
    row, combination, _ = delivered(*asked("binary"), trial=1)
    skipped = LeaderboardRow(trial=0, model="m", state=TrialState.SKIPPED)
    assert (next_number([]), next_number([skipped]), next_number([row, skipped])) == (0, 1, 2)
    again = Replay.of([skipped, row], {"weights": {"1": 1.0}, "chosen_from": [], "settings": combination.settings})
    assert list(again.rows) == [0]
    assert [entry.trial for entry in rank([skipped, row], True)] == [1, 0]


def test_the_run_says_that_it_has_no_model() -> None:
    _, combination, _ = delivered(*asked("binary"))
    assert "more time" in str(baseline_warning({"weights": {"4": 1.0}, "settings": combination.settings}))
    assert baseline_warning({"weights": {"4": 1.0}, "settings": {"temperature": 2.0}}) is None
    assert baseline_warning(None) is None


def test_what_cannot_be_scored_is_a_failure_with_its_reason() -> None:
    table, request = asked("binary", metric="roc_auc", validation={"scheme": "time_series", "folds": 2})
    engine = engine_for(request.task)
    prepared = engine.prepare(table, request)
    folds = [
        type(fold)(fold.index, fold.train, fold.test[TARGETS["binary"][fold.test] == "no"])
        for fold in engine.split(prepared, request)
        if fold.scored
    ]
    candidate = engine.baseline(DataSummary(rows=1, columns=[], features=[], fingerprint=""), request)
    made = tasks.fall_back(prepared, folds, 0, candidate, request.model_dump_json(), tasks.Caps())
    assert isinstance(made, TaskFailure)
    assert made.code == "invalid-score"
