"""What people send to a model of series: ids in other types, history after a gap, no wish for intervals, WAPE."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from rayctl.automl.engine import Candidate, Combination
from rayctl.automl.forecast.engine import ENGINE
from rayctl.automl.forecast.exogenous import Exogenous
from rayctl.automl.ingest import normalize, to_table
from rayctl.automl.metrics import forecast_score
from rayctl.automl.model import RunRequest, TaskType
from rayctl.automl.request import build_request
from rayctl.errors import InvalidData, InvalidRequest

H = 3
LAST = Candidate("Naive")


def _request(**more: Any) -> RunRequest:
    fields: dict[str, Any] = {"target": "y", "time_column": "ds", "id_columns": ["id"], "horizon": H} | more
    return RunRequest(task=TaskType.FORECASTING, **fields)


def _frame(ids: list[Any], rows: int = 20, start: str = "2024-01-01") -> pd.DataFrame:
    times = pd.date_range(start, periods=rows)
    parts = [pd.DataFrame({"id": [i] * rows, "ds": times, "y": np.arange(rows) + 100.0 * k}) for k, i in enumerate(ids)]
    return pd.concat(parts, ignore_index=True)


def _table(frame: pd.DataFrame) -> pa.Table:
    return normalize(to_table(frame))


def _bundle(frame: pd.DataFrame, candidate: Candidate = LAST, **more: Any) -> bytes:
    request = _request(**more)
    prepared = ENGINE.prepare(_table(frame), request)
    folds = ENGINE.split(prepared, request)
    found = [ENGINE.evaluate(prepared, fold, candidate, request, seed=0, deadline=None) for fold in folds]
    return ENGINE.assemble(prepared, folds, {0: candidate}, {0: found}, Combination({0: 1.0}, 0.0), request)


@pytest.mark.parametrize(
    ("trained", "asked"),
    [
        (["1", "2", "A3"], [1, 2]),
        (["1", "2", "A3"], [1.0, 2.0]),
        ([1, 2], ["1", "2"]),
        ([1.5, 2.0], ["1.5", "2"]),
        ([1, 2], [1.0, 2.0]),
    ],
)
def test_ids_in_another_type_name_the_same_series(trained: list[Any], asked: list[Any]) -> None:
    bundle = _bundle(_frame(trained))
    rows = _table(pd.DataFrame({"id": asked, "ds": ["2024-01-21", "2024-01-22"]}))
    assert ENGINE.predict(bundle, rows).column("prediction").to_pylist() == [19.0, 119.0]
    # New history of one row goes on from what the model knows: a series of one row alone would have no drift.
    drift = _bundle(_frame(trained), Candidate("RandomWalkWithDrift"))
    fresh = pd.DataFrame({"id": asked[:1], "ds": ["2024-01-21"], "y": [20.0]})
    assert ENGINE.predict(drift, _table(fresh)).column("prediction").to_pylist() == pytest.approx([21.0, 22.0, 23.0])


def test_ids_that_are_no_numbers_are_unknown() -> None:
    with pytest.raises(InvalidData) as caught:
        ENGINE.predict(_bundle(_frame([1, 2])), _table(pd.DataFrame({"id": ["x"], "ds": ["2024-01-21"]})))
    assert caught.value.code == "unknown-series"


@pytest.mark.parametrize(
    ("day", "value", "expected"),
    [
        ("2024-01-21", 20.0, [21.0, 22.0, 23.0]),  # directly after the training data
        ("2024-01-26", 25.0, [26.0, 27.0, 28.0]),  # five days are missing between
        ("2024-03-15", 28.0, [28.0, 28.0, 28.0]),  # more would be missing than there is: the new row stands alone
    ],
)
def test_a_gap_before_new_history_is_filled(day: str, value: float, expected: list[float]) -> None:
    bundle = _bundle(_frame(["a"]), Candidate("RandomWalkWithDrift"))
    found = ENGINE.predict(bundle, _table(pd.DataFrame({"id": ["a"], "ds": [day], "y": [value]})))
    assert found.column("prediction").to_pylist() == pytest.approx(expected)
    assert found.column("ds")[0].as_py() == pd.Timestamp(day) + pd.Timedelta(days=1)


def test_no_levels_are_no_intervals() -> None:
    found = ENGINE.predict(_bundle(_frame(["a", "b"]), levels=[]), None)
    assert found.column_names == ["id", "ds", "prediction"]


def test_values_that_are_nan_are_no_history() -> None:
    bundle = _bundle(_frame(["a"]))
    rows = pa.table({"id": ["a"], "ds": ["2024-01-21"], "y": pa.array([float("nan")])})  # as Ray Serve hands it on
    assert ENGINE.predict(bundle, rows).column("prediction").to_pylist() == [19.0]


def test_an_id_column_may_be_named_row() -> None:
    request = _request(id_columns=["row"])
    prepared = ENGINE.prepare(_table(_frame(["a", "b"]).rename(columns={"id": "row"})), request)
    folds = ENGINE.split(prepared, request)
    found = [ENGINE.evaluate(prepared, fold, LAST, request, seed=0, deadline=None) for fold in folds]
    table = ENGINE.blended(prepared, folds, {0: found}, Combination({0: 1.0}, 0.0), request)
    assert set(table.column("row").to_pylist()) == {"a", "b"}


def test_numbers_are_levels_of_a_text_column() -> None:
    coding = Exogenous(("promo",), (("1", "2", "none"),))
    found = coding.encode(pa.table({"promo": [1, 2, None, 1]}))
    assert found[:, 0].tolist()[:2] == [1.0, 0.0]
    assert np.isnan(found[2]).all()
    assert coding.encode(pa.table({"promo": [2.0, 1.5]})).tolist() == [[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]


def test_wape_of_a_window_is_that_of_all_its_values() -> None:
    rng = np.random.default_rng(0)
    frame = _frame([f"s{i:03}" for i in range(300)], 40)
    frame["y"] = rng.gamma(2.0, 1.0, len(frame)) * np.repeat(rng.gamma(0.3, 100.0, 300), 40)
    frame.loc[frame["id"] < "s050", "y"] = 0.0
    request = _request(metric="wape")
    prepared = ENGINE.prepare(_table(frame), request)
    folds = [fold for fold in ENGINE.split(prepared, request) if fold.scored and fold.group == 0]
    assert len(folds) > 1
    outcomes = [ENGINE.evaluate(prepared, fold, LAST, request, seed=0, deadline=None) for fold in folds]
    found = sum(fold.weight * outcome.score for fold, outcome in zip(folds, outcomes, strict=True))
    y = frame["y"].to_numpy().reshape(300, 40)
    forecasts = np.repeat(y[:, -H - 1 : -H], H, axis=1)
    expected = np.abs(y[:, -H:] - forecasts).sum() / y[:, -H:].sum()
    assert found == pytest.approx(expected, rel=1e-9)
    assert forecast_score("wape", list(y[:, -H:]), list(forecasts), list(y[:, :-H])) == pytest.approx(expected)
    combination = ENGINE.combine(prepared, folds, {0: outcomes}, request)
    assert combination.score == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"horizon": 0}, "from 1 on"),
        ({"horizon": None}, "from 1 on"),
        ({"horizon": "many"}, "from 1 on"),
        ({"levels": [0]}, "[80, 95]"),
        ({"levels": [0.8]}, "[80, 95]"),
        ({"levels": ["wide"]}, "[80, 95]"),
        ({"season_length": "weekly"}, "12 for months"),
        ({"time_column": None}, "time of each row"),
    ],
)
def test_fields_that_are_not_valid_have_a_hint(fields: dict[str, Any], said: str) -> None:
    whole = {"task": "forecasting", "target": "y", "time_column": "ds", "horizon": 3} | fields
    with pytest.raises(InvalidRequest) as caught:
        build_request(whole)
    assert said in str(caught.value.hint)
    assert caught.value.errors
