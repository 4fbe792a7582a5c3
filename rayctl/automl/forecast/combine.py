"""Rayctl's own forecasters, in the form of statsforecast's: ``forecast(y=, h=)`` returning ``{"mean": array}``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rayctl.automl.forecast.models import STATSFORECAST

__all__ = ["MedianOfModels", "seasonal_naive"]


def seasonal_naive(y: np.ndarray, h: int, season_length: int = 1) -> np.ndarray:
    """Return the last season repeated, shape (h,); the last value where there is no whole season."""
    season = season_length if 1 <= season_length <= len(y) else 1
    return np.asarray(np.resize(y[-season:], h), dtype=np.float64)


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
