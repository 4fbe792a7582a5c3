"""How far the ensemble of some configurations is from the best that is known, per split of a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from .blend import Target
from .blend import blend as weighted
from .configurations import REFERENCE, Configuration
from .measure import problem_name
from .sources import SOURCES, Source, splits
from .store import Result, Store

__all__ = ["WORST", "Board", "boards"]

WORST = 2.0
"""The regret of having no model, and the most that any ensemble has."""

_BEST = -0.25
_NARROW = 0.25
_NOISE = 2.0
_RESAMPLES = 60
_ROWS = 2_000
_SHARES = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.55, 0.75, 1.0)
_ABSENT = ("unusable", "too-long", "failed")


@dataclass
class Board:
    """One split: predictions of all configurations, and the losses between which regrets are measured.

    A regret of 1 is LightGBM with its own defaults, 0 the better of two ensembles: of all configurations, and of the
    best of each family. Where these are close the scale is at least ``_NARROW`` of the spread between the
    configurations and ``_NOISE`` standard errors of the difference, or chance would rule.
    ``seconds``, ``predicted``: CPU seconds per fold, measured and by the table of costs; ``cost``: measured ones
    relative to the split's median. ``known``: keys that were tried here; those that failed or were left out add
    nothing and cost nothing.
    """

    source: Source
    problem: str
    known: frozenset[str]
    keys: tuple[str, ...]
    oof: np.ndarray
    test: np.ndarray
    oof_target: Target
    test_target: Target
    cost: Mapping[str, float]
    seconds: Mapping[str, float]
    predicted: Mapping[str, float]
    rows: int
    reference: float
    best: float
    scale: float
    cache: dict[frozenset[str], Mixed] = field(default_factory=dict)

    def regret(self, chosen: Iterable[str]) -> float:
        """Return the regret of the ensemble of some configurations, scored on the held-out rows."""
        return self._mixed(chosen).regret

    def weights(self) -> dict[str, float]:
        """Return the weights in the ensemble of all configurations."""
        return dict(zip(self.keys, self._mixed(self.keys).weights.tolist(), strict=True))

    def screened(self, chosen: Iterable[str], candidates: Sequence[str]) -> dict[str, float]:
        """Return per candidate about the regret that the ensemble has with it as well.

        Only the share of the new member is chosen (on the validation predictions), the others keep their proportions:
        a hundredth of the work of a new selection. Candidates that were not usable here change nothing.
        """
        mixed = self._mixed(chosen)
        found = dict.fromkeys(candidates, mixed.regret)
        places = {key: place for place, key in enumerate(self.keys)}
        usable = [key for key in candidates if key in places]
        if not usable:
            return found
        at = [places[key] for key in usable]
        if not mixed.weights.any():
            test = self.test[at]
        else:
            oof_base, test_base = mixed.weights @ self.oof, mixed.weights @ self.test
            losses = np.column_stack(
                [self.oof_target.losses((1 - share) * oof_base + share * self.oof[at]) for share in _SHARES]
            )
            shares = np.array(_SHARES)[losses.argmin(axis=1)][:, None]
            test = (1 - shares) * test_base + shares * self.test[at]
        return found | dict(zip(usable, map(self._scaled, self.test_target.losses(test)), strict=True))

    def _mixed(self, chosen: Iterable[str]) -> Mixed:
        present = frozenset(chosen) & frozenset(self.keys)
        if present not in self.cache:
            at = [place for place, key in enumerate(self.keys) if key in present]
            weights = np.zeros(len(self.keys))
            if at:
                weights[at] = weighted(self.oof_target, self.oof[at])
            loss = float(self.test_target.losses((weights @ self.test)[None])[0]) if at else np.inf
            self.cache[present] = Mixed(weights, self._scaled(loss))
        return self.cache[present]

    def _scaled(self, loss: float) -> float:
        return float(np.clip((loss - self.best) / self.scale, _BEST, WORST))


@dataclass(frozen=True)
class Mixed:
    """An ensemble: weights of all keys of its board, and its regret."""

    weights: np.ndarray
    regret: float


def _leaders(keys: Sequence[str], losses: np.ndarray) -> list[int]:
    """Return the places of the best of each family."""
    best: dict[str, int] = {}
    for place in np.argsort(losses, kind="stable").tolist():
        best.setdefault(keys[place].rpartition("-")[0], place)
    return sorted(best.values())


def _standard_error(target: Target, pair: np.ndarray) -> float:
    """Return the standard error of the difference of two predictions' losses, by resampling rows."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(_RESAMPLES):
        rows = np.asarray(rng.integers(0, pair.shape[1], pair.shape[1]))
        first, second = target.take(rows).losses(pair[:, rows])
        found.append(first - second)
    return float(np.std(found))


def boards(store: Store, kinds: Sequence[str], pools: Mapping[str, Sequence[Configuration]]) -> list[Board]:
    """Return the boards of all splits of which every configuration was measured."""
    found = []
    for source in SOURCES.values():
        if source.kind in kinds:
            for number in range(splits(source)):
                board = _board(store, source, problem_name(source, number), pools[source.kind])
                if board is not None:
                    found.append(board)
    return found


def _board(store: Store, source: Source, problem: str, pool: Sequence[Configuration]) -> Board | None:
    keys = [configuration.key for configuration in pool]
    if not all(store.has(problem, key) for key in (*keys, REFERENCE.key)):
        return None
    results: dict[str, Result] = {key: store.read(problem, key) for key in keys}
    reference = store.read(problem, REFERENCE.key)
    truth = store.read_truth(problem)
    usable = tuple(key for key in keys if results[key].state not in _ABSENT)
    places = np.arange(len(truth.oof))
    if len(places) > _ROWS:
        places = np.sort(np.random.default_rng(0).permutation(places)[:_ROWS])
    oof = np.stack([results[key].oof[places] for key in usable]).astype(np.float64)
    test = np.stack([results[key].test for key in usable]).astype(np.float64)
    oof_target = Target.of(source.kind, truth.oof[places], truth.fold[places])
    test_target = Target.of(source.kind, truth.test)
    everything = weighted(oof_target, oof) @ test
    leaders = _leaders(usable, oof_target.losses(oof))
    of_families = weighted(oof_target, oof[leaders]) @ test[leaders]
    defaults = reference.test.astype(np.float64)
    lost, *bests = test_target.losses(np.stack([defaults, everything, of_families])).tolist()
    best = min(bests)
    spread = float(np.quantile(test_target.losses(test), 0.9)) - best
    error = _standard_error(test_target, np.stack([defaults, everything]))
    scale = max(lost - best, _NARROW * spread, _NOISE * error, 1e-9)
    seconds = {key: results[key].cpu_s for key in usable}
    median = float(np.median(list(seconds.values())))
    return Board(
        source, problem, frozenset(keys), usable, oof, test, oof_target, test_target,
        {key: value / median for key, value in seconds.items()}, seconds,
        {key: results[key].predicted_s for key in usable}, truth.rows, lost, best, scale,
    )  # fmt: skip
