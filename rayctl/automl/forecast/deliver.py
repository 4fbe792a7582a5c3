"""From a chosen combination to what a run delivers: the bundle, the validation table, importances."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from rayctl.automl.engine import Candidate, Combination, Fold, FoldOutcome
from rayctl.automl.forecast.blend import Gaps, Rule, mix, mixed_windows, series_weights
from rayctl.automl.forecast.forecaster import Forecasts
from rayctl.automl.forecast.globals import history_before
from rayctl.automl.forecast.intervals import conformal_widths, with_intervals
from rayctl.automl.forecast.models import is_global
from rayctl.automl.forecast.outcome import unpack_forecasts
from rayctl.automl.forecast.predict import refit
from rayctl.automl.forecast.prepare import PreparedSeries
from rayctl.automl.forecast.split import Part, part_of, window_cuts
from rayctl.automl.forecast.store import MemberModel, open_stored, write_stored
from rayctl.automl.forecast.windows import Window, gather, scorer_of
from rayctl.automl.metrics import metric_of
from rayctl.automl.model import RunRequest
from rayctl.automl.partial import Partial

__all__ = ["assemble", "blended", "importance"]

_REPEATS = 3
_IMPORTANCE_SERIES = 300


def assemble(
    prepared: PreparedSeries,
    folds: Sequence[Fold],
    candidates: Mapping[int, Candidate],
    outcomes: Mapping[int, Sequence[FoldOutcome]],
    combination: Combination,
    request: RunRequest,
) -> bytes:
    """Return the bundle of a combination (see `rayctl.automl.engine.Engine.assemble`).

    Where members lack some series (`Partial`), the stored forecast is that of those who have them; forecasts from new
    history are made by all members, as they were chosen.

    Raises:
        ValueError: a weighted trial lacks the outcome of a fold that the combination does not say it lacks.
    """
    horizon = int(request.horizon or 1)
    partial = Partial.of(combination.settings)
    rule = _rule(combination, partial)
    weighted = {trial: _placed(trial, outcomes, folds, partial) for trial in sorted(combination.weights)}
    forecasts = {trial: _after_all_data(folds, found, prepared, horizon) for trial, found in weighted.items()}
    members = [MemberModel(trial, candidates[trial], forecasts[trial]) for trial in sorted(rule.weights)]
    windows = gather(prepared, folds, weighted, metric_of(request), horizon)
    weights = series_weights(rule, windows, prepared.n_series) if rule.power > 0 else None
    gaps = None if partial is None else _gaps(rule, partial, prepared, folds, horizon)
    values = {trial: found.values for trial, found in forecasts.items()}
    if gaps is None:
        combined = mix(rule, values, weights)
    else:
        combined = mix(gaps.members(rule), values, gaps.weights(rule, windows, prepared.n_series))
    widths = conformal_widths(_errors(rule, windows, prepared, gaps), request.levels, horizon)
    return write_stored(prepared, members, rule, combined, weights, request.levels, widths, request.seed)


def _rule(combination: Combination, partial: Partial | None) -> Rule:
    return Rule.of(combination.weights if partial is None else partial.weights, combination.settings)


def _placed(
    trial: int, outcomes: Mapping[int, Sequence[FoldOutcome]], folds: Sequence[Fold], partial: Partial | None
) -> list[FoldOutcome | None]:
    """Return one outcome per fold, None for those that the trial lacks."""
    lacks = () if partial is None else partial.missing.get(trial, ())
    there, found = [fold.index not in lacks for fold in folds], outcomes[trial]
    if len(found) != sum(there):
        raise ValueError(f"trial {trial} has outcomes of {len(found)} of {sum(there)} folds")
    each = iter(found)
    return [next(each) if one else None for one in there]


def _gaps(rule: Rule, partial: Partial, prepared: PreparedSeries, folds: Sequence[Fold], horizon: int) -> Gaps:
    there = np.ones((prepared.n_series, len(rule.weights)), bool)
    for place, trial in enumerate(sorted(rule.weights)):
        for fold in folds:
            if fold.index in partial.missing.get(trial, ()):
                there[part_of(prepared, fold, horizon).series, place] = False
    return Gaps(there, partial.fills_in)


def _after_all_data(
    folds: Sequence[Fold], outcomes: Sequence[FoldOutcome | None], prepared: PreparedSeries, horizon: int
) -> Forecasts:
    """Put the chunks of the unscored folds together; NaN for series of chunks that are not there."""
    values = np.full((prepared.n_series, horizon), np.nan)
    replaced, reason, stopped, learned = 0, None, None, b""
    for fold, outcome in zip(folds, outcomes, strict=True):
        if fold.scored or outcome is None:
            continue
        found = unpack_forecasts(outcome.model)
        values[part_of(prepared, fold, horizon).series] = found.values
        replaced += found.replaced
        reason = reason or found.reason
        stopped = found.stopped_at if stopped is None else stopped
        learned = learned or found.learned
    return Forecasts(values, replaced, reason, stopped, learned)


def _errors(rule: Rule, windows: Sequence[Window], prepared: PreparedSeries, gaps: Gaps | None) -> list[np.ndarray]:
    """Return per window the combination's errors in units of each series' scale."""
    mixed = mixed_windows(rule, windows, prepared.n_series, gaps)
    return [
        (window.scorer.truth - forecast) / window.scale[:, None]
        for window, forecast in zip(windows, mixed, strict=True)
    ]


def blended(
    prepared: PreparedSeries,
    folds: Sequence[Fold],
    outcomes: Mapping[int, Sequence[FoldOutcome]],
    combination: Combination,
    request: RunRequest,
) -> pa.Table:
    """Return the validation table of a combination (see `ForecastEngine.blended`)."""
    horizon = int(request.horizon or 1)
    partial = Partial.of(combination.settings)
    rule = _rule(combination, partial)
    weighted = {trial: _placed(trial, outcomes, folds, partial) for trial in sorted(combination.weights)}
    windows = gather(prepared, folds, weighted, metric_of(request), horizon)
    gaps = None if partial is None else _gaps(rule, partial, prepared, folds, horizon)
    mixed = mixed_windows(rule, windows, prepared.n_series, gaps)
    errors = _errors(rule, windows, prepared, gaps)
    tables = []
    for place, (window, forecast) in enumerate(zip(windows, mixed, strict=True)):
        positions = window.positions.ravel()
        rows = np.repeat(window.series, horizon)
        columns: dict[str, Any] = {
            name: prepared.ids.column(name).take(pa.array(rows)) for name in prepared.columns.ids
        }
        columns[prepared.columns.time] = prepared.time_column(rows, positions - prepared.offsets[rows])
        if "row" not in columns:  # the caller's own column of this name
            columns["row"] = prepared.rows[positions]
        columns |= {
            "fold": np.full(len(rows), window.group, np.int32),
            "truth": pa.array(window.scorer.truth.ravel(), from_pandas=True),
            "prediction": forecast.ravel(),
        }
        others = [error for other, error in enumerate(errors) if other != place]
        if others and request.levels:
            widths = conformal_widths(others, request.levels, horizon)
            if np.isfinite(widths).all():
                begins, (cuts, _) = prepared.offsets[window.series], window_cuts(prepared, window.group, horizon)
                ends = cuts[window.series]
                low = [prepared.y[begin:end].min() for begin, end in zip(begins, ends, strict=True)]
                floor = np.where(np.array(low) >= 0, 0.0, -np.inf)
                columns |= with_intervals(forecast, window.scale, widths, request.levels, floor)
        tables.append(pa.table(columns))
    return pa.concat_tables(tables)


def importance(
    bundle: bytes,
    prepared: PreparedSeries,
    request: RunRequest,
    *,
    seed: int,
    deadline: float | None,
    allow_pickle: bool = False,
) -> list[dict[str, Any]] | None:
    """Return permutation importances of the columns with a known future, or None.

    The stored global members forecast the latest window again with a column's values over the horizon shuffled among
    series and steps; the importance is the mean loss of score. The members have seen that window in training, so the
    numbers say what the model uses rather than what it would lose on new data.
    """
    stored = open_stored(bundle)
    horizon = stored.horizon
    if not prepared.exogenous.names or any(name.startswith("class.") for name in stored.bundle.members):
        return None
    models = {trial: item for trial, item in stored.models(allow_pickle).items() if is_global(item[1].cls)}
    if not models:
        return None
    cuts, fits = window_cuts(prepared, 0, horizon)
    chosen = np.flatnonzero(fits)[:_IMPORTANCE_SERIES]
    part = Part(chosen, prepared.offsets[chosen], cuts[chosen], 0)
    metric = metric_of(request)
    scorer, _ = scorer_of(prepared, part, metric, horizon)
    history = history_before(prepared, part, horizon)
    total = sum(stored.rule.weights[trial] for trial in models)

    def score(x_next: np.ndarray) -> float:
        changed = replace(history, x_next=x_next)
        found = [
            stored.rule.weights[trial] / total * refit(changed, candidate, resolved, learned, horizon, seed)
            for trial, (candidate, resolved, learned) in models.items()
        ]
        return metric.loss(scorer.score(np.sum(found, axis=0)))

    base = score(history.x_next)
    rng = np.random.default_rng(seed)
    rows = []
    for name in prepared.exogenous.names:
        places = [
            place for place, feature in enumerate(prepared.exogenous.features) if feature.partition("=")[0] == name
        ]
        drops = []
        for _ in range(_REPEATS):
            if deadline is not None and time.monotonic() >= deadline:
                break
            shuffled = history.x_next.copy()
            flat = shuffled.reshape(-1, shuffled.shape[2])
            flat[:, places] = flat[rng.permutation(len(flat))][:, places]
            drops.append(score(shuffled) - base)
        if drops:
            rows.append({"feature": name, "importance": float(np.mean(drops)), "std": float(np.std(drops))})
    return sorted(rows, key=lambda row: -row["importance"])
