"""What the validation forecasts of a collection of series say: errors by step and by series, coverage. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rayctl.automl.metrics import series_scale
from rayctl.automl.report.panels import panels
from rayctl.automl.report.regression import histogram
from rayctl.automl.zones import to_clocks

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Part", "Series", "forecast_scores", "read_series", "series_data"]

_LISTED = 10
_WINDOWS = 6000  # scaled one by one up to this number


@dataclass(frozen=True)
class Part:
    """Rows of one table in the order series, fold, time. ``series`` are places in `Series.labels`.

    ``time`` is datetime64[us] (on clocks of its zone), int64, or (where times cannot be read) the order of the rows.
    ``values``: column name → float64 (n,).
    """

    series: np.ndarray
    fold: np.ndarray
    time: np.ndarray
    values: dict[str, np.ndarray]

    def of(self, series: int) -> Part:
        """Return the rows of one series."""
        low, high = np.searchsorted(self.series, [series, series + 1])
        values = {name: column[low:high] for name, column in self.values.items()}
        return Part(self.series[low:high], self.fold[low:high], self.time[low:high], values)


@dataclass(frozen=True)
class Series:
    """Validation windows, training history and forecast of a collection, on one numbering of the series.

    ``scale``, ``scale_squared``: per validation row what its error is divided by: the mean absolute (squared) change
    against one season earlier, over the history before its window; see `rayctl.automl.metrics.series_scale`.
    """

    labels: list[str]
    validation: Part
    history: Part | None
    forecast: Part | None
    season: int
    scale: np.ndarray
    scale_squared: np.ndarray
    dropped: int


def read_series(
    validation: pa.Table,
    history: pa.Table | None,
    forecast: pa.Table | None,
    *,
    id_columns: Sequence[str],
    time_column: str,
    target: str,
    season: int,
) -> Series | None:
    """Bring the tables on one numbering of the series; None if no validation row is usable."""
    tables = [table for table in (validation, history, forecast) if table is not None]
    codes, labels = _number_series(tables, [name for name in id_columns if name in validation.column_names])
    parts = [
        _part(table, code, time_column, rename={target: "target"} if table is history else {})
        for table, code in zip(tables, codes, strict=True)
    ]
    checked = parts[0]
    if "prediction" not in checked.values:
        return None
    usable = np.isfinite(checked.values["truth"]) & np.isfinite(checked.values["prediction"])
    if not usable.any():
        return None
    rest = iter(parts[1:])
    past = next(rest) if history is not None else None
    checked = Part(
        checked.series[usable],
        checked.fold[usable],
        checked.time[usable],
        {name: column[usable] for name, column in checked.values.items()},
    )
    scale, squared = _scales(checked, past, season)
    ahead = next(rest) if forecast is not None else None
    return Series(labels, checked, past, ahead, season, scale, squared, int((~usable).sum()))


def _scales(checked: Part, past: Part | None, season: int) -> tuple[np.ndarray, np.ndarray]:
    """Return per row the scale of its window; in large collections that of the series' first window, for speed."""
    window, starts, _ = _windows(checked)
    scale, squared = np.ones(len(starts)), np.ones(len(starts))
    each = len(starts) <= _WINDOWS
    ends = np.append(starts[1:], len(window))
    previous, before = -1, np.empty(0)
    for place, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        one = int(checked.series[start])
        if each or one != previous:
            own = past.of(one) if past is not None else None
            before = _before(checked.time[start:end], checked.values["truth"][start:end], own)
            scale[place] = series_scale(before, season)
            squared[place] = series_scale(before, season, squared=True)
        else:
            scale[place], squared[place] = scale[place - 1], squared[place - 1]
        previous = one
    return scale[window], squared[window]


def _before(times: np.ndarray, truth: np.ndarray, past: Part | None) -> np.ndarray:
    if past is not None and "target" in past.values and past.time.dtype == times.dtype:
        before = past.values["target"][past.time < times.min()]
        if np.isfinite(before).sum() >= 2:
            return before
    return truth  # no history: the spread of the window itself


