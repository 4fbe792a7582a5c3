"""Prediction with a forecasting bundle: look-ups in its forecast, and forecasts from new history."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pyarrow as pa

from rayctl.automl.engine import Candidate
from rayctl.automl.forecast.blend import mix
from rayctl.automl.forecast.columns import bad_rows, check_columns, defect, label
from rayctl.automl.forecast.exogenous import Exogenous
from rayctl.automl.forecast.forecaster import blamed_on, forecast_all
from rayctl.automl.forecast.frequency import Origin
from rayctl.automl.forecast.globals import apply_learned
from rayctl.automl.forecast.models import ResolvedModel, is_global
from rayctl.automl.forecast.prepare import PreparedSeries, read_series
from rayctl.automl.forecast.store import Stored, forecast_table
from rayctl.automl.forecast.times import read_times
from rayctl.automl.ingest import normalize
from rayctl.errors import InvalidData

__all__ = ["from_history", "look_up", "refit"]

_SHOWN = 5


def _keys(ids: pa.Table, like: pa.Schema) -> list[tuple[object, ...]]:
    """Return the ids of each row, in the types that they had in training (``like``)."""
    if not ids.num_columns:
        return [()]
    # 7 and 7.0 are equal and have equal hashes: whether a column had missing values makes no difference.
    columns = (_as_in_training(ids.column(name), like.field(name).type) for name in ids.column_names)
    return list(zip(*columns, strict=True))


def _as_in_training(column: pa.ChunkedArray, wanted: pa.DataType) -> list[object]:
    """Return ids as numbers or texts: a file without the id "A3" has numbers where the model learned texts."""
    values = column.to_pylist()
    if pa.types.is_string(wanted) and (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        whole = (int(value) if isinstance(value, float) and value.is_integer() else value for value in values)
        return [value if value is None else str(value) for value in whole]
    if pa.types.is_string(column.type) and (pa.types.is_integer(wanted) or pa.types.is_floating(wanted)):
        return [_number(value) for value in values]
    return values


def _number(text: str | None) -> object:
    if text is None:
        return None
    for read in (int, float):
        with suppress(ValueError):
            return read(text)
    return text  # the name of no series


def look_up(stored: Stored, table: pa.Table) -> pa.Table:
    """Return the stored forecast for rows that name series and times, in the order of the rows.

    Columns with a known future may be left out. Where they are there they must say what was known when the forecast
    was made: it holds for no other future.

    Raises:
        InvalidData: ``empty-table``, ``duplicate-columns``, ``unknown-column``, ``time-type``, ``missing-time``,
            ``unknown-series``, ``outside-horizon``, ``not-on-grid``, ``column-type``, ``another-future``.
    """
    series = stored.series
    columns = series.columns
    check_columns(table.column_names, columns, with_target=False)
    if table.num_rows == 0:
        raise InvalidData(
            "The table is empty: there are no rows to forecast.",
            code="empty-table",
            hint="Give a row per series and time, or no table at all for the whole forecast.",
        )
    wanted = normalize(table.select([*columns.ids, columns.time]), zoned=(columns.time,))
    read = read_times(wanted.column(columns.time), columns.time, series.clock.zone)
    if read.calendar != series.calendar:
        given, trained = ("timestamps", "whole numbers") if read.calendar else ("whole numbers", "timestamps")
        raise defect(
            "time-type",
            columns.time,
            f"The column {columns.time!r} holds {given}; the model was trained on {trained}.",
            f"Give {trained}, as in training.",
        )
    times = series.clock.on_grid(read.values) if read.calendar else read.values
    if columns.ids:
        of_key = {key: place for place, key in enumerate(_keys(series.ids, series.ids.schema))}
        asked = _keys(wanted.select(list(columns.ids)), series.ids.schema)
        rows = np.array([of_key.get(key, -1) for key in asked], np.int64)
    else:
        rows = np.zeros(len(times), np.int64)
    _refuse_unknown(rows, wanted, stored)
    steps, on_grid = series.frequency.positions(times, series.origin.take(rows))
    ahead = steps - series.lengths[rows]
    outside = (ahead < 0) | (ahead >= stored.horizon)
    if outside.any():
        row = int(np.flatnonzero(outside)[0])
        one = int(rows[row])
        ends = series.lengths[one] + np.array([0, stored.horizon - 1])
        first, last = (series.clock.text(time, read.calendar) for time in series.times(np.full(2, one), ends))
        raise defect(
            "outside-horizon",
            columns.time,
            f"{int(outside.sum())} rows are outside of the forecast (rows {bad_rows(outside)}): "
            f"{label(series.ids, one)} at {series.clock.text(times[row], read.calendar)}; its forecast goes from "
            f"{first} to {last}.",
            "Ask for times within the horizon, or send newer history with the target column.",
        )
    if not on_grid.all():
        row = int(np.flatnonzero(~on_grid)[0])
        raise defect(
            "not-on-grid",
            columns.time,
            f"{int((~on_grid).sum())} times are between the steps of the frequency {series.frequency.name!r} "
            f"(rows {bad_rows(~on_grid)}; for example {series.clock.text(times[row], read.calendar)}).",
            "Ask for times of the steps that the stored forecast has: it is shown when no table is sent.",
        )
    places = rows * stored.horizon + ahead
    _refuse_another_future(places, table, stored)
    place = wanted.column_names.index(columns.time)
    wanted = wanted.set_column(place, columns.time, series.clock.array(read.values, read.calendar))
    for name in stored.forecast.column_names[wanted.num_columns :]:
        wanted = wanted.append_column(name, pa.array(stored.forecast.column(name).to_numpy()[places]))
    return wanted


def _refuse_another_future(places: np.ndarray, table: pa.Table, stored: Stored) -> None:
    known, at = stored.series.exogenous, 0
    if not known.names:
        return
    flat = stored.series.x_next.reshape(-1, known.width)[places]
    for name, levels in zip(known.names, known.levels, strict=True):
        one = Exogenous((name,), (levels,))
        made_for, at = flat[:, at : at + one.width], at + one.width
        if name not in table.column_names or table.column(name).null_count == table.num_rows:
            continue
        given = one.encode(normalize(table.select([name])))
        differs = (~(np.isclose(given, made_for) | np.isnan(given) | np.isnan(made_for))).any(axis=1)
        if differs.any():
            row = int(np.flatnonzero(differs)[0])
            raise defect(
                "another-future",
                name,
                f"The forecast was made for other values of {name!r} in {int(differs.sum())} rows "
                f"(rows {bad_rows(differs)}; for example {table.column(name)[row].as_py()!r}).",
                f"For another future send the history with the target column too: it is forecast anew. Or leave "
                f"{name!r} out.",
            )


def _refuse_unknown(rows: np.ndarray, wanted: pa.Table, stored: Stored) -> None:
    unknown = rows < 0
    if unknown.any():
        found = np.flatnonzero(unknown)
        shown = "; ".join(
            dict.fromkeys(label(wanted.select(list(stored.series.columns.ids)), int(r)) for r in found[:50])
        )
        raise defect(
            "unknown-series",
            stored.series.columns.ids[0],
            f"{len(found)} rows name series that the model was not trained on ({shown:.200}).",
            "For a new series send its history with the target column.",
        )


def from_history(stored: Stored, table: pa.Table, *, allow_pickle: bool) -> pa.Table:
    """Forecast the horizon after new history, for every series in the table.

    Statistical members are fitted again; global members are applied as they were learned. Where the history of a known
    series begins within or after what the model was trained on, the older values are put in front of it, and a gap
    between both is interpolated; it stands alone if it begins earlier, or if more steps were missing than there are.
    Columns with a known future need their values over the horizon, as in training.

    Raises:
        InvalidData: as `rayctl.automl.forecast.prepare.read_series`.
        InvalidRequest: ``untrusted-model``.
        TrialError: a member fails on more than half of the series.
    """
    models = stored.models(allow_pickle)
    known = stored.series
    plan = (known.columns, known.frequency, known.seasons, known.exogenous, stored.horizon)
    fresh = read_series(table, *plan, clock=known.clock)
    merged, places = _continue(known, fresh)
    forecasts = {
        trial: refit(merged, candidate, resolved, learned, stored.horizon, stored.seed)
        for trial, (candidate, resolved, learned) in models.items()
    }
    weights = None
    if stored.weights is not None:
        common = np.array([stored.rule.weights[trial] for trial in sorted(stored.rule.weights)])
        weights = np.where((places >= 0)[:, None], stored.weights[np.maximum(places, 0)], common)
    combined = mix(stored.rule, forecasts, weights)
    return forecast_table(merged, combined, stored.levels, stored.widths)


def refit(
    series: PreparedSeries, candidate: Candidate, resolved: ResolvedModel, learned: bytes, horizon: int, seed: int
) -> np.ndarray:
    """Return one member's forecast after the end of every series, (series, horizon)."""
    if is_global(resolved.cls):
        with blamed_on(candidate):
            return apply_learned(resolved, candidate, learned, series, horizon)
    spans = list(zip(series.offsets[:-1], series.offsets[1:], strict=True))
    found = forecast_all(
        candidate,
        [series.y[start:end] for start, end in spans],
        horizon,
        series.seasons,
        seed=seed,
        exogenous=None
        if not series.exogenous.names
        else [(series.x[start:end], series.x_next[place]) for place, (start, end) in enumerate(spans)],
        name_of=lambda position: label(series.ids, position),
        resolved=resolved,
    )
    return found.values


