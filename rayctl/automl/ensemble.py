"""Greedy weighted ensembles on validation predictions: which trials to mix, and how much of each. Pure.

The rule is forward selection with replacement (Caruana et al., "Ensemble selection from libraries of models",
ICML 2004): start with the best model, add again and again the one that lowers the loss of the average most, and
keep the best prefix.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

__all__ = ["DEAR_SHARE", "Blend", "greedy_blend", "weighted_sum"]

STEPS = 40
PATIENCE = 8
DEAR_SHARE = 0.1
"""So much of its gain a combination may lose for having fewer members."""


@dataclass(frozen=True)
class Blend:
    """Weights by trial (positive, summing to 1), the loss that they have, and the loss after every step."""

    weights: dict[int, float]
    loss: float
    losses: tuple[float, ...]


def greedy_blend(
    predictions: Mapping[int, np.ndarray],
    loss: Callable[[np.ndarray], float],
    *,
    steps: int = STEPS,
    patience: int = PATIENCE,
    min_weight: float = 0.02,
    costs: Mapping[int, float] | None = None,
    most: float = float("inf"),
) -> Blend:
    """Choose the weights of an average of predictions.

    Equal losses go to the lower trial number, so equal arguments give equal weights.

    Args:
        predictions: Trial → predictions of the same rows, equal shapes, finite.
        loss: Of predictions; lower is better. NaN counts as infinitely bad.
        steps: At most so many additions.
        patience: Stop after so many additions without a lower loss.
        min_weight: Members with less are left out (each costs prediction time) and the rest is scaled up, as long as
            all that costs at most `DEAR_SHARE` of what the combination gains over the best single trial.
        costs: Trial → what it costs to have it among the members; all together cost at most ``most``. At least one
            trial must cost no more than that.

    Raises:
        ValueError: there is no trial, or all cost too much.
    """
    if not any(_within({trial}, costs, most) for trial in predictions):
        raise ValueError("there is nothing to combine")

    def clean(values: np.ndarray) -> float:
        found = loss(values)
        return found if found == found else float("inf")

    trials = sorted(predictions)
    total: np.ndarray | None = None
    chosen: list[int] = []
    losses: list[float] = []
    best = 0
    for step in range(steps):
        found = []
        affordable = [trial for trial in trials if _within({*chosen, trial}, costs, most)]
        for trial in affordable:
            mixed = predictions[trial] if total is None else (total + predictions[trial]) / (step + 1)
            found.append(clean(mixed))
        place = int(np.argmin(found))
        chosen.append(affordable[place])
        losses.append(found[place])
        added = predictions[affordable[place]]
        total = added.astype(np.float64) if total is None else total + added
        if losses[-1] < losses[best]:
            best = step
        elif step - best >= patience:
            break
    kept = chosen[: best + 1]
    counts = {trial: kept.count(trial) / len(kept) for trial in sorted(set(kept))}
    gain = losses[0] - losses[best]
    bound = losses[best] + (DEAR_SHARE * gain if np.isfinite(gain) else 0.0)
    weights, final = counts, losses[best]
    for trial in sorted(counts, key=lambda trial: (counts[trial], trial)):
        rest = _without(weights, trial)
        # A member may be needed however little it weighs, for example for rows that the others give no chance.
        if counts[trial] < min_weight and rest and (found_loss := clean(weighted_sum(predictions, rest))) <= bound:
            weights, final = rest, found_loss
    return Blend(weights, final, tuple(losses[: best + 1]))


def _without(weights: Mapping[int, float], left_out: int) -> dict[int, float]:
    rest = {trial: weight for trial, weight in weights.items() if trial != left_out}
    return {trial: weight / sum(rest.values()) for trial, weight in rest.items()}


def _within(members: set[int], costs: Mapping[int, float] | None, most: float) -> bool:
    return costs is None or sum(costs[trial] for trial in sorted(members)) <= most


def weighted_sum(predictions: Mapping[int, np.ndarray], weights: Mapping[int, float]) -> np.ndarray:
    """Return the weighted average of predictions, float64, added up in the order of the trial numbers."""
    parts = [predictions[trial].astype(np.float64) * weights[trial] for trial in sorted(weights)]
    return np.sum(parts, axis=0)