def _number_series(tables: Sequence[pa.Table], ids: Sequence[str]) -> tuple[list[np.ndarray], list[str]]:
    """Return per table the series of each row, and the labels of the series in order of their ids."""
    import pyarrow as pa

    lengths = [table.num_rows for table in tables]
    place = np.zeros(sum(lengths), np.int64)
    names: list[list[str]] = []
    for name in ids:
        texts = pa.chunked_array(
            [pa.concat_arrays(t.column(name).cast(pa.string()).chunks) for t in tables], pa.string()
        )
        encoded = pa.concat_arrays(texts.chunks).fill_null("–").dictionary_encode()
        values = encoded.dictionary.to_pylist()
        order = np.argsort(np.array(values, dtype=object), kind="stable")
        rank = np.empty(len(values), np.int64)
        rank[order] = np.arange(len(values))
        place = place * len(values) + rank[encoded.indices.to_numpy(zero_copy_only=False)]
        names.append([values[i] for i in order])
    distinct, place = np.unique(place, return_inverse=True)
    labels = []
    for code in distinct.tolist():
        parts: list[str] = []
        for values in reversed(names):
            code, rest = divmod(code, len(values))
            parts.append(values[rest])
        labels.append(" · ".join(reversed(parts)) or "the series")
    return np.split(place, np.cumsum(lengths)[:-1]), labels


def _part(table: pa.Table, series: np.ndarray, time_column: str, rename: Mapping[str, str]) -> Part:
    import pyarrow as pa

    fold = (
        table.column("fold").to_numpy().astype(np.int64) if "fold" in table.column_names else np.zeros(len(series), int)
    )
    time = _times(table.column(time_column)) if time_column in table.column_names else np.arange(len(series))
    order = np.lexsort((time, fold, series))
    values = {}
    for name in table.column_names:
        kind = table.schema.field(name).type
        shown = rename.get(name, name)
        wanted = shown in ("target", "truth", "prediction") or shown.startswith(("lower_", "upper_"))
        if wanted and (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
            values[shown] = table.column(name).cast(pa.float64()).to_numpy()[order]
    return Part(series[order], fold[order], time[order], values)


def _times(column: pa.ChunkedArray) -> np.ndarray:
    """Return times as the clocks of their zone show them."""
    import pyarrow as pa

    if pa.types.is_integer(column.type):
        return np.asarray(column.to_numpy(), dtype=np.int64)
    if pa.types.is_timestamp(column.type) and column.type.tz is not None:
        moments = column.cast(pa.timestamp("us", column.type.tz), safe=False).cast(pa.int64()).to_numpy()
        return np.asarray(to_clocks(moments, column.type.tz)).astype("datetime64[us]")
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type) or pa.types.is_string(column.type):
        try:
            return np.asarray(column.cast(pa.timestamp("us"), safe=False).to_numpy(), dtype="datetime64[us]")
        except pa.ArrowInvalid:  # texts that are no times: the order of the rows is what is left
            pass
    return np.arange(len(column))


def _windows(part: Part) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the window (series and fold) of each row, the first row of each window, and each row's step from 1."""
    starts = np.flatnonzero((np.diff(part.series, prepend=-1) != 0) | (np.diff(part.fold, prepend=-1) != 0))
    window = np.zeros(len(part.series), np.int64)
    window[starts] = 1
    window = np.cumsum(window) - 1
    return window, starts, np.arange(len(window)) - starts[window] + 1


