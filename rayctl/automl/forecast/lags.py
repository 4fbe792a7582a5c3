"""Features for models that learn from all series together: what is known at an origin about a step ahead of it.

Every row is one (origin, step): the origin is a position in the series, the step how far ahead the target is. All
values are measured from a base and in a scale taken from the values just before the origin, so that series of any
level and size can be learned from together, and trends leave the range of the training data as little as possible.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rayctl.automl.forecast.prepare import PreparedSeries

__all__ = ["Design", "Layout", "layout_of", "make_rows"]

_MAX_LAGS = 24
_MANY_LAGS = 12  # with a season longer than the most lags
_D = 86_400_000_000
_MONTHS_FROM_0 = 12


@dataclass(frozen=True)
class Layout:
    """Which features there are.

    Attributes:
        seasons: Season lengths (1 not among them).
        lags: So many last values.
        window: Steps that base and scale are taken from.
        calendar: Names of features of the target's time.
        exogenous: Number of columns with a known future.
        relative: What targets are measured from: ``level`` (mean of the last window), ``last`` (the last value),
            ``trend`` (the last value and the mean change of the last two windows, once per step) or ``season`` (the
            seasonal naive forecast).
    """

    seasons: tuple[int, ...]
    lags: int
    window: int
    calendar: tuple[str, ...]
    exogenous: int
    relative: str

    @property
    def reach(self) -> int:
        """Steps before the origin that features look back to."""
        return max([3 * season for season in self.seasons] + [2 * self.window, self.lags + 1])


def layout_of(series: PreparedSeries, relative: str) -> Layout:
    """Return the features that fit the seasons and the frequency of series."""
    shortest = float(np.median(series.lengths))
    seasons = tuple(season for season in series.seasons if season > 1 and 2 * season <= shortest)
    first = seasons[0] if seasons else 1
    lags = min(max(first, 6), _MAX_LAGS) if first <= _MAX_LAGS else _MANY_LAGS
    window = first if 1 < first <= 2 * _MAX_LAGS else (_MANY_LAGS if first > 1 else 4)
    calendar: list[str] = []
    if series.calendar:
        unit, count = series.frequency.unit, series.frequency.count
        if unit == "month":
            calendar = ["month"] if count < _MONTHS_FROM_0 else []
        elif unit == "business" or count <= _D:
            calendar = ["weekday", "yearday"] + (["timeofday"] if unit == "us" and count < _D else [])
        else:
            calendar = ["yearday"]
    return Layout(seasons, lags, window, tuple(calendar), series.exogenous.width, relative)


@dataclass(frozen=True)
class Design:
    """Rows of features. ``base`` and ``scale`` turn a model's output z into values: base + scale z."""

    features: np.ndarray
    base: np.ndarray
    scale: np.ndarray


@dataclass(frozen=True)
class Panel:
    """Values of many series one after the other, with running sums. ``begins``: per position, where its series does."""

    y: np.ndarray
    sums: np.ndarray
    changes: np.ndarray

    @classmethod
    def of(cls, y: np.ndarray) -> Panel:
        """Return the panel of values."""
        steps = np.abs(np.diff(y, prepend=y[:1]))
        return cls(y, np.append(0.0, np.cumsum(y)), np.append(0.0, np.cumsum(steps)))


def _mean(sums: np.ndarray, last: np.ndarray, begin: np.ndarray, window: int) -> np.ndarray:
    """Return the mean over the ``window`` positions up to ``last``, or as many as there are from ``begin`` on."""
    first = np.maximum(begin, last + 1 - window)
    size = last + 1 - first
    total = sums[last + 1] - sums[np.minimum(first, last + 1)]
    return np.divide(total, size, out=np.full(len(last), np.nan), where=size > 0)


def make_rows(
    panel: Panel,
    begin: np.ndarray,
    origin: np.ndarray,
    step: np.ndarray,
    layout: Layout,
    times: np.ndarray | None,
    x_target: np.ndarray,
) -> Design:
    """Return the features of rows, float32, NaN where a value would lie before the series.

    Args:
        panel: The values.
        begin: (rows,): where the row's series begins.
        origin: (rows,): position of the last known value.
        step: (rows,): steps ahead, from 1 on.
        layout: Which features.
        times: (rows,): the target's time, microseconds since 1970, for features of the calendar.
        x_target: (rows, columns): columns with a known future at the target's time.
    """
    rows = len(origin)

    def at(position: np.ndarray) -> np.ndarray:
        inside = (position >= begin) & (position <= origin)
        return np.where(inside, panel.y[np.clip(position, 0, len(panel.y) - 1)], np.nan)

    level = _mean(panel.sums, origin, begin, layout.window)
    # The first change of a series would be from the series before it: it begins one later.
    change = _mean(panel.changes, origin, begin + 1, 2 * layout.window)
    size = np.maximum(np.abs(level), 1e-12)
    scale = np.where(np.nan_to_num(change) > 1e-6 * size, np.nan_to_num(change), 0.1 * size)
    last = panel.y[origin]
    columns: list[np.ndarray] = [np.asarray(step, np.float64)]

    def add(values: np.ndarray) -> None:
        columns.append((values - level) / scale)

    for lag in range(layout.lags):
        add(at(origin - lag))
    base = last if layout.relative in ("last", "trend") else level
    if layout.relative == "trend":
        first = np.maximum(begin, origin - 2 * layout.window)
        base = last + step * (last - panel.y[first]) / np.maximum(1, origin - first)
    for place, season in enumerate(layout.seasons):
        same = origin + step - season * -(-step // season)
        naive = at(same)
        parts = [naive, at(same - season), at(same - 2 * season)]
        if place == 0 and layout.relative == "season":
            base = np.where(np.isnan(naive), level, naive)
        for part in parts:
            add(part)
        known = np.stack(parts)
        count = np.isfinite(known).sum(axis=0)
        add(np.divide(np.nansum(known, axis=0), count, out=np.full(rows, np.nan), where=count > 0))
        add(at(same + 1))
        add(at(same - 1))
        columns.append(
            (_mean(panel.sums, origin, begin, season) - _mean(panel.sums, origin - season, begin, season)) / scale
        )
        if season != layout.window:
            add(_mean(panel.sums, origin, begin, season))
    for window in (3, 2 * layout.window):
        add(_mean(panel.sums, origin, begin, window))
    columns.append(np.log(size / scale))
    columns.append(np.minimum(origin - begin + 1, layout.reach).astype(np.float64))
    if times is not None:
        columns += _calendar(times, layout.calendar)
    features = np.empty((rows, len(columns) + x_target.shape[1]), np.float32)
    for place, column in enumerate(columns):
        features[:, place] = column
    features[:, len(columns) :] = x_target
    return Design(features, base, scale)


def _calendar(times: np.ndarray, names: tuple[str, ...]) -> list[np.ndarray]:
    days = np.floor_divide(times, _D).astype("datetime64[D]")
    found: list[np.ndarray] = []
    for name in names:
        if name == "month":
            found.append(days.astype("datetime64[M]").astype(np.int64) % 12)
        elif name == "weekday":
            found.append((days.astype(np.int64) + 3) % 7)
        elif name == "yearday":
            found.append((days - days.astype("datetime64[Y]").astype("datetime64[D]")).astype(np.int64))
        else:  # hours since midnight
            found.append((times % _D) / (_D / 24))
    return [values.astype(np.float64) for values in found]
