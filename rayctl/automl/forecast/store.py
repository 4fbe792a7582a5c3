"""What a forecasting bundle holds: the combination, the series, and the forecast of the horizon after them.

All of it is data. Statistical models are not stored but fitted again when new history comes, which takes them
milliseconds; global models are stored in their own format. Only a caller's own class is stored as code, and loaded
with the caller's consent.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from rayctl.automl.bundle import DAMAGED, Bundle, Member, load_object, read_bundle, write_bundle
from rayctl.automl.engine import Candidate
from rayctl.automl.forecast.blend import Rule
from rayctl.automl.forecast.clocks import Clock
from rayctl.automl.forecast.columns import Columns
from rayctl.automl.forecast.exogenous import Exogenous
from rayctl.automl.forecast.forecaster import Forecasts
from rayctl.automl.forecast.frequency import Frequency, Origin
from rayctl.automl.forecast.intervals import with_intervals
from rayctl.automl.forecast.models import ResolvedModel, is_own, resolve
from rayctl.automl.forecast.prepare import PreparedSeries, clock_shift
from rayctl.automl.forecast.scoring import series_scales
from rayctl.automl.ingest import from_ipc, to_ipc
from rayctl.automl.zones import UTC, is_known
from rayctl.errors import InvalidData, InvalidRequest

__all__ = ["KIND", "MemberModel", "Stored", "forecast_table", "open_stored", "write_stored"]

KIND = "forecasting"
_FORECAST, _MEMBERS, _SERIES, _VALUES, _WEIGHTS, _FUTURE = (
    "forecast.parquet",
    "members.parquet",
    "series.arrow",
    "values.arrow",
    "weights.arrow",
    "future.arrow",
)
_UNMOVED = 20  # steps; after so many equal values the next one is the same in more than 95 % of cases


@dataclass(frozen=True)
class MemberModel:
    """One trial of the combination: its configuration and its forecasts after the end of all series."""

    trial: int
    candidate: Candidate
    forecasts: Forecasts


@dataclass(frozen=True)
class Stored:
    """An opened bundle: the series it was fitted on, its forecast, the combination to fit again."""

    bundle: Bundle
    series: PreparedSeries
    forecast: pa.Table
    horizon: int
    seed: int
    rule: Rule
    levels: tuple[int, ...]
    widths: np.ndarray
    weights: np.ndarray | None

    def models(self, allow_pickle: bool) -> dict[int, tuple[Candidate, ResolvedModel, bytes]]:
        """Return per member its configuration, its class, and what a global model has learned.

        Raises:
            InvalidRequest: ``untrusted-model``: it needs a caller's code, and ``allow_pickle`` is not set.
        """
        return {int(item["trial"]): self._model(item, allow_pickle) for item in self.bundle.info["members"]}

    def _model(self, item: Mapping[str, Any], allow_pickle: bool) -> tuple[Candidate, ResolvedModel, bytes]:
        trial, members = int(item["trial"]), self.bundle.members
        name, params = str(item["name"]), {key: _decode(value) for key, value in item["params"].items()}
        if (key := f"params.{trial}") in members:
            params |= load_object(members[key], allow_pickle=allow_pickle)
        learned = members[f"learned.{trial}"].data if f"learned.{trial}" in members else b""
        if (key := f"class.{trial}") in members:
            cls = load_object(members[key], allow_pickle=allow_pickle)
            return Candidate(name, params), ResolvedModel(name, cls, trusted=False), learned
        if not is_own(name) and not allow_pickle:
            raise InvalidRequest(
                f"The model needs the class {name!r}, which is not one of rayctl's own.",
                code="untrusted-model",
                hint="Let the service that trained it predict, or use one of the built-in models.",
            )
        return Candidate(name, params), resolve(name), learned


def write_stored(
    series: PreparedSeries,
    members: Sequence[MemberModel],
    rule: Rule,
    combined: np.ndarray,
    weights: np.ndarray | None,
    levels: Sequence[int],
    widths: np.ndarray,
    seed: int,
) -> bytes:
    """Return the bundle of a combination.

    Args:
        series: The series.
        members: The trials that are combined.
        rule: How.
        combined: (series, horizon): the combined forecast.
        weights: (series, members) of rules with weights per series.
        levels: Of the prediction intervals, percent.
        widths: (levels, horizon), see `rayctl.automl.forecast.intervals`.
        seed: For models that are fitted again.
    """
    per_series = {
        "length": pa.array(series.lengths),
        "first": pa.array(series.origin.first),
        "day": pa.array(series.origin.day),
        **{f"id:{name}": series.ids.column(name) for name in series.ids.column_names},
    }
    values = {"y": series.y, "observed": series.observed}
    values |= {f"x:{place}": series.x[:, place] for place in range(series.exogenous.width)}
    parts = {
        _FORECAST: Member(_parquet(forecast_table(series, combined, levels, widths))),
        _MEMBERS: Member(_parquet(pa.table({str(m.trial): m.forecasts.values.ravel() for m in members}))),
        _SERIES: Member(to_ipc(pa.table(per_series)), "arrow"),
        _VALUES: Member(to_ipc(pa.table(values)), "arrow"),
    }
    if series.exogenous.width:
        flat = series.x_next.reshape(-1, series.exogenous.width)
        parts[_FUTURE] = Member(
            to_ipc(pa.table({f"x:{place}": flat[:, place] for place in range(flat.shape[1])})), "arrow"
        )
    if weights is not None:
        columns = {str(trial): weights[:, place] for place, trial in enumerate(sorted(rule.weights))}
        parts[_WEIGHTS] = Member(to_ipc(pa.table(columns)), "arrow")
    described = []
    for member in members:
        item, more = _describe(member, rule.weights[member.trial])
        described.append(item)
        parts |= more
    info = {
        "task": "forecasting",
        "target": series.columns.target,
        "time_column": series.columns.time,
        "id_columns": list(series.columns.ids),
        "known_future": series.exogenous.to_json(),
        "horizon": combined.shape[1],
        "frequency": series.frequency.to_json(),
        "calendar": series.calendar,
        "zone": series.clock.zone,
        "clock": series.clock.grid,
        "seasons": list(series.seasons),
        "series": series.n_series,
        "levels": list(levels) if np.isfinite(widths).all() else [],
        "widths": widths.tolist() if np.isfinite(widths).all() else [],
        "rule": rule.settings(),
        "members": described,
        "seed": seed,
    }
    return write_bundle(KIND, info, parts)


def _parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pyarrow.parquet.write_table(table, sink)
    return sink.getvalue()


def _describe(member: MemberModel, weight: float) -> tuple[dict[str, Any], dict[str, Member]]:
    """Return (the member's entry in the manifest, the bundle's parts that belong to it)."""
    import cloudpickle

    candidate, found, parts = member.candidate, member.forecasts, {}
    plain, rest = {}, {}
    for name, value in candidate.params.items():
        try:
            plain[name] = _encode(value)
        except TypeError:
            rest[name] = value
    if rest:
        parts[f"params.{member.trial}"] = Member(cloudpickle.dumps(rest), "pickle")
    if candidate.pickled_class is not None:
        parts[f"class.{member.trial}"] = Member(candidate.pickled_class, "pickle")
    if found.learned:
        parts[f"learned.{member.trial}"] = Member(found.learned)
    item = {
        "trial": member.trial,
        "name": candidate.model,
        "params": plain,
        "weight": weight,
        "replaced_series": found.replaced,
        "replaced_because": found.reason,
        "stopped_at": found.stopped_at,
    }
    return item, parts


def _encode(value: Any) -> Any:
    """Return JSON from which `_decode` makes the same value. Raises TypeError if there is none."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (list, tuple)):
        items = [_encode(item) for item in value]
        return {"tuple": items} if isinstance(value, tuple) else items
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": {key: _encode(item) for key, item in value.items()}}
    if value is None or isinstance(value, (bool, int, str)) or (isinstance(value, float) and np.isfinite(value)):
        return value
    raise TypeError(f"{type(value)} has no JSON form")


