"""What models cost, from measurements on one core; and what follows for chunks and windows. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rayctl.automl.engine import Candidate, Cost
from rayctl.automl.forecast.frequency import parse_frequency
from rayctl.automl.model import DataSummary, RunRequest

__all__ = ["chunk_count", "fold_cost", "ladder_seconds", "series_ms", "shape_of", "windows_worth"]

CHUNK_S = 1.2
"""Work of one chunk with a model of middling cost, seconds."""

MAX_CHUNKS = 40
_LONG = 500.0  # histories are cut, or the models' cost grows little, from so many steps on
_LADDER: tuple[tuple[str, dict[str, Any]], ...] = (
    ("AutoCES", {}),
    ("DynamicOptimizedTheta", {}),
    ("Decomposed", {}),
    ("Decomposed", {"forecaster": "AutoCES"}),
)
_DEFAULT_WINDOWS = 3

# Milliseconds per series as a + b n + c n² for n steps: without a season, and with one.
# Measured while others used the machine; runs on a quiet one took this part of it.
_QUIET = 0.6
_Curve = tuple[float, float, float]
_COSTS: dict[str, tuple[_Curve, _Curve]] = {
    "Naive": ((0.05, 0, 0), (0.05, 0, 0)),
    "TSB": ((0.3, 0, 0), (0.3, 0, 0)),
    "AutoCES": ((0.4, 0.003, 0), (3.0, 0.02, 1e-5)),
    "DynamicOptimizedTheta": ((0.5, 0.045, 2e-5), (1.5, 0.035, 5e-5)),
    "AutoTheta": ((1.0, 0.1, 2.2e-4), (4.0, 0.07, 1.5e-4)),
    "MSTL": ((1.0, 0.05, 0), (5.0, 0.06, 0)),
    "AutoETS": ((1.5, 0.05, 0), (10.0, 0.7, 0)),
    "AutoETS AZZ": ((1.5, 0.05, 0), (5.0, 0.25, 0)),
    "AutoETS ZAZ": ((1.5, 0.05, 0), (8.0, 0.5, 0)),
    "AutoARIMA": ((80.0, 0.05, 0), (150.0, 1.0, 0)),
    "AutoMFLES": ((60.0, 0.4, 0), (60.0, 0.4, 0)),
    "Decomposed AutoCES": ((0.6, 0.003, 0), (1.2, 0.012, 0)),
    "Decomposed DynamicOptimizedTheta": ((0.5, 0.045, 2e-5), (2.0, 0.035, 6e-5)),
    "Decomposed AutoETS": ((1.5, 0.04, 0), (2.5, 0.05, 0)),
    "Decomposed AutoARIMA": ((90.0, 0.05, 0), (100.0, 0.04, 0)),
}
_ALIKE = {
    **dict.fromkeys(("SeasonalNaive", "RandomWalkWithDrift", "HistoricAverage"), "Naive"),
    **dict.fromkeys(("WindowAverage", "SeasonalWindowAverage"), "Naive"),
    **dict.fromkeys(("IMAPA", "ADIDA", "CrostonClassic", "CrostonSBA", "CrostonOptimized"), "TSB"),
    **dict.fromkeys(("OptimizedTheta", "DynamicTheta", "Theta"), "DynamicOptimizedTheta"),
}


def series_ms(model: str, params: Mapping[str, Any], length: float, season: int) -> float | None:
    """Return the predicted milliseconds of one series, None for models that were not measured."""
    name = _ALIKE.get(model, model)
    if name == "Decomposed":
        name = f"{name} {params.get('forecaster', 'DynamicOptimizedTheta')}"
    if name == "AutoETS" and f"{name} {params.get('model')}" in _COSTS:
        name = f"{name} {params['model']}"
    if name not in _COSTS:
        return None
    wanted = params.get("season_length", season)
    longest = max(wanted) if isinstance(wanted, (list, tuple)) else int(wanted)
    n = min(length, float(params.get("max_history") or length))
    if isinstance(wanted, (list, tuple)) and len(wanted) > 1 and model in ("Decomposed", "MSTL"):
        several = 0.02 * n if model == "Decomposed" else 0.2 * n
    else:
        several = 0.0
    a, b, c = _COSTS[name][1 if longest > 1 and 2 * longest <= n else 0]
    return _QUIET * (a + b * n + c * n * n + several)


def chunk_count(lengths: np.ndarray, seasons: Sequence[int]) -> int:
    """Return into how many chunks series of these lengths are cut: one for up to about a hundred short ones."""
    mean = float(lengths.mean()) if len(lengths) else 1.0
    each = series_ms("AutoETS", {"model": "AZZ"}, min(mean, _LONG), seasons[0]) or 1.0
    return int(np.clip(round(len(lengths) * each / (1000 * CHUNK_S)), 1, min(MAX_CHUNKS, max(1, len(lengths)))))


def ladder_seconds(lengths: np.ndarray, seasons: Sequence[int]) -> float:
    """Return the seconds that one pass of the cheap models over all series costs on one core."""
    mean = float(lengths.mean()) if len(lengths) else 1.0
    each = sum(series_ms(model, params, min(mean, _LONG), seasons[0]) or 0.0 for model, params in _LADDER)
    return len(lengths) * each / 1000


def windows_worth(lengths: np.ndarray, seasons: Sequence[int], budget_s: float | None) -> int:
    """Return how many windows are worth their cost: three, or fewer if the budget is short for the series.

    With thousands of series, one window already says which models are good; more models then pay more than more
    windows. The forecast after all data is a further pass.
    """
    if budget_s is None:
        return _DEFAULT_WINDOWS
    each = ladder_seconds(lengths, seasons)
    return next((count for count in (3, 2) if (count + 1) * each <= 0.9 * budget_s), 1)


def shape_of(summary: DataSummary, request: RunRequest) -> tuple[int, float, tuple[int, ...]]:
    """Return (number of series, mean length, season lengths) of the data that a summary describes."""
    series = max(1, summary.series or 1)
    length = summary.rows / series
    if request.known_future:
        length = max(1.0, length - int(request.horizon or 1))
    if request.season_length:
        return series, length, tuple(request.season_length)
    if summary.frequency is None:
        return series, length, (1,)
    return series, length, parse_frequency(summary.frequency).season_lengths(length)


def fold_cost(summary: DataSummary, request: RunRequest, candidate: Candidate) -> Cost | None:
    """Return the predicted cost of one fold, None for models that were not measured.

    A global model is learned once per process and window, whatever the number of chunks: its cost is spread over
    them as if two processes shared the window.
    """
    series, length, seasons = shape_of(summary, request)
    chunks = chunk_count(np.full(series, length), seasons)
    rows, horizon = series * length, int(request.horizon or 1)
    memory = 4e6 + 40.0 * rows
    if candidate.model in ("GlobalLightGBM", "GlobalRidge"):
        seconds, bytes_ = _global_cost(candidate, rows, horizon, series)
        return Cost(seconds * min(chunks, 2) / chunks, memory + bytes_, peak=max(1.0, chunks / 2))
    each = series_ms(candidate.model, candidate.params, length, seasons[0])
    # The series that a model has no time for get a cheap forecast, so half a pass says little about the model.
    return None if each is None else Cost(0.002 + series / chunks * each / 1000, memory, any_part_helps=False)


def _global_cost(candidate: Candidate, rows: float, horizon: int, series: int) -> tuple[float, float]:
    if candidate.model == "GlobalRidge":
        used = min(rows, float(candidate.params.get("rows", 20_000)))
        return 0.05 + horizon * used * 5.0e-7 + series * horizon * 2e-6, used * 600.0
    steps = 1 if candidate.params.get("strategy", "recursive") == "recursive" else horizon
    used = min(rows * steps, float(candidate.params.get("rows", 80_000)))
    return 0.2 + used * 3.0e-5 + series * horizon * 2e-5, used * 500.0
