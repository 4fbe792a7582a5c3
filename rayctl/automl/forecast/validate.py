"""The check of table, request and search space before a run is accepted."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from rayctl.automl.forecast.columns import defect, label
from rayctl.automl.forecast.models import check_entry
from rayctl.automl.forecast.prepare import PreparedSeries, columns_of, prepare_series
from rayctl.automl.forecast.split import choose_windows
from rayctl.automl.ingest import fingerprint
from rayctl.automl.metrics import metric_of
from rayctl.automl.model import DataSummary, RunRequest
from rayctl.automl.relevance import without_effect
from rayctl.errors import InvalidRequest

__all__ = ["summarize"]

_YEAR_9999 = int(np.datetime64("9999", "us").astype(np.int64))


def summarize(table: pa.Table, request: RunRequest) -> DataSummary:
    """Check everything and return the summary of the data.

    Raises:
        InvalidData: as `rayctl.automl.forecast.prepare.read_series`, and ``too-few-rows``.
        InvalidRequest: ``unknown-metric``, ``unknown-frequency``, ``invalid-season``, ``reserved-column``, and as
            `check_entry`.
    """
    metric_of(request)
    bad = [season for season in request.season_length or [1] if season < 1]
    if bad or request.season_length == []:
        raise InvalidRequest(
            "season_length must be one or more whole numbers from 1 on.",
            code="invalid-season",
            hint="For example 12 for months, [24, 168] for hours with days and weeks; leave it out to have it found.",
            errors=[{"pointer": "/season_length", "message": "must be 1 or more"}],
        )
    _refuse_reserved(request)
    prepared = prepare_series(table, request)
    _refuse_the_end_of_time(prepared, request)
    _, window_warnings = choose_windows(prepared, request)
    warnings = [*without_effect(request), *prepared.warnings, *window_warnings]
    for position, entry in enumerate(request.search_space or ()):
        check_entry(position, entry, prepared.seasons)
        if len(prepared.seasons) > 1 and "season_length" not in entry.params:
            warnings.append(
                f"{entry.model} is tried with the first season length only; name season_length in its parameters."
            )
    used = {*(roles := columns_of(request)).ids, roles.time, roles.target, *request.known_future}
    unused = [name for name in table.column_names if name not in used]
    if unused:
        warnings.append(f"These columns are not used: {', '.join(map(repr, unused[:20]))}.")
    return DataSummary(
        rows=table.num_rows,
        columns=list(table.column_names),
        features=list(request.known_future),
        fingerprint=fingerprint(table),
        series=prepared.n_series,
        frequency=prepared.frequency.name,
        zero_share=round(float((prepared.y == 0.0).mean()), 4),
        warnings=warnings,
    )


def _refuse_reserved(request: RunRequest) -> None:
    """Refuse ids and times whose names the columns of forecasts have."""
    edges = (f"{edge}_{level}" for level in request.levels for edge in ("lower", "upper"))
    reserved = {"fold", "truth", *edges}
    for name in (*request.id_columns, str(request.time_column)):
        if name in reserved:
            raise InvalidRequest(
                f"An id or time column cannot be named {name!r}.",
                code="reserved-column",
                hint="Rename it: a column of the forecasts has this name.",
            )


def _refuse_the_end_of_time(prepared: PreparedSeries, request: RunRequest) -> None:
    ends = prepared.times(np.arange(prepared.n_series), prepared.lengths - 1 + int(request.horizon or 1))
    if prepared.calendar and ends.max() >= _YEAR_9999:
        one = int(ends.argmax())
        raise defect(
            "out-of-range",
            prepared.columns.time,
            f"The forecast of {label(prepared.ids, one)} would reach beyond the year 9998.",
            "Check the dates: 9999-12-31 often stands for a date that is not known. Leave such rows out.",
        )
