"""Models that learn from all series together: LightGBM and ridge regression on lag features.

A fold is a chunk of series, but such a model learns from the whole window. So the first chunk that a process meets
forecasts all series of the window, and the others take their part from a small cache (`shared_forecasts`): with w
processes a window is learned at most w times, always with the same result.
"""

from __future__ import annotations

import io
import json
import time
from collections import OrderedDict
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from rayctl.automl.engine import Candidate
from rayctl.automl.forecast.forecaster import Forecasts
from rayctl.automl.forecast.lags import Layout, Panel, layout_of, make_rows
from rayctl.automl.forecast.models import ResolvedModel
from rayctl.automl.forecast.prepare import PreparedSeries
from rayctl.automl.forecast.split import Part, window_cuts
from rayctl.automl.search import candidate_key
from rayctl.errors import TrialError

__all__ = ["GlobalLightGBM", "GlobalRidge", "apply_learned", "history_before", "shared_forecasts"]

_CACHED = 24
_cache: OrderedDict[tuple[Any, ...], tuple[np.ndarray, Forecasts]] = OrderedDict()
_CLIP = 10.0
_LEAST_ROWS = 50


def history_before(prepared: PreparedSeries, part: Part, horizon: int) -> PreparedSeries:
    """Return series cut where their history ends, with their columns of known future over the horizon after it."""
    lengths = part.cuts - part.begins
    offsets = np.append(0, np.cumsum(lengths)).astype(np.int64)
    kept = np.arange(offsets[-1]) + np.repeat(part.begins - offsets[:-1], lengths)
    if not prepared.exogenous.names:
        x_next = np.empty((len(lengths), horizon, 0))
    elif part.window is None:
        x_next = prepared.x_next[part.series]
    else:
        x_next = prepared.x[part.cuts[:, None] + np.arange(horizon)]
    return replace(
        prepared,
        y=prepared.y[kept],
        observed=prepared.observed[kept],
        x=prepared.x[kept],
        x_next=x_next,
        offsets=offsets,
        origin=prepared.origin.take(part.series),
        rows=np.empty(0, np.int64),
    )


def shared_forecasts(
    prepared: PreparedSeries,
    part: Part,
    resolved: ResolvedModel,
    candidate: Candidate,
    horizon: int,
    seed: int,
    *,
    deadline: float | None,
    stop_at: int | None,
) -> Forecasts:
    """Return a global model's forecasts of a part's series, learned from all series of its window.

    Raises:
        TrialError: ``trial-timeout``, ``model-error``.
    """
    key = (prepared.token, horizon, part.window, candidate_key(candidate), seed, stop_at)
    if key not in _cache:
        cuts, fits = window_cuts(prepared, part.window, horizon)
        series = np.flatnonzero(fits)
        whole = Part(series, prepared.offsets[series], cuts[series], part.window)
        history = history_before(prepared, whole, horizon)
        model = resolved.cls(**candidate.params)
        model.fit(history, horizon, seed, deadline=deadline, rounds=stop_at)
        values = _tame(model.forecast(history, horizon), history)
        found = Forecasts(values, 0, None, model.stopped_at, model.dump() if part.window is None else b"")
        _cache[key] = (series, found)
        while len(_cache) > _CACHED:
            _cache.popitem(last=False)
    _cache.move_to_end(key)
    series, found = _cache[key]
    places = np.searchsorted(series, part.series)
    # One chunk carries what was learned; the others would only repeat it.
    return replace(found, values=found.values[places], learned=found.learned if places[0] == 0 else b"")


def apply_learned(
    resolved: ResolvedModel, candidate: Candidate, learned: bytes, series: PreparedSeries, horizon: int
) -> np.ndarray:
    """Forecast after the end of series with what a model has learned from others (or their past)."""
    model = resolved.cls(**candidate.params)
    model.load(learned)
    return _tame(model.forecast(series, horizon), series)


def _tame(values: np.ndarray, series: PreparedSeries) -> np.ndarray:
    """Keep forecasts of constant series constant, of series without negative values at zero or above, and near."""
    low = np.minimum.reduceat(series.y, series.offsets[:-1])[:, None]
    high = np.maximum.reduceat(series.y, series.offsets[:-1])[:, None]
    spread = 3.0 * (high - low)
    values = np.clip(values, low - spread, high + spread)
    return np.asarray(np.where((low >= 0) & (values < 0), 0.0, values))


