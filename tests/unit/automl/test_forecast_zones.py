"""Series whose times have a zone: answers in that zone, on its clocks, from training to bundles and files."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pytest

from rayctl.automl.bundle import read_bundle, write_bundle
from rayctl.automl.csv_times import with_short_times
from rayctl.automl.engine import Candidate, Combination
from rayctl.automl.forecast.engine import ENGINE
from rayctl.automl.forecast.prepare import PreparedSeries
from rayctl.automl.forecast.store import forecast_table
from rayctl.automl.ingest import fingerprint, normalize, to_table
from rayctl.automl.model import RunRequest, TaskType
from rayctl.automl.report.panels import _json_times
from rayctl.automl.report.plots_series import _time_text, _x
from rayctl.automl.report.series import read_series
from rayctl.automl.reporting import _tail
from rayctl.client.model import load_model
from rayctl.errors import InvalidData, InvalidRequest

H = 3
BERLIN = "Europe/Berlin"


def _request(**more: Any) -> RunRequest:
    fields: dict[str, Any] = {"target": "y", "time_column": "ds", "id_columns": ["id"], "horizon": H} | more
    return RunRequest(task=TaskType.FORECASTING, **fields)


def _frame(times: Any) -> pd.DataFrame:
    return pd.DataFrame({"id": "a", "ds": times, "y": np.arange(len(times)) % 7 + 1.0})


def _table(data: Any) -> pa.Table:
    return normalize(to_table(data), zoned=("ds",))


def _prepare(data: Any, **more: Any) -> PreparedSeries:
    return ENGINE.prepare(_table(data), _request(**more))


def _next(prepared: PreparedSeries, steps: int) -> pd.DatetimeIndex:
    table = forecast_table(prepared, np.zeros((prepared.n_series, steps)))
    return pd.DatetimeIndex(table.column("ds").to_pandas())


NAIVE = Candidate("SeasonalNaive")


def _bundle(prepared: PreparedSeries, candidate: Candidate = NAIVE) -> bytes:
    request = _request()
    folds = ENGINE.split(prepared, request)
    found = [ENGINE.evaluate(prepared, fold, candidate, request, seed=0, deadline=None) for fold in folds]
    return ENGINE.assemble(prepared, folds, {0: candidate}, {0: found}, Combination({0: 1.0}, 0.0), request)


@pytest.mark.parametrize("zone", [BERLIN, "Europe/London", "America/New_York", "Asia/Tokyo", "Pacific/Auckland"])
@pytest.mark.parametrize("begin", ["2023-01-31", "2023-08-31"])  # the clocks change in March or April, and in autumn
@pytest.mark.parametrize(
    ("freq", "name"),
    [("D", "D"), ("W-WED", "W"), ("MS", "M"), ("ME", "M"), ("QS", "Q"), ("B", "B"), ("h", "h"), ("30min", "30min")],
)
def test_steps_go_on_as_clocks_show_them(zone: str, begin: str, freq: str, name: str) -> None:
    count = {"h": 60 * 24, "30min": 60 * 48, "D": 50, "B": 35}.get(freq, 12)
    times = pd.date_range(begin, periods=count + 40, freq=freq, tz=zone)
    prepared = _prepare(_frame(times[:count]))
    assert (prepared.frequency.name, prepared.clock.zone) == (name, zone)
    assert prepared.observed.all()
    assert prepared.warnings == ()
    ahead = _next(prepared, 40)
    assert str(ahead.tz) == zone
    assert list(ahead) == list(times[count:])


def test_six_hours_on_a_clock_are_not_always_six_hours() -> None:
    times = pd.date_range("2023-03-01", periods=1000, freq="6h").tz_localize(BERLIN)
    prepared = _prepare(_frame(times[:900]))
    assert prepared.frequency.name == "6h"
    assert list(_next(prepared, 100)) == list(times[900:])


def test_midnight_in_utc_with_the_name_of_a_zone_stays_there() -> None:
    times = pd.date_range("2023-03-01", periods=80, freq="D", tz="UTC").tz_convert(BERLIN)
    assert list(_next(_prepare(_frame(times[:60])), 20)) == list(times[60:])


def test_a_day_without_midnight_begins_later() -> None:
    days = pd.date_range("2018-10-01", periods=60, freq="D")
    times = days.tz_localize("America/Sao_Paulo", nonexistent="shift_forward")
    assert times[34].hour == 1
    for count in (30, 35, 50):  # before the day, its end, after it
        assert list(_next(_prepare(_frame(times[:count])), 10)) == list(times[count : count + 10])


def _as_texts(times: pd.DatetimeIndex) -> list[str]:
    return [str(time) for time in times]


def _as_csv(frame: pd.DataFrame) -> bytes:
    return frame.to_csv(index=False).encode()


@pytest.mark.parametrize("offset", ["+02:00", "-05:30", "UTC"])
@pytest.mark.parametrize("by_file", [False, True])
def test_texts_with_one_offset_are_answered_with_it(offset: str, by_file: bool) -> None:
    times = pd.date_range("2024-01-01", periods=30, freq="D", tz=offset)
    frame = _frame(_as_texts(times[:20]))
    prepared = _prepare(_as_csv(frame) if by_file else frame)
    assert prepared.clock.zone == offset
    assert _as_texts(_next(prepared, 10)) == _as_texts(times[20:])


@pytest.mark.parametrize("by_file", [False, True])
@pytest.mark.parametrize("freq", ["B", "MS", "D"])
@pytest.mark.parametrize("count", [30, 45])  # the last row is in winter, or in summer
def test_texts_of_summer_and_winter_go_on_with_the_last_offset(freq: str, count: int, by_file: bool) -> None:
    begin = {"B": "2023-02-15", "D": "2023-02-25", "MS": "2020-11-01"}[freq]
    count = count if freq != "MS" else {30: 28, 45: 32}[count]
    times = pd.date_range(begin, periods=count + 3, freq=freq, tz="Europe/London")
    frame = _frame(_as_texts(times[:count]))
    prepared = _prepare(_as_csv(frame) if by_file else frame)
    assert prepared.frequency.name == {"MS": "M"}.get(freq, freq)
    last = times[count - 1].utcoffset()
    expected = [time.tz_localize(None).tz_localize("UTC") - last for time in times[count:]]
    assert list(_next(prepared, 3).tz_convert("UTC")) == expected


def test_texts_of_different_places_are_answered_in_utc() -> None:
    early, late = (pd.date_range("2024-01-01", periods=20, freq="h", tz=zone) for zone in (BERLIN, "America/New_York"))
    frame = pd.concat([_frame(_as_texts(early)), _frame(_as_texts(late)).assign(id="b")])
    assert _prepare(frame).clock.zone == "UTC"


def test_an_unknown_zone_is_a_warning() -> None:
    table = to_table(_frame(pd.date_range("2024-01-01", periods=20, tz="UTC")))
    odd = table.column("ds").cast(pa.int64()).cast(pa.timestamp("ns", "Mars/Base"))
    prepared = ENGINE.prepare(normalize(table.set_column(1, "ds", odd), zoned=("ds",)), _request())
    assert prepared.clock.zone == "UTC"
    assert any("'Mars/Base'" in warning for warning in prepared.warnings)


def test_messages_show_times_in_their_zone() -> None:
    times = pd.date_range("2024-03-25", periods=20, tz=BERLIN)
    with pytest.raises(InvalidData, match=r"2024-04-01 00:00:00\+02:00"):
        _prepare(pd.concat([_frame(times), _frame(times[7:8])]))


def test_features_of_the_calendar_are_those_of_the_place() -> None:
    times = pd.date_range("2023-03-01", periods=40 * 24, freq="h", tz=BERLIN)
    prepared = _prepare(_frame(times))
    shown = prepared.shown(np.zeros(len(times), np.int64), np.arange(len(times)))
    assert shown.astype("datetime64[us]").tolist() == times.tz_localize(None).to_pydatetime().tolist()


TIMES = pd.date_range("2024-03-12", periods=30, tz=BERLIN)  # summer time begins on 31 March: within the horizon
AHEAD = TIMES[18:21]


@pytest.fixture(scope="module")
def bundle() -> bytes:
    return _bundle(_prepare(_frame(TIMES[:18])))


def test_a_bundle_answers_in_the_zone(bundle: bytes) -> None:
    found = ENGINE.predict(bundle, None)
    assert found.schema.field("ds").type == pa.timestamp("us", BERLIN)
    assert list(found.column("ds").to_pandas()) == list(AHEAD)
    assert list(load_model(bundle).predict()["ds"]) == list(AHEAD)


@pytest.mark.parametrize("asked", ["zone", "utc", "offsets", "local", "texts"])
def test_look_up_knows_the_moments_whatever_they_are_written_in(bundle: bytes, asked: str) -> None:
    times: Any = {
        "zone": AHEAD,
        "utc": AHEAD.tz_convert("UTC"),
        "offsets": _as_texts(AHEAD),
        "local": AHEAD.tz_localize(None),
        "texts": [str(time.date()) for time in AHEAD],
    }[asked]
    found = load_model(bundle).predict_table(pd.DataFrame({"id": "a", "ds": times}))
    whole = ENGINE.predict(bundle, None)
    assert found.column("ds").equals(whole.column("ds"))
    assert found.column("prediction").equals(whole.column("prediction"))


def test_new_history_is_continued_on_the_clock_of_the_model(bundle: bytes) -> None:
    for times in (TIMES[18:25], TIMES[18:25].tz_convert("UTC"), TIMES[18:25].tz_localize(None)):
        found = load_model(bundle).predict_table(_frame(times))
        assert list(found.column("ds").to_pandas()) == list(TIMES[25:28])


def test_bundles_of_before_answer_as_before(bundle: bytes) -> None:
    naive = TIMES.tz_convert("UTC").tz_localize(None)  # how times were kept
    made = _bundle(_prepare(_frame(naive[:18])))
    opened = read_bundle(made, kind="forecasting")
    info = {name: value for name, value in opened.info.items() if name not in ("zone", "clock")}
    old = write_bundle("forecasting", info, opened.members)
    assert ENGINE.predict(old, None).schema.field("ds").type == pa.timestamp("us")
    for times in (naive[18:21], TIMES[18:21]):
        found = load_model(old).predict_table(pd.DataFrame({"id": "a", "ds": times}))
        assert list(found.column("ds").to_pandas()) == list(naive[18:21])
    assert load_model(old).predict_table(_frame(naive[18:25])).num_rows == H


def test_a_bundle_of_a_zone_that_is_not_known_here_is_refused(bundle: bytes) -> None:
    opened = read_bundle(bundle, kind="forecasting")
    moved = write_bundle("forecasting", opened.info | {"zone": "Mars/Base"}, opened.members)
    with pytest.raises(InvalidRequest) as caught:
        ENGINE.predict(moved, None)
    assert (caught.value.code, "tzdata" in str(caught.value.hint)) == ("unknown-zone", True)


def test_global_models_repeat_from_a_bundle_in_a_zone() -> None:
    times = pd.date_range("2024-03-10", periods=24 * 30, freq="h", tz=BERLIN)
    frames = [_frame(times).assign(id=f"s{i}", y=lambda d, i=i: d["y"] + d["ds"].dt.hour * (i + 1)) for i in range(3)]
    prepared = _prepare(pd.concat(frames))
    made = _bundle(prepared, Candidate("GlobalRidge", {"relative": "season", "rows": 2000}))
    whole, again = ENGINE.predict(made, None), load_model(made).predict_table(pd.concat(frames))
    columns = ["id", "ds"]
    assert again.select(columns).equals(whole.select(columns))
    np.testing.assert_allclose(again.column("prediction").to_numpy(), whole.column("prediction").to_numpy(), rtol=1e-9)


def test_blended_and_history_have_the_times_of_the_forecast() -> None:
    request = _request()
    data = _table(_frame(_as_texts(TIMES[:18])))
    prepared = ENGINE.prepare(data, request)
    folds = ENGINE.split(prepared, request)
    found = [ENGINE.evaluate(prepared, fold, NAIVE, request, seed=0, deadline=None) for fold in folds]
    blended = ENGINE.blended(prepared, folds, {0: found}, Combination({0: 1.0}, 0.0), request)
    history = _tail(data, request, "ds")
    forecast = forecast_table(prepared, np.zeros((1, H)))
    assert history.schema.field("ds").type == blended.schema.field("ds").type == forecast.schema.field("ds").type
    shown = read_series(blended, history, forecast, id_columns=["id"], time_column="ds", target="y", season=7)
    assert shown is not None
    assert shown.history is not None
    assert shown.history.time.astype("datetime64[D]").astype(str)[[0, -1]].tolist() == ["2024-03-12", "2024-03-29"]
    assert shown.validation.time.dtype == shown.history.time.dtype


def test_the_zone_is_part_of_what_is_asked() -> None:
    zoned = to_table(_frame(TIMES))
    naive = to_table(_frame(TIMES.tz_convert("UTC").tz_localize(None)))
    other = to_table(_frame(TIMES.tz_convert("Asia/Tokyo")))
    prints = [fingerprint(normalize(table, zoned=("ds",))) for table in (zoned, naive, other)]
    assert len(set(prints)) == 3
    # Tables without this column's role are told apart by their moments alone.
    assert {fingerprint(normalize(table)) for table in (zoned, naive, other)} == {prints[1]}


def test_files_have_the_offset_and_can_be_asked_again(bundle: bytes) -> None:
    out = io.BytesIO()
    pyarrow.csv.write_csv(with_short_times(ENGINE.predict(bundle, None)), out)
    assert b'"2024-03-30 00:00:00+01:00"' in out.getvalue()
    assert b'"2024-04-01 00:00:00+02:00"' in out.getvalue()
    found = load_model(bundle).predict(out.getvalue())
    assert list(found["ds"]) == list(AHEAD)


@pytest.mark.parametrize(
    ("span", "text"),
    [
        (4.0, "12:00:01.250"),
        (60.0, "12:00:01"),
        (7200.0, "1 May 12:00"),
        (86400.0 * 20, "1 May"),
        (86400.0 * 400, "May 2024"),
        (86400.0 * 4000, "2024"),
    ],
)
def test_the_axis_of_times_is_as_precise_as_its_span(span: float, text: str) -> None:
    times = np.array(["2024-05-01T12:00:01.250000"], "datetime64[us]")
    (written,) = _json_times(times)
    assert _time_text(float(_x([written])[0]), span) == text
