"""From the name in a request to a class that forecasts one series, and one forecast with it.

statsforecast takes seconds to import, so its names are listed here and it is imported when a model is resolved.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from rayctl.automl import estimators
from rayctl.automl.search import count_candidates, expand_grid
from rayctl.errors import InvalidRequest, TrialError

__all__ = [
    "MODELS",
    "STATSFORECAST",
    "ResolvedModel",
    "check_entry",
    "forecast_series",
    "is_global",
    "is_own",
    "resolve",
]

STATSFORECAST = (
    *("AutoARIMA", "AutoETS", "AutoCES", "AutoTheta", "AutoMFLES", "AutoTBATS", "ARIMA", "AutoRegressive"),
    *("SimpleExponentialSmoothing", "SimpleExponentialSmoothingOptimized", "SeasonalExponentialSmoothing"),
    *("SeasonalExponentialSmoothingOptimized", "Holt", "HoltWinters", "HistoricAverage", "Naive"),
    *("RandomWalkWithDrift", "SeasonalNaive", "WindowAverage", "SeasonalWindowAverage", "ADIDA", "CrostonClassic"),
    *("CrostonOptimized", "CrostonSBA", "IMAPA", "TSB", "MSTL", "MFLES", "TBATS", "Theta", "OptimizedTheta"),
    *("DynamicTheta", "DynamicOptimizedTheta", "GARCH", "ARCH"),
)
"""The models of ``statsforecast.models`` that have a short name."""

MODELS: Mapping[str, str] = {
    **{name: f"statsforecast.models.{name}" for name in STATSFORECAST},
    "Decomposed": "rayctl.automl.forecast.own.Decomposed",
    "MedianOfModels": "rayctl.automl.forecast.own.MedianOfModels",
    "GlobalLightGBM": "rayctl.automl.forecast.globals.GlobalLightGBM",
    "GlobalRidge": "rayctl.automl.forecast.globals.GlobalRidge",
}
"""Short name → importable path. Case and underscores do not count: ``auto_ets`` is ``AutoETS``."""

MAX_HISTORY = "max_history"
"""A parameter that every model has: learn from this many last steps only (some models' cost grows with the square)."""

_WITH_EXOGENOUS = frozenset({"AutoARIMA", "ARIMA"})
_SHORTEST = 3
_EXPLODED = 10.0  # a forecast so many ranges of the history outside of it is a failure, not a forecast

_BY_PLAIN_NAME = {name.lower(): name for name in MODELS}
_CHECKED_COMBINATIONS = 200


@dataclass(frozen=True)
class ResolvedModel:
    """An imported model. ``trusted``: it is one of `MODELS`, not a caller's class."""

    name: str
    cls: type
    trusted: bool

    def has(self, parameter: str) -> bool:
        """Whether the class takes this parameter."""
        accepted = estimators.accepted_parameters(self.cls)
        return accepted is None or parameter in accepted

    def defaults(self, params: Mapping[str, Any], seasons: Sequence[int]) -> dict[str, Any]:
        """Return the parameters with the usual season length filled in, where the class takes one."""
        if "season_length" in params or not self.has("season_length"):
            return dict(params)
        return {**params, "season_length": int(seasons[0])}


def resolve(model: str, pickled_class: bytes | None = None) -> ResolvedModel:
    """Import the class of a short name, an importable path or a pickled class.

    Raises:
        InvalidRequest: ``unknown-model``, also for a class without a way to forecast.
    """
    short = _BY_PLAIN_NAME.get(model.replace("_", "").lower())
    if pickled_class is None and short is not None:
        return ResolvedModel(short, estimators.load_class(MODELS[short]), trusted=True)
    cls = estimators.load_class(model, pickled_class, MODELS)
    trusted = pickled_class is None and is_own(model)
    if not (_call_style(cls) or is_global(cls)):
        raise InvalidRequest(
            f"The model {model!r} cannot forecast: it has neither forecast(y, h) nor fit(y) and predict(h).",
            code="unknown-model",
            hint="Give a class whose forecast(y=, h=) returns {'mean': array} or an array of h values.",
        )
    return ResolvedModel(model, cls, trusted)


def is_own(model: str) -> bool:
    """Whether a name means one of `MODELS`, as short name or path. Imports nothing."""
    return model.replace("_", "").lower() in _BY_PLAIN_NAME or model in MODELS.values()


def is_global(cls: type) -> bool:
    """Whether a class is one of rayctl's models that learn from all series together."""
    return bool(getattr(cls, "learns_from_all_series", False))


@lru_cache(maxsize=64)
def _call_style(cls: type) -> str:
    """Return ``forecast``, ``fit`` (fit and predict), or "" if the class has neither."""
    if _takes(cls, "forecast", "h"):
        return "forecast"
    return "fit" if callable(getattr(cls, "fit", None)) and _takes(cls, "predict", "h") else ""


def _takes(cls: type, method: str, parameter: str) -> bool:
    function = getattr(cls, method, None)
    if not callable(function):
        return False
    try:
        found = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return True  # not inspectable (compiled): let it decide
    return parameter in found or any(item.kind is inspect.Parameter.VAR_KEYWORD for item in found.values())


def check_entry(position: int, entry: Any, seasons: Sequence[int]) -> None:
    """Check one entry of the search space: import its class, check parameter names, build its combinations.

    Raises:
        InvalidRequest: ``empty-grid``, ``unknown-model``, ``unknown-parameter``, ``invalid-parameter``.
    """
    pointer = f"/search_space/{position}"
    if not count_candidates([entry]):
        empty = [name for name, values in entry.params.items() if not values]
        raise InvalidRequest(
            f"The grid of {entry.model!r} has no value for {', '.join(map(repr, empty))}.",
            code="empty-grid",
            hint="Give every parameter at least one value, or leave it out.",
            errors=[{"pointer": f"{pointer}/params/{name}", "message": "no value"} for name in empty],
        )
    resolved = resolve(entry.model, entry.pickled_class)
    for index, candidate in enumerate(expand_grid(entry)):
        if index == _CHECKED_COMBINATIONS:
            return  # the rest is checked when it is tried
        try:
            _build(resolved, resolved.defaults(candidate.params, seasons), seed=0)
        except InvalidRequest:
            raise
        except Exception as error:  # the class is foreign code: any type is possible
            shown = ", ".join(f"{name}={value!r:.60}" for name, value in candidate.params.items())
            raise InvalidRequest(
                f"The model {entry.model!r} cannot be created with {shown or 'no parameters'}: {error}",
                code="invalid-parameter",
                hint="Correct these parameters, or leave them out for the model's defaults.",
                errors=[{"pointer": f"{pointer}/params", "message": str(error)[:300]}],
            ) from error


def _build(resolved: ResolvedModel, params: Mapping[str, Any], seed: int) -> Any:
    own = {name: value for name, value in params.items() if name != MAX_HISTORY or resolved.has(name)}
    history = params.get(MAX_HISTORY)
    if history is not None and (isinstance(history, bool) or not isinstance(history, int) or history < 1):
        raise InvalidRequest(
            f"{MAX_HISTORY} must be a whole number from 1 on.",
            code="invalid-parameter",
            hint="It is from how many last steps the model learns; leave it out for all.",
        )
    return estimators.build(resolved.cls, resolved.name, own, seed)


def forecast_series(
    resolved: ResolvedModel,
    params: Mapping[str, Any],
    y: np.ndarray,
    h: int,
    seed: int,
    x: np.ndarray | None = None,
    x_next: np.ndarray | None = None,
    prototypes: dict[str, Any] | None = None,
) -> np.ndarray:
    """Forecast ``h`` steps after ``y`` with a new instance of the model.

    Season lengths of which the series has not two are not used: none is left, the model is asked without a season.
    Rayctl's own models are not asked about constant series and those of one or two values (the last value is
    repeated), and their forecasts of series without negative values have none either.

    Args:
        resolved: The model.
        params: Its parameters, with `MAX_HISTORY`.
        y: The history, float64.
        h: Steps to forecast.
        seed: For models that take a ``random_state``.
        x: (len(y), columns): columns with a known future, for models that take them.
        x_next: (h, columns): the same over the horizon.
        prototypes: Models that were built for earlier series with the same parameters; new ones are added.

    Returns:
        float64, shape (h,), finite.

    Raises:
        TrialError: ``invalid-prediction``.
        Exception: whatever the model raises.
    """
    if isinstance(history := params.get(MAX_HISTORY), int):
        y = y[-history:]
        x = None if x is None else x[-history:]
    fitting = _fitting_seasons(params, len(y))
    if not resolved.trusted:
        return _ask(resolved, _build(resolved, fitting, seed), y, h, {})
    # Checking parameters costs more than a naive forecast: one checked model per season length is copied.
    prototypes = {} if prototypes is None else prototypes
    key = str(fitting.get("season_length"))
    if key not in prototypes:
        prototypes[key] = _build(resolved, fitting, seed)
    low, high = float(y.min()), float(y.max())
    if low == high or len(y) < _SHORTEST:
        return np.full(h, y[-1])
    model = copy.deepcopy(prototypes[key])
    more = {}
    if x is not None and x_next is not None and x.shape[1] and resolved.name in _WITH_EXOGENOUS:
        chosen = _independent(x)
        more = {"X": x[:, chosen], "X_future": x_next[:, chosen]} if chosen else {}
    found = _ask(resolved, model, y, h, more)
    if np.maximum(found - high, low - found).max() > _EXPLODED * (high - low):
        raise TrialError(
            "The model's forecast is far out of the series' range.",
            code="invalid-prediction",
            hint="It has diverged: choose other parameters, or leave it out.",
        )
    return np.maximum(found, 0.0) if low >= 0 else found


def _ask(resolved: ResolvedModel, model: Any, y: np.ndarray, h: int, more: Mapping[str, np.ndarray]) -> np.ndarray:
    if _call_style(resolved.cls) == "forecast":
        return _forecast_array(model.forecast(y=y, h=h, **more), h)
    fitted = model.fit(y=y, **({"X": more["X"]} if more else {}))
    predictor = model if fitted is None else fitted
    return _forecast_array(predictor.predict(h=h, **({"X": more["X_future"]} if more else {})), h)


def _independent(x: np.ndarray) -> list[int]:
    """Return columns that are neither constant nor combinations of those before them (regressions fail on such)."""
    chosen: list[int] = []
    basis = np.ones((len(x), 1))
    for column in range(x.shape[1]):
        wider = np.concatenate([basis, x[:, [column]]], axis=1)
        if len(chosen) + 4 < len(x) and np.linalg.matrix_rank(wider) == wider.shape[1]:
            chosen.append(column)
            basis = wider
    return chosen


def _fitting_seasons(params: Mapping[str, Any], length: int) -> dict[str, Any]:
    season = params.get("season_length")
    if isinstance(season, (list, tuple)):
        return {**params, "season_length": [s for s in season if 2 * s <= length] or [1]}
    if isinstance(season, int) and 2 * season > length:
        return {**params, "season_length": 1}
    return dict(params)


def _forecast_array(found: Any, h: int) -> np.ndarray:
    if isinstance(found, Mapping):
        if "mean" not in found:
            raise TrialError(
                f"The model's forecast has no 'mean' (it has {', '.join(map(str, list(found)[:5]))}).",
                code="invalid-prediction",
                hint="Return an array, or a mapping with the array as mean.",
            )
        found = found["mean"]
    array = np.asarray(found)
    if array.shape == (h, 1):
        array = array[:, 0]
    if array.shape != (h,) or array.dtype.kind not in "biuf":
        raise TrialError(
            f"The model's forecast has shape {array.shape} and type {array.dtype}; expected are {h} numbers.",
            code="invalid-prediction",
            hint="Return one number per step of the horizon.",
        )
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        raise TrialError(
            "The model's forecast has values that are not finite.",
            code="invalid-prediction",
            hint="It may have diverged: choose other parameters, or leave it out.",
        )
    return array