def forecast_scores(rows: Series, also: str = "") -> dict[str, dict[int, float]]:
    """Return metric → fold → score (also of ``also``): per series and window, then the mean, as in the leaderboard.

    ``mape`` leaves out zero truths. MASE and RMSSE equal the leaderboard's where the history that was handed in is
    whole and the collection is not too large; else they are close.
    """
    part = rows.validation
    window, starts, _ = _windows(part)
    truth, predicted = part.values["truth"], part.values["prediction"]
    error = np.abs(truth - predicted)

    def mean(values: np.ndarray, counted: np.ndarray | None = None) -> np.ndarray:
        weights = np.ones(len(values)) if counted is None else counted.astype(np.float64)
        totals = np.bincount(window, weights)
        sums = np.bincount(window, np.where(weights > 0, values, 0.0))
        return np.divide(sums, totals, out=np.full(len(totals), np.nan), where=totals > 0)

    size = np.abs(truth) + np.abs(predicted)
    absolute, square = mean(error), mean(error**2)
    with np.errstate(divide="ignore", invalid="ignore"):
        by_window = {
            "mase": absolute / rows.scale[starts],
            "rmsse": np.sqrt(square / rows.scale_squared[starts]),
            "smape": mean(np.where(size > 0, 2 * error / size, 0.0)),
            "mape": mean(error / np.abs(truth), truth != 0),
            "mae": absolute,
            "rmse": np.sqrt(square),
            **({"mse": square} if also == "mse" else {}),
        }
    fold = part.fold[starts]
    found: dict[str, dict[int, float]] = {}
    for name, values in by_window.items():
        usable = np.isfinite(values)
        if usable.any():
            found[name] = {
                int(k): float(values[usable & (fold == k)].mean())
                for k in np.unique(fold)
                if (usable & (fold == k)).any()
            }
    # Of all series together, as the metric is defined.
    actual = np.abs(truth)
    sums = {int(k): (error[part.fold == k].sum(), actual[part.fold == k].sum()) for k in np.unique(part.fold)}
    if wape := {k: float(off / all_) for k, (off, all_) in sums.items() if all_ > 0}:
        found["wape"] = wape
    return found


def series_data(rows: Series, seed: int) -> dict[str, Any]:
    """Return everything that is shown about forecasts, as JSON.

    Scaled errors are absolute errors divided by `Series.scale`: 1 is what repeating the last season costs on
    average over the history.
    """
    part = rows.validation
    _, _, step = _windows(part)
    scaled = np.abs(part.values["truth"] - part.values["prediction"]) / rows.scale
    counts = np.bincount(part.series, minlength=len(rows.labels))
    sums = np.bincount(part.series, scaled, minlength=len(rows.labels))
    error = np.divide(sums, counts, out=np.full(len(counts), np.nan), where=counts > 0)
    scored = np.flatnonzero(counts)
    order = scored[np.argsort(-error[scored], kind="stable")]
    return {
        "series": len(rows.labels),
        "windows": len(np.unique(part.fold)),
        "rows": len(part.series),
        "season": rows.season,
        "by_step": _by_step(step, scaled),
        "by_series": {
            "histogram": histogram(error[scored], 24) if len(scored) > 2 else None,
            "quantiles": [
                {"quantile": q, "value": float(np.quantile(error[scored], q))}
                for q in (0, 0.1, 0.25, 0.5, 0.75, 0.9, 1)
            ],
            "worst": [{"series": rows.labels[i], "error": float(error[i])} for i in order[:_LISTED].tolist()],
        },
        "coverage": _coverage(part),
        "panels": panels(rows, error, order, seed),
    }


def _by_step(step: np.ndarray, scaled: np.ndarray) -> list[dict[str, Any]]:
    found = []
    steps = np.unique(step)
    if len(steps) > 200:
        steps = steps[np.linspace(0, len(steps) - 1, 200).astype(int)]
    for one in steps.tolist():
        values = scaled[step == one]
        low, high = np.quantile(values, [0.1, 0.9])
        found.append({"step": one, "mean": float(values.mean()), "p10": float(low), "p90": float(high)})
    return found


def _coverage(part: Part) -> list[dict[str, Any]]:
    """Per level of the intervals: which share of the true values they held."""
    found = []
    for name in sorted(part.values):
        level = name.removeprefix("lower_")
        if level == name or f"upper_{level}" not in part.values:
            continue
        lower, upper, truth = part.values[name], part.values[f"upper_{level}"], part.values["truth"]
        usable = np.isfinite(lower) & np.isfinite(upper)
        if usable.any():
            inside = (truth >= lower)[usable] & (truth <= upper)[usable]
            found.append(
                {
                    "level": level,
                    "rows": int(usable.sum()),
                    "inside": float(inside.mean()),
                    "width": float((upper - lower)[usable].mean()),
                }
            )
    return sorted(found, key=lambda item: float(item["level"]) if item["level"].isdecimal() else 0.0)
