"""The report: Markdown for people, JSON for programs, the same figures in both."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from .evaluate import Outcome, evaluate, kept
from .layout import TABLES, Layout, read_lines, write_json
from .peers import FRAMEWORKS, OURS
from .ranking import duel
from .summary import summarise

__all__ = ["publish"]

GB = 1e9
VERDICTS = {"as_run": "as run, however late", "at_deadline": "what existed at the budget plus 2 %"}


def publish(
    layout: Layout, keys: Sequence[str], budget_s: float, out: Path, earlier: Mapping[str, Any] | None = None
) -> None:
    """Score what there is for these task-splits, and write ``out.md`` and ``out.json``.

    ``earlier``: a report of the same data at the same budget, whose results of frameworks count that have no newer.
    """
    measured = evaluate(layout, keys, budget_s)
    repeated = kept(layout, earlier, keys, measured) if earlier else []
    outcomes = [*measured, *repeated]
    document: dict[str, Any] = {
        "at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "budget_s": budget_s,
        "missing": sorted(set(keys) - {outcome.problem.key for outcome in outcomes}),
        "machine": _machine(),
        "frameworks": _frameworks(measured),
        "data_sha256": {outcome.problem.key: outcome.problem.sha256 for outcome in outcomes},
        **summarise(outcomes),
        "other_budgets": _other_budgets(layout, keys, budget_s, outcomes),
    }
    if earlier:
        _keep(document, earlier, {outcome.framework for outcome in repeated} - {o.framework for o in measured})
    out.parent.mkdir(parents=True, exist_ok=True)
    write_json(out.with_name(out.name + ".json"), document)
    out.with_name(out.name + ".md").write_text("\n".join(_markdown(document)) + "\n", encoding="utf-8")


def _keep(document: dict[str, Any], earlier: Mapping[str, Any], names: Iterable[str]) -> None:
    """Take over what an earlier report says of frameworks that were not run again."""
    for name in sorted(names, key=list(FRAMEWORKS).index):
        document["frameworks"][name] = earlier["frameworks"][name]
        for kind in ("tables", "series"):
            if name in document.get(kind, {}).get("cost", {}):
                document[kind]["cost"][name] = earlier[kind]["cost"][name]
    document["kept_from"] = {"at": earlier["at"], "frameworks": sorted(names)}


def _machine() -> dict[str, Any]:
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {"cpu": model, "cores": os.cpu_count(), "memory_gb": round(memory / GB, 1), "kernel": platform.release()}


def _frameworks(outcomes: Iterable[Outcome]) -> dict[str, Any]:
    """Versions and settings of everyone; of rayctl also the commits, several if results were made at several."""
    found: dict[str, Any] = {}
    for outcome in sorted(outcomes, key=lambda outcome: list(FRAMEWORKS).index(outcome.framework)):
        line = outcome.line
        entry = found.setdefault(
            outcome.framework, {"versions": line["versions"], "settings": dict(FRAMEWORKS[outcome.framework].options)}
        )
        entry["versions"] = entry["versions"] or line["versions"]  # a failed run tells none
        source = line["notes"].get("source")
        if source:
            entry["sources"] = sorted({*entry.get("sources", []), source})
    return found


def _other_budgets(
    layout: Layout, keys: Sequence[str], budget_s: float, outcomes: Sequence[Outcome]
) -> dict[str, dict[str, Any]]:
    """Duels of rayctl at other budgets against the peers at this one: what less time, or more, is worth."""
    lines = read_lines(layout.results)
    budgets = sorted({line["budget_s"] for line in lines if line["framework"] == OURS} - {budget_s})
    theirs = {(o.framework, o.problem.key): o for o in outcomes if o.problem.kind == TABLES and o.framework != OURS}
    found: dict[str, dict[str, Any]] = {}
    for other_s in budgets:
        ours = {o.problem.key: o for o in evaluate(layout, keys, other_s) if o.framework == OURS}
        for peer in dict.fromkeys(name for name, _ in theirs):
            pairs = [(o, theirs[peer, key]) for key, o in ours.items() if (peer, key) in theirs]
            if pairs:
                a, b = [pair[0].loss for pair in pairs], [pair[1].loss for pair in pairs]
                problems = [pair[0].problem for pair in pairs]
                result = duel(a, b, [p.metric for p in problems], [p.task for p in problems])
                found.setdefault(f"{other_s:g}", {})[peer] = vars(result)
    return found


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    return [*lines, *("| " + " | ".join(row) + " |" for row in rows), ""]


def _title(name: str) -> str:
    return FRAMEWORKS[name].title


def _markdown(document: Mapping[str, Any]) -> list[str]:
    machine = document["machine"]
    lines = [
        f"# Quality at {document['budget_s']:g} s",
        "",
        f"{document['at']}, {machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB. Written by",
        "`tests/benchmarks/automl_quality.py`; the clock of a peer is its `fit` call, rayctl's runs from submit to the",
        "result in the caller's hand, through HTTP, on a service that was started and warm before.",
        "",
    ]
    if document.get("kept_from"):
        of_then = ", ".join(map(_title, document["kept_from"]["frameworks"]))
        lines += [f"Results of {document['kept_from']['at']}, on the same data: {of_then}.", ""]
    if document["missing"]:
        lines += ["Without results: " + ", ".join(document["missing"]) + ".", ""]
    for kind, heading in (("tables", "Tables"), ("series", "Series")):
        if kind in document:
            lines += [f"## {heading}", "", *_kind(document[kind])]
    lines += _other_budget_lines(document)
    return [*lines, "## Versions and settings", "", *_version_lines(document["frameworks"])]


def _kind(part: Mapping[str, Any]) -> list[str]:
    names = part["frameworks"]
    lines = [
        "### Scores",
        "",
        "Bold is the best of a row as run; ° came too late, × failed and got a constant's score,",
    ]
    lines += ["~ was disturbed by other processes. Seconds of fit are in brackets.", ""]
    lines += _table(["task", "metric", *map(_title, names)], (_score_row(row, names) for row in part["scores"]))
    lines += [
        "### Mean rank",
        "",
        f"Over the {part['whole_task_splits']} of {part['task_splits']} task-splits that all",
    ]
    lines += ["took part in; 95 % bootstrap intervals over tasks in brackets.", ""]
    lines += _table(["framework", *VERDICTS.values(), "first, as run"], _rank_rows(part["ranks"]))
    lines += ["### rayctl against each", ""]
    lines += ["A tie is within what repeats differ by; the win rate counts every difference.", ""]
    for verdict, text in VERDICTS.items():
        if part["duels"][verdict]:
            lines += [f"{text.capitalize()}:", "", *_duel_table(part["duels"][verdict])]
    lines += _regret_lines(part["regret"]) + _count_lines(part.get("counts"))
    return [*lines, "### Time and memory", "", *_cost_table(part["cost"])]


def _score_row(row: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    best = min(result["loss"] for result in row["results"].values())
    cells = []
    for name in names:
        result = row["results"].get(name)
        if result is None:
            cells.append("")
            continue
        digits = f"{result['score']:.4f}" if abs(result["score"]) < 100 else f"{result['score']:,.0f}"
        if result["failure"]:
            cells.append(f"{digits} ×")
            continue
        marks = ("°" if result["is_late"] else "") + ("~" if result["disturbed"] else "")
        digits = f"**{digits}**" if result["loss"] == best else digits
        cells.append(f"{digits} ({result['fit_s']:.1f}){marks}")
    return [f"{row['task']} s{row['split']}", row["metric"], *cells]


def _rank_rows(found: Mapping[str, Any]) -> Iterable[list[str]]:
    for name, as_run in found["as_run"].items():
        late = found["at_deadline"][name]
        cells = [f"{each['mean']:.2f} [{each['low']:.2f}, {each['high']:.2f}]" for each in (as_run, late)]
        yield [_title(name), *cells, str(as_run["firsts"])]


def _duel_table(duels: Mapping[str, Any]) -> list[str]:
    rows = (
        [
            _title(peer), f"{d['wins']} / {d['ties']} / {d['losses']}",
            f"{d['rate']:.0%} [{d['low']:.0%}, {d['high']:.0%}]",
            "-" if d["p_value"] is None else f"{d['p_value']:.3f}",
        ]
        for peer, d in duels.items()
    )  # fmt: skip
    return _table(["against", "win / tie / loss", "win rate", "Wilcoxon p"], rows)


def _regret_lines(regrets: Mapping[str, Mapping[str, float | None]]) -> list[str]:
    if not regrets:
        return []
    lines = [
        "### Regret",
        "",
        "(ours − best peer) / (LightGBM default − best peer), as losses: below 0 is ahead of all",
    ]
    lines += ["peers, 1 is as LightGBM default, `-` where LightGBM default is itself the best peer. The scale is small"]
    lines += ["where LightGBM default is nearly the best, so beside it: how much higher our loss is than the best.", ""]
    ordered = sorted(regrets.items(), key=lambda item: -(item[1]["relative"] or 0.0))
    rows = (
        [key, "-" if found["scaled"] is None else f"{found['scaled']:.2f}", f"{found['relative']:+.1%}"]
        for key, found in ordered
    )
    return lines + _table(["task-split", "regret", "loss above the best peer's"], rows)


def _count_lines(counts: Mapping[str, int] | None) -> list[str]:
    if not counts:
        return []
    of = counts["collections"]
    return [
        f"Of {of} collections rayctl beats seasonal naive on {counts['beats_naive']}, AutoETS on",
        f"{counts['beats_ets']}, the single model that is best in hindsight on {counts['beats_best_single']},",
        f"and is within 2 % of that on {counts['within_2_percent_of_best']}.",
        "",
    ]


def _cost_table(cost: Mapping[str, Any]) -> list[str]:
    head = [
        "framework", "runs", "failed", "late", "disturbed", "fit s: median, max", "over budget s: p95, max",
        "predict s: median, max", "CPU s", "use of cores", "peak GB: resident, private", "above idle GB",
    ]  # fmt: skip
    rows = []
    for name, c in cost.items():
        row = [_title(name), str(c["runs"]), str(c["failures"]), str(c["late"]), str(c["disturbed"])]
        if "fit_s_max" in c:
            has_budget = "overshoot_s_max" in c
            row += [
                f"{c['fit_s_median']:.1f}, {c['fit_s_max']:.1f}",
                f"{c['overshoot_s_p95']:+.1f}, {c['overshoot_s_max']:+.1f}" if has_budget else "",
                f"{c['predict_s_median']:.2f}, {c['predict_s_max']:.2f}",
                f"{c['cpu_s_mean']:.0f}",
                f"{c['core_use']:.0%}",
                f"{c['peak_rss_max'] / GB:.2f}, {c['peak_private_max'] / GB:.2f}",
                f"{c['above_idle_rss_max'] / GB:.2f}, {c['above_idle_private_max'] / GB:.2f}" if name == OURS else "",
            ]
        rows.append(row + [""] * (len(head) - len(row)))
    note = [
        "CPU and use of cores are of the whole process tree from start to end, imports and prediction included.",
        "Resident memory counts pages that processes share once for each, private memory counts none of them.",
        "",
    ]
    return note + _table(head, rows)


def _other_budget_lines(document: Mapping[str, Any]) -> list[str]:
    lines = []
    for other, duels in document["other_budgets"].items():
        lines += [f"## rayctl at {other} s against the peers at {document['budget_s']:g} s, as run", ""]
        lines += _duel_table(duels)
    return lines


def _version_lines(frameworks: Mapping[str, Any]) -> list[str]:
    rows = []
    for name, entry in frameworks.items():
        versions = ", ".join(f"{package} {version}" for package, version in entry["versions"].items())
        settings = ", ".join(f"{key}={value}" for key, value in entry["settings"].items()) or "defaults"
        sources = f"; commit {', '.join(entry['sources'])}" if "sources" in entry else ""
        rows.append([_title(name), settings, versions + sources])
    return _table(["framework", "settings", "versions"], rows)
