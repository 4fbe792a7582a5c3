"""Rolling-origin windows, each cut into chunks of series: a fold forecasts one horizon from everything before it.

Chunks keep tasks at around a second, so that deadlines are met and many workers share a window. After the scored
folds come unscored ones, chunked alike: they forecast the horizon after all data.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rayctl.automl.engine import Fold
from rayctl.automl.forecast.columns import label
from rayctl.automl.forecast.costs import chunk_count, windows_worth
from rayctl.automl.forecast.prepare import PreparedSeries
from rayctl.automl.metrics import resolve_metric
from rayctl.automl.model import RunRequest
from rayctl.errors import InvalidData

__all__ = ["MIN_TRAIN", "Part", "choose_windows", "make_folds", "part_of", "window_cuts"]

MIN_TRAIN = 4
"""Fewest steps before a window; with fewer there is no trend to see."""


def choose_windows(prepared: PreparedSeries, request: RunRequest) -> tuple[int, list[str]]:
    """Return (number of windows, warnings).

    Without a wish in the request there are three, fewer if a time budget is too short for several passes over the
    series (`windows_worth`). A window counts if at least half of the series reach back far enough for it; the last
    one always does if any series does.

    Raises:
        InvalidData: ``too-few-rows``: no series is long enough for one window.
    """
    horizon = int(request.horizon or 1)
    scheme = request.validation.scheme
    usual = windows_worth(prepared.lengths, prepared.seasons, request.time_budget_s)
    wanted = 1 if scheme == "holdout" else request.validation.folds or usual
    fitting = [int(((prepared.lengths - (k + 1) * horizon) >= MIN_TRAIN).sum()) for k in range(wanted)]
    warnings = []
    if scheme == "kfold":
        warnings.append("Series are always validated on rolling windows; the scheme kfold was taken as such.")
    if not fitting[0]:
        longest = int(prepared.lengths.argmax())
        possible = int(prepared.lengths[longest]) - MIN_TRAIN
        raise InvalidData(
            f"The series are too short: a horizon of {horizon} needs {horizon + MIN_TRAIN} steps, and "
            f"{label(prepared.ids, longest)}, the longest of {prepared.n_series}, has {prepared.lengths[longest]}.",
            code="too-few-rows",
            hint=f"Shorten the horizon to at most {possible}, or add rows."
            if possible >= 1
            else f"Add rows: even one step ahead needs a series of {MIN_TRAIN + 1} steps.",
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


@dataclass(frozen=True)
class Part:
    """The series of a fold, and where each one's history begins and ends: positions in `PreparedSeries.y`.

    What is forecast follows directly after ``cuts``. ``window`` is None for what follows all data.
    """

    series: np.ndarray
    begins: np.ndarray
    cuts: np.ndarray
    window: int | None


def window_cuts(prepared: PreparedSeries, window: int | None, horizon: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (where the histories of all series end for a window; which series it has)."""
    if window is None:
        return prepared.offsets[1:], np.ones(prepared.n_series, bool)
    cuts = prepared.offsets[1:] - (window + 1) * horizon
    return cuts, cuts - prepared.offsets[:-1] >= MIN_TRAIN


def part_of(prepared: PreparedSeries, fold: Fold, horizon: int) -> Part:
    """Return the series of a fold and their histories."""
    positions = fold.test[::horizon] if fold.scored else fold.train
    series = np.unique(np.searchsorted(prepared.offsets, positions, side="right") - 1)
    window = fold.group if fold.scored else None
    cuts, _ = window_cuts(prepared, window, horizon)
    return Part(series, prepared.offsets[series], cuts[series], window)


def make_folds(prepared: PreparedSeries, request: RunRequest) -> list[Fold]:
    """Return the folds: chunks of the windows, the latest window first, then chunks of the unscored forecast.

    ``test`` holds the window's positions series by series, exactly the horizon's length for each; ``train`` all
    positions before them. Series too short for a window are in neither. ``weight`` is the chunk's share of the
    window's series that can be scored (of their values, for wape), so that the weighted mean of a window's chunks is
    the window's score.
    Raises as `choose_windows`.
    """
    windows, _ = choose_windows(prepared, request)
    horizon = int(request.horizon or 1)
    usable = prepared.observed.copy()
    metric = "" if request.custom_metric is not None else resolve_metric(request.metric, request.task).name
    if metric in ("mape", "wape"):
        usable &= prepared.y != 0
    folds: list[Fold] = []
    for window in [*range(windows), None]:
        cuts, fits = window_cuts(prepared, window, horizon)
        series = np.flatnonzero(fits)
        lengths = (cuts - prepared.offsets[:-1])[series]
        mass: np.ndarray = np.ones(len(series))
        if window is not None:
            places = cuts[series][:, None] + np.arange(horizon)
            seen = usable[places]
            mass = np.asarray(seen.any(axis=1), np.float64)
            if metric == "wape":
                mass = np.asarray(np.abs(np.where(seen, prepared.y[places], 0.0)).sum(axis=1))
        for first, last in _chunks(lengths, mass > 0, prepared.seasons):
            chosen = series[first:last]
            train = [np.arange(prepared.offsets[one], cuts[one], dtype=np.int32) for one in chosen]
            test = np.empty(0, np.int32)
            if window is not None:
                test = (cuts[chosen][:, None] + np.arange(horizon)).astype(np.int32).ravel()
            share = float(mass[first:last].sum() / mass.sum()) if mass.any() else 0.0
            group = windows if window is None else window
            folds.append(Fold(len(folds), np.concatenate(train), test, group, share, window is not None))
    return folds


def _chunks(lengths: np.ndarray, scorable: np.ndarray, seasons: tuple[int, ...]) -> list[tuple[int, int]]:
    """Return (first, last + 1) of chunks of equal work, each with a series that can be scored."""
    count = chunk_count(lengths, seasons)
    work = np.cumsum(lengths + 20.0)  # a series costs something however short it is
    edges = np.searchsorted(work, work[-1] * np.arange(1, count) / count) + 1
    found: list[tuple[int, int]] = []
    first = 0
    for last in [*np.unique(edges).tolist(), len(lengths)]:
        if last > first and (scorable[first:last].any() or last == len(lengths)):
            if found and not scorable[first:last].any():
                first = found.pop()[0]  # nothing to score at the end: part of the chunk before
            found.append((first, last))
            first = last
    return found
