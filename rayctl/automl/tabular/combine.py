"""Which trials a delivered model consists of: greedy selection on validation predictions, then corrections."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rayctl.automl.engine import Combination, Fold, FoldOutcome
from rayctl.automl.ensemble import greedy_blend
from rayctl.automl.metrics import Metric, metric_of
from rayctl.automl.model import RunRequest
from rayctl.automl.tabular.calibrate import decision_settings, temperature_settings
from rayctl.automl.tabular.mixing import labels_of, mix
from rayctl.automl.tabular.oof import Validation
from rayctl.automl.tabular.prepare import PreparedTable
from rayctl.automl.tabular.thinning import cheapest_us, most_us

__all__ = ["combine"]

_ROWS = 10_000
_TRIALS = 30
_ROWS_CUSTOM = 2_000
_TRIALS_CUSTOM = 12
_STACKED = 8
_MIN_WEIGHT = 0.03
_TIE_BREAK = 0.1
_FLOOR = 1e-3  # of a probability, where the log loss only steers the choice


def combine(
    prepared: PreparedTable, folds: Sequence[Fold], outcomes: Mapping[int, Sequence[FoldOutcome]], request: RunRequest
) -> Combination:
    """Choose weights (see `Engine.combine`).

    Trials without class probabilities, and trials whose score needs a decision function, cannot be averaged; such a
    trial is delivered alone if it is the best. With ``max_predict_ms`` only trials are considered that keep it, and
    only members that keep it together; if no trial does, the quickest one is delivered.
    """
    costs, most = None, most_us(request)
    if most is not None:
        costs = {trial: cheapest_us(parts) for trial, parts in outcomes.items()}
        outcomes = _quick_enough(outcomes, costs, most)
    metric = metric_of(request, prepared.n_classes)
    validation = Validation.of(prepared, folds)
    scores = {trial: validation.mean_score(parts) for trial, parts in outcomes.items()}
    best = min(scores, key=lambda trial: (metric.loss(scores[trial]), trial))
    if not request.delivers_ensemble:
        return _alone(
            validation, metric, request, best, outcomes[best], scores[best], corrected=bool(request.calibrate)
        )
    predictions = {trial: validation.predictions(parts) for trial, parts in outcomes.items()}
    dimensions = 1 if prepared.n_classes is None else 2
    usable = [trial for trial in sorted(scores) if predictions[trial].ndim == dimensions]
    single = _alone(validation, metric, request, best, outcomes[best], scores[best], corrected=True)
    if len(usable) < 2:
        return single
    blend = _blended(validation, metric, request, {trial: predictions[trial] for trial in usable}, scores, costs)
    if request.stacking:
        ranked = sorted(usable, key=lambda trial: (metric.loss(scores[trial]), trial))
        members = {*blend.weights, *(ranked[:_STACKED] if costs is None else ())}
        blend = _stacked(validation, metric, blend, {trial: predictions[trial] for trial in members})
    return single if metric.better(single.score, blend.score) else blend


def _quick_enough(
    outcomes: Mapping[int, Sequence[FoldOutcome]], costs: Mapping[int, float], most: float
) -> Mapping[int, Sequence[FoldOutcome]]:
    """Return the trials that cost at most so much, or the one that costs least."""
    quick = {trial: parts for trial, parts in outcomes.items() if costs[trial] <= most}
    if quick:
        return quick
    quickest = min(outcomes, key=lambda trial: (costs[trial], trial))
    return {quickest: outcomes[quickest]}


def _alone(
    validation: Validation,
    metric: Metric,
    request: RunRequest,
    trial: int,
    outcomes: Sequence[FoldOutcome],
    value: float,
    *,
    corrected: bool,
) -> Combination:
    predicted = validation.predictions(outcomes)
    if not corrected or predicted.ndim == 1:
        return Combination({trial: 1.0}, value, {}, (value,))
    settings = _corrections(validation, metric, request, predicted)
    if settings:
        value = _score(validation, metric, mix({trial: predicted}, {trial: 1.0}, settings), settings)
    return Combination({trial: 1.0}, value, settings, (value,))


def _blended(
    validation: Validation,
    metric: Metric,
    request: RunRequest,
    predictions: Mapping[int, np.ndarray],
    scores: Mapping[int, float],
    costs: Mapping[int, float] | None,
) -> Combination:
    custom = metric.function is not None
    kept = sorted(predictions, key=lambda trial: (metric.loss(scores[trial]), trial))
    kept = kept[: _TRIALS_CUSTOM if custom else _TRIALS]
    places = validation.sampled(_ROWS_CUSTOM if custom else _ROWS, request.seed)
    reduce, loss = _objective(validation.take(places), metric)
    reduced = {trial: reduce(predictions[trial][places].astype(np.float64)) for trial in kept}
    blend = greedy_blend(reduced, loss, min_weight=_MIN_WEIGHT, costs=costs, most=most_us(request) or float("inf"))
    mixed = mix(predictions, blend.weights, {})
    settings = _corrections(validation, metric, request, mixed) if mixed.ndim == 2 else {}
    value = _score(validation, metric, mix(predictions, blend.weights, settings), settings)
    return Combination(blend.weights, value, settings, tuple(metric.loss(step) for step in blend.losses))


def _corrections(validation: Validation, metric: Metric, request: RunRequest, proba: np.ndarray) -> dict[str, Any]:
    """Return temperature and decision rule, each where the metric or the request asks for it and it helps."""
    if request.calibrate is False:
        return {}
    settings: dict[str, Any] = {}
    if request.calibrate or (metric.needs_proba and not metric.ranks and metric.function is None):
        settings |= temperature_settings(validation, proba)
    if not metric.needs_proba and metric.function is None:
        values = mix({0: proba}, {0: 1.0}, settings)
        settings |= decision_settings(validation, metric, values)
    return settings


def _score(validation: Validation, metric: Metric, values: np.ndarray, settings: Mapping[str, Any]) -> float:
    if values.ndim == 2 and not metric.needs_proba:
        values = labels_of(values, settings)
    return validation.score(metric, values)


def _stacked(
    validation: Validation, metric: Metric, blend: Combination, predictions: Mapping[int, np.ndarray]
) -> Combination:
    """Return the second model's combination of trials if it is better on rows that it has not seen."""
    from rayctl.automl.tabular.stacking import fit_stack

    stack, unseen = fit_stack(validation, predictions, blend.weights)
    value = validation.score(metric, unseen) if metric.needs_proba or unseen.ndim == 1 else float("nan")
    if unseen.ndim == 2 and not metric.needs_proba:
        value = validation.score(metric, unseen.argmax(axis=1))
    if not metric.better(value, blend.score):
        return blend
    return Combination(stack.shares(), value, {"stack": stack.to_json()}, blend.history)


