"""The best guess that ignores the input columns: how often each class occurs, or the middle of the target."""

from __future__ import annotations

import numpy as np

from rayctl.automl.engine import Fold
from rayctl.automl.model import RunRequest
from rayctl.automl.tabular.fit import is_about_means
from rayctl.automl.tabular.fitted import FittedModel
from rayctl.automl.tabular.network_model import NetworkPredictor
from rayctl.automl.tabular.prepare import PreparedTable

__all__ = ["baseline_model", "class_shares", "weighted_median"]


def baseline_model(prepared: PreparedTable, fold: Fold, request: RunRequest) -> FittedModel:
    """Return the model that gives all rows the same: what is best for the metric on the fold's train part.

    Weights of rows and of classes count. It is a network of one layer whose weights are 0, so that it is stored,
    served and exported like any other.
    """
    y = prepared.target[fold.train]
    mass = np.ones(len(y)) if prepared.weights is None else prepared.weights[fold.train]
    if not mass.sum() > 0:
        mass = np.ones(len(y))
    inputs, present = prepared.dense.shape[1], None
    if prepared.n_classes is not None:
        shares = class_shares(y, mass, prepared.n_classes)
        bias = np.zeros(len(shares)) if request.class_weight == "balanced" else np.log(shares)
        present = tuple(range(prepared.n_classes))
    else:
        middle = np.average(y, weights=mass) if is_about_means(request) else weighted_median(y, mass)
        bias = np.array([middle], dtype=np.float64)
    predictor = NetworkPredictor([np.zeros((inputs, len(bias)))], [bias], "identity", prepared.n_classes)
    return FittedModel(predictor, "dense", present, prepared.n_classes)


def class_shares(codes: np.ndarray, mass: np.ndarray, n_classes: int) -> np.ndarray:
    """Return the share of each class, shape (n_classes,), none of them 0: one row of mean mass is spread over all.

    Args:
        codes: Class codes, (n,).
        mass: Weight of each row, (n,), with a positive sum.
        n_classes: Number of classes, also of those that no row has.
    """
    per_class = np.bincount(codes, weights=mass, minlength=n_classes) + mass.mean() / n_classes
    shares: np.ndarray = per_class / per_class.sum()
    return shares


def weighted_median(values: np.ndarray, mass: np.ndarray) -> float:
    """Return the value in the middle of the mass; between two values if it lies exactly between them."""
    order = np.argsort(values, kind="stable")
    ranked, reached = values[order], np.cumsum(mass[order])
    half = reached[-1] / 2
    low = ranked[np.searchsorted(reached, half, side="left")]
    high = ranked[min(np.searchsorted(reached, half, side="right"), len(ranked) - 1)]
    return float((low + high) / 2)
