"""From a long table to regular series: one row per step, sorted by id and time, gaps filled.

`read_series` is the single place that decides what the series are; validation reports it, preparation and
prediction follow it, so they always agree.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from hashlib import sha256

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rayctl.automl.forecast.clocks import Clock, choose_clock
from rayctl.automl.forecast.columns import Columns, check_columns, defect, label, read_target
from rayctl.automl.forecast.exogenous import Exogenous, check_known_future, fill_gaps
from rayctl.automl.forecast.frequency import Frequency, Origin, origin_of, parse_frequency
from rayctl.automl.forecast.grid import find_grid
from rayctl.automl.forecast.times import Times, read_times
from rayctl.automl.ingest import normalize
from rayctl.automl.model import RunRequest
from rayctl.automl.zones import is_fixed
from rayctl.errors import InvalidData

__all__ = ["PreparedSeries", "clock_shift", "columns_of", "group_rows", "prepare_series", "read_series"]

_SHOWN = 3
_HOUR_US, _DAY_US = 3_600_000_000, 86_400_000_000
_CLOCKS_CHANGE = (
    "The times of day change by an hour (summer time): steps are counted in UTC, and each series is continued on the "
    "clock of its last row. Times with the name of their zone (in pandas, Arrow or Parquet) follow its clock. Dates "
    "without a time zone are continued as dates."
)


@dataclass(frozen=True)
class PreparedSeries:
    """Regular series, one after the other. Numpy and Arrow only: pickles (protocol 5) without copies.

    Attributes:
        y: float64 (steps of all series), without missing values: gaps are interpolated.
        observed: bool (steps): False where ``y`` is interpolated. Such values are learned from but never scored.
        offsets: int64 (series + 1): series ``i`` is ``y[offsets[i]:offsets[i + 1]]``.
        ids: The id columns, one row per series, ascending (no columns: one series).
        origin: Where each series' grid begins.
        frequency: The grid, the same for all series.
        calendar: Whether times are microseconds since 1970 (else the caller's integers).
        clock: In which zone answers are given, and on whose clocks the grid is regular.
        columns: The roles of the columns.
        seasons: Season lengths in steps, the most likely first; metrics are scaled by the first.
        warnings: What was changed about the data, for people.
        rows: int64 (steps): the row of the caller's table that each step came from, -1 for steps without a row.
        exogenous: The coding of the columns with a known future.
        x: float64 (steps, coded columns): these columns in history, without missing values.
        x_next: float64 (series, horizon, coded columns): over the horizon after the last value of each series.
        last: int64 (series): the time of each series' last value on the grid's clock; empty in an opened bundle.
        token: Text that is equal for equal contents; caches in task processes are keyed by it.
    """

    y: np.ndarray
    observed: np.ndarray
    offsets: np.ndarray
    ids: pa.Table
    origin: Origin
    frequency: Frequency
    calendar: bool
    columns: Columns
    seasons: tuple[int, ...]
    warnings: tuple[str, ...]
    rows: np.ndarray
    exogenous: Exogenous = field(default_factory=Exogenous)
    x: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))
    x_next: np.ndarray = field(default_factory=lambda: np.empty((0, 0, 0)))
    last: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    token: str = ""
    clock: Clock = field(default_factory=Clock)

    @property
    def n_series(self) -> int:
        """Number of series."""
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Steps per series, int64."""
        return np.diff(self.offsets)

    def times(self, rows: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """Return what the grid's clocks show at steps of series (``rows``: which series), int64."""
        return self.frequency.times(steps, self.origin.take(rows))

    def shown(self, rows: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """Return what clocks of the answers' zone show at steps of series: for features of the calendar."""
        return self.clock.shown(self.times(rows, steps))

    def time_column(self, rows: np.ndarray, steps: np.ndarray, shift: np.ndarray | int = 0) -> pa.Array:
        """Return the times of steps of series for an answer, in its zone; ``shift`` is added on the grid's clock."""
        times = self.times(rows, steps) + shift
        return self.clock.array(self.clock.moments(times) if self.calendar else times, self.calendar)


def columns_of(request: RunRequest) -> Columns:
    """Return the roles of the columns in a request."""
    return Columns(tuple(request.id_columns), str(request.time_column), request.target)


def prepare_series(table: pa.Table, request: RunRequest) -> PreparedSeries:
    """Return the series of a request's table. Raises as `read_series`, and InvalidRequest ``unknown-frequency``."""
    frequency = None if request.frequency is None else parse_frequency(request.frequency)
    seasons = None if request.season_length is None else tuple(request.season_length)
    columns, horizon = columns_of(request), int(request.horizon or 1)
    check_known_future(request.known_future, table.column_names, columns)
    exogenous = Exogenous.learn(normalize(table.select(request.known_future)), request.known_future)
    return read_series(table, columns, frequency, seasons, exogenous, horizon)


def read_series(
    table: pa.Table,
    columns: Columns,
    frequency: Frequency | None,
    seasons: tuple[int, ...] | None,
    exogenous: Exogenous | None = None,
    horizon: int = 1,
    clock: Clock | None = None,
) -> PreparedSeries:
    """Read a long table (one row per series and time).

    Rows may come in any order. Missing values before the first and after the last value of a series are left out,
    those between are interpolated linearly, and so are steps without a row. Columns with a known future have their
    values over the horizon in rows after the last value of each series, whose target is missing.

    Args:
        table: Any table that `rayctl.automl.ingest.normalize` accepts.
        columns: The roles of the columns.
        frequency: The grid; None: inferred.
        seasons: Season lengths; None: the frequency's usual ones for series of this length.
        exogenous: Columns with a known future; None: none.
        horizon: Steps that their future must be known for.
        clock: Of a model that the series are forecast with; None: chosen.

    Raises:
        InvalidData: ``empty-table``, ``duplicate-columns``, ``missing-target``, ``unknown-column``, ``time-type``,
            ``missing-time``, ``missing-id``, ``target-type``, ``non-finite``, ``duplicate-timestamps``,
            ``empty-series``, ``too-few-rows``, ``irregular-frequency``, ``frequency-mismatch``, ``column-type``,
            ``missing-future``.
        InvalidRequest: ``column-roles``, ``reserved-column``.
    """
    exogenous = exogenous or Exogenous()
    check_columns(table.column_names, columns)
    if table.num_rows == 0:
        raise InvalidData(
            "The table is empty: it has no rows.",
            code="empty-table",
            hint="Give a row per series and time with the value of the target.",
        )
    check_known_future(exogenous.names, table.column_names, columns)
    chosen = table.select([*columns.ids, columns.time, columns.target, *exogenous.names])
    table = normalize(chosen, zoned=(columns.time,))
    read = read_times(table.column(columns.time), columns.time, None if clock is None else clock.zone)
    calendar, moments = read.calendar, read.values
    warnings = [] if read.warning is None else [read.warning]
    values = read_target(table.column(columns.target), columns.target)
    coded = exogenous.encode(table)
    ids, group = group_rows(table, columns)
    order = np.lexsort((moments, group))
    moments, values, group = moments[order], values[order], group[order]
    same = group[1:] == group[:-1]
    if (np.diff(order)[same] < 0).any():
        warnings.append("The rows were not in the order of time within each series; they were sorted.")
    _refuse_duplicates(read, moments, group, same, ids, columns)
    keep, ahead = _between_values(values, group, ids, columns)
    later = ahead if exogenous.names else np.zeros_like(ahead)
    future_moments, future_group, future_rows = moments[later], group[later], order[later]
    if dropped := int((~keep & ~later).sum()):
        warnings.append(f"{dropped} rows without a target value at the start or end of a series were left out.")
    moments, values, group, order = moments[keep], values[keep], group[keep], order[keep]
    offsets = np.searchsorted(group, np.arange(ids.num_rows if columns.ids else 1)).astype(np.int64)
    offsets = np.append(offsets, len(group))
    if not calendar:
        clock = Clock()
    elif clock is None:
        clock = choose_clock(moments, offsets, read.zone, frequency)
    times = clock.on_grid(moments)
    origin = origin_of(times, offsets, calendar)
    grid, steps = find_grid(times, group, offsets, origin, calendar, clock, frequency, columns, ids)
    off = np.abs(times - grid.times(steps, origin.take(group)))
    if calendar and is_fixed(clock.grid) and (off == _HOUR_US).any():
        warnings.append(_CLOCKS_CHANGE)
    full = np.append(0, np.cumsum(steps[offsets[1:] - 1] + 1)).astype(np.int64)
    y = np.full(full[-1], np.nan)
    y[full[group] + steps] = values
    rows = np.full(full[-1], -1, np.int64)
    rows[full[group] + steps] = order
    observed = ~np.isnan(y)
    missing = len(y) - int(observed.sum())
    if missing:
        no_row = len(y) - len(values)
        warnings.append(
            f"{missing} of {len(y)} steps have no value ({no_row} have no row at all); they were interpolated."
            + (" Where no row means 0, add rows with 0." if no_row else "")
        )
        # Every gap lies inside its series, because the ends were trimmed: one pass serves all.
        places = np.arange(len(y))
        y[~observed] = np.interp(places[~observed], places[observed], y[observed])
    lengths = np.diff(full)
    if seasons is None:
        seasons = grid.season_lengths(float(np.median(lengths)))
    x = np.full((len(y), exogenous.width), np.nan)
    x[full[group] + steps] = coded[order]
    x_next = np.full((len(lengths), horizon if exogenous.names else 0, exogenous.width), np.nan)
    if exogenous.names:
        at, on_grid = grid.positions(clock.on_grid(future_moments), origin.take(future_group))
        at = at - lengths[future_group]
        fits = on_grid & (at >= 0) & (at < horizon)
        x_next[future_group[fits], at[fits]] = coded[future_rows[fits]]
    found = PreparedSeries(
        y=y,
        observed=observed,
        offsets=full,
        ids=ids,
        origin=origin,
        frequency=grid,
        calendar=calendar,
        columns=columns,
        seasons=seasons,
        warnings=tuple(warnings),
        rows=rows,
        exogenous=exogenous,
        x=fill_gaps(x, full),
        x_next=x_next,
        last=times[offsets[1:] - 1],
        clock=clock,
    )
    _refuse_missing_future(found)
    return replace(found, token=_token(found))


def _token(series: PreparedSeries) -> str:
    """Return a digest of everything that a forecast depends on, the calendar and the seasons too."""
    digest = sha256(repr((series.frequency, series.seasons, series.calendar, series.clock)).encode())
    arrays = (
        series.y,
        series.observed,
        series.offsets,
        series.origin.first,
        series.origin.day,
        series.x,
        series.x_next,
    )
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
    return digest.hexdigest()


def clock_shift(series: PreparedSeries) -> np.ndarray:
    """Return by how many microseconds the clock of each series' last value is off its grid's: an hour or 0, int64.

    Without the name of a zone, daily times of a place with summer time begin at another hour of UTC after the change;
    the grid begins with the first row. The clocks of a named zone are followed by the grid itself.
    """
    if not series.calendar or not len(series.last) or not is_fixed(series.clock.grid):
        return np.zeros(series.n_series, np.int64)
    shift = series.last - series.times(np.arange(series.n_series), series.lengths - 1)
    return np.where(np.abs(shift) == _HOUR_US, shift, 0)


def _refuse_missing_future(series: PreparedSeries) -> None:
    missing = np.isnan(series.x_next)
    if not missing.any():
        return
    one, step, column = (int(found) for found in np.argwhere(missing)[0])
    name = series.exogenous.features[column].partition("=")[0]
    time = series.times(np.array([one]), np.array([series.lengths[one] + step]))[0]
    count = int(missing.any(axis=(1, 2)).sum())
    raise defect(
        "missing-future",
        name,
        f"The future of the column {name!r} is not known for {count} of {series.n_series} series, for example "
        f"{label(series.ids, one)} at {series.clock.text(time, series.calendar)}.",
        f"Add rows with a missing target for the {series.x_next.shape[1]} steps after the end of each series. For a "
        "new model the column may also be left out of known_future.",
    )


def group_rows(table: pa.Table, columns: Columns) -> tuple[pa.Table, np.ndarray]:
    """Return (the distinct ids, ascending, one row each; the series of every row, int64).

    Raises:
        InvalidData: ``missing-id``.
    """
    group = np.zeros(table.num_rows, np.int64)
    for name in columns.ids:
        column = table.column(name)
        if column.null_count:
            raise defect(
                "missing-id",
                name,
                f"{column.null_count} rows have no value in the id column {name!r}: it cannot be told which series "
                "they belong to.",
                "Fill in the ids, or drop the rows. Leave id_columns out if there is one series only.",
            )
        distinct = column.unique()
        ascending = distinct.take(pc.sort_indices(distinct))
        codes = pc.index_in(column, value_set=ascending).to_numpy().astype(np.int64)
        # Renumbered after every column, so that many columns cannot overflow.
        _, group = np.unique(group * len(ascending) + codes, return_inverse=True)
    _, first = np.unique(group, return_index=True)
    return table.select(list(columns.ids)).take(pa.array(first)), group


def _refuse_duplicates(
    read: Times, moments: np.ndarray, group: np.ndarray, same: np.ndarray, ids: pa.Table, columns: Columns
) -> None:
    repeated = np.flatnonzero(same & (moments[1:] == moments[:-1]))
    if len(repeated):
        clock = Clock(read.zone)
        shown = "; ".join(
            f"{label(ids, int(group[row]))} at {clock.text(moments[row], read.calendar)}" for row in repeated[:_SHOWN]
        )
        hint = "Aggregate them to one value, or name the columns that tell the series apart in id_columns."
        if read.calendar and read.zone is None and (moments[repeated] % _DAY_US).any():
            hint += " Local times repeat an hour when summer time ends: give them with their time zone."
        raise defect(
            "duplicate-timestamps", columns.time, f"{len(repeated)} rows repeat a time of their series ({shown}).", hint
        )


def _between_values(
    values: np.ndarray, group: np.ndarray, ids: pa.Table, columns: Columns
) -> tuple[np.ndarray, np.ndarray]:
    """Return which rows (bool) are from the first to the last value of their series, and which come after it."""
    present = np.flatnonzero(~np.isnan(values))
    count = int(group[-1]) + 1
    found = np.bincount(group[present], minlength=count)
    if (found == 0).any():
        empty = np.flatnonzero(found == 0)
        shown = "; ".join(label(ids, int(series)) for series in empty[:_SHOWN])
        raise defect(
            "empty-series",
            columns.target,
            f"{len(empty)} series have no target value at all ({shown}).",
            "Leave these series out, or fill in values.",
        )
    starts = np.append(0, np.cumsum(found))
    first, last = present[starts[:-1]], present[starts[1:] - 1]
    rows = np.arange(len(values))
    return (rows >= first[group]) & (rows <= last[group]), rows > last[group]
