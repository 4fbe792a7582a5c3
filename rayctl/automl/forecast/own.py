"""Rayctl's own forecasters, in the form of statsforecast's: ``forecast(y=, h=)`` returning ``{"mean": array}``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rayctl.automl.forecast.models import STATSFORECAST

__all__ = ["Decomposed", "MedianOfModels", "cheap_forecast", "fourier_terms", "seasonal_naive"]


def seasonal_naive(y: np.ndarray, h: int, season_length: int = 1) -> np.ndarray:
    """Return the last season repeated, shape (h,); the last value where there is no whole season."""
    season = season_length if 1 <= season_length <= len(y) else 1
    return np.asarray(np.resize(y[-season:], h), dtype=np.float64)


def cheap_forecast(y: np.ndarray, h: int, season_length: int = 1) -> np.ndarray:
    """Return the seasonal naive forecast or the random walk with drift, whichever fits the history better.

    "Better" is the mean absolute change over a season (that the seasonal naive method makes as its errors) against
    the mean absolute error of the random walk over as many steps.
    """
    season = season_length if season_length > 1 and 2 * season_length <= len(y) else 1
    if len(y) < 3:
        return seasonal_naive(y, h)
    drift = (y[-1] - y[0]) / (len(y) - 1)
    if season > 1:
        seasonal_error = np.abs(y[season:] - y[:-season]).mean()
        steps = np.arange(1, min(season, h, len(y) - 1) + 1)
        walk_error = np.mean([np.abs(y[k:] - y[:-k] - drift * k).mean() for k in steps])
        if seasonal_error <= walk_error:
            return seasonal_naive(y, h, season)
    return np.asarray(y[-1] + drift * np.arange(1, h + 1), dtype=np.float64)


def fourier_terms(steps: np.ndarray, seasons: Sequence[int], order: int) -> np.ndarray:
    """Return sines and cosines of the first ``order`` harmonics of each season: (steps, terms), without repeats."""
    frequencies = sorted({k / season for season in seasons for k in range(1, min(order, season // 2) + 1)})
    angles = 2 * np.pi * np.outer(steps, frequencies)
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)


class MedianOfModels:
    """The median of several models' forecasts, step by step.

    Members with different assumptions rarely err in the same direction, and the median ignores the one that went
    astray (Petropoulos & Svetunkov 2020, "A simple combination of univariate models").

    Args:
        season_length: Steps of one season.
        members: Names of models of ``statsforecast.models``; members that fail on a series are left out.

    Raises:
        ValueError: a member is not one of those models, or there is none.
    """

    def __init__(
        self,
        season_length: int = 1,
        members: Sequence[str] = ("AutoCES", "DynamicOptimizedTheta", "AutoETS"),
    ) -> None:
        unknown = [name for name in members if name not in STATSFORECAST]
        if unknown or not members:
            raise ValueError(f"members must be models of statsforecast; {unknown} are not")
        self.season_length = season_length
        self.members = tuple(members)

    def forecast(self, y: np.ndarray, h: int) -> dict[str, np.ndarray]:
        """Return the forecast of ``h`` steps after ``y``.

        Raises:
            ValueError: every member failed; the cause is the last one's error.
        """
        from statsforecast import models

        found, last = [], None
        for name in self.members:
            try:
                mean = np.asarray(getattr(models, name)(season_length=self.season_length).forecast(y=y, h=h)["mean"])
            except MemoryError:
                raise
            except Exception as error:  # the point of several members is that one may fail
                last = error
                continue
            if np.isfinite(mean).all():
                found.append(mean)
        if not found:
            raise ValueError("every member failed or gave values that are not finite") from last
        return {"mean": np.median(np.stack(found), axis=0)}


class Decomposed:
    """Seasons taken off first, then a model without seasons on the rest.

    Much cheaper than a model with seasonal states, and as good on most series. ``method`` is how the seasons are
    found: ``stl`` (one after the other by loess) or ``fourier`` (ridge
    regression on a trend and the harmonics of all seasons, for long seasons).

    Args:
        season_length: Steps of each season; those longer than half of a series are not used.
        forecaster: Name of the model of ``statsforecast.models`` for the rest.
        params: Its parameters.
        log: Work on logarithms, which makes seasons proportional to the level; only where all values are positive.
        method: ``stl`` or ``fourier``.
        order: Harmonics per season (``fourier``).

    Raises:
        ValueError: an unknown method or forecaster.
    """

    def __init__(
        self,
        season_length: int | Sequence[int] = 1,
        forecaster: str = "DynamicOptimizedTheta",
        params: dict[str, Any] | None = None,
        log: bool = False,
        method: str = "stl",
        order: int = 8,
    ) -> None:
        if method not in ("stl", "fourier"):
            raise ValueError(f"method must be stl or fourier, not {method!r}")
        if forecaster not in STATSFORECAST:
            raise ValueError(f"forecaster must be a model of statsforecast; {forecaster!r} is not")
        self.seasons = [season_length] if isinstance(season_length, int) else list(season_length)
        self.forecaster, self.params = forecaster, dict(params or {})
        self.log, self.method, self.order = log, method, order

    def forecast(self, y: np.ndarray, h: int) -> dict[str, np.ndarray]:
        """Return the forecast of ``h`` steps after ``y``. Raises whatever the forecaster raises."""
        log = self.log and bool((y > 0).all())
        values = np.log(y) if log else np.asarray(y, dtype=np.float64)
        seasons = sorted(season for season in self.seasons if season > 1 and 2 * season <= len(y))
        if not seasons:
            seasonal, ahead = np.zeros(len(y)), np.zeros(h)
        elif self.method == "stl":
            seasonal, ahead = _stl(values, h, seasons)
        else:
            seasonal, ahead = _fourier(values, h, seasons, self.order)
        rest = self._build().forecast(y=values - seasonal, h=h)["mean"]
        mean = np.asarray(rest) + ahead
        if log:
            mean = np.exp(np.minimum(mean, np.log(y.max()) + 3))  # e³ times the largest value is out of the question
        return {"mean": mean}

    def _build(self) -> Any:
        from statsforecast import models

        cls = getattr(models, self.forecaster)
        try:
            return cls(season_length=1, **self.params)
        except TypeError:
            return cls(**self.params)


def _stl(values: np.ndarray, h: int, seasons: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return (the seasons in history, their last cycles repeated over the horizon).

    The iteration is that of MSTL (Bandara, Hyndman & Bergmeir 2021): each season is estimated by STL with the others
    taken off, twice over. Smooth parts are computed at every tenth of their window and interpolated, as R's ``stl``
    does: for a week of hours that is several times quicker.
    """
    from statsmodels.tsa.seasonal import STL  # type: ignore[import-untyped]

    parts = np.zeros((len(seasons), len(values)))
    rest = np.array(values, dtype=np.float64)
    for _ in range(2 if len(seasons) > 1 else 1):
        for place, season in enumerate(seasons):
            window = 7 + 4 * (place + 1)
            trend = 1.5 * season / (1 - 1.5 / window)
            jumps = {"trend_jump": int(np.ceil(trend / 10)), "low_pass_jump": int(np.ceil((season + 1) / 10))}
            found = STL(rest + parts[place], period=season, seasonal=window, seasonal_deg=0, **jumps).fit()
            rest = rest + parts[place] - found.seasonal
            parts[place] = found.seasonal
    ahead = np.sum([np.resize(part[-season:], h) for part, season in zip(parts, seasons, strict=True)], axis=0)
    return parts.sum(axis=0), ahead


def _fourier(values: np.ndarray, h: int, seasons: list[int], order: int) -> tuple[np.ndarray, np.ndarray]:
    n = len(values)
    order = max(1, min(order, n // (6 * len(seasons))))
    terms = fourier_terms(np.arange(n + h), seasons, order)
    # A piecewise linear trend keeps slow movements out of the harmonics.
    knots = np.linspace(0, 1, max(2, min(12, n // max(seasons) + 1)))[:-1]
    trend = np.maximum(np.arange(n)[:, None] / n - knots, 0.0)
    columns = np.concatenate([np.ones((n, 1)), trend, terms[:n]], axis=1)
    gram = columns.T @ columns
    penalty = np.full(len(gram), 1e-3 * n)
    penalty[0] = 1e-9 * n
    weights = np.linalg.solve(gram + np.diag(penalty), columns.T @ values)[-terms.shape[1] :]
    return terms[:n] @ weights, terms[n:] @ weights
