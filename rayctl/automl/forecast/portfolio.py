"""Which models are tried, in which order, when the caller names none. Imports no model library."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from typing import Any

from rayctl.automl.engine import Candidate
from rayctl.automl.forecast.frequency import parse_frequency
from rayctl.automl.model import DataSummary, RunRequest
from rayctl.automl.search import distinct

__all__ = ["portfolio"]

_CUT_ABOVE = 1000
_LONGEST_STATE_SEASON = 24  # exponential smoothing has no longer seasons, and ARIMA takes minutes with them

_LIMITED_ARIMA: dict[str, Any] = {
    "approximation": True,
    "max_p": 3,
    "max_q": 3,
    "max_P": 1,
    "max_Q": 1,
    "nmodels": 30,
}

# Cheapest first per unit of quality; costs per series are in the reference (automl.md 5, the time-series ladder).
_LADDER: tuple[tuple[str, dict[str, Any]], ...] = (
    ("SeasonalNaive", {}),
    ("AutoCES", {}),
    ("DynamicOptimizedTheta", {}),
    ("MSTL", {}),
    ("AutoETS", {"model": "AZZ"}),
    ("MedianOfModels", {}),
    ("AutoTheta", {}),
    ("AutoARIMA", _LIMITED_ARIMA),
    ("MedianOfModels", {"members": ["AutoCES", "AutoETS", "AutoTheta", "AutoARIMA"]}),
    ("AutoETS", {"model": "ZZZ"}),
    ("AutoMFLES", {}),
    ("AutoARIMA", {}),
)

_VARIATIONS: tuple[tuple[str, dict[str, list[Any]]], ...] = (
    ("AutoETS", {"model": ["ANN", "AAN", "MAN", "MNN", "ZAZ", "ZNZ", "MAM", "MNM", "AAA", "ANA"]}),
    ("AutoETS", {"model": ["AAN", "MAN", "ZAZ", "AAA", "MAM"], "damped": [True]}),
    ("AutoCES", {"model": ["N", "P", "S", "F"]}),
    ("Theta", {"decomposition_type": ["additive", "multiplicative"]}),
    ("OptimizedTheta", {"decomposition_type": ["additive", "multiplicative"]}),
    ("DynamicOptimizedTheta", {"decomposition_type": ["additive"]}),
    ("DynamicTheta", {"decomposition_type": ["additive", "multiplicative"]}),
    ("AutoARIMA", {"approximation": [True], "max_p": [2, 5], "max_d": [1], "ic": ["aicc", "bic"], "nmodels": [20, 60]}),
    ("SeasonalExponentialSmoothingOptimized", {}),
    ("SimpleExponentialSmoothingOptimized", {}),
    ("HistoricAverage", {}),
    ("RandomWalkWithDrift", {}),
    ("WindowAverage", {"window_size": [2, 3, 6, 12]}),
    ("SeasonalWindowAverage", {"window_size": [2, 3, 4]}),
    ("CrostonSBA", {}),
    ("IMAPA", {}),
)

_WITHOUT_SEASON = frozenset(
    {"SimpleExponentialSmoothingOptimized", "HistoricAverage", "RandomWalkWithDrift", "WindowAverage", "CrostonSBA"}
    | {"IMAPA"}
)
_NEEDS_SEASON = frozenset({"MSTL", "SeasonalExponentialSmoothingOptimized", "SeasonalWindowAverage"})
_GROWS = frozenset({"AutoTheta", "DynamicOptimizedTheta", "MedianOfModels", "AutoARIMA", "AutoETS", "OptimizedTheta"})


def portfolio(summary: DataSummary, request: RunRequest) -> Iterator[Candidate]:
    """Yield the default candidates: the ladder for every season length, then all variations in seeded order.

    The sequence is finite: around a hundred candidates.
    """
    seasons = request.season_length or [
        1 if summary.frequency is None else parse_frequency(summary.frequency).season_length
    ]
    length = summary.rows / max(1, summary.series or 1)
    yield from distinct(_sequence(seasons, length, request))


def _sequence(seasons: list[int], length: float, request: RunRequest) -> Iterator[Candidate]:
    for (model, params), wanted in itertools.product(_LADDER, seasons):
        season = _usable_season(model, wanted, length)
        if model == "AutoMFLES":
            params = {"test_size": int(request.horizon or 1)}
        if _makes_sense(model, params, season, length):
            yield _candidate(model, params, season, length)
    rest = []
    for model, grid in _VARIATIONS:
        for values in itertools.product(*grid.values()):
            params = dict(zip(grid, values, strict=True))
            for wanted in dict.fromkeys([*seasons, 1]):
                season = _usable_season(model, wanted, length)
                if _makes_sense(model, params, season, length):
                    rest.append(_candidate(model, params, season, length))
    random.Random(f"rayctl/forecast/{request.seed}").shuffle(rest)
    yield from rest


def _usable_season(model: str, season: int, length: float) -> int:
    """Return the season length to use: 1 where the model or the data has no room for it."""
    if 2 * season > length or (model in ("AutoETS", "AutoARIMA") and season > _LONGEST_STATE_SEASON):
        return 1
    return season


def _makes_sense(model: str, params: dict[str, Any], season: int, length: float) -> bool:
    if model in _NEEDS_SEASON and season <= 1:
        return False
    if model == "AutoETS" and season <= 1:
        return params["model"][2] not in "AM"
    if model == "MedianOfModels" and season > _LONGEST_STATE_SEASON:
        return "AutoARIMA" not in params.get("members", ())
    return 2 * season * params.get("window_size", 1) <= length


def _candidate(model: str, params: dict[str, Any], season: int, length: float) -> Candidate:
    found = dict(params)
    if model not in _WITHOUT_SEASON:
        found["season_length"] = season
    if model in _GROWS and length > _CUT_ABOVE:
        found["max_history"] = max(_CUT_ABOVE // 2, 4 * season)
    return Candidate(model, found)
