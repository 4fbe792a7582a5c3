"""Corrections of class probabilities and decisions, learned from validation predictions.

A correction is kept only if it is better on rows that it was not fitted on (`Validation.cross_validated`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rayctl.automl.metrics import METRICS, Metric
from rayctl.automl.tabular.mixing import TINY, labels_of, tempered
from rayctl.automl.tabular.oof import Validation
from rayctl.automl.tabular.thresholds import SCORED, scores_at

__all__ = ["decision_settings", "temperature_settings"]

_TEMPERATURES = (0.3, 5.0)
_STRENGTHS = (0.25, 0.5, 0.75, 1.0)
_THRESHOLDS = 100
_SHRINK_ROWS = 40
_BY_PRIORS = frozenset({"balanced_accuracy", "f1_macro"})


def temperature_settings(validation: Validation, proba: np.ndarray) -> dict[str, Any]:
    """Return ``{"temperature": …}`` that lowers the log loss, or nothing."""

    def fit(part: Validation, values: np.ndarray) -> Any:
        temperature = _temperature(part, values)
        return lambda others: tempered(others, temperature)

    if not validation.is_better(METRICS["log_loss"], validation.cross_validated(fit, proba), proba):
        return {}
    return {"temperature": float(f"{_temperature(validation, proba):.4g}")}


def _temperature(validation: Validation, proba: np.ndarray) -> float:
    from scipy.optimize import minimize_scalar

    logs = np.log(np.clip(proba, TINY, 1.0))
    rows, truth = np.arange(len(logs)), validation.truth

    def loss(log_temperature: float) -> float:
        scaled = logs / np.exp(log_temperature)
        top = scaled.max(axis=1)
        norm = np.log(np.exp(scaled - top[:, None]).sum(axis=1)) + top
        return float(np.average(norm - scaled[rows, truth], weights=validation.weights))

    low, high = np.log(_TEMPERATURES)
    return float(np.exp(minimize_scalar(loss, bounds=(low, high), method="bounded").x))


def decision_settings(validation: Validation, metric: Metric, proba: np.ndarray) -> dict[str, Any]:
    """Return ``{"threshold": …}`` (two classes) or ``{"multipliers": […]}`` if that improves a metric of labels."""
    n_classes = proba.shape[1]
    if metric.name not in (SCORED if n_classes == 2 else _BY_PRIORS):
        return {}  # precision and recall among them: alone, either is best met by a decision that nobody wants
    choose = _threshold if n_classes == 2 else _multipliers

    def fit(part: Validation, values: np.ndarray) -> Any:
        settings = choose(part, metric, values)
        return lambda others: labels_of(others, settings)

    corrected = validation.cross_validated(fit, proba)
    if not validation.is_better(metric, corrected, proba.argmax(axis=1)):
        return {}
    return choose(validation, metric, proba)


def _threshold(validation: Validation, metric: Metric, proba: np.ndarray) -> dict[str, Any]:
    """Try quantiles of the probabilities; go towards 0.5 again where one of the classes has few rows."""
    second = proba[:, 1]
    found = np.unique(np.quantile(second, np.linspace(0.005, 0.995, _THRESHOLDS)))
    scores = scores_at(metric.name, validation, second, found)
    # Middle of all that are equally good: the metric is a step function.
    best = found[scores >= scores.max() - 1e-12]
    rarest = int(np.bincount(validation.truth, minlength=2).min())
    share = rarest / (rarest + _SHRINK_ROWS)
    chosen = 0.5 + share * (float(np.median(best)) - 0.5)
    return {"threshold": float(f"{chosen:.4g}")}


def _multipliers(validation: Validation, metric: Metric, proba: np.ndarray) -> dict[str, Any]:
    """Try dividing by powers of the class shares: all of it is right for balanced accuracy, less for F1."""
    counts = np.bincount(validation.truth, weights=validation.weights, minlength=proba.shape[1])
    shares = np.maximum(counts, 1e-9) / counts.sum()
    tried = []
    for strength in _STRENGTHS:
        factors = shares**-strength
        factors = [float(f"{value:.4g}") for value in factors / factors.max()]
        settings = {"multipliers": factors}
        tried.append((metric.loss(validation.score(metric, labels_of(proba, settings))), strength, settings))
    return min(tried, key=lambda item: item[:2])[2]
