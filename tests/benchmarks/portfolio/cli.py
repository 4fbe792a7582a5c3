"""The command line of the learning."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from .additions import ADDITIONS, compare
from .measure import measure_all, pairs
from .sources import KINDS
from .store import Store

__all__ = ["main"]


def parser() -> argparse.ArgumentParser:
    """Return the parser of the arguments."""
    it = argparse.ArgumentParser(description="Learn the order of the tabular portfolio.")
    it.add_argument("--work", help="folder for results (default: below the user's cache)")
    it.add_argument("--kinds", default=",".join(KINDS), help="kinds of task, with commas")
    it.add_argument("--families", help="measure these alone for now, with commas")
    it.add_argument("--limit", type=float, default=11.0, help="leave out pairs with more predicted seconds per fold")
    it.add_argument("--nice", type=int, default=15, help="how much to stand back behind other processes")
    it.add_argument("--measure-only", action="store_true", help="fit, but do not order")
    for name, additions in ADDITIONS.items():
        it.add_argument(f"--{name}", action="store_true", help=f"{additions.title}; writes {additions.page.name}")
    it.add_argument("--learn-only", action="store_true", help="order by the results that are there")
    return it


def _say(text: str) -> None:
    print(text, flush=True)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, learn, write."""
    arguments = parser().parse_args(argv)
    os.nice(arguments.nice)
    kinds = [kind for kind in KINDS if kind in arguments.kinds.split(",")]
    store = Store(arguments.work)
    asked = [additions for name, additions in ADDITIONS.items() if getattr(arguments, name)]
    if asked:
        for additions in asked:
            compare(additions, store, kinds, arguments.limit, _say)
        return
    if not arguments.learn_only:
        wanted = None if arguments.families is None else arguments.families.split(",")
        todo = [pair for pair in pairs(kinds) if wanted is None or pair.configuration.model in wanted]
        measure_all(store, todo, arguments.limit, _say)
    if not arguments.measure_only:
        from .learn import learn

        learn(store, kinds, _say)