def _continue(known: PreparedSeries, fresh: PreparedSeries) -> tuple[PreparedSeries, np.ndarray]:
    """Put the known beginning of each series in front of its new history, where both join.

    Returns (the series, the place of each among the known ones or -1).
    """
    places = {key: place for place, key in enumerate(_keys(known.ids, known.ids.schema))}
    found = np.array([places.get(key, -1) for key in _keys(fresh.ids, known.ids.schema)], np.int64)
    if known.calendar != fresh.calendar:
        return fresh, found
    at = np.maximum(found, 0)
    origin = known.origin.take(at)
    steps, on_grid = known.frequency.positions(fresh.origin.first, origin)
    kept = np.minimum(steps, known.lengths[at])
    joins = (found >= 0) & on_grid & (steps > 0) & (steps - kept <= kept + fresh.lengths)
    parts: dict[str, list[np.ndarray]] = {"y": [], "observed": [], "x": []}
    for position, start in enumerate(fresh.offsets[:-1]):
        end = fresh.offsets[position + 1]
        own = {name: getattr(fresh, name)[start:end] for name in parts}
        if joins[position]:
            begin = known.offsets[found[position]]
            older = {name: getattr(known, name)[begin : begin + kept[position]] for name in parts}
            for name, between in _between(older, own, int(steps[position] - kept[position])).items():
                parts[name] += [older[name], between]
        for name, values in own.items():
            parts[name].append(values)
    lengths = fresh.lengths + np.where(joins, steps, 0)
    merged = replace(
        fresh,
        y=np.concatenate(parts["y"]),
        observed=np.concatenate(parts["observed"]),
        x=np.concatenate(parts["x"]),
        rows=np.full(int(lengths.sum()), -1, np.int64),
        offsets=np.append(0, np.cumsum(lengths)).astype(np.int64),
        origin=Origin(np.where(joins, origin.first, fresh.origin.first), np.where(joins, origin.day, fresh.origin.day)),
    )
    return merged, found


def _between(older: Mapping[str, np.ndarray], newer: Mapping[str, np.ndarray], steps: int) -> dict[str, np.ndarray]:
    """Return the steps between two parts of a series, as gaps are filled in training."""
    line = np.linspace(older["y"][-1], newer["y"][0], steps + 2)[1:-1]
    return {"y": line, "observed": np.zeros(steps, bool), "x": np.repeat(older["x"][-1:], steps, axis=0)}
