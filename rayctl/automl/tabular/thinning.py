"""What a bundle leaves out so that it predicts quickly: trees of forests, and models of folds.

The models of a trial's folds are averaged. That makes them redundant in two ways: the average of five forests is one
forest of five times as many trees, and a trial of small weight changes the combination hardly less with three of its
five models than with all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from rayctl.automl.bundle import read_bundle
from rayctl.automl.engine import FoldOutcome
from rayctl.automl.model import RunRequest
from rayctl.automl.tabular.fitted import BLOB_KIND, load_model
from rayctl.automl.tabular.forest_model import ForestPredictor

__all__ = ["BUDGET_US", "CALL_US", "cheapest_us", "kept_models", "most_us", "row_us", "thinned_forest"]

BUDGET_US = 130.0
"""Microseconds of one core for a row: 12,000 rows in 0.8 s on two cores."""
_TREES_TOGETHER = 200
_TREES_EACH = 25
_MODELS_EACH = 2
CALL_US = 0.5
"""What calling a model costs beside its rows, per row of the 1,000 that `RunRequest.max_predict_ms` is about."""
_CERTAIN_SHARE = 0.75
"""Times of models are predicted, so only this share of what a caller allows is planned with."""


def row_us(blob: bytes) -> float:
    """Return about how many microseconds of one core a stored model takes per row."""
    return float(read_bundle(blob, kind=BLOB_KIND).info.get("row_us", 0.0))


def most_us(request: RunRequest) -> float | None:
    """Return the microseconds per row that a bundle's models may take together; None: the caller does not limit it."""
    # Milliseconds for 1,000 rows are microseconds for one.
    return None if request.max_predict_ms is None else _CERTAIN_SHARE * request.max_predict_ms


def cheapest_us(outcomes: Sequence[FoldOutcome]) -> float:
    """Return the microseconds per row that a trial takes in a bundle at the least: with one of its models.

    Args:
        outcomes: Of the trial's scored folds; without a stored model the time measured there counts.
    """
    first = outcomes[0]
    if not len(first.model):
        return 1e6 * first.predict_s / max(len(first.predictions), 1)
    return CALL_US + row_us(thinned_forest(np.ascontiguousarray(first.model).tobytes(), models=len(outcomes)))


def thinned_forest(blob: bytes, *, models: int) -> bytes:
    """Return the stored form of a fold's model as it goes into a bundle together with ``models - 1`` others.

    Forests lose trees above some two hundred in all: those change predictions less than a few other rows would.
    """
    wanted = max(_TREES_EACH, -(-_TREES_TOGETHER // models))
    if models == 1 or read_bundle(blob, kind=BLOB_KIND).info.get("kind") != ForestPredictor.kind:
        return blob
    model = load_model(blob, allow_pickle=False)
    assert isinstance(model.predictor, ForestPredictor)
    if len(model.predictor.arrays["sizes"]) <= wanted:
        return blob
    return replace(model, predictor=model.predictor.thinned(wanted)).to_blob()


def kept_models(
    costs: Mapping[int, Sequence[float]],
    weights: Mapping[int, float],
    budget_us: float = BUDGET_US,
    fewest: int = _MODELS_EACH,
) -> dict[int, list[int]]:
    """Return, per trial, the positions of the fold models that a bundle keeps.

    As long as all of them together cost more than the budget, one is left out of the trial for which that adds least
    variance (weight² / number of models, its change) for the time it saves; ``fewest`` stay of each. Different trials
    leave out different folds.

    Args:
        costs: Trial → cost of each fold's model, in microseconds per row.
        weights: Trial → weight in the combination.
        budget_us: Bound of the sum.
        fewest: So many fold models of each trial stay, whatever they cost.
    """
    mean = {trial: sum(parts) / len(parts) for trial, parts in costs.items()}
    counts = {trial: len(parts) for trial, parts in costs.items()}
    while sum(counts[trial] * mean[trial] for trial in counts) > budget_us:
        rates = [
            (weights[trial] ** 2 / (count * (count - 1)) / max(mean[trial], 1e-9), trial)
            for trial, count in sorted(counts.items())
            if count > fewest
        ]
        if not rates:
            break
        counts[min(rates)[1]] -= 1
    kept = {}
    for place, (trial, parts) in enumerate(sorted(costs.items())):
        spread = (place + np.arange(counts[trial]) * len(parts) // counts[trial]) % len(parts)
        kept[trial] = sorted(int(position) for position in spread)
    return kept
