"""The engine for forecasting (see `rayctl.automl.engine` for the contract)."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from rayctl.automl.engine import Candidate, Combination, Cost, Fold, FoldOutcome
from rayctl.automl.forecast import deliver
from rayctl.automl.forecast.blend import Rule, choose_rule, mixed_windows, window_loss
from rayctl.automl.forecast.columns import label
from rayctl.automl.forecast.costs import fold_cost
from rayctl.automl.forecast.forecaster import Forecasts, blamed_on, forecast_all
from rayctl.automl.forecast.globals import shared_forecasts
from rayctl.automl.forecast.models import is_global, resolve
from rayctl.automl.forecast.outcome import pack_forecasts
from rayctl.automl.forecast.portfolio import portfolio, spaces
from rayctl.automl.forecast.predict import from_history, look_up
from rayctl.automl.forecast.prepare import PreparedSeries, prepare_series
from rayctl.automl.forecast.split import Part, make_folds, part_of
from rayctl.automl.forecast.store import open_stored
from rayctl.automl.forecast.validate import summarize
from rayctl.automl.forecast.windows import gather, scorer_of
from rayctl.automl.ingest import normalize
from rayctl.automl.metrics import metric_of
from rayctl.automl.model import DataSummary, RunRequest
from rayctl.automl.search import Space
from rayctl.errors import InvalidRequest, TrialError

__all__ = ["ENGINE", "ForecastEngine"]


class ForecastEngine:
    """Stateless but for a cache of global models' forecasts; the module's `ENGINE` is the one instance."""

    def validate(self, table: pa.Table, request: RunRequest) -> DataSummary:
        """Check table, request and search space (see `Engine.validate`)."""
        return summarize(table, request)

    def prepare(self, table: pa.Table, request: RunRequest) -> PreparedSeries:
        """Return the regular series. Raises InvalidData like `validate`."""
        return prepare_series(table, request)

    def split(self, prepared: PreparedSeries, request: RunRequest) -> list[Fold]:
        """Return chunks of the rolling-origin windows, then of the forecast (see `rayctl.automl.forecast.split`)."""
        return make_folds(prepared, request)

    def portfolio(self, summary: DataSummary, request: RunRequest) -> Sequence[Candidate]:
        """Return the default candidates, cheap ones first."""
        return portfolio(summary, request)

    def spaces(self, summary: DataSummary, request: RunRequest) -> Mapping[str, Space]:
        """Return the space of the global models, where the data are enough for them."""
        return spaces(summary, request)

    def baseline(self, summary: DataSummary, request: RunRequest) -> Candidate:
        """Return the naive method that the portfolio begins with."""
        return portfolio(summary, request)[0]

    def cost(self, summary: DataSummary, request: RunRequest, candidate: Candidate) -> Cost | None:
        """Return the predicted cost of one fold (one chunk of series); a global model's is spread over its chunks."""
        return fold_cost(summary, request, candidate)

    def evaluate(
        self,
        prepared: PreparedSeries,
        fold: Fold,
        candidate: Candidate,
        request: RunRequest,
        *,
        seed: int,
        deadline: float | None,
        stop_at: int | None = None,
    ) -> FoldOutcome:
        """Forecast the horizon after the history of each of the fold's series; score it if the fold is scored.

        ``predictions`` is in the order of ``fold.test``. Steps whose value was interpolated are not scored. Of folds
        that are not scored the forecasts are in ``model``. ``fit_s`` is the whole time: most models fit and forecast
        in one call. ``stopped_at``: series that the model forecast in time (the rest got a cheap forecast), or the
        rounds of a global model.

        Every fold uses the request's seed: chunks of one window must come from one model, and a member that is
        fitted again on new history must be the same model.

        Raises:
            TrialError: ``model-error`` (failed on more than half of the series), ``trial-timeout``,
                ``out-of-memory``, ``unknown-model``, ``unknown-parameter``, ``invalid-score``.
        """
        metric = metric_of(request)
        horizon = int(request.horizon or 1)
        part = part_of(prepared, fold, horizon)
        with blamed_on(candidate):
            resolved = resolve(candidate.model, candidate.pickled_class)  # not timed: it may import for seconds
        began = time.perf_counter()
        if is_global(resolved.cls):
            with blamed_on(candidate):
                found = shared_forecasts(
                    prepared, part, resolved, candidate, horizon, request.seed, deadline=deadline, stop_at=stop_at
                )
        else:
            found = _local(prepared, part, candidate, horizon, request.seed, deadline, stop_at, resolved)
        fit_s = time.perf_counter() - began
        if not fold.scored:
            return FoldOutcome(None, np.empty(0), fit_s, 0.0, pack_forecasts(found), found.stopped_at)
        scorer, _ = scorer_of(prepared, part, metric, horizon)
        with blamed_on(candidate):
            value = scorer.score(found.values)
        if not np.isfinite(value):
            raise TrialError(
                f"{metric.name} is not defined on fold {fold.index} (it came out as {value}).",
                code="invalid-score",
                hint="mape and wape cannot score windows that hold zeros only; use another metric.",
            )
        return FoldOutcome(value, found.values.ravel(), fit_s, 0.0, np.empty(0, np.uint8), found.stopped_at)

    def combine(
        self,
        prepared: PreparedSeries,
        folds: Sequence[Fold],
        outcomes: Mapping[int, Sequence[FoldOutcome]],
        request: RunRequest,
    ) -> Combination:
        """Choose the combination (see `rayctl.automl.forecast.blend`); without an ensemble, the best trial."""
        metric = metric_of(request)
        windows = gather(prepared, folds, outcomes, metric, int(request.horizon or 1))
        if request.delivers_ensemble:
            rule = choose_rule(windows, prepared.n_series)
        else:
            own = {trial: window_loss(windows, [w.forecasts[trial] for w in windows]) for trial in sorted(outcomes)}
            rule = Rule({min(own, key=lambda trial: (own[trial], trial)): 1.0})
        score = metric.loss(window_loss(windows, mixed_windows(rule, windows, prepared.n_series)))
        settings = {**rule.settings(), "season_length": int(prepared.seasons[0]), "time_zone": prepared.clock.zone}
        return Combination(rule.weights, score, settings, (score,))

    def assemble(
        self,
        prepared: PreparedSeries,
        folds: Sequence[Fold],
        candidates: Mapping[int, Candidate],
        outcomes: Mapping[int, Sequence[FoldOutcome]],
        combination: Combination,
        request: RunRequest,
    ) -> bytes:
        """Return the bundle: configurations, combined forecast with intervals, series."""
        return deliver.assemble(prepared, folds, candidates, outcomes, combination, request)

    def blended(
        self,
        prepared: PreparedSeries,
        folds: Sequence[Fold],
        outcomes: Mapping[int, Sequence[FoldOutcome]],
        combination: Combination,
        request: RunRequest,
    ) -> pa.Table:
        """Return the combination's forecasts of the windows, with intervals from the other windows' errors.

        Columns: the id columns, the time column, ``row`` (-1 where the caller's table has none), ``fold``, ``truth``
        (null where nothing was observed), ``prediction``, and ``lower_<level>``, ``upper_<level>``.
        """
        return deliver.blended(prepared, folds, outcomes, combination, request)

    def predict(
        self, bundle: bytes, table: pa.Table | None, *, proba: bool = False, allow_pickle: bool = False
    ) -> pa.Table:
        """Forecast: columns are the id columns, the time column, ``prediction`` and the prediction intervals.

        ``table`` None: the horizon after the training data. With target values: the table is new history, and the
        horizon after it is forecast. Without: its rows name series and times to look up in the stored forecast.
        ``allow_pickle`` also fits a caller's own class again, by running its code: only for bundles of one's own
        store whose digest has been checked.

        Raises:
            InvalidData: see `look_up` and `from_history`.
            InvalidRequest: ``no-probabilities``, ``untrusted-model``, or a bundle that cannot be read.
            TrialError: the model fails on the new history.
        """
        if proba:
            raise InvalidRequest(
                "Forecasts have no class probabilities.", code="no-probabilities", hint="Leave out proba."
            )
        stored = open_stored(bundle)
        if table is None:
            return stored.forecast
        target = stored.series.columns.target
        if target in table.column_names and normalize(table.select([target])).column(0).null_count < table.num_rows:
            return from_history(stored, table, allow_pickle=allow_pickle)
        return look_up(stored, table)

    def predict_ms(self, bundle: bytes, prepared: object) -> None:
        """Return None: the forecast is in the bundle already."""

    def final_forecast(self, bundle: bytes) -> pa.Table | None:
        """Return the stored forecast of the horizon after the data, with its prediction intervals."""
        return open_stored(bundle).forecast

    def importance(
        self,
        bundle: bytes,
        prepared: PreparedSeries,
        folds: Sequence[Fold],
        request: RunRequest,
        *,
        seed: int,
        deadline: float | None,
        allow_pickle: bool = False,
    ) -> list[dict[str, Any]] | None:
        """Return how much the columns with a known future matter to the global members; None if there are none."""
        return deliver.importance(bundle, prepared, request, seed=seed, deadline=deadline, allow_pickle=allow_pickle)


def _local(
    prepared: PreparedSeries,
    part: Part,
    candidate: Candidate,
    horizon: int,
    seed: int,
    deadline: float | None,
    stop_at: int | None,
    resolved: Any,
) -> Forecasts:
    spans = list(zip(part.begins, part.cuts, strict=True))
    exogenous = None
    if prepared.exogenous.names:
        exogenous = [
            (prepared.x[begin:cut], prepared.x_next[one] if part.window is None else prepared.x[cut : cut + horizon])
            for one, (begin, cut) in zip(part.series, spans, strict=True)
        ]
    return forecast_all(
        candidate,
        [prepared.y[begin:cut] for begin, cut in spans],
        horizon,
        prepared.seasons,
        seed=seed,
        deadline=deadline,
        stop_at=stop_at,
        exogenous=exogenous,
        name_of=lambda position: label(prepared.ids, int(part.series[position])),
        resolved=resolved,
    )


ENGINE = ForecastEngine()
