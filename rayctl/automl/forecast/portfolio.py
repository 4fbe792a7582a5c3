"""Which models are tried, in which order, when the caller names none. Imports no model library."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rayctl.automl.engine import Candidate
from rayctl.automl.forecast.costs import shape_of
from rayctl.automl.model import DataSummary, RunRequest
from rayctl.automl.search import Space, distinct, int_log_uniform, log_uniform, uniform

__all__ = ["portfolio", "spaces"]

_CUT_ABOVE = 1000
_LONGEST_STATE_SEASON = 24  # exponential smoothing has no longer seasons, and ARIMA takes minutes with them
_MANY = 300  # series from which on models of all series come early

_INTERMITTENT = 0.3
_FOR_GAPS = frozenset({"TSB", "IMAPA", "CrostonSBA"})

_LIMITED_ARIMA: dict[str, Any] = {
    "approximation": True,
    "max_p": 3,
    "max_q": 3,
    "max_P": 1,
    "max_Q": 1,
    "nmodels": 30,
}
_GROWS = frozenset({"AutoTheta", "DynamicOptimizedTheta", "OptimizedTheta", "AutoETS", "AutoARIMA", "AutoMFLES"})
_GROWS_SLOWLY = frozenset({"AutoCES"})


def portfolio(summary: DataSummary, request: RunRequest) -> list[Candidate]:
    """Return the default candidates: cheap ones first, models of all series where there are enough of them."""
    series, length, seasons = shape_of(summary, request)
    usable = tuple(season for season in seasons if season > 1 and 2 * season <= length)
    local = _gaps_first(list(distinct(_local(usable, length, request))), summary.zero_share or 0.0)
    kinds = _shared if usable else _shared_without_season
    shared = list(kinds(bool(request.known_future))) if _enough(series, length) else []
    if not shared:
        return local
    # The naive method and two cheap models first, then both kinds take turns; many series make the global ones cheap.
    first = 2 if series >= _MANY or request.known_future else 4
    mixed = local[:first]
    rest, ahead = local[first:], list(shared)
    while rest or ahead:
        mixed += ahead[:1]
        mixed += rest[:2]
        ahead, rest = ahead[1:], rest[2:]
    return mixed


def _gaps_first(candidates: list[Candidate], zero_share: float) -> list[Candidate]:
    """Move models for intermittent demand to the front where many values are zero (from `_INTERMITTENT` on)."""
    if zero_share < _INTERMITTENT:
        return candidates
    early = [candidate for candidate in candidates if candidate.model in _FOR_GAPS]
    return [candidates[0], *early, *(c for c in candidates[1:] if c.model not in _FOR_GAPS)]


def _enough(series: int, length: float) -> bool:
    """Whether models of all series have enough to learn from: ten series and 500 rows, or a few very long series."""
    return (series >= 10 and series * length >= 500) or series * length >= 3000


def _local(seasons: tuple[int, ...], length: float, request: RunRequest) -> Iterator[Candidate]:
    season = seasons[0] if seasons else 1
    if season == 1:
        yield from _without_season(length, request)
        return
    short = season <= _LONGEST_STATE_SEASON
    several = list(seasons) if len(seasons) > 1 else season
    yield Candidate("SeasonalNaive", {"season_length": season})
    yield _cut("AutoCES", {"season_length": season}, length, season)
    yield _cut("DynamicOptimizedTheta", {"season_length": season}, length, season)
    yield _decomposed(several, length)
    if not short or len(seasons) > 1:
        yield _decomposed(several, length, method="fourier")
    yield _decomposed(several, length, forecaster="AutoCES", params={"model": "N"}, log=True)
    if short:
        yield _cut("AutoETS", {"season_length": season, "model": "AZZ"}, length, season)
    yield _decomposed(several, length, forecaster="AutoETS", params={"model": "ZZN", "damped": True})
    if request.known_future:
        yield _cut("AutoARIMA", {"season_length": season if short else 1, **_LIMITED_ARIMA}, length, season)
    yield _decomposed(several, length, log=True)
    yield Candidate("SeasonalWindowAverage", {"season_length": season, "window_size": 3})
    if not short or len(seasons) > 1:
        yield _decomposed(several, length, forecaster="AutoETS", params={"model": "ZZN"}, method="fourier", order=12)
        yield _cut("AutoCES", {"season_length": 1}, length, season)
    for other in seasons[1:]:
        yield Candidate("SeasonalNaive", {"season_length": other})
    yield _decomposed(several, length, forecaster="AutoARIMA", params=_arima_without_season())
    if short:
        yield _cut("AutoETS", {"season_length": season, "model": "ZAZ"}, length, season)
    yield Candidate("TSB", {"alpha_d": 0.2, "alpha_p": 0.2})
    yield _cut("AutoTheta", {"season_length": season}, length, season)
    if season <= _LONGEST_STATE_SEASON:
        yield _cut("AutoARIMA", {"season_length": season, **_LIMITED_ARIMA}, length, season)
        yield _cut("AutoETS", {"season_length": season, "model": "ZZZ"}, length, season)
    yield Candidate("IMAPA")
    mfles = {"season_length": several, "test_size": int(request.horizon or 1)}
    yield _cut("AutoMFLES", mfles, length, season)
    yield Candidate("CrostonSBA")
    yield Candidate("HistoricAverage")


def _without_season(length: float, request: RunRequest) -> Iterator[Candidate]:
    yield Candidate("Naive")
    yield _cut("AutoCES", {"season_length": 1}, length, 1)
    yield _cut("DynamicOptimizedTheta", {"season_length": 1}, length, 1)
    yield _cut("AutoETS", {"season_length": 1, "model": "ZZN"}, length, 1)
    yield Candidate("RandomWalkWithDrift")
    yield _cut("AutoETS", {"season_length": 1, "model": "ZZN", "damped": True}, length, 1)
    yield Candidate("Decomposed", {"season_length": 1, "forecaster": "DynamicOptimizedTheta", "log": True})
    if request.known_future:
        yield _cut("AutoARIMA", {"season_length": 1, **_LIMITED_ARIMA}, length, 1)
    yield Candidate("TSB", {"alpha_d": 0.2, "alpha_p": 0.2})
    yield Candidate(
        "Decomposed", {"season_length": 1, "forecaster": "AutoETS", "params": {"model": "ZZN"}, "log": True}
    )
    yield _cut("AutoARIMA", {"season_length": 1, **_LIMITED_ARIMA}, length, 1)
    yield _cut("AutoTheta", {"season_length": 1}, length, 1)
    yield Candidate("HistoricAverage")
    yield Candidate("WindowAverage", {"window_size": 4})
    yield Candidate("IMAPA")
    yield Candidate("CrostonSBA")


def _arima_without_season() -> dict[str, Any]:
    return {name: value for name, value in _LIMITED_ARIMA.items() if name not in ("max_P", "max_Q")}


def _decomposed(season: int | list[int], length: float, **params: Any) -> Candidate:
    longest = max(season) if isinstance(season, list) else season
    found: dict[str, Any] = {"season_length": season, "forecaster": "DynamicOptimizedTheta", **params}
    if length > _CUT_ABOVE:
        found["max_history"] = max(_CUT_ABOVE, 4 * longest)
    return Candidate("Decomposed", found)


def _cut(model: str, params: Mapping[str, Any], length: float, season: int) -> Candidate:
    """Return a candidate that learns from the last part of very long series, if its cost grows with the length."""
    found = dict(params)
    if length > _CUT_ABOVE and model in _GROWS | _GROWS_SLOWLY:
        found["max_history"] = max(_CUT_ABOVE // 2 if model in _GROWS else _CUT_ABOVE, 4 * season)
    return Candidate(model, found)


def _shared(known_future: bool) -> Iterator[Candidate]:
    # Recursive ones cost a few times less than direct ones, which have a row per step ahead, and are as good.
    yield Candidate("GlobalLightGBM", {"strategy": "recursive", "relative": "season"})
    yield Candidate("GlobalRidge", {"relative": "season"})
    yield Candidate("GlobalLightGBM", {"strategy": "recursive", "relative": "last", "log": True})
    yield Candidate("GlobalLightGBM", {"strategy": "direct", "relative": "season", "rows": 40_000})
    yield Candidate("GlobalLightGBM", {"strategy": "recursive", "relative": "level", "objective": "regression"})
    yield Candidate("GlobalRidge", {"relative": "level", "log": True})
    direct = {"strategy": "direct", "relative": "level", "objective": "regression_l1"}
    yield Candidate("GlobalLightGBM", direct)
    if known_future:
        yield Candidate("GlobalLightGBM", {"strategy": "direct", "relative": "season", "feature_fraction": 1.0})
    slow = {"strategy": "recursive", "relative": "last", "num_leaves": 15, "learning_rate": 0.04, "rounds": 500}
    yield Candidate("GlobalLightGBM", slow)


def _shared_without_season(known_future: bool) -> Iterator[Candidate]:
    # What such series have is a trend: errors of its continuation are learned beside changes of the last value.
    yield Candidate("GlobalLightGBM", {"strategy": "recursive", "relative": "trend"})
    yield Candidate("GlobalRidge", {"relative": "trend"})
    yield Candidate("GlobalLightGBM", {"strategy": "direct", "relative": "trend", "objective": "regression_l1"})
    yield Candidate("GlobalLightGBM", {"strategy": "recursive", "relative": "last", "log": True})
    slow = {"strategy": "recursive", "relative": "last", "num_leaves": 15, "learning_rate": 0.04, "rounds": 500}
    yield Candidate("GlobalLightGBM", slow)
    yield Candidate("GlobalRidge", {"relative": "level"})
    yield Candidate("GlobalLightGBM", {"strategy": "recursive", "relative": "level", "objective": "regression"})
    yield Candidate("GlobalRidge", {"relative": "level", "log": True})
    yield Candidate("GlobalLightGBM", {"strategy": "direct", "relative": "level", "objective": "regression_l1"})
    if known_future:
        yield Candidate("GlobalLightGBM", {"strategy": "direct", "relative": "last", "feature_fraction": 1.0})


def spaces(summary: DataSummary, request: RunRequest) -> dict[str, Space]:
    """Return the space of the global LightGBM, where the data are enough for it."""
    series, length, seasons = shape_of(summary, request)
    if not _enough(series, length):
        return {}
    seasonal = any(season > 1 and 2 * season <= length for season in seasons)
    space: dict[str, Any] = {
        "strategy": ["direct", "recursive"],
        "relative": ["level", "last", "season" if seasonal else "trend"],
        "log": [False, True],
        "objective": ["regression", "regression_l1", "huber"],
        "num_leaves": int_log_uniform(7, 127),
        "learning_rate": log_uniform(0.02, 0.2),
        "min_child_samples": int_log_uniform(5, 200),
        "feature_fraction": uniform(0.4, 1.0),
        "bagging_fraction": uniform(0.5, 1.0),
        "reg_lambda": log_uniform(0.01, 100.0),
    }
    return {"GlobalLightGBM": space}
