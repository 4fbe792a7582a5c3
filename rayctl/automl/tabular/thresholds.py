"""Metrics of two-class decisions for many thresholds at once, from counts."""

from __future__ import annotations

import numpy as np

from rayctl.automl.tabular.oof import Validation

__all__ = ["SCORED", "scores_at"]

SCORED = frozenset({"accuracy", "balanced_accuracy", "f1", "f1_macro", "mcc"})
"""Names of the metrics that `scores_at` knows."""


def scores_at(name: str, validation: Validation, second: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Return the mean score over folds (as `Validation.score`) of saying "second class" above each threshold.

    Args:
        name: One of `SCORED`.
        validation: Rows with their truth and weights.
        second: Probabilities of the second class, shape (n,).
        thresholds: Ascending, shape (t,).

    Returns:
        Shape (t,).
    """
    per_fold: list[np.ndarray | None] = []
    for at in validation.places:
        if not len(at):
            per_fold.append(None)
            continue
        order = at[np.argsort(second[at], kind="stable")]
        mass = np.ones(len(order)) if validation.weights is None else validation.weights[order].astype(np.float64)
        yes = np.where(validation.truth[order] == 1, mass, 0.0)
        # Up to the threshold (included) the first class is said.
        said_no = np.searchsorted(second[order], thresholds, side="right")
        missed = np.concatenate([[0.0], np.cumsum(yes)])[said_no]
        refused = np.concatenate([[0.0], np.cumsum(mass - yes)])[said_no]
        hit, alarmed = (
            np.maximum(total - part, 0.0) for total, part in ((yes.sum(), missed), ((mass - yes).sum(), refused))
        )
        per_fold.append(_scores(name, hit, alarmed, np.maximum(missed, 0.0), np.maximum(refused, 0.0)))
    columns = [
        validation.mean([None if values is None else float(values[place]) for values in per_fold])
        for place in range(len(thresholds))
    ]
    return np.array(columns)


def _scores(name: str, tp: np.ndarray, fp: np.ndarray, fn: np.ndarray, tn: np.ndarray) -> np.ndarray:
    """Return scores by counts (sums of weights); what is divided by zero is zero, as in scikit-learn."""
    if name == "accuracy":
        return _ratio(tp + tn, tp + fp + fn + tn)
    if name == "balanced_accuracy":
        recalls = [_ratio(tp, tp + fn), _ratio(tn, tn + fp)]
        present = [part for part, mass in zip(recalls, (tp + fn, tn + fp), strict=True) if mass[0] > 0]
        return np.mean(present, axis=0)
    if name == "f1":
        return _ratio(2 * tp, 2 * tp + fp + fn)
    if name == "f1_macro":
        # Classes that neither are nor are said do not count.
        parts = np.stack([_ratio(2 * tp, 2 * tp + fp + fn), _ratio(2 * tn, 2 * tn + fp + fn)])
        there = np.stack([tp + fp + fn > 0, tn + fp + fn > 0])
        return _ratio((parts * there).sum(axis=0), there.sum(axis=0).astype(np.float64))
    if name == "mcc":
        return _ratio(tp * tn - fp * fn, np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)))
    raise ValueError(f"{name} is not scored on two-class decisions")


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)