class _GlobalModel:
    """What both models share: transformation, choice of training rows, forecasts step by step or all at once."""

    learns_from_all_series = True

    def __init__(self, relative: str, log: bool, rows: int) -> None:
        if relative not in ("level", "last", "trend", "season"):
            raise ValueError(f"relative must be level, last, trend or season, not {relative!r}")
        self.relative, self.log, self.max_rows = relative, bool(log), int(rows)
        self.stopped_at: int | None = None
        self.layout: Layout | None = None

    def _values(self, series: PreparedSeries) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return (values to learn from; per series the factor they were divided by; which series are logarithms).

        The factor is the mean size: running sums over series of very different sizes would lose digits.
        """
        count = series.n_series
        logs = np.zeros(count, bool)
        if self.log:
            logs = np.minimum.reduceat(series.y, series.offsets[:-1]) > 0
        sizes = np.add.reduceat(np.abs(series.y), series.offsets[:-1]) / series.lengths
        factors = np.where((sizes > 0) & ~logs, sizes, 1.0)
        by_step = np.repeat(logs, series.lengths)
        values = series.y / np.repeat(factors, series.lengths)
        values[by_step] = np.log(values[by_step])
        return values, factors, logs

    def _choose(self, series: PreparedSeries, steps: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return (series, origin, step) of training rows: all there are, or so many drawn evenly."""
        assert self.layout is not None
        least = min(max(4, self.layout.window + 1), max(4, int(series.lengths.max()) // 2))
        group = np.repeat(np.arange(series.n_series), series.lengths)
        place = np.arange(len(series.y)) - series.offsets[group]
        ahead = series.lengths[group] - 1 - place
        origins = np.flatnonzero((place + 1 >= least) & (ahead >= 1))
        if not len(origins):
            raise TrialError(
                "The series are too short to learn from together.",
                code="model-error",
                hint="Give longer series, or a shorter horizon.",
            )
        most = np.minimum(ahead[origins], steps)
        ends = np.cumsum(most)
        if ends[-1] <= self.max_rows:
            chosen = np.arange(ends[-1])
        else:
            rng = np.random.default_rng(seed)
            chosen = np.sort(rng.choice(ends[-1], self.max_rows, replace=False))
        at = np.searchsorted(ends, chosen, side="right")
        step = chosen - (ends[at] - most[at]) + 1
        origin = origins[at]
        return group[origin], origin, step

    def _design(
        self, series: PreparedSeries, panel: Panel, group: np.ndarray, origin: np.ndarray, step: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return (features, targets, base, scale) of training rows."""
        assert self.layout is not None
        begin = series.offsets[group]
        target = origin + step
        times = None
        if self.layout.calendar:
            times = series.shown(group, target - begin)
        x_target = series.x[target] if self.layout.exogenous else np.empty((len(target), 0))
        made = make_rows(panel, begin, origin, step, self.layout, times, x_target)
        z = np.clip((panel.y[target] - made.base) / made.scale, -_CLIP, _CLIP)
        return made.features, z, made.base, made.scale

    def _ahead(self, series: PreparedSeries, horizon: int, recursive: bool) -> np.ndarray:
        """Return the forecasts (series, horizon) after the ends of all series."""
        assert self.layout is not None
        y, factors, logs = self._values(series)
        count = series.n_series
        # Only what the features look back to, and room for the horizon: one row per series.
        width = min(self.layout.reach + 2, int(series.lengths.max()))
        lengths = np.minimum(series.lengths, width)
        work = np.zeros((count, width + horizon))
        places = np.arange(width)
        source = series.offsets[1:, None] - width + places
        inside = places >= width - lengths[:, None]
        work[:, :width] = np.where(inside, y[np.maximum(source, 0)], 0.0)
        row = np.arange(count) * (width + horizon)
        begin = row + width - lengths
        values = np.empty((count, horizon))
        rounds = range(horizon) if recursive else range(1)
        for first in rounds:
            steps = np.ones(count, np.int64) if recursive else np.tile(np.arange(1, horizon + 1), count)
            group = np.arange(count) if recursive else np.repeat(np.arange(count), horizon)
            ahead = first + steps
            times = None
            if self.layout.calendar:
                times = series.shown(group, series.lengths[group] + ahead - 1)
            x_target = series.x_next[group, ahead - 1] if self.layout.exogenous else np.empty((len(group), 0))
            panel = Panel.of(work.ravel())
            origin = row[group] + width - 1 + first
            made = make_rows(panel, begin[group], origin, steps, self.layout, times, x_target)
            found = made.base + made.scale * self._predict(made.features, steps)
            if recursive:
                work[:, width + first] = found
                values[:, first] = found
            else:
                values = found.reshape(count, horizon)
        values = values * factors[:, None]
        values[logs] = np.exp(np.minimum(values[logs], 600.0))
        return np.asarray(values)

    def _predict(self, features: np.ndarray, steps: np.ndarray) -> np.ndarray:
        raise NotImplementedError


class GlobalLightGBM(_GlobalModel):
    """LightGBM on lag features of all series.

    The number of rounds is found on the last horizon of the history; then all of it is learned.

    Args:
        strategy: ``direct`` (one model, the step ahead is a feature) or ``recursive`` (one step ahead, repeated).
        relative: What targets are measured from, see `rayctl.automl.forecast.lags.Layout`.
        log: Work on logarithms of series whose values are all positive.
        objective: LightGBM's, for numbers.
        num_leaves, learning_rate, min_child_samples, feature_fraction, bagging_fraction, reg_lambda: LightGBM's.
        rounds: At most so many.
        rows: Learn from at most so many rows.
    """

    def __init__(
        self,
        strategy: str = "recursive",
        relative: str = "season",
        log: bool = False,
        objective: str = "huber",
        num_leaves: int = 31,
        learning_rate: float = 0.08,
        min_child_samples: int = 20,
        feature_fraction: float = 0.7,
        bagging_fraction: float = 0.8,
        reg_lambda: float = 1.0,
        rounds: int = 300,
        rows: int = 80_000,
    ) -> None:
        super().__init__(relative, log, rows)
        if strategy not in ("direct", "recursive"):
            raise ValueError(f"strategy must be direct or recursive, not {strategy!r}")
        self.strategy, self.rounds = strategy, int(rounds)
        self.params = {
            "objective": objective,
            "num_leaves": num_leaves,
            "learning_rate": learning_rate,
            "min_child_samples": min_child_samples,
            "feature_fraction": feature_fraction,
            "bagging_fraction": bagging_fraction,
            "bagging_freq": 1 if bagging_fraction < 1 else 0,
            "lambda_l2": reg_lambda,
            "num_threads": 1,
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
        }
        self.booster: Any = None

    def fit(
        self, series: PreparedSeries, horizon: int, seed: int, *, deadline: float | None, rounds: int | None
    ) -> None:
        """Learn from series; ``rounds`` given: exactly so many (repeats a fit that time ended).

        Raises:
            TrialError: ``trial-timeout``: not one round was done in time; ``model-error``: too little data.
        """
        import lightgbm

        self.layout = layout_of(series, self.relative)
        y, _, _ = self._values(series)
        panel = Panel.of(y)
        recursive = self.strategy == "recursive"
        group, origin, step = self._choose(series, 1 if recursive else horizon, seed)
        if len(group) < _LEAST_ROWS:
            raise TrialError(
                f"There are only {len(group)} rows to learn from.",
                code="model-error",
                hint="Give more or longer series.",
            )
        features, z, _, _ = self._design(series, panel, group, origin, step)
        params = self.params | {"seed": seed & 0x7FFFFFFF}
        whole = lightgbm.Dataset(features, z, params=params, free_raw_data=False)
        wanted, ended = rounds, False
        if wanted is None:
            late = origin + step >= series.offsets[group + 1] - horizon
            known = origin + step < series.offsets[group + 1] - horizon
            if known.sum() >= _LEAST_ROWS and late.sum() >= 20:
                wanted, ended = self._count_rounds(whole, known, late, params, deadline)
            else:
                wanted = max(20, self.rounds // 4)
        watch = _Watch(deadline if rounds is None else None)
        self.booster = lightgbm.train(params, whole, num_boost_round=wanted, callbacks=[watch])
        done = self.booster.current_iteration()
        if rounds is None and (ended or watch.ended):
            self.stopped_at = done

    def _count_rounds(
        self, whole: Any, known: np.ndarray, late: np.ndarray, params: dict[str, Any], deadline: float | None
    ) -> tuple[int, bool]:
        """Return (the best number of rounds on the last horizon of the history, whether time ended the search)."""
        import lightgbm

        train, valid = whole.subset(np.flatnonzero(known)), whole.subset(np.flatnonzero(late))
        half = None if deadline is None else time.monotonic() + (deadline - time.monotonic()) / 2
        watch = _Watch(half)
        losses: dict[str, Any] = {}
        booster = lightgbm.train(
            params | {"metric": "l1"},
            train,
            num_boost_round=self.rounds,
            valid_sets=[valid],
            callbacks=[
                lightgbm.early_stopping(25, verbose=False),
                lightgbm.record_evaluation(losses),
                watch,
            ],
        )
        return max(5, booster.best_iteration or booster.current_iteration()), watch.ended

    def forecast(self, series: PreparedSeries, horizon: int) -> np.ndarray:
        """Return the forecasts after the ends of series, (series, horizon)."""
        return self._ahead(series, horizon, self.strategy == "recursive")

    def _predict(self, features: np.ndarray, steps: np.ndarray) -> np.ndarray:
        return np.asarray(self.booster.predict(features, num_threads=1))

    def dump(self) -> bytes:
        """Return what was learned: the layout as a line of JSON, and LightGBM's text."""
        assert self.layout is not None
        return _layout_text(self.layout) + b"\n" + self.booster.model_to_string().encode()

    def load(self, data: bytes) -> None:
        """Take what `dump` returned."""
        import lightgbm

        line, _, text = data.partition(b"\n")
        self.layout = _layout_from(line)
        self.booster = lightgbm.Booster(model_str=text.decode())


class _Watch:
    """Ends LightGBM's training at a deadline, after at least one round."""

    order = 5
    before_iteration = False

    def __init__(self, deadline: float | None) -> None:
        self.deadline, self.ended = deadline, False

    def __call__(self, env: Any) -> None:
        from lightgbm.callback import EarlyStopException

        last = env.iteration + 1 >= env.end_iteration
        if self.deadline is not None and not last and time.monotonic() >= self.deadline:
            self.ended = True
            raise EarlyStopException(env.iteration, env.evaluation_result_list or [])


class GlobalRidge(_GlobalModel):
    """Ridge regression on lag features of all series, one model per step ahead.

    Args:
        relative: What targets are measured from, see `rayctl.automl.forecast.lags.Layout`.
        log: Work on logarithms of series whose values are all positive.
        alpha: Strength of the penalty per row, on standardised features.
        rows: Learn each step from at most so many rows.
    """

    def __init__(self, relative: str = "level", log: bool = False, alpha: float = 1e-3, rows: int = 20_000) -> None:
        super().__init__(relative, log, rows)
        self.alpha = float(alpha)
        self.weights = np.empty((0, 0))

    def fit(
        self, series: PreparedSeries, horizon: int, seed: int, *, deadline: float | None, rounds: int | None
    ) -> None:
        """Learn from series. It is quick: there is no early end.

        Raises:
            TrialError: ``model-error``: too little data.
        """
        self.layout = layout_of(series, self.relative)
        y, _, _ = self._values(series)
        panel = Panel.of(y)
        per_step = self.max_rows
        self.max_rows = per_step * horizon
        group, origin, step = self._choose(series, horizon, seed)
        self.max_rows = per_step
        found: list[np.ndarray] = []
        for ahead in range(1, horizon + 1):
            rows = np.flatnonzero(step == ahead)
            if len(rows) < _LEAST_ROWS:
                if not found:
                    raise TrialError(
                        f"There are only {len(rows)} rows to learn from.",
                        code="model-error",
                        hint="Give more or longer series.",
                    )
                found.append(found[-1])
                continue
            features, z, _, _ = self._design(series, panel, group[rows], origin[rows], step[rows])
            columns = self._columns(features)
            gram = columns.T @ columns
            penalty = np.full(len(gram), self.alpha * len(rows) + 1e-9)
            penalty[-1] = 1e-9
            found.append(np.linalg.solve(gram + np.diag(penalty), columns.T @ z))
        self.weights = np.stack(found)

    def _columns(self, features: np.ndarray) -> np.ndarray:
        values = np.clip(np.nan_to_num(features.astype(np.float64)), -400.0, 400.0)
        assert self.layout is not None
        # Positions in a cycle are no quantities: months and weekdays become 0/1 columns, the rest is left out.
        names, end = self.layout.calendar, values.shape[1] - self.layout.exogenous
        first = end - len(names)
        coded = [np.clip(values[:, 1:first], -_CLIP, _CLIP), values[:, end:]]
        for place, name in enumerate(names):
            size = {"month": 12, "weekday": 7, "timeofday": 24}.get(name, 0)
            coded.append((values[:, [first + place]].astype(np.int64) == np.arange(size)).astype(np.float64))
        return np.concatenate([*coded, np.ones((len(values), 1))], axis=1)

    def forecast(self, series: PreparedSeries, horizon: int) -> np.ndarray:
        """Return the forecasts after the ends of series, (series, horizon)."""
        return self._ahead(series, horizon, False)

    def _predict(self, features: np.ndarray, steps: np.ndarray) -> np.ndarray:
        columns = self._columns(features)
        return np.asarray(np.einsum("rc,rc->r", columns, self.weights[steps - 1]))

    def dump(self) -> bytes:
        """Return what was learned: the layout as a line of JSON, and the weights in numpy's format."""
        assert self.layout is not None
        buffer = io.BytesIO()
        np.save(buffer, self.weights, allow_pickle=False)
        return _layout_text(self.layout) + b"\n" + buffer.getvalue()

    def load(self, data: bytes) -> None:
        """Take what `dump` returned."""
        line, _, rest = data.partition(b"\n")
        self.layout = _layout_from(line)
        self.weights = np.load(io.BytesIO(rest), allow_pickle=False)


def _layout_text(layout: Layout) -> bytes:
    return json.dumps(asdict(layout), sort_keys=True).encode()


def _layout_from(line: bytes) -> Layout:
    data = json.loads(line)
    return Layout(**data | {"seasons": tuple(data["seasons"]), "calendar": tuple(data["calendar"])})