def _decode(value: Any) -> Any:
    if isinstance(value, dict):
        if "dict" in value:
            return {key: _decode(item) for key, item in value["dict"].items()}
        return tuple(_decode(item) for item in value["tuple"])
    return [_decode(item) for item in value] if isinstance(value, list) else value


def _future(members: Mapping[str, Member], shape: tuple[int, int, int]) -> np.ndarray:
    """Return the columns known in the future; NaN where the bundle is an older one, which does not have them."""
    if _FUTURE not in members:
        return np.full(shape, np.nan)
    found = from_ipc(members[_FUTURE].data)
    return np.stack([found.column(f"x:{place}").to_numpy() for place in range(shape[2])], axis=1).reshape(shape)


def _clock(info: Mapping[str, Any]) -> Clock:
    """Return the clock; bundles of older versions have none: their times are in UTC, and the answers name no zone."""
    zone, grid = info.get("zone"), str(info.get("clock", UTC))
    clock = Clock(None if zone is None else str(zone), grid)
    unknown = [name for name in (clock.zone, grid) if name is not None and not is_known(name)]
    if unknown:
        raise InvalidRequest(
            f"The model's times are in the zone {unknown[0]!r}, which is not known here.",
            code="unknown-zone",
            hint="Install the time zones of this machine, or the Python package tzdata.",
        )
    return clock


