"""From a long table to regular series and windows: time grids, defects, warnings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from rayctl.automl.engine import Fold
from rayctl.automl.forecast.engine import ENGINE
from rayctl.automl.forecast.frequency import parse_frequency
from rayctl.automl.forecast.prepare import PreparedSeries
from rayctl.automl.forecast.store import forecast_table
from rayctl.automl.ingest import normalize, to_table
from rayctl.automl.model import DataSummary, RunRequest, TaskType
from rayctl.errors import InvalidData, InvalidRequest


def _request(**more: Any) -> RunRequest:
    fields: dict[str, Any] = {"target": "y", "time_column": "ds", "id_columns": ["id"], "horizon": 3} | more
    return RunRequest(task=TaskType.FORECASTING, **fields)


def _frame(times: Any, series: int = 2) -> pd.DataFrame:
    parts = [pd.DataFrame({"id": f"s{i}", "ds": times, "y": np.arange(len(times)) + 100.0 * i}) for i in range(series)]
    return pd.concat(parts, ignore_index=True)


def _prepare(frame: pd.DataFrame, **more: Any) -> PreparedSeries:
    return ENGINE.prepare(normalize(to_table(frame)), _request(**more))


def _summary(frame: pd.DataFrame, **more: Any) -> DataSummary:
    return ENGINE.validate(normalize(to_table(frame)), _request(**more))


def _scored(prepared: PreparedSeries, **more: Any) -> list[Fold]:
    return [fold for fold in ENGINE.split(prepared, _request(**more)) if fold.scored]


def _code(frame: Any, **more: Any) -> str:
    with pytest.raises(InvalidRequest) as caught:
        _summary(frame, **more)
    assert caught.value.hint
    return caught.value.code


def _dates(freq: str, n: int = 20, start: str = "2023-01-31") -> pd.DatetimeIndex:
    return pd.date_range(start, periods=n, freq=freq)


@pytest.mark.parametrize(
    ("freq", "name", "season"),
    [
        *[("min", "min", 60), ("15min", "15min", 96), ("h", "h", 24), ("2h", "2h", 12), ("D", "D", 7), ("B", "B", 5)],
        *[("W-WED", "W", 52), ("2W", "2W", 1), ("MS", "M", 12), ("ME", "M", 12), ("QS", "Q", 4), ("QE", "Q", 4)],
        *[("YE", "Y", 1), ("YS", "Y", 1), ("2MS", "2M", 6), ("s", "s", 60), ("10D", "10D", 1)],
    ],
)
def test_frequency_is_inferred_and_continued(freq: str, name: str, season: int) -> None:
    times = _dates(freq, 30)
    prepared = _prepare(_frame(times[:20]))
    assert (prepared.frequency.name, prepared.seasons) == (name, (season,))
    assert prepared.lengths.tolist() == [20, 20]
    steps = np.arange(20, 30)
    found = prepared.frequency.times(steps, prepared.origin.take(np.zeros(10, np.int64)))
    assert found.astype("datetime64[us]").tolist() == times[20:].to_pydatetime().tolist()
    assert parse_frequency(name) == prepared.frequency


def test_months_of_a_fixed_day_and_of_month_ends_differ() -> None:
    on_30th = pd.to_datetime(["2023-01-30", "2023-02-28", "2023-03-30", "2023-04-30", "2023-05-30"])
    prepared = _prepare(_frame(on_30th, 1))
    found = prepared.frequency.times(np.array([6, 11]), prepared.origin.take(np.zeros(2, np.int64)))
    assert found.astype("datetime64[us]").astype("datetime64[D]").astype(str).tolist() == ["2023-07-30", "2023-12-30"]


def test_integer_times() -> None:
    prepared = _prepare(_frame(np.arange(1990, 2010, 2)))
    assert (prepared.frequency.name, prepared.calendar, prepared.seasons) == ("2", False, (1,))
    assert _prepare(_frame([str(year) for year in range(1990, 2010)])).frequency.name == "1"


def test_text_times() -> None:
    texts = [f"2023-01-{day:02}T00:00:00+02:00" for day in range(1, 20)]
    assert _prepare(_frame(texts)).frequency.name == "D"
    assert _prepare(_frame([f"2023-{month:02}" for month in range(1, 13)])).frequency.name == "M"


@pytest.mark.parametrize(
    ("pattern", "freq", "name"),
    [
        *[("%Y/%m/%d", "D", "D"), ("%Y.%m.%d", "D", "D"), ("%Y-%-m-%-d", "D", "D"), ("%Y/%m/%d %H:%M", "h", "h")],
        *[("%Y/%-m/%-d %-H:%M:%S", "15min", "15min"), ("%Y-%m-%d %H:%M:%S.%f", "500ms", "500ms"), ("%Y-%m", "MS", "M")],
    ],
)
def test_dates_with_the_year_first_are_read(pattern: str, freq: str, name: str) -> None:
    times = _dates(freq, 15, "2023-01-01")
    prepared = _prepare(_frame(times.strftime(pattern)))
    assert prepared.frequency.name == name
    assert prepared.origin.first[0] == times[0].value // 1000
    assert prepared.last[0] == times[-1].value // 1000


def test_quarters_are_read() -> None:
    prepared = _prepare(_frame(pd.period_range("2019Q3", periods=12, freq="Q").astype(str)))
    assert prepared.frequency.name == "Q"
    assert str(_next_times(prepared)[0].date()) == "2022-07-01"


@pytest.mark.parametrize("text", ["01/02/2023", "1.2.2023", "31-01-2023 10:00", "01/02/23", "2011/12", "2023-02-30"])
def test_dates_in_another_order_are_refused(text: str) -> None:
    with pytest.raises(InvalidData) as caught:
        _summary(_GOOD.assign(ds=text))
    assert (caught.value.code, "2024-01-31" in str(caught.value.hint)) == ("time-type", True)
    assert ("day or the month" in str(caught.value.hint)) == (not text.startswith("20"))


@pytest.mark.parametrize("frequency", [None, "D"])
def test_whole_numbers_that_are_dates_are_not_taken_as_steps(frequency: str | None) -> None:
    numbers = _dates("D", 60).strftime("%Y%m%d").astype(int)
    with pytest.raises(InvalidData) as caught:
        _summary(_frame(numbers), frequency=frequency)
    assert "2024-01-31" in str(caught.value.hint)


@pytest.mark.parametrize("freq", ["BME", "BMS", "BQE-DEC", "BYE"])
def test_business_days_at_the_edge_of_months(freq: str) -> None:
    times = _dates(freq, 30, "2015-01-31")
    prepared = _prepare(_frame(times[:20]))
    steps = np.arange(20, 30)
    found = prepared.frequency.times(steps, prepared.origin.take(np.zeros(10, np.int64)))
    assert found.astype("datetime64[us]").tolist() == times[20:].to_pydatetime().tolist()


def test_the_last_day_before_a_holiday_is_the_last_of_its_month() -> None:
    times = _dates("BME", 20, "2023-06-30").to_series().replace(pd.Timestamp("2024-03-29"), pd.Timestamp("2024-03-28"))
    prepared = _prepare(_frame(pd.DatetimeIndex(times)))
    assert (prepared.frequency.name, prepared.lengths.tolist()) == ("M", [20, 20])


def test_missing_rows_and_irregular_times_are_told_apart() -> None:
    rare = _dates("D", 200)[np.random.default_rng(0).random(200) < 0.3]
    with pytest.raises(InvalidData, match="'D' more are missing than there are") as caught:
        _summary(_frame(rare))
    assert "add rows with 0" in str(caught.value.hint)
    with pytest.raises(InvalidData, match="The times are irregular"):
        _summary(_frame(pd.to_datetime(np.cumsum(np.arange(20) ** 2 + 17), unit="s")))


def test_two_rows_of_one_step_are_named() -> None:
    with pytest.raises(InvalidData, match="2023-01-31 00:00:00 and 2023-01-31 00:30:00 are in one step") as caught:
        _summary(_frame(pd.DatetimeIndex([*_dates("D", 9), "2023-01-31 00:30:00"])), frequency="D")
    assert caught.value.code == "frequency-mismatch"


def test_fractions_of_milliseconds_have_a_name_that_is_understood() -> None:
    assert parse_frequency(_prepare(_frame(_dates("500us"))).frequency.name).count == 500


def test_the_token_tells_calendars_and_seasons_apart() -> None:
    frame = _frame(_dates("D", 60))
    moved = frame.assign(ds=frame["ds"] + pd.Timedelta(days=1))
    prepared = [_prepare(frame), _prepare(frame), _prepare(moved), _prepare(frame, season_length=[5])]
    assert len({one.token for one in prepared}) == 3


@pytest.mark.parametrize("name", ["fold", "truth", "lower_80", "upper_95"])
def test_names_of_the_forecasts_columns_are_reserved(name: str) -> None:
    assert _code(_GOOD.rename(columns={"id": name}), id_columns=[name]) == "reserved-column"


@pytest.mark.parametrize(
    "ids", [[True, False], [7, 11], [1.5, 2.5], ["ü", "日本"], list(pd.to_datetime(["2024-01-01", "2023-01-01"]))]
)
def test_ids_of_any_kind(ids: Any) -> None:
    frame = _frame(_dates("D"))
    frame["id"] = frame["id"].map(dict(zip(("s0", "s1"), ids, strict=True)))
    assert _prepare(frame).n_series == 2


def test_summer_time_in_utc_is_daily() -> None:
    local = pd.date_range("2023-03-01", periods=40, freq="D", tz="Europe/Berlin")
    prepared = _prepare(_frame(local))
    assert prepared.frequency.name == "D"
    assert prepared.observed.all()


def _next_times(prepared: PreparedSeries) -> list[pd.Timestamp]:
    table = forecast_table(prepared, np.zeros((prepared.n_series, 1)))
    return [pd.Timestamp(time) for time in table.column("ds").to_pylist()]


@pytest.mark.parametrize("begin", ["2023-02-01", "2023-09-20"])
@pytest.mark.parametrize("freq", ["D", "MS"])
def test_after_summer_time_begins_or_ends_the_clock_of_the_last_row_goes_on(begin: str, freq: str) -> None:
    local = pd.date_range(begin, periods=61 if freq == "D" else 4, freq=freq, tz="Europe/Berlin")
    prepared = _prepare(_frame(local[:-1]))
    assert _next_times(prepared) == [local[-1].tz_convert("UTC").tz_localize(None)] * 2
    assert any("summer time" in warning for warning in prepared.warnings)


def test_times_without_a_change_of_the_clock_are_not_warned_of() -> None:
    prepared = _prepare(_frame(_dates("D")))
    assert not any("summer time" in warning for warning in prepared.warnings)


def test_several_id_columns_and_none() -> None:
    frame = _frame(_dates("D")).assign(region=1)
    assert _prepare(frame, id_columns=["region", "id"]).n_series == 2
    assert _prepare(frame[frame["id"] == "s0"], id_columns=[]).n_series == 1
    assert _code(frame, id_columns=["region"]) == "duplicate-timestamps"


def test_unsorted_rows_are_sorted_with_a_warning() -> None:
    frame = _frame(_dates("D"))
    shuffled = frame.sample(frac=1, random_state=1)
    assert np.array_equal(_prepare(shuffled).y, _prepare(frame).y)
    assert any("sorted" in warning for warning in _summary(shuffled).warnings)
    assert _summary(frame).warnings == []
    # Series that take turns are in order within each series.
    assert _summary(frame.sort_values(["ds", "id"])).warnings == []


def test_gaps_are_interpolated_and_marked() -> None:
    frame = _frame(_dates("D", 20), 1)
    frame.loc[5, "y"] = None
    frame = frame.drop(index=[8, 9])
    prepared = _prepare(frame)
    assert prepared.y.tolist() == list(range(20))
    assert np.flatnonzero(~prepared.observed).tolist() == [5, 8, 9]
    assert any("3 of 20 steps" in warning and "2 have no row" in warning for warning in _summary(frame).warnings)


def test_steps_know_their_row_in_the_callers_table() -> None:
    frame = _frame(_dates("D", 20))
    frame.loc[0, "y"] = None
    mixed = frame.drop(index=30).sample(frac=1, random_state=3).reset_index(drop=True)
    prepared = _prepare(mixed)
    there = prepared.rows >= 0
    assert np.flatnonzero(~there).tolist() == [29]
    assert np.array_equal(mixed["y"].to_numpy()[prepared.rows[there]], prepared.y[there])


def test_missing_values_at_the_ends_are_left_out() -> None:
    frame = _frame(_dates("D", 20), 1)
    frame.loc[[0, 18, 19], "y"] = None
    prepared = _prepare(frame)
    assert prepared.y.tolist() == list(range(1, 18))
    assert any("3 rows" in warning for warning in _summary(frame).warnings)


def test_windows_are_the_last_horizons_latest_first() -> None:
    folds = _scored(_prepare(_frame(_dates("D", 20))))
    assert [fold.test.tolist() for fold in folds] == [
        [17, 18, 19, 37, 38, 39],
        [14, 15, 16, 34, 35, 36],
        [11, 12, 13, 31, 32, 33],
    ]
    assert folds[0].train.tolist() == [*range(17), *range(20, 37)]


def test_fewer_windows_on_short_series() -> None:
    summary = _summary(_frame(_dates("D", 10)))
    assert any("2 of 3" in warning for warning in summary.warnings)
    one = _frame(_dates("D", 30)).iloc[:36]  # the second series has 6 rows: not one window
    prepared = _prepare(one)
    folds = _scored(prepared)
    assert [len(fold.test) for fold in folds] == [3, 3, 3]
    assert any("id=s1" in warning for warning in _summary(one).warnings)


def test_holdout_is_one_window() -> None:
    assert len(_scored(_prepare(_frame(_dates("D"))), validation={"scheme": "holdout"})) == 1


def test_the_last_folds_are_everything_and_not_scored() -> None:
    prepared = _prepare(_frame(_dates("D", 20)))
    *scored, last = ENGINE.split(prepared, _request())
    assert [fold.scored for fold in [*scored, last]] == [True, True, True, False]
    assert (last.train.tolist(), len(last.test)) == (list(range(40)), 0)
    assert [fold.index for fold in [*scored, last]] == [0, 1, 2, 3]


def test_many_series_are_cut_into_chunks_of_equal_work() -> None:
    frame = _frame(_dates("MS", 60), 400)
    frame.loc[frame["id"] == "s7", "y"] = None
    frame.loc[(frame["id"] == "s7") & (frame["ds"] < "2026-01-01"), "y"] = 1.0
    prepared = _prepare(frame)
    folds = ENGINE.split(prepared, _request())
    for group in range(4):
        chunks = [fold for fold in folds if fold.group == group]
        assert len(chunks) > 2
        assert sum(fold.weight for fold in chunks) == pytest.approx(1)
        trained = np.concatenate([fold.train for fold in chunks])
        assert len(np.unique(trained)) == len(trained)
        assert max(len(fold.train) for fold in chunks) < 1.2 * min(len(fold.train) for fold in chunks)
        if chunks[0].scored:
            tested = np.concatenate([fold.test for fold in chunks])
            ends = np.repeat(prepared.offsets[1:] - group * 3, 3)
            assert np.array_equal(tested, ends - np.tile([3, 2, 1], 400))


def test_fewer_windows_where_the_budget_is_short_for_the_series() -> None:
    prepared = _prepare(_frame(_dates("MS", 60), 400))
    windows = [len({fold.group for fold in _scored(prepared, time_budget_s=s)}) for s in (2, 14, 60)]
    assert windows == [1, 2, 3]


@pytest.mark.parametrize(
    ("freq", "rows", "seasons"),
    [("h", 500, (24, 168)), ("h", 300, (24,)), ("D", 1000, (7, 365)), ("W-SUN", 300, (52,)), ("30min", 900, (48, 336))],
)
def test_long_series_have_a_second_season(freq: str, rows: int, seasons: tuple[int, ...]) -> None:
    assert _prepare(_frame(_dates(freq, rows), 1)).seasons == seasons


@pytest.mark.parametrize(
    ("rows", "horizon", "hint"),
    [(9, 6, "Shorten the horizon to at most 5"), (3, 1, "Add rows: even one step ahead needs a series of 5 steps.")],
)
def test_the_hint_for_short_series_can_be_followed(rows: int, horizon: int, hint: str) -> None:
    with pytest.raises(InvalidData) as caught:
        _summary(_frame(_dates("D", rows)), horizon=horizon)
    assert (caught.value.code, hint in str(caught.value.hint)) == ("too-few-rows", True)
    if rows > 5:
        assert _summary(_frame(_dates("D", rows)), horizon=rows - 4).series


def test_wishes_without_effect_are_warnings() -> None:
    assert "Without effect on forecasting: stacking." in _summary(_frame(_dates("D", 60)), stacking=True).warnings


def _with_prices(known: int = 3) -> pd.DataFrame:
    """Return two series of 20 days with a price that is known ``known`` days longer than the target."""
    frame = _frame(_dates("D", 20 + known))
    frame["price"] = np.arange(len(frame)) % 5 + 1.0
    frame["day"] = np.where(frame["ds"].dt.dayofweek >= 5, "weekend", "workday")
    frame["y"] = frame["y"].where(frame.groupby("id").cumcount() < 20)
    return frame


def test_known_future_is_kept_in_history_and_ahead() -> None:
    frame = _with_prices()
    prepared = _prepare(frame.sample(frac=1, random_state=2), known_future=["price", "day"])
    assert prepared.exogenous.features == ("price", "day=weekend", "day=workday")
    assert prepared.lengths.tolist() == [20, 20]
    price = frame["price"].to_numpy().reshape(2, 23)
    assert np.array_equal(prepared.x[:, 0].reshape(2, 20), price[:, :20])
    assert np.array_equal(prepared.x_next[:, :, 0], price[:, 20:])
    assert (prepared.x[:, 1] + prepared.x[:, 2] == 1).all()
    # Without the request these rows are left out, with a warning.
    assert any("6 rows without a target" in warning for warning in _summary(frame).warnings)
    summary = _summary(frame, known_future=["price", "day"])
    assert (summary.features, summary.warnings) == (["price", "day"], [])


def test_gaps_in_known_future_are_filled_within_a_series() -> None:
    frame = _with_prices()
    frame.loc[[0, 5, 6, 23], "price"] = None
    prepared = _prepare(frame, known_future=["price"])
    x = prepared.x[:, 0]
    assert (x[0], x[5], x[6], x[20]) == (frame["price"][1], frame["price"][4], frame["price"][4], frame["price"][24])


def test_a_missing_future_names_the_series_and_the_time() -> None:
    with pytest.raises(InvalidData, match=r"'price'.*1 of 2 series.*id=s1 at 2023-02-21") as caught:
        _summary(_with_prices().drop(index=[44]), known_future=["price"])
    assert caught.value.code == "missing-future"
    assert _code(_frame(_dates("D")).assign(price=1.0), known_future=["price"]) == "missing-future"


@pytest.mark.parametrize(("name", "code"), [("prise", "unknown-column"), ("y", "column-roles"), ("ds", "column-roles")])
def test_known_future_must_be_other_columns(name: str, code: str) -> None:
    assert _code(_with_prices(), known_future=[name]) == code


def test_known_future_must_be_numbers_or_texts() -> None:
    assert _code(_with_prices().assign(at=_with_prices()["ds"]), known_future=["at"]) == "column-type"


@pytest.mark.parametrize("given", ["D", "1d", "daily"])
def test_given_frequency_is_checked(given: str) -> None:
    assert _prepare(_frame(_dates("D")), frequency=given).frequency.name == "D"
    assert _code(_frame(_dates("h")), frequency=given) == "frequency-mismatch"
    assert _code(_frame(_dates("MS")), frequency=given) == "frequency-mismatch"
    assert _code(_frame(np.arange(20)), frequency=given) == "frequency-mismatch"


def test_given_frequency_decides_where_data_allow_several() -> None:
    weekdays = pd.bdate_range("2024-01-01", periods=10)
    assert _prepare(_frame(weekdays)).frequency.name == "B"
    assert _prepare(_frame(weekdays), frequency="D").lengths.tolist() == [12, 12]


@pytest.mark.parametrize("text", ["fortnight", "0D", "2B", "", "D D"])
def test_unknown_frequency(text: str) -> None:
    assert _code(_frame(_dates("D")), frequency=text) == "unknown-frequency"


def _changed(**columns: Any) -> pd.DataFrame:
    return _frame(_dates("D")).assign(**columns)


_GOOD = _frame(_dates("D"))


@pytest.mark.parametrize(
    ("frame", "more", "code"),
    [
        (_GOOD, {"target": "yy"}, "missing-target"),
        (_GOOD, {"time_column": "date"}, "unknown-column"),
        (_GOOD, {"id_columns": ["shop"]}, "unknown-column"),
        (_GOOD, {"id_columns": ["ds"]}, "column-roles"),
        (_GOOD.rename(columns={"id": "prediction"}), {"id_columns": ["prediction"]}, "reserved-column"),
        (_GOOD.iloc[:0], {}, "empty-table"),
        (_changed(ds="not a date"), {}, "time-type"),
        (_changed(ds=True), {}, "time-type"),
        (_changed(ds=np.arange(40) + 0.5), {}, "time-type"),
        (_changed(ds=_GOOD["ds"].where(_GOOD.index > 2)), {}, "missing-time"),
        (_changed(id=_GOOD["id"].where(_GOOD.index > 2)), {}, "missing-id"),
        (_changed(y="many"), {}, "target-type"),
        (_changed(y=True), {}, "target-type"),
        (_changed(y=np.inf), {}, "non-finite"),
        (_changed(y=_GOOD["y"].where(_GOOD["id"] == "s1")), {}, "empty-series"),
        (pd.concat([_GOOD, _GOOD.iloc[:1]]), {}, "duplicate-timestamps"),
        (_frame(_dates("D", 6)), {}, "too-few-rows"),
        (_frame(_dates("D", 1)), {}, "too-few-rows"),
        (_frame(pd.to_datetime(["2023-01-01", "2023-01-02", "2023-01-09", "2023-03-04"])), {}, "irregular-frequency"),
        (_GOOD, {"season_length": [0]}, "invalid-season"),
        (_GOOD, {"metric": "accuracy"}, "unknown-metric"),
    ],
)
def test_defects_have_codes(frame: pd.DataFrame, more: dict[str, Any], code: str) -> None:
    assert _code(frame, **more) == code


def test_messages_name_what_is_wrong() -> None:
    texts = _GOOD["ds"].astype(str).mask(_GOOD.index == 7, "soon")
    with pytest.raises(InvalidData, match=r"1 values.*row 7: 'soon'"):
        _summary(_GOOD.assign(ds=texts))
    with pytest.raises(InvalidData, match=r"1 rows repeat.*id=s0 at 2023-01-31"):
        _summary(pd.concat([_GOOD, _GOOD.iloc[:1]]))
    with pytest.raises(InvalidData) as caught:
        _summary(_GOOD, target="Y")
    assert caught.value.hint is not None
    with pytest.raises(InvalidData, match="id=s0") as short:
        _summary(_frame(_dates("D", 6)))
    assert "at most 2" in str(short.value.hint)


def test_duplicate_column_names() -> None:
    table = pa.table([[1], [2.0], [3.0]], names=["ds", "y", "y"])
    with pytest.raises(InvalidData) as caught:
        ENGINE.validate(table, _request(id_columns=[]))
    assert caught.value.code == "duplicate-columns"


def test_summary() -> None:
    summary = _summary(_GOOD.assign(extra=1))
    assert (summary.rows, summary.series, summary.frequency, len(summary.fingerprint)) == (40, 2, "D", 64)
    assert any("'extra'" in warning for warning in summary.warnings)


@pytest.mark.parametrize(("freq", "name"), [("D", "D"), ("h", "h"), ("15min", "15min"), ("W-MON", "W")])
def test_measured_times_have_the_frequency_that_is_meant(freq: str, name: str) -> None:
    jitter = pd.to_timedelta(np.random.default_rng(0).integers(0, 9000, 30), unit="ms")
    assert _prepare(_frame(_dates(freq, 30) + jitter)).frequency.name == name
    odd = pd.date_range("2023-01-31", periods=30, freq="86374s")
    assert _prepare(_frame(odd)).frequency.name == "86374s"


def test_numbers_that_look_like_dates_and_mixed_offsets_are_warnings() -> None:
    assert any("20240132" in warning for warning in _summary(_frame(np.arange(20240101, 20240121))).warnings)
    mixed = [f"2024-01-{day:02}" + "T00:00:00+00:00" * (day % 2) for day in range(1, 21)]
    assert any("have none" in warning for warning in _summary(_frame(mixed)).warnings)


def test_forecasts_end_before_the_calendar_does() -> None:
    with pytest.raises(InvalidData) as caught:
        _summary(_frame([f"{year}-01-01" for year in range(9980, 10000)]))
    assert caught.value.code == "out-of-range"
