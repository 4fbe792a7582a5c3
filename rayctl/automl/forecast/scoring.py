"""Scores of many series at once: the same numbers as `rayctl.automl.metrics.forecast_score`, without its loop."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rayctl.automl.metrics import Metric

__all__ = ["WindowScorer", "series_scales"]


def series_scales(values: np.ndarray, offsets: np.ndarray, season_length: int = 1, squared: bool = False) -> np.ndarray:
    """Return `rayctl.automl.metrics.series_scale` of every series, shape (series,).

    Args:
        values: The training values of all series one after the other, NaN where they are missing.
        offsets: Where each series begins, and the end; shape (series + 1,).
        season_length: Steps of one season.
        squared: Of squared changes.
    """
    count = len(offsets) - 1
    group = np.repeat(np.arange(count), np.diff(offsets))

    def mean(parts: np.ndarray, groups: np.ndarray) -> np.ndarray:
        finite = np.isfinite(parts)
        parts, groups = parts[finite], groups[finite]
        size = np.bincount(groups, minlength=count)
        total = np.bincount(groups, weights=parts**2 if squared else np.abs(parts), minlength=count)
        return np.divide(total, size, out=np.zeros(count), where=size > 0)

    level = mean(values, group)
    floor = level * (1e-18 if squared else 1e-9)
    scale = np.where(level > 0.0, level, 1.0)
    for lag in [1, season_length] if season_length > 1 else [1]:
        if lag >= len(values):
            continue
        same = group[lag:] == group[:-lag]
        found = mean((values[lag:] - values[:-lag])[same], group[lag:][same])
        scale = np.where(found > floor, found, scale)
    return scale


@dataclass(frozen=True)
class WindowScorer:
    """Scores forecasts of one window.

    Attributes:
        metric: What is computed.
        truth: (series, horizon), NaN where nothing was observed.
        scale: (series,): what errors are divided by in MASE and (squared) RMSSE.
    """

    metric: Metric
    truth: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(
        cls, metric: Metric, truth: np.ndarray, history: np.ndarray, offsets: np.ndarray, season_length: int
    ) -> WindowScorer:
        """Return the scorer of series with these test values and these histories (see `series_scales`)."""
        scale = series_scales(history, offsets, season_length, squared=metric.name == "rmsse")
        return cls(metric, truth, scale)

    def losses(self, forecast: np.ndarray) -> np.ndarray:
        """Return the value of a named metric for every series, shape (series,), NaN where nothing can be scored.

        ``forecast`` is (series, horizon). A forecast that is NaN makes its series NaN.
        """
        name = self.metric.name
        usable = ~np.isnan(self.truth)
        if name == "mape":
            usable &= self.truth != 0
        size = usable.sum(axis=1)
        error = np.abs(np.where(usable, self.truth - forecast, 0.0))
        if name in ("rmse", "rmsse", "mse"):
            error **= 2
        elif name == "mape":
            error /= np.where(usable, np.abs(self.truth), 1.0)
        elif name == "smape":
            both = np.where(usable, np.abs(self.truth) + np.abs(forecast), 0.0)
            error = np.divide(2 * error, both, out=np.zeros_like(error), where=both != 0)
        if name == "wape":  # its mean over series is the sum of all errors over the sum of all values
            actual = np.abs(np.where(usable, self.truth, 0.0)).sum() / max(1, int((size > 0).sum()))
            size = np.where((size > 0) & (actual > 0), actual, 0.0)
        mean = np.divide(error.sum(axis=1), size, out=np.full(len(size), np.nan), where=size > 0)
        if name in ("mase", "rmsse"):
            mean /= self.scale
        return np.sqrt(mean) if name in ("rmse", "rmsse") else mean

    def score(self, forecast: np.ndarray) -> float:
        """Return the score of all series: their mean, or a caller's own metric on all observed values together."""
        if self.metric.function is not None:
            usable = ~np.isnan(self.truth)
            return float(self.metric.function(self.truth[usable], forecast[usable]))
        losses = self.losses(forecast)
        scored = ~np.isnan(self.truth)
        if self.metric.name == "mape":
            scored &= self.truth != 0
        rows = scored.any(axis=1)
        return float(losses[rows].mean()) if rows.any() else float("nan")

    def take(self, rows: np.ndarray) -> WindowScorer:
        """Return the scorer of some of the series."""
        return WindowScorer(self.metric, self.truth[rows], self.scale[rows])