def open_stored(data: bytes) -> Stored:
    """Open a bundle. Runs no code of it.

    Raises:
        InvalidRequest: ``invalid-bundle``, ``unknown-zone`` and the other codes of `rayctl.automl.bundle.read_bundle`.
    """
    bundle = read_bundle(data, kind=KIND)
    info, members = bundle.info, bundle.members
    try:
        table = from_ipc(members[_SERIES].data)
        values = from_ipc(members[_VALUES].data)
        ids = tuple(map(str, info["id_columns"]))
        exogenous = Exogenous.from_json(info["known_future"])
        x = np.empty((values.num_rows, exogenous.width))
        for place in range(exogenous.width):
            x[:, place] = values.column(f"x:{place}").to_numpy()
        shape = (table.num_rows, int(info["horizon"]), exogenous.width)
        series = PreparedSeries(
            y=values.column("y").to_numpy(),
            observed=values.column("observed").to_numpy(),
            offsets=np.append(0, np.cumsum(table.column("length").to_numpy())).astype(np.int64),
            ids=pa.table({name: table.column(f"id:{name}") for name in ids}),
            origin=Origin(table.column("first").to_numpy(), table.column("day").to_numpy()),
            frequency=Frequency(info["frequency"]["unit"], int(info["frequency"]["count"])),
            calendar=bool(info["calendar"]),
            columns=Columns(ids, str(info["time_column"]), str(info["target"])),
            seasons=tuple(map(int, info["seasons"])),
            warnings=(),
            rows=np.full(values.num_rows, -1, np.int64),
            exogenous=exogenous,
            x=x,
            x_next=_future(members, shape),
            clock=_clock(info),
        )
        forecast = pyarrow.parquet.read_table(pa.BufferReader(members[_FORECAST].data))
        rule = Rule.of({int(item["trial"]): float(item["weight"]) for item in info["members"]}, info["rule"])
        weights = None
        if _WEIGHTS in members:
            found = from_ipc(members[_WEIGHTS].data)
            weights = np.stack([found.column(str(trial)).to_numpy() for trial in sorted(rule.weights)], axis=1)
        horizon = int(info["horizon"])
        levels = tuple(map(int, info["levels"]))
        widths = np.array(info["widths"], np.float64).reshape(len(levels), horizon)
        if series.offsets[-1] != len(series.y) or (series.lengths < 1).any():
            raise ValueError("the lengths of the series do not fit their values")
        if forecast.num_rows != series.n_series * horizon:
            raise ValueError("the forecast does not have one horizon per series")
        return Stored(bundle, series, forecast, horizon, int(info["seed"]), rule, levels, widths, weights)
    except (KeyError, TypeError, ValueError, InvalidData, OSError, pa.ArrowException) as error:
        raise InvalidRequest(
            f"The model bundle is incomplete: {error!r}.", code="invalid-bundle", hint=DAMAGED
        ) from error


def forecast_table(
    series: PreparedSeries, values: np.ndarray, levels: Sequence[int] = (), widths: np.ndarray | None = None
) -> pa.Table:
    """Return forecasts after the end of every series as a table.

    Columns: the id columns, the time column, ``prediction``, and ``lower_<level>``, ``upper_<level>`` per level.

    Args:
        series: The series that were continued.
        values: float64, shape (series, horizon).
        levels: Of the prediction intervals.
        widths: (levels, horizon), see `rayctl.automl.forecast.intervals`; NaN: there are no intervals.
    """
    count, horizon = values.shape
    rows = np.repeat(np.arange(count), horizon)
    steps = np.repeat(series.lengths, horizon) + np.tile(np.arange(horizon), count)
    columns = {name: series.ids.column(name).take(pa.array(rows)) for name in series.columns.ids}
    columns[series.columns.time] = series.time_column(rows, steps, clock_shift(series)[rows])
    columns["prediction"] = pa.array(values.ravel())
    if widths is not None and len(levels) and np.isfinite(widths).all():
        history = np.where(series.observed, series.y, np.nan)
        scale = series_scales(history, series.offsets, series.seasons[0])
        low, high = (np.asarray(edge.reduceat(series.y, series.offsets[:-1])) for edge in (np.minimum, np.maximum))
        # Other series' errors, in units of the level, say nothing about one that has not moved for so long.
        scale = np.where((low == high) & (series.lengths >= _UNMOVED), 0.0, scale)
        floor = np.where(low >= 0, 0.0, -np.inf)
        columns |= with_intervals(values, scale, widths, levels, floor)
    return pa.table(columns)
