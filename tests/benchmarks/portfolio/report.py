"""The report: which tables, how many configurations, and what the learned order is worth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from .configurations import Configuration
from .greedy import mean_regret
from .learn import PREFIXES, Comparison, Learned
from .regret import Board

__all__ = ["comparison_table", "report"]

_HEAD = """# How the tabular portfolio was learned

`rayctl/automl/tabular/portfolio.json` is written by `tests/benchmarks/learn_portfolio.py`; this file too. Every
configuration was fitted on 3 folds of every table, by `TabularEngine`; the ensembles are those of its greedy selection
on the validation predictions, scored on rows held out of everything. Regret: 1 is LightGBM with its own defaults, 0
the ensemble of all configurations; clipped at 2 and -0.25. The order is greedy: what takes away most regret for the
square root of its CPU seconds comes next, the first six from different families. The learned order is kept where it
has less regret than the hand-written one on tables that it was not learned from (first 10 and 20 places); few tables
make for much chance, and then the hand-written order stays.

None of the tables is a task of `automl_quality.py`.
"""


def comparison_table(kind: str, it: Comparison) -> str:
    """Return the comparison of the two orders as a Markdown table."""
    lines = [
        f"| {kind}: {len(it.tables)} tables, each left out once | " + " | ".join(f"first {p}" for p in PREFIXES) + " |",
        "|---|" + "---|" * len(PREFIXES),
        _row("regret, learned order", it.learned.mean(axis=0)),
        _row("regret, hand-written order", it.written.mean(axis=0)),
    ]
    difference = it.written - it.learned
    errors = difference.std(axis=0, ddof=1) / np.sqrt(len(it.tables))
    cells = [f"{mean:+.3f} ± {error:.3f}" for mean, error in zip(difference.mean(axis=0), errors, strict=True)]
    lines.append("| learned is better by (± standard error) | " + " | ".join(cells) + " |")
    wins = [f"{int((column > 1e-9).sum())} : {int((column < -1e-9).sum())}" for column in difference.T]
    lines.append("| tables won : lost | " + " | ".join(wins) + " |")
    lines.append(_row("CPU seconds per fold, learned", it.cost_learned.mean(axis=0), 1))
    lines.append(_row("CPU seconds per fold, hand-written", it.cost_written.mean(axis=0), 1))
    return "\n".join(lines) + "\n"


def _row(name: str, values: np.ndarray, digits: int = 3) -> str:
    return f"| {name} | " + " | ".join(f"{value:.{digits}f}" for value in values) + " |"


def report(results: Sequence[Learned], pools: Mapping[str, Sequence[Configuration]]) -> str:
    """Return the whole report."""
    parts = [_HEAD, "## Learned and hand-written order\n"]
    for result in results:
        parts.append(comparison_table(result.kind, result.comparison))
        parts.append(f"Kept for {result.kind}: the {'learned' if result.is_learned else 'hand-written'} order.\n")
    parts.append(_configurations(pools))
    parts += [_order(result) for result in results]
    parts.append(_tables(results[0].boards))
    parts.append(_costs(results[0].boards, pools))
    return "\n".join(parts)


def _configurations(pools: Mapping[str, Sequence[Configuration]]) -> str:
    lines = ["## Configurations\n", "| kind | number | by family |", "|---|---|---|"]
    for kind, pool in pools.items():
        families = Counter(configuration.model for configuration in pool)
        text = ", ".join(f"{name} {count}" for name, count in families.most_common())
        lines.append(f"| {kind} | {len(pool)} | {text} |")
    return "\n".join(lines) + "\n"


def _order(result: Learned) -> str:
    lines = [f"## First places: {result.kind}\n", "| place | model | parameters | regret so far |", "|---|---|---|---|"]
    own = [board for board in result.boards if board.source.kind == result.kind]
    for place, entry in enumerate(result.order[:12], 1):
        regret = mean_regret(own, [chosen.key for chosen in result.order[:place]])
        params = ", ".join(f"{name} {value}" for name, value in entry.params.items())
        lines.append(f"| {place} | {entry.model} | {params} | {regret:.3f} |")
    return "\n".join(lines) + "\n"


def _tables(boards: Sequence[Board]) -> str:
    lines = [
        "## Tables\n",
        "Losses: 1 - ROC AUC, log loss, RMSE. A table with two lines was split twice.\n",
        "| table | kind | rows fitted on | rows held out | LightGBM's defaults | ensemble of all | best family in it |",
        "|---|---|---|---|---|---|---|",
    ]
    for board in boards:
        families: Counter[str] = Counter()
        for key, weight in board.weights().items():
            families[key.rpartition("-")[0]] += weight  # type: ignore[assignment]
        name, weight = families.most_common(1)[0]
        lines.append(
            f"| {board.source.package}/{board.source.item} | {board.source.kind} | {board.rows} | "
            f"{board.test.shape[1]} | {board.reference:.4g} | {board.best:.4g} | {name} {weight:.2f} |"
        )
    return "\n".join(lines) + "\n"


def _costs(boards: Sequence[Board], pools: Mapping[str, Sequence[Configuration]]) -> str:
    models = {entry.key: entry.model for pool in pools.values() for entry in pool}
    ratios: dict[str, list[float]] = {}
    seconds: dict[str, list[float]] = {}
    for board in boards:
        for key, value in board.seconds.items():
            ratios.setdefault(models[key], []).append(board.predicted[key] / max(value, 1e-3))
            seconds.setdefault(models[key], []).append(value)
    lines = [
        "## Costs\n",
        "CPU seconds of one fold as fitted here, and what `rayctl.automl.tabular.cost` says of it.\n",
        "| family | median seconds | predicted / measured: 10 %, median, 90 % |",
        "|---|---|---|",
    ]
    for model in sorted(ratios):
        low, middle, high = np.quantile(ratios[model], (0.1, 0.5, 0.9))
        lines.append(f"| {model} | {np.median(seconds[model]):.2f} | {low:.2f}, {middle:.2f}, {high:.2f} |")
    return "\n".join(lines) + "\n"
