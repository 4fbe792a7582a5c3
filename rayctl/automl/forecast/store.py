"""What a forecasting bundle holds: the configuration, the series, and the forecast of the horizon after them.

All of it is data. A model is not stored but fitted again when new history comes, which statistical models do in
milliseconds; only a caller's own class is stored as code, and loaded with the caller's consent.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from rayctl.automl.bundle import Bundle, Member, load_object, read_bundle, write_bundle
from rayctl.automl.engine import Candidate
from rayctl.automl.forecast.columns import Columns
from rayctl.automl.forecast.forecaster import Forecasts
from rayctl.automl.forecast.frequency import Frequency, Origin
from rayctl.automl.forecast.models import ResolvedModel, is_own, resolve
from rayctl.automl.forecast.prepare import PreparedSeries
from rayctl.automl.ingest import from_ipc, to_ipc
from rayctl.errors import InvalidData, InvalidRequest

__all__ = ["KIND", "Stored", "forecast_table", "open_stored", "write_stored"]

KIND = "forecasting"
_FORECAST, _SERIES, _VALUES, _CLASS, _PARAMS = (
    "forecast.parquet",
    "series.arrow",
    "values.arrow",
    "class.pickle",
    "params.pickle",
)


@dataclass(frozen=True)
class Stored:
    """An opened bundle: the series it was fitted on, its forecast, the configuration to fit again."""

    bundle: Bundle
    series: PreparedSeries
    forecast: pa.Table
    horizon: int
    seed: int

    def model(self, allow_pickle: bool) -> tuple[Candidate, ResolvedModel]:
        """Return the configuration, ready to forecast.

        Raises:
            InvalidRequest: ``untrusted-model``: it needs a caller's code, and ``allow_pickle`` is not set.
        """
        info, members = self.bundle.info["model"], self.bundle.members
        name, params = str(info["name"]), {key: _decode(value) for key, value in info["params"].items()}
        if _PARAMS in members:
            params |= load_object(members[_PARAMS], allow_pickle=allow_pickle)
        if _CLASS in members:
            cls = load_object(members[_CLASS], allow_pickle=allow_pickle)
            return Candidate(name, params), ResolvedModel(name, cls, trusted=False)
        if not is_own(name) and not allow_pickle:
            raise InvalidRequest(
                f"The model needs the class {name!r}, which is not one of rayctl's own.",
                code="untrusted-model",
                hint="Let the service that trained it predict, or use one of the built-in models.",
            )
        return Candidate(name, params), resolve(name)


def write_stored(
    series: PreparedSeries,
    candidate: Candidate,
    resolved: ResolvedModel,
    forecasts: Forecasts,
    seed: int,
) -> bytes:
    """Return the bundle of a configuration and its forecasts after the end of every series."""
    import cloudpickle

    sink = io.BytesIO()
    pyarrow.parquet.write_table(forecast_table(series, forecasts.values), sink)
    per_series = {
        "length": pa.array(series.lengths),
        "first": pa.array(series.origin.first),
        "day": pa.array(series.origin.day),
        **{f"id:{name}": series.ids.column(name) for name in series.ids.column_names},
    }
    values = pa.table({"y": series.y, "observed": series.observed})
    members = {
        _FORECAST: Member(sink.getvalue()),
        _SERIES: Member(to_ipc(pa.table(per_series)), "arrow"),
        _VALUES: Member(to_ipc(values), "arrow"),
    }
    plain, rest = {}, {}
    for name, value in candidate.params.items():
        try:
            plain[name] = _encode(value)
        except TypeError:
            rest[name] = value
    if rest:
        members[_PARAMS] = Member(cloudpickle.dumps(rest), "pickle")
    if candidate.pickled_class is not None:
        members[_CLASS] = Member(candidate.pickled_class, "pickle")
    info = {
        "task": "forecasting",
        "target": series.columns.target,
        "time_column": series.columns.time,
        "id_columns": list(series.columns.ids),
        "horizon": forecasts.values.shape[1],
        "frequency": series.frequency.to_json(),
        "calendar": series.calendar,
        "seasons": list(series.seasons),
        "series": series.n_series,
        "model": {
            "name": resolved.name,
            "params": plain,
            "seed": seed,
            "replaced_series": forecasts.replaced,
            "replaced_because": forecasts.reason,
        },
    }
    return write_bundle(KIND, info, members)


def _encode(value: Any) -> Any:
    """Return JSON from which `_decode` makes the same value. Raises TypeError if there is none."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (list, tuple)):
        items = [_encode(item) for item in value]
        return {"tuple": items} if isinstance(value, tuple) else items
    if value is None or isinstance(value, (bool, int, str)) or (isinstance(value, float) and np.isfinite(value)):
        return value
    raise TypeError(f"{type(value)} has no JSON form")


def _decode(value: Any) -> Any:
    if isinstance(value, dict):
        return tuple(_decode(item) for item in value["tuple"])
    return [_decode(item) for item in value] if isinstance(value, list) else value


def open_stored(data: bytes) -> Stored:
    """Open a bundle. Runs no code of it.

    Raises:
        InvalidRequest: ``invalid-bundle`` and the other codes of `rayctl.automl.bundle.read_bundle`.
    """
    bundle = read_bundle(data, kind=KIND)
    info, members = bundle.info, bundle.members
    try:
        table = from_ipc(members[_SERIES].data)
        values = from_ipc(members[_VALUES].data)
        ids = tuple(map(str, info["id_columns"]))
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
        )
        forecast = pyarrow.parquet.read_table(pa.BufferReader(members[_FORECAST].data))
        seed = int(info["model"]["seed"])
        if series.offsets[-1] != len(series.y) or (series.lengths < 1).any():
            raise ValueError("the lengths of the series do not fit their values")
        if forecast.num_rows != series.n_series * int(info["horizon"]):
            raise ValueError("the forecast does not have one horizon per series")
        return Stored(bundle, series, forecast, int(info["horizon"]), seed)
    except (KeyError, TypeError, ValueError, InvalidData, OSError, pa.ArrowException) as error:
        raise InvalidRequest(f"The model bundle is incomplete: {error!r}.", code="invalid-bundle") from error


def forecast_table(series: PreparedSeries, values: np.ndarray) -> pa.Table:
    """Return forecasts after the end of every series as a table: id columns, time column, ``prediction``.

    Args:
        series: The series that were continued.
        values: float64, shape (series, horizon).
    """
    count, horizon = values.shape
    rows = np.repeat(np.arange(count), horizon)
    steps = np.repeat(series.lengths, horizon) + np.tile(np.arange(horizon), count)
    times = pa.array(series.frequency.times(steps, series.origin.take(rows)))
    columns = {name: series.ids.column(name).take(pa.array(rows)) for name in series.columns.ids}
    columns[series.columns.time] = times.cast(pa.timestamp("us")) if series.calendar else times
    return pa.table({**columns, "prediction": pa.array(values.ravel())})
