"""Ranks, duels, regret and their uncertainty: arithmetic on losses, nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Duel", "duel", "interval", "mean_ranks", "ranks", "regret"]

DRAWS = 10_000
# Repeats of time-limited runs differ by about this much: 0.001 ROC AUC (a loss of 1 - AUC), 1 % of an error.
_SPREAD = {"roc_auc": 0.001}
_RELATIVE_SPREAD = 0.01


@dataclass(frozen=True)
class Duel:
    """rayctl against one peer over task-splits.

    ``wins``, ``ties``, ``losses``: a tie is a difference within what repeats of one framework differ by.
    ``rate``: share of task-splits with the lower loss, equal ones half, without any band; ``low`` and ``high``: its
    95 % bootstrap interval. ``p_value``: Wilcoxon's signed-rank test on relative differences, None below six pairs.
    """

    wins: int
    ties: int
    losses: int
    rate: float
    low: float
    high: float
    p_value: float | None


def ranks(losses: Mapping[str, float]) -> dict[str, float]:
    """Return each one's rank, 1 for the lowest loss; equal losses share the mean of their places."""
    values = np.array(list(losses.values()))
    return {name: float((values < value).sum() + ((values == value).sum() + 1) / 2) for name, value in losses.items()}


def mean_ranks(table: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean over rows of each one's rank within its row; all rows must hold the same names."""
    if not table:
        return {}
    found = [ranks(row) for row in table]
    return {name: float(np.mean([row[name] for row in found])) for name in found[0]}


def interval(values: Sequence[float], groups: Sequence[str], seed: int = 0, draws: int = DRAWS) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the mean.

    Whole groups (tasks) are drawn, because splits of one task are not independent.
    """
    names = sorted(set(groups))
    sums = np.array([sum(v for v, g in zip(values, groups, strict=True) if g == name) for name in names])
    sizes = np.array([sum(g == name for g in groups) for name in names])
    drawn = np.random.default_rng(seed).integers(0, len(names), size=(draws, len(names)))
    means = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def spread(metric: str, loss: float) -> float:
    """Return the difference in loss that says nothing."""
    return _SPREAD.get(metric, _RELATIVE_SPREAD * abs(loss))


def duel(ours: Sequence[float], theirs: Sequence[float], metrics: Sequence[str], tasks: Sequence[str]) -> Duel:
    """Compare two frameworks' losses, which belong to the same task-splits in the same order."""
    counts = {"win": 0, "tie": 0, "loss": 0}
    points, relative = [], []
    for a, b, metric in zip(ours, theirs, metrics, strict=True):
        band = spread(metric, min(a, b))
        counts["tie" if abs(a - b) <= band else "win" if a < b else "loss"] += 1
        points.append(1.0 if a < b else 0.5 if a == b else 0.0)
        relative.append((a - b) / (a + b) if a + b else 0.0)
    low, high = interval(points, tasks)
    p_value = _wilcoxon(relative)
    return Duel(counts["win"], counts["tie"], counts["loss"], float(np.mean(points)), low, high, p_value)


def _wilcoxon(differences: Sequence[float]) -> float | None:
    from scipy.stats import wilcoxon

    if sum(value != 0 for value in differences) < 6:
        return None  # it could not reach 5 % with any outcome
    return float(wilcoxon(differences).pvalue)


def regret(losses: Mapping[str, float], ours: str, reference: str) -> float | None:
    """Return (ours - best peer) / (reference - best peer): 0 is as good as the best peer, below is better, 1 as bad as
    the untuned reference.

    None where the reference is itself the best peer, so that there is no scale.
    """
    best = min(loss for name, loss in losses.items() if name != ours)
    scale = losses[reference] - best
    return (losses[ours] - best) / scale if scale > 0 else None
