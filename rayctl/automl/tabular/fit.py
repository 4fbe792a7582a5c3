"""Fitting one candidate on one fold of a prepared table.

Early stopping watches the fold's own test part. Its score is therefore very slightly optimistic: of some hundred
rounds the one was kept that suits these rows best. This is accepted because all boosted candidates gain alike, the
gain is far below the differences between candidates, and setting other rows aside would cost every model a
tenth of its training data.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rayctl.automl.engine import Candidate, Fold
from rayctl.automl.metrics import resolve_metric
from rayctl.automl.model import RunRequest
from rayctl.automl.tabular.clock import Clock
from rayctl.automl.tabular.derived import DerivedFeatures
from rayctl.automl.tabular.families import Resolved, own_parameters, resolve
from rayctl.automl.tabular.fitted import FittedModel
from rayctl.automl.tabular.prepare import PreparedTable
from rayctl.automl.tabular.scale import TargetScale
from rayctl.automl.tabular.training import Part, Predictor, TrainingData
from rayctl.errors import TrialError

__all__ = ["fit_model", "is_about_means"]

_WATCHED_SHARE = 0.12
_WATCHED_MAX = 10_000
_FIRST_FIT_SHARE = 0.45
_SINGLE_PRECISION = frozenset({"lightgbm", "catboost", "extra_trees", "random_forest"})  # targets or leaves are float32
_SINGLE_RANGE, _SINGLE_DIGITS = (1e-30, 1e30), 1e4
_RELATIVE_LOSSES = ("mape", "poisson", "gamma", "tweedie")
_MEDIANS = frozenset({"mae", "median_absolute_error", "mape", "smape", "rmsle"})


def fit_model(
    prepared: PreparedTable,
    fold: Fold,
    candidate: Candidate,
    request: RunRequest,
    *,
    seed: int,
    deadline: float | None = None,
    stop_at: int | None = None,
) -> tuple[FittedModel, int | None]:
    """Fit a candidate on the fold's train part; return (model, steps after which time ended the fit or None).

    Raises:
        TrialError: ``model-error`` if the rows hold one class only, ``trial-timeout``.
        InvalidRequest: ``unknown-model``, ``unknown-parameter``, ``invalid-parameter``, ``missing-extra``.
        Exception: whatever the model raises.
    """
    clock = Clock(deadline, stop_at)
    resolved = resolve(candidate.model, candidate.pickled_class, request.task)
    resolved.check(candidate.params)
    kinds, transform = own_parameters(resolved, candidate.params)
    fixed = {} if resolved.family is None else dict(resolved.family.fixed)
    params = {
        **fixed,
        **{name: v for name, v in candidate.params.items() if name not in ("derived", "target_transform")},
    }
    balanced = request.class_weight == "balanced"
    if resolved.model == "lightgbm" and params.get("class_weight") is not None:
        # A parameter of LightGBM's scikit-learn classes, which only turn it into weights of rows.
        if params.pop("class_weight") != "balanced":
            raise TrialError(
                "The class_weight of 'lightgbm' can only be 'balanced'.",
                code="invalid-parameter",
                hint="Leave it out, or give weights of single rows by weight_column.",
            )
        balanced = True
    if transform == "identity" and _extrapolates(resolved.model, params):
        transform = "standard"  # which also keeps predictions near what was seen
    elif transform == "identity" and resolved.model in _SINGLE_PRECISION and prepared.n_classes is None:
        transform = _safe_transform(params, prepared.target[fold.train])

    derived, columns = None, prepared.tree if resolved.view == "tree" else prepared.dense
    train_x, test_x = columns[fold.train], columns[fold.test]
    if kinds:
        # The same seed for all trials: what is derived of a fold depends on the fold only.
        derived, extra = DerivedFeatures.fit(prepared, fold.train, kinds, request.seed)
        train_x = np.concatenate([train_x, extra], axis=1)
        if len(test_x):
            test_x = np.concatenate([test_x, derived.transform(test_x)], axis=1)
    present, scale = None, TargetScale()
    train_y, test_y = prepared.target[fold.train], prepared.target[fold.test]
    known = np.ones(len(test_y), dtype=bool)
    if prepared.n_classes is not None:
        found, train_y = np.unique(train_y, return_inverse=True)
        present = tuple(int(code) for code in found)
        if len(present) < 2:
            raise TrialError(
                "The training part of the fold has rows of one class only.",
                code="model-error",
                hint="Use another validation scheme, fewer folds, or more rows of the rarer classes.",
            )
        known = np.isin(test_y, found)
        test_y = np.searchsorted(found, test_y[known])
    else:
        scale = TargetScale.fit(transform, train_y)
        train_y, test_y = scale.apply(train_y), scale.apply(test_y)
    train_w, test_w = _weights(prepared, fold, balanced, train_y, test_y, known, len(present or ()))
    train = Part(np.ascontiguousarray(train_x), train_y, train_w)
    watch = Part(test_x[known], test_y, test_w) if known.any() else None
    tree = resolved.view == "tree"
    data = TrainingData(
        train,
        watch,
        None if present is None else len(present),
        tuple(prepared.encoder.categorical) if tree else (),
        tuple(prepared.encoder.cardinalities) if tree else (),
    )
    predictor, stopped_at = _fit(resolved, data, params, seed, clock)
    model = FittedModel(predictor, resolved.view, present, prepared.n_classes, derived, scale)
    if scale.kind == "log" and is_about_means(request):
        judged = watch or train
        predicted = scale.invert(predictor.predict(judged.x))
        corrected = scale.corrected(scale_back(scale, judged.y), predicted, judged.weights)
        model = FittedModel(predictor, resolved.view, present, prepared.n_classes, derived, corrected)
    return model, stopped_at


def _safe_transform(params: Mapping[str, Any], y: np.ndarray) -> str:
    """Return the scale on which single precision tells targets apart: as they are, or standardised."""
    loss = str(params.get("objective") or params.get("loss_function") or params.get("criterion") or "").lower()
    peak, spread = float(np.abs(y).max()), float(y.std())
    lost = not _SINGLE_RANGE[0] < peak < _SINGLE_RANGE[1] or peak > _SINGLE_DIGITS * spread
    # Losses of relative errors need the numbers as they are.
    return "standard" if lost and spread > 0 and not loss.startswith(_RELATIVE_LOSSES) else "identity"


def scale_back(scale: TargetScale, y: np.ndarray) -> np.ndarray:
    """Return targets that were put on a logarithmic scale without its correction."""
    return np.exp(y * scale.spread + scale.center) - scale.shift


def _extrapolates(model: str, params: Mapping[str, Any]) -> bool:
    """Whether predictions can lie far outside of the targets that a model was fitted to."""
    return model in ("linear", "mlp", "kernel") or bool(model == "lightgbm" and params.get("linear_tree"))


def is_about_means(request: RunRequest) -> bool:
    """Whether the metric of a regression is best met by means; else by medians."""
    return request.custom_metric is None and resolve_metric(request.metric, request.task).name not in _MEDIANS


def _weights(
    prepared: PreparedTable,
    fold: Fold,
    balanced: bool,
    train_y: np.ndarray,
    test_y: np.ndarray,
    known: np.ndarray,
    n_classes: int,
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return the weights of the train rows and of the known test rows; None where all are equal."""
    train = test = None
    if prepared.weights is not None:
        train, test = prepared.weights[fold.train], prepared.weights[fold.test][known]
    if n_classes and balanced:
        mass = np.ones(len(train_y)) if train is None else train
        per_class = np.bincount(train_y, weights=mass, minlength=n_classes)
        # Every class gets the same share of the total; a class of weight 0 keeps it.
        factor = mass.sum() / (n_classes * np.where(per_class > 0, per_class, 1.0))
        train = mass * factor[train_y]
        test = (np.ones(len(test_y)) if test is None else test) * factor[test_y]
    return train, test


