"""One configuration over many series: the loop, its time limit, and what happens where the model fails."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from rayctl.automl.engine import Candidate
from rayctl.automl.forecast.models import ResolvedModel, forecast_series
from rayctl.automl.forecast.own import cheap_forecast
from rayctl.errors import RayctlError, TrialError

__all__ = ["Forecasts", "blamed_on", "forecast_all"]

_MESSAGE_CHARS = 500
_FEW = 12  # with fewer steps it is the series that is too short, not one of rayctl's models that fails


@dataclass(frozen=True)
class Forecasts:
    """The forecasts of all series: float64, shape (series, h).

    ``replaced`` series were forecast by a cheap method, because the model failed on them; ``reason`` is the first
    failure. ``stopped_at``: so many series were forecast by the model before time was up, and the rest by
    a cheap method; None: all were. ``learned``: what a global model has learned, in its own format.
    """

    values: np.ndarray
    replaced: int = 0
    reason: str | None = None
    stopped_at: int | None = None
    learned: bytes = b""


def forecast_all(
    candidate: Candidate,
    histories: Sequence[np.ndarray],
    horizon: int,
    seasons: Sequence[int],
    *,
    seed: int,
    deadline: float | None = None,
    stop_at: int | None = None,
    exogenous: Sequence[tuple[np.ndarray, np.ndarray]] | None = None,
    name_of: Callable[[int], str] = str,
    resolved: ResolvedModel,
) -> Forecasts:
    """Forecast every series on its own.

    Args:
        candidate: The configuration.
        histories: Per series the values before the forecast, float64, oldest first, at least one.
        horizon: Steps to forecast.
        seasons: Season lengths; the first is the model's default and the naive method's.
        seed: For models that take a ``random_state``.
        deadline: ``time.monotonic()`` seconds after which no series is begun; the rest gets the cheap forecast.
        stop_at: Give the series from this one on the cheap forecast (repeats an outcome that time ended).
        exogenous: Per series its columns with a known future, in history and over the horizon.
        name_of: How a message names the series at a position.
        resolved: The candidate's model, imported.

    Raises:
        TrialError: ``trial-timeout`` if not one series was forecast in time, ``unknown-parameter``,
            ``out-of-memory``, or ``model-error`` if the model fails on more than half of the series. Failures of
            rayctl's own models on series of fewer than twelve steps do not count: the first windows of short series
            would rule out models that are good at the end of them.
    """
    with blamed_on(candidate), _quiet():
        params = resolved.defaults(candidate.params, seasons)
        values = np.empty((len(histories), horizon))
        failures: list[str] = []
        serious = 0
        prototypes: dict[str, Any] = {}
        stopped: int | None = None
        for position, y in enumerate(histories):
            late = deadline is not None and stop_at is None and time.monotonic() >= deadline
            if stopped is None and (late or position == stop_at):
                stopped = position
                if position == 0:
                    raise TrialError(
                        f"The time was up before one of {len(histories)} series was forecast.",
                        code="trial-timeout",
                        hint="Give the trial more time, or use a cheaper model.",
                    )
            if stopped is not None:
                values[position] = _substitute(y, horizon, seasons[0])
                continue
            x, x_next = exogenous[position] if exogenous is not None else (None, None)
            try:
                values[position] = forecast_series(resolved, params, y, horizon, seed, x, x_next, prototypes)
            except MemoryError:
                raise
            except TrialError as error:
                failures.append(f"{name_of(position)}: {error.message}")
            except RayctlError:
                raise  # wrong parameters are wrong for every series
            except Exception as error:  # the model is foreign code: any type is possible
                failures.append(f"{name_of(position)}: {_describe(error)}")
            else:
                continue
            values[position] = _substitute(y, horizon, seasons[0])
            serious += not resolved.trusted or len(y) >= _FEW
            if 2 * serious > len(histories):
                raise TrialError(
                    f"{candidate.model} failed on more than half of the {len(histories)} series; first on "
                    f"{failures[0]}"[:_MESSAGE_CHARS],
                    code="model-error",
                    hint="Leave the model out, or use it for series that are longer and without gaps.",
                )
    return Forecasts(values, len(failures), failures[0][:_MESSAGE_CHARS] if failures else None, stopped)


def _substitute(y: np.ndarray, horizon: int, season: int) -> np.ndarray:
    found = cheap_forecast(y, horizon, season)
    return np.maximum(found, 0.0) if y.min() >= 0 else found


@contextmanager
def blamed_on(candidate: Candidate) -> Iterator[None]:
    """Turn whatever resolving or a model raises into a TrialError; interrupts of the process pass through."""
    try:
        yield
    except TrialError:
        raise
    except RayctlError as error:
        raise TrialError(error.message, code=error.code, hint=error.hint) from error
    except MemoryError as error:
        raise TrialError(
            f"{candidate.model!r} ran out of memory.",
            code="out-of-memory",
            hint="Use a smaller model, or give the task more memory.",
        ) from error
    except Exception as error:  # the model is foreign code: any type is possible
        raise TrialError(
            f"{candidate.model}: {_describe(error)}"[:_MESSAGE_CHARS],
            code="model-error",
            hint="The model said so itself: change its parameters or its code, or leave it out.",
        ) from error


def _describe(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[-1].strip()}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Use one thread, and keep the models' remarks about convergence out of the logs; errors stay errors."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with threadpool_limits(limits=1), warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield
