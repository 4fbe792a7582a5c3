"""The frequency of a table's times and the step of every row, or the error that says why there is none."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from rayctl.automl.forecast.clocks import Clock
from rayctl.automl.forecast.columns import Columns, defect, label
from rayctl.automl.forecast.frequency import Frequency, Origin, infer_frequency
from rayctl.automl.forecast.times import looks_compact
from rayctl.errors import InvalidData

__all__ = ["find_grid"]

_COMPACT = "They look like dates written as 20240131: write them as text with the year first, 2024-01-31."
_MEANS_0 = "Where no row means 0, add rows with 0"
_OFTEN = 0.1  # of the distances between rows
_SPARSE = "more steps would be missing than there are"


def find_grid(
    times: np.ndarray,
    group: np.ndarray,
    offsets: np.ndarray,
    origin: Origin,
    calendar: bool,
    clock: Clock,
    wanted: Frequency | None,
    columns: Columns,
    ids: pa.Table,
) -> tuple[Frequency, np.ndarray]:
    """Return the frequency and the step of every row on its series' grid.

    Args:
        times: (rows,): on the grid's clock, ascending within a series.
        group: (rows,): the series of each row.
        offsets: Where each series begins, and the end.
        origin: Of the series.
        calendar: Whether times are microseconds since 1970 (else the caller's integers).
        clock: Of the times.
        wanted: The frequency that the caller gave; None: it is inferred.
        columns: The roles of the columns.
        ids: The id columns, one row per series.

    Raises:
        InvalidData: ``too-few-rows``, ``irregular-frequency``, ``frequency-mismatch``.
    """

    def at(row: int) -> str:
        return f"{label(ids, int(group[row]))} at {clock.text(times[row], calendar)}"

    if wanted is not None and (wanted.unit == "step") == calendar:
        kinds = ("timestamps", "h, D, M or the like") if calendar else ("whole numbers", "a whole number")
        raise defect(
            "frequency-mismatch",
            columns.time,
            f"The column {columns.time!r} holds {kinds[0]}; the frequency {wanted.name!r} does not fit them.",
            _COMPACT if not calendar and looks_compact(times) else f"Give {kinds[1]}, or leave frequency out.",
        )
    inferred = infer_frequency(times, offsets, origin, calendar)
    frequency = wanted or inferred
    if frequency is None:
        raise _no_frequency(times, group, offsets, origin, columns, ids, calendar, clock)
    steps, on_grid = frequency.positions(times, origin.take(group))
    crowded = np.flatnonzero((np.diff(steps) <= 0) & (group[1:] == group[:-1]))
    sparse = steps[offsets[1:] - 1].sum() + len(offsets) - 1 > 2 * len(times)
    if not on_grid.all():
        what = f"for example {at(int(np.flatnonzero(~on_grid)[0]))}"
    elif len(crowded):
        row = int(crowded[0])
        what = f"{at(row)} and {clock.text(times[row + 1], calendar)} are in one step"
    elif sparse:
        what = _SPARSE
    else:
        return frequency, steps
    hint = f"They look like {inferred.name!r}." if inferred else "Bring the data to a regular frequency first."
    if what == _SPARSE:
        hint = f"{_MEANS_0}. {hint}" if inferred else f"{_MEANS_0}, or aggregate the data to a coarser frequency."
    raise defect(
        "frequency-mismatch",
        columns.time,
        f"The times do not have the frequency {frequency.name!r} ({what}).",
        hint,
    )


def _no_frequency(
    times: np.ndarray,
    group: np.ndarray,
    offsets: np.ndarray,
    origin: Origin,
    columns: Columns,
    ids: pa.Table,
    calendar: bool,
    clock: Clock,
) -> InvalidData:
    same = group[1:] == group[:-1]
    if not same.any():
        return defect(
            "too-few-rows",
            columns.time,
            "No series has two rows, so the frequency is unknown and nothing can be learned.",
            "Check id_columns: every series needs several times.",
        )
    deltas = np.where(same, np.diff(times), -1)
    common, counts = np.unique(deltas[same], return_counts=True)
    usual = int(common[counts.argmax()])
    odd = int(np.flatnonzero(same & (deltas != usual))[0])
    example = (
        f"for example in {label(ids, int(group[odd]))} from "
        f"{clock.text(times[odd], calendar)} to {clock.text(times[odd + 1], calendar)}"
    )
    what = f"The times are irregular, {example}."
    hint = "Aggregate the data to a regular frequency (for example per day), or give the frequency if there is one."
    found = infer_frequency(times, offsets, origin, calendar, dense=False)
    # A divisor of all distances fits any times; the step of a grid is there itself.
    often = found is not None and (deltas[same] == found.count).mean() >= _OFTEN
    if found is not None and (often or found.unit in ("month", "business")):
        what = f"Of the steps of the frequency {found.name!r} more are missing than there are, {example}."
        hint = f"{_MEANS_0}, or aggregate the data to a coarser frequency (weeks, months)."
    return defect(
        "irregular-frequency", columns.time, what, _COMPACT if not calendar and looks_compact(times) else hint
    )
