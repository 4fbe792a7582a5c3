"""The validation windows put together again from the outcomes of their chunks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rayctl.automl.engine import Fold, FoldOutcome
from rayctl.automl.forecast.prepare import PreparedSeries
from rayctl.automl.forecast.scoring import WindowScorer, series_scales
from rayctl.automl.forecast.split import Part, part_of
from rayctl.automl.metrics import Metric

__all__ = ["Window", "gather", "scorer_of"]


@dataclass(frozen=True)
class Window:
    """One window with the forecasts of several trials.

    Attributes:
        group: Number of the window, 0 the latest.
        series: Which series it has, ascending.
        positions: (series, horizon): where the test values are in `PreparedSeries.y`.
        scorer: Scores forecasts of these series.
        scale: (series,): the size of the naive method's errors in the history (as in MASE).
        forecasts: Trial → (series, horizon).
    """

    group: int
    series: np.ndarray
    positions: np.ndarray
    scorer: WindowScorer
    scale: np.ndarray
    forecasts: Mapping[int, np.ndarray]


def scorer_of(prepared: PreparedSeries, part: Part, metric: Metric, horizon: int) -> tuple[WindowScorer, np.ndarray]:
    """Return (the scorer of a part of a window, the scale of each series' naive errors)."""

    def seen(positions: np.ndarray) -> np.ndarray:
        return np.where(prepared.observed[positions], prepared.y[positions], np.nan)

    lengths = part.cuts - part.begins
    offsets = np.append(0, np.cumsum(lengths)).astype(np.int64)
    # Positions of all histories, one after the other.
    history = seen(np.arange(offsets[-1]) + np.repeat(part.begins - offsets[:-1], lengths))
    test = seen(part.cuts[:, None] + np.arange(horizon))
    season = prepared.seasons[0]
    return WindowScorer.of(metric, test, history, offsets, season), series_scales(history, offsets, season)


def _there(outcome: FoldOutcome | None) -> FoldOutcome:
    if outcome is None:
        raise ValueError("a trial lacks the outcome of a scored fold")
    return outcome


def gather(
    prepared: PreparedSeries,
    folds: Sequence[Fold],
    outcomes: Mapping[int, Sequence[FoldOutcome | None]],
    metric: Metric,
    horizon: int,
) -> list[Window]:
    """Return the windows, the latest first; ``outcomes`` are those of the scored folds (further ones are ignored)."""
    scored = [place for place, fold in enumerate(folds) if fold.scored]
    windows = []
    for group in sorted({folds[place].group for place in scored}):
        places = [place for place in scored if folds[place].group == group]
        parts = [part_of(prepared, folds[place], horizon) for place in places]
        whole = Part(
            np.concatenate([part.series for part in parts]),
            np.concatenate([part.begins for part in parts]),
            np.concatenate([part.cuts for part in parts]),
            group,
        )
        scorer, scale = scorer_of(prepared, whole, metric, horizon)
        forecasts = {
            trial: np.concatenate([np.asarray(_there(found[place]).predictions) for place in places]).reshape(
                -1, horizon
            )
            for trial, found in sorted(outcomes.items())
        }
        positions = whole.cuts[:, None] + np.arange(horizon)
        windows.append(Window(group, whole.series, positions, scorer, scale, forecasts))
    return windows
