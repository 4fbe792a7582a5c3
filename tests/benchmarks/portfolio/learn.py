"""Order the configurations, estimate what the order is worth on tables that it was not learned from, write both."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .configurations import Configuration, handwritten, pool
from .greedy import Objective, order
from .regret import Board, boards
from .sources import KINDS
from .store import Store

__all__ = ["PREFIXES", "Learned", "compare", "learn"]

PREFIXES = (3, 6, 10, 20)
LENGTH = 28
DECIDES_FROM = 10
OTHERS = 0.3
"""Weight of a table of another kind of task."""

TARGET = Path(__file__).resolve().parents[3] / "rayctl/automl/tabular/portfolio.json"
README = Path(__file__).with_name("README.md")


@dataclass(frozen=True)
class Comparison:
    """Regrets of the two orders per prefix, on tables that the learned one was not learned from.

    ``learned``, ``written``: (tables, prefixes). ``costs_*``: mean CPU seconds per fold of the prefix.
    """

    tables: tuple[str, ...]
    learned: np.ndarray
    written: np.ndarray
    cost_learned: np.ndarray
    cost_written: np.ndarray

    @property
    def learned_is_better(self) -> bool:
        """Whether the learned order has less regret on tables it does not know, over its longer prefixes.

        Runs of a minute get that far; where chance rules (few tables), the order that people wrote stays.
        """
        long = [place for place, prefix in enumerate(PREFIXES) if prefix >= DECIDES_FROM]
        return float((self.written - self.learned)[:, long].mean()) > 0.0


@dataclass(frozen=True)
class Learned:
    """The order for one kind of task that is shipped, with what is known about it.

    ``is_learned``: else it is the hand-written one, because the learned one was not better.
    """

    kind: str
    is_learned: bool
    order: tuple[Configuration, ...]
    comparison: Comparison
    boards: tuple[Board, ...]


def compare(found: Sequence[Board], kind: str, others: float) -> Comparison:
    """Leave one table out at a time: learn from the rest, judge both orders on it."""
    own = [board for board in found if board.source.kind == kind]
    tables = tuple(dict.fromkeys(board.source.name for board in own))
    written = handwritten(kind)
    rows: list[list[np.ndarray]] = []
    for name in tables:
        rest = [board for board in found if board.source.name != name]
        learned = order(Objective.of(rest, kind, others), pool(kind), max(PREFIXES), written[:1])
        held_out = [board for board in own if board.source.name == name]
        rows.append([np.mean([measured(board, it) for board in held_out], axis=0) for measured, it in (
            (_regrets, learned), (_regrets, written), (_costs, learned), (_costs, written),
        )])  # fmt: skip
    stacked = [np.stack(part) for part in zip(*rows, strict=True)]
    return Comparison(tables, *stacked)


def _regrets(board: Board, it: Sequence[Configuration]) -> np.ndarray:
    return np.array([board.regret([entry.key for entry in it[:prefix]]) for prefix in PREFIXES])


def _costs(board: Board, it: Sequence[Configuration]) -> np.ndarray:
    return np.array([sum(board.seconds.get(entry.key, 0.0) for entry in it[:prefix]) for prefix in PREFIXES])


def learn(store: Store, kinds: Sequence[str], say: Callable[[str], None], *, write: bool = True) -> list[Learned]:
    """Learn the orders of some kinds, write them and the report."""
    from .report import comparison_table, report

    pools = {kind: pool(kind) for kind in KINDS}
    found = boards(store, KINDS, pools)
    say(f"{len(found)} splits are complete")
    results = []
    for kind in kinds:
        comparison = compare(found, kind, OTHERS)
        say(comparison_table(kind, comparison))
        better = comparison.learned_is_better
        # The first place is given: a model of a fraction of a second, so that every run has an answer soon.
        written = handwritten(kind)
        final = order(Objective.of(found, kind, OTHERS), pools[kind], LENGTH, written[:1]) if better else written
        say(f"{kind}: the {'learned' if better else 'hand-written'} order is kept")
        for place, entry in enumerate(final[:12], 1):
            say(f"  {place:2d} {entry.model} {dict(entry.params)}")
        results.append(Learned(kind, better, tuple(final), comparison, tuple(found)))
    if write:
        write_portfolio(results)
        README.write_text(report(results, pools), encoding="utf-8")
    return results


def write_portfolio(results: Sequence[Learned], target: Path = TARGET) -> None:
    """Write the orders, one entry per line; kinds that were not learned stay as they are."""
    document = json.loads(target.read_text(encoding="utf-8")) if target.exists() else {}
    document |= {result.kind: [entry.entry() for entry in result.order] for result in results}
    parts = []
    for kind, entries in document.items():
        lines = ",\n".join("    " + json.dumps(entry) for entry in entries)
        parts.append(f"  {json.dumps(kind)}: [\n{lines}\n  ]")
    target.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")
