"""What fitting one fold costs, by family: a formula of sizes with measured coefficients. Pure and cheap.

The coefficients come from ``tests/benchmarks/measure_costs.py`` (one core, one thread). They need not be exact: the
scheduler corrects them by what it sees during the run.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

from rayctl.automl.engine import Candidate, Cost
from rayctl.automl.model import DataSummary, RunRequest

__all__ = ["catboost_round_s", "cost"]

_TRAIN_SHARE = 0.8
_DENSE_PER_FEATURE = 2.0
_CODES_PER_FEATURE = 0.25
_NUMBERS_S = 4e-10
_EPOCHS_SHARE = 0.4  # of the epochs allowed are done before early stopping
_MATRIX_BYTES = 4.0


def cost(summary: DataSummary, request: RunRequest, candidate: Candidate) -> Cost | None:
    """Return the predicted cost of one fold; None for models that are not built in.

    Features that become several columns (dates, texts, one-hot) are counted by an average.
    """
    if candidate.pickled_class is not None:
        return None
    params = candidate.params
    rows, columns = max(1.0, _TRAIN_SHARE * summary.rows), float(max(1, len(summary.features)))
    classes = len(summary.classes or ())
    outputs = 1 if classes <= 2 else classes
    derived = 1.0
    if params.get("derived"):
        columns += 4.0 * len(params["derived"])
        derived = 1.0 + 0.1 * len(params["derived"])
    seconds = _seconds(candidate.model, params, rows, columns, outputs, _categorical(summary))
    if seconds is None:
        return None
    if params.get("derived"):
        seconds += 0.02 + 4e-8 * rows * columns * len(params["derived"])
    return Cost(seconds, derived * _bytes(candidate.model, params, rows, columns, outputs))


def _categorical(summary: DataSummary) -> float:
    """Number of category columns; a guess for summaries that do not say (of runs of an older version)."""
    return summary.categorical if summary.categorical is not None else _CODES_PER_FEATURE * len(summary.features)


def _seconds(
    model: str, params: Mapping[str, Any], rows: float, columns: float, outputs: int, categorical: float
) -> float | None:
    dense = _DENSE_PER_FEATURE * columns
    if model == "lightgbm":
        return _lightgbm(params, rows, columns, outputs)
    if model == "catboost":
        codes = categorical if params.get("native_categories", True) else 0.0
        per_round = catboost_round_s(rows, columns, codes, _number(params, "depth", 6), outputs)
        return 0.02 + rows * columns * 1.3e-7 + _rounds(params, "iterations", 1000, 15.0) * per_round
    if model in ("extra_trees", "random_forest"):
        return _forest(model, params, rows, columns, outputs)
    if model == "ridge" or (model == "linear" and "alpha" in params):
        return 0.005 + rows * dense * (2e-9 + 1e-10 * dense)
    if model in ("linear", "logistic_regression"):
        return 0.01 + rows * dense * outputs * 2.8e-8
    if model == "mlp":
        sizes = [dense, *_layers(params.get("hidden_layer_sizes", [100])), float(outputs)]
        products = sum(a * b for a, b in itertools.pairwise(sizes))
        epochs = _EPOCHS_SHARE * _number(params, "max_iter", 60)
        return 0.02 + epochs * rows * (8.4e-5 / _number(params, "batch_size", 200) + 2e-10 * products + 3e-6)
    if model == "kernel":
        return _kernel(params, rows, dense, outputs)
    if model == "knn":
        return 0.01 + rows * (1 - _TRAIN_SHARE) / _TRAIN_SHARE * rows * (dense * 2e-10 + 2.5e-9)
    return None


def catboost_round_s(rows: float, columns: float, codes: float, depth: float, outputs: int) -> float:
    """Return the seconds of one round of CatBoost; ``codes``: how many of the columns are categories."""
    levels = depth * (rows * (codes * 3.8e-8 + _NUMBERS_S * (columns - codes) + 4e-10) + columns * 1.1e-5)
    return outputs * (levels + 2**depth * columns * 1.9e-6)


def _lightgbm(params: Mapping[str, Any], rows: float, columns: float, outputs: int) -> float:
    leaves = max(2.0, min(_number(params, "num_leaves", 31), rows / _number(params, "min_child_samples", 20)))
    used = columns * _number(params, "colsample_bytree", 1.0)
    sampled = rows * (_number(params, "subsample", 1.0) if params.get("subsample_freq") else 1.0)
    per_tree = 2.6e-4 + sampled * math.log2(1 + leaves) * (used * 1.2e-9 + 1e-8) + leaves * used * 2.6e-6
    return 0.01 + rows * columns * 1.9e-7 + _rounds(params, "n_estimators", 100, 12.0) * outputs * per_tree


def _kernel(params: Mapping[str, Any], rows: float, dense: float, outputs: int) -> float:
    """Distances to the landmarks, their decomposition, and some hundred steps of the logistic regression."""
    landmarks = min(rows, _number(params, "n_components", 1000))
    seconds = 0.02 + rows * landmarks * (dense * 8e-10 + 1e-8) + 3e-10 * landmarks**3 + rows * landmarks**2 * 1e-10
    return seconds + rows * landmarks * outputs * 1e-7


def _forest(model: str, params: Mapping[str, Any], rows: float, columns: float, outputs: int) -> float:
    """A tree costs by its depth for every row and tried column, and by its leaves for everything else."""
    least = _number(params, "min_samples_leaf", 1)
    work = rows * math.log2(2 + rows / least)
    tried = max(1.0, _tried(params.get("max_features", "sqrt"), columns))
    leaves = rows / least
    if model == "extra_trees":
        per_tree = 1.5e-3 + work * (7.2e-9 * tried + 4.1e-8) + leaves * (7.1e-8 * tried + 1e-7 * outputs)
    else:
        per_tree = 1.8e-3 + work * (6.3e-8 * tried + 2.6e-8) + leaves * 1.4e-7 * outputs
    return 0.005 + _number(params, "n_estimators", 100) * per_tree


def _bytes(model: str, params: Mapping[str, Any], rows: float, columns: float, outputs: int) -> float:
    """Return the peak memory above the shared data: copies of the training rows, and the model."""
    dense = _DENSE_PER_FEATURE * columns
    if model in ("lightgbm", "catboost"):
        return 3e7 + rows * columns * (_MATRIX_BYTES + 2) + rows * outputs * 32
    if model in ("extra_trees", "random_forest"):
        trees = _number(params, "n_estimators", 100)
        nodes = trees * 2 * rows / (1 + _number(params, "min_samples_leaf", 1))
        return 3e7 + rows * columns * _MATRIX_BYTES * 2 + min(nodes, 1.5e6) * (64 + 8 * outputs) * 2
    if model == "kernel":
        return 3e7 + rows * dense * 16 + rows * min(rows, _number(params, "n_components", 1000)) * 8 * 4
    return 3e7 + rows * dense * 8 * 3


def _number(params: Mapping[str, Any], name: str, default: float) -> float:
    value = params.get(name, default)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0 else default


def _rounds(params: Mapping[str, Any], name: str, default: float, steps: float) -> float:
    """Return the expected number of rounds: with early stopping mostly far below the limit, ``steps`` / rate."""
    rounds = _number(params, name, default)
    if not params.get("early_stopping_rounds"):
        return rounds
    return min(rounds, steps / _number(params, "learning_rate", 0.1) + _number(params, "early_stopping_rounds", 50))


def _tried(value: Any, columns: float) -> float:
    if isinstance(value, str):
        return math.sqrt(columns) if value == "sqrt" else math.log2(1 + columns)
    if isinstance(value, bool) or value is None:
        return columns
    return value * columns if isinstance(value, float) else min(float(value), columns)


def _layers(value: Any) -> list[float]:
    return [float(size) for size in value] if isinstance(value, (list, tuple)) else [float(value)]