Reduce = Callable[[np.ndarray], np.ndarray]
Loss = Callable[[np.ndarray], float]


def _objective(validation: Validation, metric: Metric) -> tuple[Reduce, Loss]:
    """Return (what is kept of a trial's predictions, the loss of an average of that).

    Metrics of labels are step functions, on which greedy selection fits noise: accuracy is selected with a part of
    log loss that breaks ties, and those whose threshold is chosen afterwards (balanced accuracy, F1, MCC) by log loss
    alone, for the classes in equal parts where the metric counts them so.
    """

    def direct(values: np.ndarray) -> float:
        return metric.loss(validation.score(metric, values))

    if validation.n_classes is None or metric.function is not None:
        return lambda values: values, direct
    if metric.name == "log_loss":
        return _log_loss(validation, balanced=False, floor=1e-15)
    if metric.name == "roc_auc" and validation.n_classes == 2 and validation.weights is None:
        return (lambda values: values[:, 1]), lambda second: -_mean_auc(validation, second)
    if metric.needs_proba:
        return (lambda values: values[:, 1] if values.shape[1] == 2 else values), direct
    if metric.name != "accuracy":
        return _log_loss(validation, balanced=metric.name in ("balanced_accuracy", "f1_macro"), floor=_FLOOR)
    true_class, surprise = _log_loss(validation, balanced=False, floor=_FLOOR)
    return lambda values: values, lambda values: direct(values) + _TIE_BREAK * surprise(true_class(values))


def _log_loss(validation: Validation, *, balanced: bool, floor: float) -> tuple[Reduce, Loss]:
    """Return the log loss by the probabilities of the true classes alone: an average of those is all it needs."""
    rows, truth = np.arange(len(validation.rows)), validation.truth
    mass = _row_mass(validation)
    if balanced:
        per_class = np.bincount(truth, weights=mass)
        mass = mass / per_class[truth]
        mass /= mass.sum()
    return (lambda values: values[rows, truth]), (lambda true: float(-mass @ np.log(np.clip(true, floor, 1.0))))


def _mean_auc(validation: Validation, second: np.ndarray) -> float:
    """Return the mean area under the ROC curve, as `Validation.score`, but twice as fast.

    Probabilities become whole numbers with the truth as their last bit, so that sorting the values alone ranks the
    rows. Once the second class comes last among equal ones and once first: the mean counts ties half.
    """
    keys = (second * 2.0**52).astype(np.int64) << 1
    areas: list[float | None] = []
    for at in validation.places:
        positive = validation.truth[at] == 1
        hits = int(positive.sum())
        pairs = hits * (len(at) - hits)
        if not pairs:
            areas.append(None)
            continue
        last, first = keys[at] | positive, keys[at] | ~positive
        last.sort()
        first.sort()
        ranks = np.flatnonzero(last & 1).sum() + np.flatnonzero(~first & 1).sum()
        areas.append(float(ranks / 2 - hits * (hits - 1) / 2) / pairs)
    return validation.mean(areas)


def _row_mass(validation: Validation) -> np.ndarray:
    """Return each row's share in the mean over folds (groups first, see `Validation.score`)."""
    mass = np.ones(len(validation.rows)) if validation.weights is None else validation.weights.astype(np.float64)
    per_fold = np.bincount(validation.fold, weights=mass, minlength=len(validation.folds))
    groups: dict[int, float] = {}
    for fold in validation.folds:
        groups[fold.group] = groups.get(fold.group, 0.0) + fold.weight
    share = np.array([fold.weight / groups[fold.group] / len(groups) for fold in validation.folds])
    return mass * (share / np.where(per_fold > 0, per_fold, 1.0))[validation.fold]
