"""The named metrics: which there are, which is the default, and how they are computed.

Scores are in the metric's own direction: `Metric.greater_is_better` says which way is good. Importing this
module is cheap (the proxy and the command line do it); scikit-learn is imported when something is scored.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rayctl.automl.model import RunRequest, TaskType
from rayctl.errors import InvalidRequest

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "METRICS",
    "Metric",
    "default_metric",
    "forecast_score",
    "metric_of",
    "resolve_metric",
    "score",
    "series_scale",
]

_C, _R, _F = TaskType.CLASSIFICATION, TaskType.REGRESSION, TaskType.FORECASTING


@dataclass(frozen=True)
class Metric:
    """One metric. ``needs_proba``: scored on class probabilities instead of labels.

    ``ranks``: only the order of the scores counts, so a decision function serves as well as probabilities.
    ``function``: a caller's own ``f(y_true, y_pred)`` (see `rayctl.automl.model.CustomMetric`); in task processes only.
    """

    name: str
    greater_is_better: bool
    needs_proba: bool
    tasks: frozenset[TaskType]
    ranks: bool = False
    function: Callable[[Any, Any], float] | None = field(default=None, compare=False, repr=False)

    def loss(self, value: float) -> float:
        """Return a score as a loss: lower is better."""
        return -value if self.greater_is_better else value

    def better(self, a: float, b: float) -> bool:
        """Whether score ``a`` is strictly better than ``b``."""
        return a > b if self.greater_is_better else a < b


def _metric(name: str, up: bool, *tasks: TaskType, proba: bool = False, ranks: bool = False) -> Metric:
    return Metric(name, up, proba, frozenset(tasks), ranks)


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        _metric("accuracy", True, _C),
        _metric("balanced_accuracy", True, _C),
        _metric("f1", True, _C),
        _metric("f1_macro", True, _C),
        _metric("f1_weighted", True, _C),
        _metric("precision", True, _C),
        _metric("precision_macro", True, _C),
        _metric("recall", True, _C),
        _metric("roc_auc", True, _C, proba=True, ranks=True),
        _metric("log_loss", False, _C, proba=True),
        _metric("average_precision", True, _C, proba=True, ranks=True),
        _metric("mcc", True, _C),
        _metric("cohen_kappa", True, _C),
        _metric("quadratic_kappa", True, _C),
        _metric("brier", False, _C, proba=True),
        _metric("rmse", False, _R, _F),
        _metric("mse", False, _R, _F),
        _metric("mae", False, _R, _F),
        _metric("r2", True, _R),
        _metric("mape", False, _R, _F),
        _metric("median_absolute_error", False, _R),
        _metric("rmsle", False, _R),
        _metric("mase", False, _F),
        _metric("rmsse", False, _F),
        _metric("smape", False, _R, _F),
        _metric("wape", False, _F),
    )
}

_ALIASES = {
    "acc": "accuracy",
    "accuracy_score": "accuracy",
    "balanced_accuracy_score": "balanced_accuracy",
    "roc_auc_score": "roc_auc",
    "average_precision_score": "average_precision",
    "recall_weighted": "accuracy",  # the same number where every row has one class
    "neg_median_absolute_error": "median_absolute_error",
    "neg_mean_absolute_percentage_error": "mape",
    "auc": "roc_auc",
    "rocauc": "roc_auc",
    "roc_auc_ovr": "roc_auc",
    "logloss": "log_loss",
    "neg_log_loss": "log_loss",
    "cross_entropy": "log_loss",
    "ap": "average_precision",
    "pr_auc": "average_precision",
    "matthews_corrcoef": "mcc",
    "f1_score": "f1",
    "macro_f1": "f1_macro",
    "f1_micro": "accuracy",  # the same number where every row has one class
    "precision_score": "precision",
    "recall_score": "recall",
    "recall_macro": "balanced_accuracy",
    "kappa": "cohen_kappa",
    "cohen_kappa_score": "cohen_kappa",
    "quadratic_weighted_kappa": "quadratic_kappa",
    "qwk": "quadratic_kappa",
    "brier_score": "brier",
    "brier_score_loss": "brier",
    "neg_brier_score": "brier",
    "mean_squared_error": "mse",
    "neg_mean_squared_error": "mse",
    "root_mean_squared_log_error": "rmsle",
    "neg_root_mean_squared_log_error": "rmsle",
    "root_mean_squared_error": "rmse",
    "neg_root_mean_squared_error": "rmse",
    "mean_absolute_error": "mae",
    "neg_mean_absolute_error": "mae",
    "r2_score": "r2",
    "mean_absolute_percentage_error": "mape",
    "weighted_absolute_percentage_error": "wape",
    "nd": "wape",
    "medae": "median_absolute_error",
}

_OF_MANY_CLASSES = {"f1": "f1_macro", "precision": "precision_macro", "recall": "balanced_accuracy"}


def default_metric(task: TaskType, n_classes: int | None = None) -> Metric:
    """Return the metric used when the request names none."""
    if task is TaskType.CLASSIFICATION:
        return METRICS["roc_auc" if n_classes is None or n_classes <= 2 else "log_loss"]
    return METRICS["rmse" if task is TaskType.REGRESSION else "mase"]


def resolve_metric(name: str | None, task: TaskType, n_classes: int | None = None) -> Metric:
    """Return the metric of a name or alias (None: the default).

    ``f1``, ``precision`` and ``recall`` are those of the second of two classes; with more classes the mean over them.

    Raises:
        InvalidRequest: ``unknown-metric``: not known, or not for this task.
    """
    if name is None:
        return default_metric(task, n_classes)
    key = name.strip().lower().replace("-", "_").replace(" ", "_")
    metric = METRICS.get(_ALIASES.get(key, key))
    if metric is None or task not in metric.tasks:
        raise _unknown(name, key, task, metric)
    if n_classes is not None and n_classes > 2:
        return METRICS[_OF_MANY_CLASSES.get(metric.name, metric.name)]
    return metric


def metric_of(request: RunRequest, n_classes: int | None = None) -> Metric:
    """Return the metric of a request: a named one, or the caller's own, imported. Only in task processes.

    Raises:
        InvalidRequest: ``unknown-metric``.
    """
    custom = request.custom_metric
    if custom is None:
        return resolve_metric(request.metric, request.task, n_classes)
    from rayctl.automl.estimators import load_function

    function = load_function(custom.path or custom.name, custom.pickled)
    return Metric(custom.name, custom.greater_is_better, custom.needs_proba, frozenset([request.task]), False, function)


def _unknown(name: str, key: str, task: TaskType, metric: Metric | None) -> InvalidRequest:
    fitting = [known.name for known in METRICS.values() if task in known.tasks]
    aliases = [alias for alias, target in _ALIASES.items() if target in fitting]
    close = difflib.get_close_matches(key, fitting + aliases, n=1)
    if metric is not None:
        why = f"The metric {metric.name!r} is not one for {task.value}."
    else:
        why = f"There is no metric {name!r}."
    suggestion = f"Did you mean {close[0]!r}? " if close else ""
    message = f"Metrics for {task.value}: {', '.join(fitting)}."
    return InvalidRequest(
        f"{why} {message}",
        code="unknown-metric",
        hint=f"{suggestion}Choose one of {', '.join(fitting)}.",
        errors=[{"pointer": "/metric", "message": why}],
    )


def score(
    metric: Metric,
    y_true: np.ndarray,
    predicted: np.ndarray,
    n_classes: int | None = None,
    weights: np.ndarray | None = None,
    classes: Sequence[Any] | None = None,
) -> float:
    """Score predictions of a table.

    Args:
        metric: One for classification (if ``n_classes`` is given) or regression.
        y_true: Shape (n,): class codes 0..n_classes-1, or numbers.
        predicted: Shape (n,) of codes or numbers, or (n, n_classes) of class probabilities (for ranking
            metrics any scores; two classes then also as (n,) scores of the second class).
        n_classes: Number of classes of the whole data; the test part may lack some.
        weights: Weight of each row, shape (n,), not negative; a caller's own metric does not get them.
        classes: The labels of the class codes, for a caller's own metric (default: the codes).

    Returns:
        The score, NaN where it is undefined (ROC AUC with one class in the test part).

    Raises:
        ValueError: the metric needs probabilities and ``predicted`` has none.
    """
    if metric.function is not None:
        return _score_custom(metric, y_true, predicted, n_classes, classes)
    if n_classes is None:
        return _score_numbers(metric.name, y_true, predicted, weights)
    if metric.needs_proba:
        return _score_proba(metric, y_true, predicted, n_classes, weights)
    labels = predicted.argmax(axis=1) if predicted.ndim == 2 else predicted
    return _score_labels(metric.name, y_true, labels, weights)


def _score_custom(
    metric: Metric, y_true: np.ndarray, predicted: np.ndarray, n_classes: int | None, classes: Sequence[Any] | None
) -> float:
    import numpy as np

    assert metric.function is not None
    if n_classes is not None:
        names = np.asarray(list(range(n_classes) if classes is None else classes))
        y_true = names[y_true]
        if not metric.needs_proba:
            predicted = names[predicted.argmax(axis=1) if predicted.ndim == 2 else predicted.astype(np.int64)]
    return float(metric.function(y_true, predicted))


def _score_labels(name: str, y_true: np.ndarray, labels: np.ndarray, weights: np.ndarray | None) -> float:
    import numpy as np
    from sklearn import metrics

    if name == "accuracy":
        return float(np.average(y_true == labels, weights=weights))
    if name == "balanced_accuracy":
        recalls = []
        for code in np.unique(y_true):
            rows = y_true == code
            share = None if weights is None else weights[rows]
            if share is None or share.sum() > 0:
                recalls.append(float(np.average(labels[rows] == code, weights=share)))
        return sum(recalls) / len(recalls) if recalls else float("nan")
    options: dict[str, Any] = {"sample_weight": weights}
    if name == "mcc":
        return float(metrics.matthews_corrcoef(y_true, labels, **options))
    if name in ("cohen_kappa", "quadratic_kappa"):
        if len(np.union1d(y_true, labels)) < 2:
            return float("nan")  # no disagreement is possible
        weighting = "quadratic" if name == "quadratic_kappa" else None
        return float(metrics.cohen_kappa_score(y_true, labels, weights=weighting, **options))
    kind, _, average = name.partition("_")
    scorers = {"f1": metrics.f1_score, "precision": metrics.precision_score, "recall": metrics.recall_score}
    if kind in scorers:
        options |= {"average": average} if average else {"pos_label": 1, "labels": [1], "average": "macro"}
        return float(scorers[kind](y_true, labels, zero_division=0.0, **options))
    raise ValueError(f"{name} is not scored on labels")


def _score_proba(
    metric: Metric, y_true: np.ndarray, predicted: np.ndarray, n_classes: int, weights: np.ndarray | None
) -> float:
    import numpy as np

    if metric.name in ("log_loss", "brier") and predicted.ndim != 2:
        raise ValueError(f"{metric.name} needs class probabilities")
    if metric.name == "log_loss":
        # Clipped, so that one confident mistake costs much but not infinitely much.
        clipped = np.clip(np.asarray(predicted, dtype=np.float64), 1e-15, 1.0)
        clipped = clipped / clipped.sum(axis=1, keepdims=True)
        return float(-np.average(np.log(clipped[np.arange(len(y_true)), y_true]), weights=weights))
    if metric.name == "brier":
        # Of two classes the squared error of the second one, of more the sum over all classes (as in scikit-learn).
        error = ((np.asarray(predicted, dtype=np.float64) - np.eye(n_classes)[y_true]) ** 2).sum(axis=1)
        return float(np.average(error, weights=weights)) / (2.0 if n_classes == 2 else 1.0)
    if predicted.ndim == 1:
        if n_classes > 2:
            raise ValueError(f"{metric.name} needs one score per class")
        return _one_class(metric.name, y_true == 1, predicted, weights)
    if n_classes == 2:
        return _one_class(metric.name, y_true == 1, predicted[:, 1], weights)
    # One against the rest, averaged over the classes for which the test part can say something.
    scores = [_one_class(metric.name, y_true == code, predicted[:, code], weights) for code in range(n_classes)]
    finite = [value for value in scores if value == value]
    return sum(finite) / len(finite) if finite else float("nan")


def _one_class(name: str, positive: np.ndarray, scores: np.ndarray, weights: np.ndarray | None) -> float:
    if positive.all() or not positive.any():
        return float("nan")
    if name == "roc_auc":
        return _roc_auc(positive, scores, weights)
    from sklearn import metrics

    return float(metrics.average_precision_score(positive, scores, sample_weight=weights))


def _roc_auc(positive: np.ndarray, scores: np.ndarray, weights: np.ndarray | None) -> float:
    """Area under the ROC curve by ranks; ties count half. (Ensembles ask for it a thousand times.)"""
    import numpy as np

    order = np.argsort(scores, kind="stable")
    mass = np.ones(len(scores)) if weights is None else np.asarray(weights, dtype=np.float64)[order]
    hits = np.where(positive[order], mass, 0.0)
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)  # the last row of each tie
    wins = np.diff(np.cumsum(hits)[ends], prepend=0.0)
    losses = np.diff(np.cumsum(mass - hits)[ends], prepend=0.0)
    below = np.cumsum(losses) - losses / 2
    total = wins.sum() * losses.sum()
    return float((wins * below).sum() / total) if total > 0 else float("nan")


def _score_numbers(name: str, y_true: np.ndarray, predicted: np.ndarray, weights: np.ndarray | None) -> float:
    import numpy as np

    error = np.abs(y_true - predicted)
    if name == "rmse":
        return float(np.sqrt(np.average(error**2, weights=weights)))
    if name == "mse":
        return float(np.average(error**2, weights=weights))
    if name == "rmsle":
        # Predictions below zero count as zero; true values below zero have no logarithm here (refused before).
        logs = np.log1p(np.maximum(predicted, 0.0)) - np.log1p(np.where(y_true >= 0, y_true, np.nan))
        return float(np.sqrt(np.average(logs**2, weights=weights)))
    if name == "smape":
        size = np.abs(y_true) + np.abs(predicted)
        relative = np.divide(2 * error, size, out=np.zeros_like(error, dtype=np.float64), where=size != 0)
        return float(np.average(relative, weights=weights))
    if name == "mae":
        return float(np.average(error, weights=weights))
    if name == "median_absolute_error":
        return _weighted_median(error, weights)
    if name == "mape":
        # As in scikit-learn: a fraction, with an epsilon instead of a zero (the score then explodes, visibly).
        relative = error / np.maximum(np.abs(y_true), np.finfo(np.float64).eps)
        return float(np.average(relative, weights=weights))
    if name == "r2":
        center = np.average(y_true, weights=weights)
        spread = float(np.average((y_true - center) ** 2, weights=weights))
        residual = float(np.average(error**2, weights=weights))
        if spread == 0.0:
            return 1.0 if residual == 0.0 else 0.0
        return 1.0 - residual / spread
    raise ValueError(f"{name} is not scored on numbers")


def _weighted_median(values: np.ndarray, weights: np.ndarray | None) -> float:
    import numpy as np

    if weights is None:
        return float(np.median(values))
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(reached, reached[-1] / 2)])


def series_scale(train: np.ndarray, season_length: int = 1, squared: bool = False) -> float:
    """Return what errors of a series are divided by in MASE (or, ``squared``, RMSSE before the root).

    It is the mean absolute (squared) change of the training values against those one season earlier; missing
    values (NaN) are left out. Where that is zero or undefined, the first usable one of these takes its place:
    the change against the previous value, the mean absolute (squared) level, and 1. So a constant series
    counts with its relative error, and an all-zero series with its plain error; no series is dropped and none
    is infinite.
    """
    import numpy as np

    def mean(values: np.ndarray) -> float:
        finite = values[np.isfinite(values)]
        return float(np.mean(finite**2 if squared else np.abs(finite))) if finite.size else 0.0

    level = mean(train)
    floor = level * (1e-18 if squared else 1e-9)  # below this a change is rounding
    lags = [season_length, 1] if season_length > 1 else [1]
    for lag in lags:
        scale = mean(train[lag:] - train[:-lag]) if len(train) > lag else 0.0
        if scale > floor:
            return scale
    return level if level > 0.0 else 1.0


def forecast_score(
    name: str,
    y_true: Sequence[np.ndarray],
    y_pred: Sequence[np.ndarray],
    y_train: Sequence[np.ndarray],
    season_length: int | Sequence[int] = 1,
) -> float:
    """Score forecasts: per series, then the mean over series, so that long or large series do not dominate.

    ``wape`` is meant to be dominated by the large ones: the absolute errors of all series together, divided by the
    absolute test values of all.

    Test values that are missing (NaN) are left out, and series without any test value too. ``mape`` leaves out
    zero test values as well. ``smape`` is ``2|e| / (|y| + |f|)``, a fraction from 0 to 2 (0 where both are zero).
    For zero scales in ``mase`` and ``rmsse`` see `series_scale`.

    Args:
        name: mase, rmsse, smape, mae, rmse, mse, mape or wape.
        y_true: Per series the test values.
        y_pred: Per series the forecasts, same shapes.
        y_train: Per series the values before the test part (used by mase and rmsse).
        season_length: Steps of one season, for all series or per series.

    Returns:
        The score, NaN if no series has a usable test value or a forecast is NaN.

    Raises:
        ValueError: not a metric of forecasts, or lengths differ.
    """
    if name not in METRICS or _F not in METRICS[name].tasks:
        raise ValueError(f"{name} is not a metric of forecasts")
    if name == "wape":
        return _wape(y_true, y_pred)
    seasons = [season_length] * len(y_true) if isinstance(season_length, int) else list(season_length)
    scores = []
    for truth, forecast, history, season in zip(y_true, y_pred, y_train, seasons, strict=True):
        value = _score_series(name, truth, forecast, history, season)
        if value is not None:
            scores.append(value)
    return sum(scores) / len(scores) if scores else float("nan")


def _wape(y_true: Sequence[np.ndarray], y_pred: Sequence[np.ndarray]) -> float:
    import numpy as np

    truth, forecast = np.concatenate(list(y_true)), np.concatenate(list(y_pred))
    if truth.shape != forecast.shape:
        raise ValueError(f"forecasts have {forecast.size} values, the test values {truth.size}")
    usable = ~np.isnan(truth)
    size = float(np.abs(truth[usable]).sum())
    return float(np.abs(truth[usable] - forecast[usable]).sum()) / size if size > 0 else float("nan")


def _score_series(name: str, truth: np.ndarray, forecast: np.ndarray, history: np.ndarray, season: int) -> float | None:
    import numpy as np

    if truth.shape != forecast.shape:
        raise ValueError(f"forecast has shape {forecast.shape}, the test values {truth.shape}")
    usable = ~np.isnan(truth)
    if name == "mape":
        usable &= truth != 0
    if not usable.any():
        return None
    truth, forecast = truth[usable], forecast[usable]
    error = np.abs(truth - forecast)
    if name == "mae":
        return float(error.mean())
    if name in ("rmse", "mse"):
        mean = float(np.mean(error**2))
        return mean if name == "mse" else float(np.sqrt(mean))
    if name == "mape":
        return float(np.mean(error / np.abs(truth)))
    if name == "smape":
        size = np.abs(truth) + np.abs(forecast)
        return float(np.mean(np.divide(2 * error, size, out=np.zeros_like(error), where=size != 0)))
    if name == "mase":
        return float(error.mean() / series_scale(history, season))
    return float(np.sqrt(np.mean(error**2) / series_scale(history, season, squared=True)))
