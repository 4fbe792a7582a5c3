"""The engine for forecasting (see `rayctl.automl.engine` for the contract)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa

from rayctl.automl.engine import Candidate, Fold, FoldOutcome
from rayctl.automl.forecast.forecaster import blamed_on, forecast_all
from rayctl.automl.forecast.models import resolve
from rayctl.automl.forecast.portfolio import portfolio
from rayctl.automl.forecast.predict import from_history, look_up
from rayctl.automl.forecast.prepare import PreparedSeries, label, prepare_series
from rayctl.automl.forecast.split import make_folds
from rayctl.automl.forecast.store import open_stored, write_stored
from rayctl.automl.forecast.validate import summarize
from rayctl.automl.metrics import forecast_score, resolve_metric
from rayctl.automl.model import DataSummary, RunRequest
from rayctl.errors import InvalidRequest, TrialError

__all__ = ["ENGINE", "ForecastEngine"]


class ForecastEngine:
    """Stateless; the module's `ENGINE` is the one instance."""

    def validate(self, table: pa.Table, request: RunRequest) -> DataSummary:
        """Check table, request and search space (see `Engine.validate`)."""
        return summarize(table, request)

    def prepare(self, table: pa.Table, request: RunRequest) -> PreparedSeries:
        """Return the regular series. Raises InvalidData like `validate`."""
        return prepare_series(table, request)

    def split(self, prepared: PreparedSeries, request: RunRequest) -> list[Fold]:
        """Return the rolling-origin windows, the latest first (see `rayctl.automl.forecast.split`)."""
        return make_folds(prepared, request)

    def portfolio(self, summary: DataSummary, request: RunRequest) -> Iterator[Candidate]:
        """Yield default candidates; the sequence ends after around a hundred."""
        return portfolio(summary, request)

    def evaluate(
        self,
        prepared: PreparedSeries,
        fold: Fold,
        candidate: Candidate,
        request: RunRequest,
        *,
        seed: int,
        deadline: float | None,
    ) -> FoldOutcome:
        """Forecast the fold's window for each of its series from all earlier steps, and score it.

        ``predictions`` is in the order of ``fold.test``. Steps whose value was interpolated are not scored.
        ``fit_s`` is the whole time: statistical models fit and forecast in one call.

        Raises:
            TrialError: ``model-error`` (failed on more than half of the series), ``trial-timeout``,
                ``out-of-memory``, ``unknown-model``, ``unknown-parameter``, ``invalid-score``.
        """
        metric = resolve_metric(request.metric, request.task)
        horizon = int(request.horizon or 1)
        starts = fold.test[::horizon].astype(np.int64)
        series = np.searchsorted(prepared.offsets, starts, side="right") - 1
        histories = [prepared.y[begin:start] for begin, start in zip(prepared.offsets[series], starts, strict=True)]
        with blamed_on(candidate):
            resolved = resolve(candidate.model, candidate.pickled_class)  # not timed: it may import for seconds
        began = time.perf_counter()
        found = forecast_all(
            candidate,
            histories,
            horizon,
            prepared.seasons,
            seed=seed,
            deadline=deadline,
            name_of=lambda position: label(prepared.ids, int(series[position])),
            resolved=resolved,
        )
        fit_s = time.perf_counter() - began
        truth = np.where(prepared.observed, prepared.y, np.nan)
        value = forecast_score(
            metric.name,
            [truth[start : start + horizon] for start in starts],
            list(found.values),
            [truth[begin:start] for begin, start in zip(prepared.offsets[series], starts, strict=True)],
            prepared.seasons[0],
        )
        if not np.isfinite(value):
            raise TrialError(
                f"{metric.name} is not defined on fold {fold.index} (it came out as {value}).",
                code="invalid-score",
                hint="mape cannot score windows that hold zeros only; use another metric.",
            )
        return FoldOutcome(value, found.values.ravel(), fit_s, 0.0)

    def fit_final(
        self,
        prepared: PreparedSeries,
        candidate: Candidate,
        request: RunRequest,
        *,
        seed: int,
        fold: Fold | None = None,
    ) -> bytes:
        """Forecast the horizon after all data, or after the fold's train part, and return the bundle.

        Raises:
            TrialError: as `evaluate`.
        """
        part = prepared if fold is None else _train_part(prepared, fold, int(request.horizon or 1))
        with blamed_on(candidate):
            resolved = resolve(candidate.model, candidate.pickled_class)
        found = forecast_all(
            candidate,
            [part.y[start:end] for start, end in zip(part.offsets[:-1], part.offsets[1:], strict=True)],
            int(request.horizon or 1),
            part.seasons,
            seed=seed,
            name_of=lambda position: label(part.ids, position),
            resolved=resolved,
        )
        return write_stored(part, candidate, resolved, found, seed)

    def predict(
        self, bundle: bytes, table: pa.Table | None, *, proba: bool = False, allow_pickle: bool = False
    ) -> pa.Table:
        """Forecast: columns are the id columns, the time column and ``prediction``.

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
        if target in table.column_names and table.column(target).null_count < table.num_rows:
            return from_history(stored, table, allow_pickle=allow_pickle)
        return look_up(stored, table)

    def final_forecast(self, bundle: bytes) -> pa.Table | None:
        """Return the stored forecast of the horizon after the data."""
        return open_stored(bundle).forecast


def _train_part(prepared: PreparedSeries, fold: Fold, horizon: int) -> PreparedSeries:
    """Return the series of a fold, cut where its window begins."""
    starts = fold.test[::horizon].astype(np.int64)
    series = np.searchsorted(prepared.offsets, starts, side="right") - 1
    lengths = starts - prepared.offsets[series]
    return replace(
        prepared,
        y=prepared.y[fold.train],
        observed=prepared.observed[fold.train],
        rows=prepared.rows[fold.train],
        offsets=np.append(0, np.cumsum(lengths)).astype(np.int64),
        ids=prepared.ids.take(pa.array(series)) if prepared.columns.ids else prepared.ids,
        origin=prepared.origin.take(series),
    )


ENGINE = ForecastEngine()
