"""Metrics of validation predictions, in numpy alone: importing scikit-learn would double the time a report takes.

`tests/unit/automl/test_report_scores.py` compares all of them with scikit-learn.
"""

from __future__ import annotations

import math

import numpy as np

from rayctl.automl.metrics import METRICS, score

__all__ = [
    "average_precision",
    "class_scores",
    "confusion",
    "constant_scores",
    "label_scores",
    "number_scores",
    "pr_points",
    "roc_points",
]


def confusion(truth: np.ndarray, decided: np.ndarray, n_classes: int) -> np.ndarray:
    """Return counts, int64 (n_classes, n_classes): rows are the true classes, columns the predicted ones."""
    return np.bincount(truth * n_classes + decided, minlength=n_classes**2).reshape(n_classes, n_classes)


def label_scores(matrix: np.ndarray) -> dict[str, float]:
    """Return the metrics of decisions from a confusion matrix; undefined ones are NaN.

    ``mcc`` for any number of classes is Gorodkin's R_K (Computational Biology and Chemistry 28, 2004).
    ``precision``, ``recall`` and ``f1`` are those of the second of two classes.
    """
    counts = matrix.astype(np.float64)
    total, right = counts.sum(), np.trace(counts)
    true, predicted, hit = counts.sum(axis=1), counts.sum(axis=0), np.diag(counts)
    seen = true > 0
    used = seen | (predicted > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        recall = hit / true
        f1 = np.where(true + predicted > 0, 2 * hit / (true + predicted), 0.0)
        spread = (total**2 - (predicted**2).sum()) * (total**2 - (true**2).sum())
        mcc = (right * total - (true * predicted).sum()) / np.sqrt(spread) if spread > 0 else 0.0
    found = {
        "accuracy": right / total if total else float("nan"),
        "balanced_accuracy": float(recall[seen].mean()) if seen.any() else float("nan"),
        "f1_macro": float(f1[used].mean()) if used.any() else float("nan"),
        "mcc": mcc,
    }
    if len(matrix) == 2:
        found["f1"] = float(f1[1])
        found["precision"] = hit[1] / predicted[1] if predicted[1] else float("nan")
        found["recall"] = hit[1] / true[1] if true[1] else float("nan")
    return {name: float(value) for name, value in found.items()}


def roc_points(positive: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return false and true positive rates, and the thresholds at which they are reached, from (0, 0) to (1, 1).

    One point per distinct score: a row is called positive if its score is at least the threshold.
    """
    hits, alarms, thresholds = _cumulated(positive, scores)
    return (
        np.concatenate([[0.0], alarms / max(alarms[-1], 1)]),
        np.concatenate([[0.0], hits / max(hits[-1], 1)]),
        np.concatenate([[np.inf], thresholds]),
    )


def pr_points(positive: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return recall (rising), precision, and the thresholds at which they are reached."""
    hits, alarms, thresholds = _cumulated(positive, scores)
    return hits / max(hits[-1], 1), hits / (hits + alarms), thresholds


def average_precision(recall: np.ndarray, precision: np.ndarray) -> float:
    """Return the area under the steps of a precision-recall curve (no interpolation)."""
    return float((np.diff(recall, prepend=0.0) * precision).sum())


def _cumulated(positive: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    ends = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)  # the last row of each tie
    hits = np.cumsum(positive[order])[ends].astype(np.float64)
    return hits, ends + 1.0 - hits, ranked[ends]


def class_scores(
    truth: np.ndarray, proba: np.ndarray | None, decided: np.ndarray, n_classes: int, also: str = ""
) -> dict[str, float]:
    """Return the usual metrics for classification that these predictions allow, and the one named ``also``.

    ``truth`` and ``decided`` are codes.
    """
    found = label_scores(confusion(truth, decided, n_classes))
    asked_for = METRICS.get(also)
    if asked_for is not None and also not in found and not asked_for.needs_proba:
        found[also] = score(asked_for, truth, decided, n_classes)
    if proba is None:
        return found
    found["roc_auc"] = math.nan  # its place
    for name in ("log_loss", *(["brier"] if n_classes == 2 or also == "brier" else [])):
        found[name] = score(METRICS[name], truth, proba, n_classes)
    ranked, stepped = [], []  # areas under the two curves of each class, which take sorting once
    for code in [1] if n_classes == 2 else range(n_classes):
        positive = truth == code
        if positive.any() and not positive.all():
            hits, alarms, _ = _cumulated(positive, proba[:, code])
            middle = (hits + np.concatenate([[0.0], hits[:-1]])) / 2
            ranked.append(float((middle * np.diff(alarms, prepend=0.0)).sum() / (hits[-1] * alarms[-1])))
            stepped.append(average_precision(hits / hits[-1], hits / (hits + alarms)))
    found["roc_auc"] = float(np.mean(ranked)) if ranked else math.nan
    found["average_precision"] = float(np.mean(stepped)) if stepped else math.nan
    return found


def constant_scores(truth: np.ndarray, n_classes: int, *, proba: bool, also: str = "") -> dict[str, float]:
    """Return `class_scores` of the same answer for every row: the share of each class, and the largest class."""
    share = np.bincount(truth, minlength=n_classes) / len(truth)
    same = np.full(len(truth), int(share.argmax()))
    found = class_scores(truth, None, same, n_classes, also)
    if not proba:
        return found
    asked = share[[1]] if n_classes == 2 else share
    there = asked[(asked > 0) & (asked < 1)]
    found["roc_auc"] = 0.5 if len(there) else math.nan
    found["log_loss"] = float(-(share[share > 0] * np.log(share[share > 0])).sum())
    if n_classes == 2 or also == "brier":
        found["brier"] = float(1 - (share**2).sum()) / (2 if n_classes == 2 else 1)
    found["average_precision"] = float(there.mean()) if len(there) else math.nan
    return found


def number_scores(truth: np.ndarray, predicted: np.ndarray, also: str = "") -> dict[str, float]:
    """Return the usual metrics for regression and ``also``. ``mape`` is left out where a true value is zero."""
    names = ["rmse", "mae", "median_absolute_error", "r2"]
    if (truth != 0).all():
        names.append("mape")
    if also in ("mse", "rmsle", "smape"):
        names.append(also)
    return {name: score(METRICS[name], truth, predicted) for name in names}
