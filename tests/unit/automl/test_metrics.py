"""Metrics: names, directions, and numbers checked against scikit-learn or by hand."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from sklearn import metrics as sk

from rayctl.automl.metrics import METRICS, forecast_score, resolve_metric, score, series_scale
from rayctl.automl.model import TaskType
from rayctl.errors import InvalidRequest

C, R, F = TaskType.CLASSIFICATION, TaskType.REGRESSION, TaskType.FORECASTING


def test_importing_the_registry_does_not_import_sklearn_or_numpy() -> None:
    code = "import sys, rayctl.automl.metrics; sys.exit(any(m in sys.modules for m in ('sklearn', 'numpy')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("task", "classes", "name"),
    [(C, 2, "roc_auc"), (C, 3, "log_loss"), (R, None, "rmse"), (F, None, "mase")],
)
def test_defaults(task: TaskType, classes: int | None, name: str) -> None:
    assert resolve_metric(None, task, classes).name == name


def test_names_of_scikit_learn_are_known_and_keep_their_direction() -> None:
    from sklearn.metrics import get_scorer_names

    for task, names in (
        (
            C,
            "accuracy balanced_accuracy f1 f1_macro f1_micro f1_weighted precision recall recall_macro roc_auc",
        ),
        (C, "average_precision neg_log_loss neg_brier_score matthews_corrcoef"),
        (R, "r2 neg_mean_absolute_error neg_mean_squared_error neg_root_mean_squared_error neg_median_absolute_error"),
        (R, "neg_mean_absolute_percentage_error neg_root_mean_squared_log_error"),
    ):
        for name in names.split():
            assert name in get_scorer_names()
            assert resolve_metric(name, task).greater_is_better is not name.startswith("neg_")


def test_aliases_and_spelling() -> None:
    assert resolve_metric("AUC", C, 2).name == "roc_auc"
    assert resolve_metric("acc", C, 2).name == "accuracy"
    assert resolve_metric("roc_auc_score", C, 2).name == "roc_auc"
    assert resolve_metric("log-loss", C, 3).name == "log_loss"
    assert resolve_metric("f1", C, 2).name == "f1"
    assert resolve_metric("f1", C, 3).name == "f1_macro"


@pytest.mark.parametrize(
    ("name", "task", "expected"), [("msr", R, "'mse'"), ("roc_acu", C, "'roc_auc'"), ("rmsee", F, "'rmse'")]
)
def test_unknown_metrics_get_a_suggestion(name: str, task: TaskType, expected: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        resolve_metric(name, task)
    assert raised.value.code == "unknown-metric"
    assert raised.value.hint is not None
    assert expected in raised.value.hint


def test_a_metric_of_another_task_is_refused_with_the_list() -> None:
    with pytest.raises(InvalidRequest, match=r"not one for regression.*rmse, mse, mae"):
        resolve_metric("accuracy", R)


def test_binary_scores_agree_with_sklearn() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 200)
    p = np.clip(y * 0.3 + rng.random(200) * 0.7, 0, 1)
    proba = np.column_stack([1 - p, p])
    labels = (p > 0.5).astype(int)
    expected = {
        "accuracy": sk.accuracy_score(y, labels),
        "balanced_accuracy": sk.balanced_accuracy_score(y, labels),
        "f1": sk.f1_score(y, labels),
        "f1_macro": sk.f1_score(y, labels, average="macro"),
        "roc_auc": sk.roc_auc_score(y, p),
        "log_loss": sk.log_loss(y, proba),
        "average_precision": sk.average_precision_score(y, p),
        "mcc": sk.matthews_corrcoef(y, labels),
        "precision": sk.precision_score(y, labels),
        "recall": sk.recall_score(y, labels),
        "f1_weighted": sk.f1_score(y, labels, average="weighted"),
        "cohen_kappa": sk.cohen_kappa_score(y, labels),
        "brier": sk.brier_score_loss(y, p),
    }
    for name, value in expected.items():
        assert score(METRICS[name], y, proba, 2) == pytest.approx(value), name


def test_multiclass_scores_agree_with_sklearn() -> None:
    rng = np.random.default_rng(1)
    y = rng.integers(0, 4, 300)
    proba = rng.dirichlet(np.ones(4), 300)
    proba[np.arange(300), y] += 0.5
    proba /= proba.sum(axis=1, keepdims=True)
    area = sk.roc_auc_score(y, proba, multi_class="ovr", average="macro")
    assert score(METRICS["roc_auc"], y, proba, 4) == pytest.approx(area)
    assert score(METRICS["log_loss"], y, proba, 4) == pytest.approx(sk.log_loss(y, proba))
    labels = proba.argmax(axis=1)
    expected = {
        "precision": sk.precision_score(y, labels, average="macro"),
        "recall": sk.recall_score(y, labels, average="macro"),
        "f1_micro": sk.f1_score(y, labels, average="micro"),
        "f1_weighted": sk.f1_score(y, labels, average="weighted"),
        "quadratic_kappa": sk.cohen_kappa_score(y, labels, weights="quadratic"),
        "brier": ((proba - np.eye(4)[y]) ** 2).sum(axis=1).mean(),
    }
    for name, value in expected.items():
        assert score(resolve_metric(name, C, 4), y, proba, 4) == pytest.approx(value), name
    assert np.isnan(score(METRICS["cohen_kappa"], np.zeros(3, int), np.zeros(3, int), 2))


def test_classes_that_a_test_part_lacks_do_not_break_scores() -> None:
    y = np.array([0, 0, 2, 2])
    proba = np.array([[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.1, 0.1, 0.8], [0.3, 0.3, 0.4]])
    assert score(METRICS["roc_auc"], y, proba, 3) == 1.0
    assert np.isfinite(score(METRICS["log_loss"], y, np.eye(3)[[0, 1, 2, 2]], 3))
    assert np.isnan(score(METRICS["roc_auc"], np.zeros(4, dtype=int), proba, 3))


def test_regression_scores_agree_with_sklearn() -> None:
    rng = np.random.default_rng(2)
    y, p = rng.normal(5, 2, 100), rng.normal(5, 2, 100)
    expected = {
        "rmse": sk.root_mean_squared_error(y, p),
        "mae": sk.mean_absolute_error(y, p),
        "r2": sk.r2_score(y, p),
        "mape": sk.mean_absolute_percentage_error(y, p),
        "median_absolute_error": sk.median_absolute_error(y, p),
        "mse": sk.mean_squared_error(y, p),
        "smape": np.mean(2 * np.abs(y - p) / (np.abs(y) + np.abs(p))),
    }
    for name, value in expected.items():
        assert score(METRICS[name], y, p) == pytest.approx(value), name
    assert score(METRICS["r2"], np.ones(3), np.zeros(3)) == 0.0
    y, p = np.abs(y), np.maximum(p, 0.0)
    assert score(METRICS["rmsle"], y, p) == pytest.approx(sk.root_mean_squared_log_error(y, p))
    assert score(METRICS["rmsle"], y, p - 100) == pytest.approx(score(METRICS["rmsle"], y, 0 * p))


def test_mase_and_rmsse_by_hand() -> None:
    train = np.array([1.0, 2.0, 4.0, 4.0])  # changes 1, 2, 0; seasonal (2) changes 3, 2
    assert forecast_score("mase", [np.array([5.0])], [np.array([7.0])], [train]) == pytest.approx(2.0)
    assert forecast_score("mase", [np.array([5.0])], [np.array([7.0])], [train], 2) == pytest.approx(2 / 2.5)
    expected = np.sqrt(4 / ((1 + 4 + 0) / 3))
    assert forecast_score("rmsse", [np.array([5.0])], [np.array([7.0])], [train]) == pytest.approx(expected)


def test_forecast_scores_are_means_over_series_and_skip_missing_values() -> None:
    truth = [np.array([1.0, np.nan]), np.array([10.0, 20.0]), np.array([np.nan, np.nan])]
    forecast = [np.array([2.0, 9.0]), np.array([10.0, 26.0]), np.array([1.0, 1.0])]
    train = [np.array([1.0, 2.0])] * 3
    assert forecast_score("mae", truth, forecast, train) == pytest.approx((1 + 3) / 2)
    assert forecast_score("smape", truth[:1], forecast[:1], train[:1]) == pytest.approx(2 / 3)
    assert forecast_score("mape", [np.array([0.0, 4.0])], [np.array([1.0, 5.0])], train[:1]) == pytest.approx(0.25)
    assert forecast_score("rmse", truth[:1], forecast[:1], train[:1]) == pytest.approx(1.0)
    assert np.isnan(forecast_score("mae", truth[2:], forecast[2:], train[2:]))


@pytest.mark.parametrize(
    ("train", "season", "expected"),
    [
        ([5.0, 5.0, 5.0, 5.0], 1, 5.0),  # constant: its level
        ([0.0, 0.0, 0.0], 1, 1.0),  # nothing but zeros: plain errors
        ([1.0, 2.0, 1.0, 2.0], 2, 1.0),  # perfectly seasonal: the plain change
        ([1.0, np.nan, 2.0, 4.0], 1, 2.0),
        ([3.0], 12, 3.0),  # too short for any change
        ([], 1, 1.0),
    ],
)
def test_zero_scales_never_give_infinite_scores(train: list[float], season: int, expected: float) -> None:
    values = np.array(train)
    assert series_scale(values, season) == pytest.approx(expected)
    for name in ("mase", "rmsse"):
        assert np.isfinite(forecast_score(name, [np.array([2.0])], [np.array([9.0])], [values], season))


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="shape"):
        forecast_score("mae", [np.ones(2)], [np.ones(3)], [np.ones(3)])
