"""Rolling-origin windows: each fold forecasts one horizon from everything before it."""

from __future__ import annotations

import numpy as np

from rayctl.automl.engine import Fold
from rayctl.automl.forecast.prepare import PreparedSeries, label
from rayctl.automl.model import RunRequest
from rayctl.errors import InvalidData

__all__ = ["MIN_TRAIN", "choose_windows", "make_folds"]

MIN_TRAIN = 4
"""Fewest steps before a window; with fewer there is no trend to see."""

_DEFAULT_WINDOWS = 3


def choose_windows(prepared: PreparedSeries, request: RunRequest) -> tuple[int, list[str]]:
    """Return (number of windows, warnings).

    A window counts if at least half of the series reach back far enough for it; the last one always does if any
    series does.

    Raises:
        InvalidData: ``too-few-rows``: no series is long enough for one window.
    """
    horizon = int(request.horizon or 1)
    scheme = request.validation.scheme
    wanted = 1 if scheme == "holdout" else request.validation.folds or _DEFAULT_WINDOWS
    fitting = [int(((prepared.lengths - (k + 1) * horizon) >= MIN_TRAIN).sum()) for k in range(wanted)]
    warnings = []
    if scheme == "kfold":
        warnings.append("Series are always validated on rolling windows; the scheme kfold was taken as such.")
    if not fitting[0]:
        longest = int(prepared.lengths.argmax())
        raise InvalidData(
            f"The series are too short: a horizon of {horizon} needs {horizon + MIN_TRAIN} steps, and "
            f"{label(prepared.ids, longest)}, the longest of {prepared.n_series}, has {prepared.lengths[longest]}.",
            code="too-few-rows",
            hint=f"Shorten the horizon to at most {max(1, int(prepared.lengths.max()) - MIN_TRAIN)}, or add rows.",
        )
    windows = 1
    while windows < wanted and 2 * fitting[windows] >= prepared.n_series:
        windows += 1
    if windows < wanted:
        warnings.append(f"The series are long enough for {windows} of {wanted} validation windows.")
    short = np.flatnonzero(prepared.lengths - horizon < MIN_TRAIN)
    if len(short):
        warnings.append(
            f"{len(short)} series are too short to be validated (for example {label(prepared.ids, int(short[0]))}); "
            "they are forecast, but not scored."
        )
    return windows, warnings


def make_folds(prepared: PreparedSeries, request: RunRequest) -> list[Fold]:
    """Return one fold per window, the latest window first.

    ``test`` holds the window's positions series by series, exactly the horizon's length for each; ``train`` all
    positions before them. Series too short for a window are in neither. Raises as `choose_windows`.
    """
    windows, _ = choose_windows(prepared, request)
    horizon = int(request.horizon or 1)
    folds = []
    for window in range(windows):
        cuts = prepared.offsets[1:] - (window + 1) * horizon
        fits = cuts - prepared.offsets[:-1] >= MIN_TRAIN
        starts = prepared.offsets[:-1][fits]
        train = [np.arange(start, cut, dtype=np.int32) for start, cut in zip(starts, cuts[fits], strict=True)]
        test = (cuts[fits][:, None] + np.arange(horizon)).astype(np.int32).ravel()
        folds.append(Fold(window, np.concatenate(train), test))
    return folds
