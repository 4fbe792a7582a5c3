"""What ``portfolio_large.json`` brings on tables of many rows: the same first places with and without it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .blend import Target, blend
from .configurations import REFERENCE, Configuration
from .learn import TARGET
from .measure import Pair, measure_all, problem_name
from .sources import LARGE, Source
from .store import Result, Store

__all__ = ["PLACES", "compare_large", "with_additions"]

PLACES = (10, 15)
FILE = TARGET.with_name("portfolio_large.json")
PAGE = Path(__file__).with_name("LARGE.md")


@dataclass(frozen=True)
class Row:
    """One table: loss of LightGBM with its defaults, and of the ensembles, by the number of first places.

    ``plain``, ``more``: (loss on held-out rows, CPU seconds per fold of all members that could be chosen).
    """

    source: Source
    reference: float
    plain: tuple[tuple[float, float], ...]
    more: tuple[tuple[float, float], ...]


def _entries(kind: str) -> list[Configuration]:
    document = json.loads(TARGET.read_text(encoding="utf-8"))
    return [Configuration(entry["model"], entry["params"]) for entry in document[kind]]


def with_additions(kind: str) -> list[Configuration]:
    """Return the order for tables of many rows, as `rayctl.automl.tabular.portfolio` makes it."""
    found = _entries(kind)
    for entry in json.loads(FILE.read_text(encoding="utf-8")).get(kind, ()):
        found.insert(entry["place"] - 1, Configuration(entry["model"], entry["params"]))
    return found


def compare_large(store: Store, kinds: Sequence[str], limit_s: float, say: Callable[[str], None]) -> None:
    """Measure what is missing, and write the page."""
    sources = [source for source in LARGE.values() if source.kind in kinds]
    longest = max(PLACES)
    todo = [
        Pair(source, 0, configuration)
        for source in sources
        for configuration in _distinct(
            [REFERENCE, *_entries(source.kind)[:longest], *with_additions(source.kind)[:longest]]
        )
    ]
    measure_all(store, todo, limit_s, say)
    rows = [_row(store, source) for source in sources]
    PAGE.write_text("\n".join(_page(rows)) + "\n", encoding="utf-8")
    say(f"written: {PAGE}")


def _distinct(configurations: Iterable[Configuration]) -> list[Configuration]:
    return list({configuration.key: configuration for configuration in configurations}.values())


def _row(store: Store, source: Source) -> Row:
    problem = problem_name(source, 0)
    truth = store.read_truth(problem)
    seen, unseen = Target.of(source.kind, truth.oof, truth.fold), Target.of(source.kind, truth.test)

    def of(order: Sequence[Configuration]) -> tuple[float, float]:
        results = [store.read(problem, entry.key) for entry in order]
        usable: list[Result] = [result for result in results if result.state == "ok"]
        weights = blend(seen, np.stack([result.oof for result in usable]).astype(np.float64))
        mixed = weights @ np.stack([result.test for result in usable])
        return float(unseen.losses(mixed[None])[0]), sum(result.cpu_s for result in usable)

    plain, more = _entries(source.kind), with_additions(source.kind)
    return Row(
        source,
        of([REFERENCE])[0],
        tuple(of(plain[:places]) for places in PLACES),
        tuple(of(more[:places]) for places in PLACES),
    )


def _page(rows: Sequence[Row]) -> list[str]:
    head = [f"first {places}{what}" for places in PLACES for what in ("", ", with the additions")]
    lines = [
        "# What tables of many rows get besides",
        "",
        "Written by `tests/benchmarks/learn_portfolio.py --large`. Ensembles (greedy selection on validation",
        "predictions of 3 folds) of the first places of the portfolio, and of as many with `portfolio_large.json`;",
        "losses on rows held out: RMSE, log loss, 1 - ROC AUC. In brackets: CPU seconds per fold of all these places.",
        "No table is a task of `automl_quality.py`.",
        "",
        "| table | kind | rows | LightGBM's defaults | " + " | ".join(head) + " |",
        "|---|---|---|---|" + "---|" * len(head),
    ]
    for row in rows:
        cells = [f"{loss:.4g} ({cost:.0f} s)" for pair in zip(row.plain, row.more, strict=True) for loss, cost in pair]
        source = row.source
        lines.append(
            f"| {source.package}/{source.item} {source.target} | {source.kind} | {source.train_rows} | "
            f"{row.reference:.4g} | " + " | ".join(cells) + " |"
        )
    for place, places in enumerate(PLACES):
        ratios = np.array([row.more[place][0] / row.plain[place][0] for row in rows])
        lines += [
            "",
            f"First {places}: with the additions the loss is {100 * (np.exp(np.log(ratios).mean()) - 1):+.1f} % in the "
            f"geometric mean; lower on {int((ratios < 1).sum())}, higher on {int((ratios > 1).sum())} of {len(rows)} "
            f"tables (at most {100 * (ratios.max() - 1):+.1f} %).",
        ]
    return lines
