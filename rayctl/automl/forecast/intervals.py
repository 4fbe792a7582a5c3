"""Prediction intervals from the errors that the combination made in the windows (split conformal prediction).

Errors are divided by the size of each series' naive errors, so that series share what they know about the width; the
quantile of a level is taken with the correction (n + 1)/n of conformal prediction (Lei et al., "Distribution-free
predictive inference for regression", JASA 2018). With few errors per step, the steps share one quantile of errors
relative to a profile that grows with the horizon. Widths that do not fall with the step are found by isotonic
regression.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["conformal_widths", "with_intervals"]

_ENOUGH = 60  # errors per step from which on every step has a quantile of its own


def conformal_widths(errors: Sequence[np.ndarray], levels: Sequence[int], horizon: int) -> np.ndarray:
    """Return half the width of the interval of each level at each step, in units of a series' scale.

    Args:
        errors: Per window (series, horizon): errors divided by the series' scale, NaN where nothing was observed.
        levels: Percent, ascending.
        horizon: Steps.

    Returns:
        (levels, horizon), not falling with the level nor with the step.
    """
    if not levels:
        return np.empty((0, horizon))
    sizes = np.abs(np.concatenate(list(errors))) if errors else np.empty((0, horizon))
    if not np.isfinite(sizes).any():
        return np.full((len(levels), horizon), np.nan)
    counts = np.isfinite(sizes).sum(axis=0)
    if counts.min() >= _ENOUGH:
        widths = np.array([[_quantile(sizes[:, step], level) for step in range(horizon)] for level in levels])
    else:
        mean = np.array([np.nanmean(sizes[:, max(0, k - 1) : k + 2]) if counts[k] else np.nan for k in range(horizon)])
        filled = np.where(np.isfinite(mean), mean, np.nanmax(mean))
        # A straight line through the steps' means, not falling: the raw means of few errors are noise.
        steps = np.arange(horizon)
        slope, level_0 = np.polyfit(steps, filled, 1) if horizon > 1 else (0.0, filled[0])
        profile = np.maximum(level_0 + max(0.0, slope) * steps, 1e-12) if slope > 0 else np.full(horizon, filled.mean())
        profile = np.maximum(profile, max(float(filled.mean()) * 0.1, 1e-12))
        relative = (sizes / profile).ravel()
        widths = np.array([[_quantile(relative, level)] for level in levels]) * profile
    return np.array([_not_falling(row) for row in np.maximum.accumulate(widths, axis=0)])


def _not_falling(widths: np.ndarray) -> np.ndarray:
    """Return the non-falling widths that are closest to these.

    A running maximum would carry the step with the largest error by chance, or the worst weekday, to all later ones:
    over a long horizon intervals would become far too wide.
    """
    from scipy.optimize import isotonic_regression

    return np.asarray(isotonic_regression(widths).x)


def _quantile(values: np.ndarray, level: int) -> float:
    values = np.sort(values[np.isfinite(values)])
    rank = int(np.ceil((len(values) + 1) * level / 100))
    # Fewer values than the level needs: the largest, widened as if the next one came at the same distance.
    return float(values[rank - 1]) if rank <= len(values) else float(values[-1]) * 1.25


def with_intervals(
    forecast: np.ndarray, scale: np.ndarray, widths: np.ndarray, levels: Sequence[int], floor: np.ndarray
) -> dict[str, Any]:
    """Return the columns ``lower_<level>`` and ``upper_<level>`` of forecasts, in the order of the levels.

    Args:
        forecast: (series, horizon).
        scale: (series,).
        widths: From `conformal_widths`.
        levels: Percent.
        floor: (series,): what the series is never below.
    """
    columns = {}
    for level, width in zip(levels, widths, strict=True):
        half = scale[:, None] * width
        columns[f"lower_{level}"] = np.maximum(forecast - half, np.minimum(floor[:, None], forecast)).ravel()
        columns[f"upper_{level}"] = (forecast + half).ravel()
    return columns
