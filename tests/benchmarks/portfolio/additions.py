"""What ``portfolio_large.json`` and ``portfolio_small.json`` bring: the same first places with and without them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .blend import Target, blend
from .configurations import REFERENCE, Configuration
from .learn import TARGET
from .measure import Pair, measure_all, problem_name
from .sources import KINDS, LARGE, SOURCES, Source
from .store import Result, Store

__all__ = ["ADDITIONS", "PLACES", "Additions", "compare", "with_additions"]

PLACES = (10, 15)


@dataclass(frozen=True)
class Additions:
    """One file of additions. ``tables``: what it is measured on; ``page``: where the result goes."""

    file: Path
    page: Path
    title: str
    tables: Mapping[str, Source]

    @property
    def entries(self) -> Mapping[str, Any]:
        """The file's lists of additions, by kind of task."""
        document = json.loads(self.file.read_text(encoding="utf-8"))
        return {kind: entries for kind, entries in document.items() if kind in KINDS}


ADDITIONS: Mapping[str, Additions] = {
    name: Additions(
        TARGET.with_name(f"portfolio_{name}.json"),
        Path(__file__).with_name(f"{name.upper()}.md"),
        f"What tables of {amount} rows get besides",
        tables,
    )
    for name, amount, tables in (
        ("large", "many", LARGE),
        ("small", "few", {name: source for name, source in SOURCES.items() if source.train_rows < 4_000}),
    )
}


@dataclass(frozen=True)
class Row:
    """One table, with the rows that were learned from.

    ``reference``: loss of LightGBM with its defaults. ``plain``, ``more``: by the number of first places, (loss of the
    ensemble on held-out rows, CPU seconds per fold of all members that could be chosen).
    """

    source: Source
    rows: int
    reference: float
    plain: tuple[tuple[float, float], ...]
    more: tuple[tuple[float, float], ...]


def _entries(kind: str) -> list[Configuration]:
    document = json.loads(TARGET.read_text(encoding="utf-8"))
    return [Configuration(entry["model"], entry["params"]) for entry in document[kind]]


def with_additions(kind: str, additions: Additions) -> list[Configuration]:
    """Return the order for tables of these sizes, as `rayctl.automl.tabular.portfolio` makes it."""
    found = _entries(kind)
    for entry in additions.entries.get(kind, ()):
        found.insert(entry["place"] - 1, Configuration(entry["model"], entry["params"]))
    return found


def compare(
    additions: Additions, store: Store, kinds: Sequence[str], limit_s: float, say: Callable[[str], None]
) -> None:
    """Measure what is missing, and write the page."""
    sources = [
        source for source in additions.tables.values() if source.kind in kinds and source.kind in additions.entries
    ]
    longest = max(PLACES)
    todo = [
        Pair(source, 0, configuration)
        for source in sources
        for configuration in _distinct(
            [REFERENCE, *_entries(source.kind)[:longest], *with_additions(source.kind, additions)[:longest]]
        )
    ]
    measure_all(store, todo, limit_s, say)
    rows = [_row(store, source, additions) for source in sources]
    additions.page.write_text("\n".join(_page(additions, rows)) + "\n", encoding="utf-8")
    say(f"written: {additions.page}")


def _distinct(configurations: Iterable[Configuration]) -> list[Configuration]:
    return list({configuration.key: configuration for configuration in configurations}.values())


def _row(store: Store, source: Source, additions: Additions) -> Row:
    problem = problem_name(source, 0)
    truth = store.read_truth(problem)
    seen, unseen = Target.of(source.kind, truth.oof, truth.fold), Target.of(source.kind, truth.test)

    def of(order: Sequence[Configuration]) -> tuple[float, float]:
        results = [store.read(problem, entry.key) for entry in order]
        usable: list[Result] = [result for result in results if result.state == "ok"]
        weights = blend(seen, np.stack([result.oof for result in usable]).astype(np.float64))
        mixed = weights @ np.stack([result.test for result in usable])
        return float(unseen.losses(mixed[None])[0]), sum(result.cpu_s for result in usable)

    plain, more = _entries(source.kind), with_additions(source.kind, additions)
    return Row(
        source,
        truth.rows,
        of([REFERENCE])[0],
        tuple(of(plain[:places]) for places in PLACES),
        tuple(of(more[:places]) for places in PLACES),
    )


def _page(additions: Additions, rows: Sequence[Row]) -> list[str]:
    head = [f"first {places}{what}" for places in PLACES for what in ("", ", with the additions")]
    lines = [
        f"# {additions.title}",
        "",
        f"Written by `tests/benchmarks/learn_portfolio.py --{additions.page.stem.lower()}`. Ensembles (greedy",
        "selection on validation predictions of 3 folds) of the first places of the portfolio, and of as many with",
        f"`{additions.file.name}`; losses on rows held out: RMSE, log loss, 1 - ROC AUC. In brackets: CPU seconds per",
        "fold of all these places.",
        "No table is a task of `automl_quality.py`.",
        "",
        "| table | kind | rows | LightGBM's defaults | " + " | ".join(head) + " |",
        "|---|---|---|---|" + "---|" * len(head),
    ]
    for row in rows:
        cells = [f"{loss:.4g} ({cost:.0f} s)" for pair in zip(row.plain, row.more, strict=True) for loss, cost in pair]
        source = row.source
        lines.append(
            f"| {source.package}/{source.item} {source.target} | {source.kind} | {row.rows} | "
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
