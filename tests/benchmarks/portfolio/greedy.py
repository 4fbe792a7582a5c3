"""The order of a portfolio: each place goes to the configuration that is worth most for its cost after those before.

Breadth first: the first places go to different families, unless no other family adds anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .configurations import Configuration
from .regret import Board

__all__ = ["Objective", "mean_regret", "order"]

BREADTH = 6
"""So many first places for different families."""

_USEFUL = 0.004  # regret that another family has to take away to be preferred to a second model of a known one
_EXACT = 6  # candidates of each place that are judged by a selection of their own
_CHEAPEST = 0.05  # of the median cost: below, tasks cost more than fits
_EXPONENT = 0.5
_SHARE_COUNTS = 0.03  # what the share in the ensemble of everything counts beside the gain: settles near ties


@dataclass(frozen=True)
class Objective:
    """What is minimised: the mean regret over boards, each with its weight.

    ``cost``: key → mean relative cost. ``share``: key → mean weight in the ensembles of all configurations.
    """

    boards: tuple[Board, ...]
    weights: tuple[float, ...]
    cost: Mapping[str, float]
    share: Mapping[str, float]

    @classmethod
    def of(cls, boards: Iterable[Board], kind: str, others: float) -> Objective:
        """Tables of a kind count 1, others ``others``; the splits of a table share its weight."""
        kept = tuple(board for board in boards if board.source.kind == kind or others > 0)
        splits = {name: sum(board.source.name == name for board in kept) for name in {b.source.name for b in kept}}
        weights = tuple((1.0 if board.source.kind == kind else others) / splits[board.source.name] for board in kept)
        own = [board for board in kept if board.source.kind == kind]
        keys = {key for board in own for key in board.known}
        cost = {key: _mean(board.cost.get(key) for board in own) for key in keys}
        shares = [board.weights() for board in own]
        share = {key: float(np.mean([weights.get(key, 0.0) for weights in shares])) for key in keys}
        return cls(kept, weights, cost, share)

    def gains(self, chosen: Sequence[str], candidates: Sequence[str], *, exact: bool) -> dict[str, float]:
        """Return per candidate the mean regret that it takes away, over the boards on which it was tried."""
        total, mass = dict.fromkeys(candidates, 0.0), dict.fromkeys(candidates, 0.0)
        for board, weight in zip(self.boards, self.weights, strict=True):
            known = [key for key in candidates if key in board.known]
            before = board.regret(chosen)
            after = {key: board.regret([*chosen, key]) for key in known} if exact else board.screened(chosen, known)
            for key in known:
                total[key] += weight * (before - after[key])
                mass[key] += weight
        return {key: total[key] / mass[key] if mass[key] else 0.0 for key in candidates}

    def worth(self, key: str, gain: float) -> float:
        """Return what a gain is worth for what it costs."""
        return float((gain + _SHARE_COUNTS * self.share[key]) / max(_CHEAPEST, self.cost[key]) ** _EXPONENT)


def _mean(values: Iterable[float | None]) -> float:
    there = [value for value in values if value is not None]
    return float(np.mean(there)) if there else 1.0


def mean_regret(boards: Iterable[Board], chosen: Sequence[str]) -> float:
    """Return the mean regret over tables (their splits together)."""
    per_table: dict[str, list[float]] = {}
    for board in boards:
        per_table.setdefault(board.source.name, []).append(board.regret(chosen))
    return float(np.mean([np.mean(values) for values in per_table.values()]))


def order(
    objective: Objective, pool: Sequence[Configuration], length: int, first: Sequence[Configuration] = ()
) -> list[Configuration]:
    """Return the first ``length`` places, of which ``first`` are given."""
    left = {configuration.key: configuration for configuration in pool if configuration.key in objective.cost}
    chosen = list(first)
    for configuration in first:
        left.pop(configuration.key, None)
    while left and len(chosen) < length:
        candidates = list(left)
        if len(chosen) < BREADTH:
            used = {configuration.model for configuration in chosen}
            others = [key for key, configuration in left.items() if configuration.model not in used]
            place = _best(objective, chosen, others, _USEFUL) if others else None
            candidates = [] if place is not None else candidates
        if candidates:
            place = _best(objective, chosen, candidates, -np.inf)
        assert place is not None
        chosen.append(left.pop(place))
    return chosen


def _best(objective: Objective, chosen: Sequence[Configuration], keys: Sequence[str], least: float) -> str | None:
    """Return the key worth most among those that gain at least ``least``."""
    prefix = [configuration.key for configuration in chosen]
    about = objective.gains(prefix, keys, exact=False)
    ranked = sorted(keys, key=lambda key: (-objective.worth(key, about[key]), key))[:_EXACT]
    exact = objective.gains(prefix, ranked, exact=True)
    # The two estimates err in different ways; their mean is steadier than either.
    gains = {key: (about[key] + exact[key]) / 2 for key in ranked}
    useful = [key for key in ranked if gains[key] >= least]
    return max(useful, key=lambda key: (objective.worth(key, gains[key]), key)) if useful else None
