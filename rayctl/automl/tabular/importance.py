"""Permutation importance of the input columns of a delivered model.

Breiman, "Random forests" (2001), section 10; here on the rows that each fold held out, predicted only by the models
of that fold, where the bundle has such.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rayctl.automl.engine import Fold
from rayctl.automl.metrics import Metric, metric_of, score
from rayctl.automl.model import RunRequest
from rayctl.automl.tabular.delivered import Delivered
from rayctl.automl.tabular.encoder import Encoded
from rayctl.automl.tabular.mixing import labels_of
from rayctl.automl.tabular.prepare import PreparedTable

__all__ = ["importance"]

_ROWS = 2_000
_REPEATS = 3
_STACKED_ROWS = 20_000  # rows predicted at once: permuted copies for several columns
_STACKED_CELLS = 2**25  # of both forms together, in single precision


def importance(
    delivered: Delivered,
    prepared: PreparedTable,
    folds: Sequence[Fold],
    request: RunRequest,
    *,
    seed: int,
    deadline: float | None,
    now: Callable[[], float] = time.monotonic,
) -> list[dict[str, Any]]:
    """Return importances, most important first (see `Engine.importance`).

    All columns are shuffled once before any is shuffled again; at the deadline, columns that were not reached yet are
    left out.
    """
    metric = metric_of(request, prepared.n_classes)
    rng = np.random.default_rng(seed)
    samples = _samples(delivered, prepared, folds, rng)
    features = prepared.encoder.features
    drops: dict[int, list[float]] = {index: [] for index in range(len(features))}
    bases = [_score(metric, delivered, prepared, rows, fold, _rows(prepared, rows), 1)[0] for rows, fold in samples]
    for _ in range(_REPEATS):
        for (rows, fold), base in zip(samples, bases, strict=True):
            cells = max(1, len(rows)) * max(1, prepared.tree.shape[1] + prepared.dense.shape[1])
            at_once = max(1, min(_STACKED_ROWS // max(1, len(rows)), _STACKED_CELLS // cells))
            for start in range(0, len(features), at_once):
                if deadline is not None and now() >= deadline:
                    return _ranked(features, drops)
                chosen = range(start, min(start + at_once, len(features)))
                shuffled = _shuffled(prepared, rows, chosen, rng)
                values = _score(metric, delivered, prepared, rows, fold, shuffled, len(chosen))
                for index, value in zip(chosen, values, strict=True):
                    drop = metric.loss(value) - metric.loss(base)
                    if np.isfinite(drop):
                        drops[index].append(drop)
    return _ranked(features, drops)


def _samples(
    delivered: Delivered, prepared: PreparedTable, folds: Sequence[Fold], rng: np.random.Generator
) -> list[tuple[np.ndarray, int | None]]:
    """Return (rows, index of the fold whose models may predict them, None: all models)."""
    scored = [fold for fold in folds if fold.scored]
    known = {index for trial in delivered.trials for index in trial.folds}
    scored = [fold for fold in scored if fold.index in known]
    if not scored:
        rows = np.arange(len(prepared.target))
        return [(np.sort(rng.permutation(rows)[:_ROWS]), None)]
    share = min(1.0, _ROWS / sum(len(fold.test) for fold in scored))
    parts: list[tuple[np.ndarray, int | None]] = []
    for fold in scored:
        count = max(1, round(share * len(fold.test)))
        parts.append((np.sort(rng.permutation(fold.test)[:count]), fold.index))
    return parts


def _rows(prepared: PreparedTable, rows: np.ndarray) -> Encoded:
    return Encoded(prepared.tree[rows], prepared.dense[rows])


def _shuffled(prepared: PreparedTable, rows: np.ndarray, features: range, rng: np.random.Generator) -> Encoded:
    """Return copies of the rows one below the other, in each copy one feature shuffled, in both views alike."""
    tree = np.tile(prepared.tree[rows], (len(features), 1))
    dense = np.tile(prepared.dense[rows], (len(features), 1))
    for place, feature in enumerate(features):
        order = rows[rng.permutation(len(rows))]
        copy = slice(place * len(rows), (place + 1) * len(rows))
        for matrix, source, columns in (
            (tree, prepared.tree, prepared.encoder.tree_of(feature)),
            (dense, prepared.dense, prepared.encoder.dense_of(feature)),
        ):
            chosen = list(columns)
            matrix[copy, chosen] = source[order][:, chosen]
    return Encoded(tree, dense)


def _score(
    metric: Metric,
    delivered: Delivered,
    prepared: PreparedTable,
    rows: np.ndarray,
    fold: int | None,
    encoded: Encoded,
    copies: int,
) -> list[float]:
    predicted = delivered.predict(encoded, fold=fold)
    if prepared.n_classes is not None and not metric.needs_proba:
        predicted = labels_of(predicted, delivered.settings)
    elif prepared.n_classes is not None and predicted.ndim == 1:
        # No probabilities to rank by (the trials were scored by a decision function): labels are all there is.
        predicted = np.eye(prepared.n_classes)[predicted]
    truth = prepared.target[rows]
    weights = None if prepared.weights is None else prepared.weights[rows]
    return [
        score(metric, truth, part, prepared.n_classes, weights, prepared.classes)
        for part in np.split(predicted, copies)
    ]


def _ranked(features: Sequence[Any], drops: dict[int, list[float]]) -> list[dict[str, Any]]:
    found = [
        {"feature": features[index].name, "importance": float(np.mean(values)), "std": float(np.std(values))}
        for index, values in drops.items()
        if values
    ]
    return sorted(found, key=lambda item: (-item["importance"], item["feature"]))