def _fit(
    resolved: Resolved, data: TrainingData, params: dict[str, Any], seed: int, clock: Clock
) -> tuple[Predictor, int | None]:
    """Fit; a fold without rows to watch learns from a part of its training rows when to stop."""
    stops_early = resolved.family is not None and (
        params.get("early_stopping_rounds") is not None
        or (resolved.family.name == "mlp" and params.get("early_stopping", True))
    )
    if data.watch is not None or not stops_early or len(data.train.y) < 30:
        return resolved.fitter(data, params, seed, clock), clock.stopped_at
    aside = TrainingData(
        *_set_aside(data.train, data.n_classes, seed), data.n_classes, data.categorical, data.cardinalities
    )
    if resolved.model == "mlp":
        return resolved.fitter(aside, params, seed, clock), clock.stopped_at
    rounds = clock.stop_at
    late = False
    if rounds is None:
        first = Clock(None if not clock.limited else clock.now + _FIRST_FIT_SHARE * clock.left_s)
        found = resolved.fitter(aside, params, seed, first)
        # A larger training part wants a little more rounds.
        rounds = max(1, round(found.rounds * len(data.train.y) / len(aside.train.y)))
        late = first.stopped_at is not None
    final = {name: value for name, value in params.items() if name != "early_stopping_rounds"}
    names = [name for name in ("n_estimators", "iterations") if name in final] or ["n_estimators"]
    predictor = resolved.fitter(data, final | dict.fromkeys(names, rounds), seed, clock)
    stopped_at = predictor.rounds if late or clock.stopped_at is not None else None
    return predictor, stopped_at


def _set_aside(train: Part, n_classes: int | None, seed: int) -> tuple[Part, Part]:
    """Return (rows to fit, rows to watch); every class keeps a row to fit."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(train.y))
    if n_classes is not None:
        _, first = np.unique(train.y[order], return_index=True)
        order = np.concatenate([order[first], np.delete(order, first)])
    kept = len(order) - min(_WATCHED_MAX, max(1, int(_WATCHED_SHARE * len(order))))
    kept = max(kept, 1 if n_classes is None else n_classes)
    return train.take(np.sort(order[:kept])), train.take(np.sort(order[kept:]))
