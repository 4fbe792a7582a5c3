"""Pictures of a run's trials. Each function takes the report's document and returns a figure, or None."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from rayctl.automl.report import ink
from rayctl.automl.report.fmt import compact, metric_name, percent, seconds, short
from rayctl.automl.report.trials import fold_range

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_cost", "draw_importance", "draw_latency", "draw_leaderboard", "draw_progress", "draw_weights"]

Document = dict[str, Any]
_BARS = 15
DOTS = 1000
"""A picture has at most so many dots of one kind: more are no clearer, and make the page large."""

T = TypeVar("T")


def window(values: list[float], greater_is_better: bool) -> tuple[float, float]:
    """Return limits of a score axis that show the good ones well; a few hopeless trials must not flatten the rest."""
    ordered = sorted(values, reverse=greater_is_better)
    best, middle = ordered[0], ordered[len(ordered) // 2]
    worst = ordered[-1]
    reach = max(abs(best - middle) * 2.5, abs(best) * 1e-3, 1e-12)
    end = min(reach, abs(best - worst)) or reach
    low, high = sorted((best, best - end if greater_is_better else best + end))
    pad = (high - low) * 0.08
    return low - pad, high + pad


def _direction(document: Document) -> str:
    return "higher is better" if document["run"]["greater_is_better"] else "lower is better"


def draw_progress(document: Document) -> Figure | None:
    """Score over time: trials, the best so far, the ensemble."""
    data = document["score_over_time"]
    if not data["trials"] and not data["ensemble"]:
        return None
    up = document["run"]["greater_is_better"]
    scores = [item["score"] for item in data["trials"]]
    values = [value for _, value in data["best"] + data["ensemble"]]
    low, high = window(scores + values, up)
    low, high = min(low, *values, high) if values else low, max(high, *values, low) if values else high
    figure, axes = ink.canvas(height=3.2, left=0.86, top=0.5)
    ink.ticks(axes)
    end = max(data["end_s"], data["budget_s"] or 0.0) * 1.02 or 1.0
    unit, unit_s = ink.time_unit(end)
    shown = [
        (item["elapsed_s"] / unit_s, min(max(item["score"], low), high), low <= item["score"] <= high)
        for item in spaced(data["trials"], DOTS)
    ]
    for inside, marker, size in ((True, "o", 3.6), (False, "v" if up else "^", 3.6)):
        points = [(x, y) for x, y, fits in shown if fits is inside]
        if points:
            label = "trial" if inside else "trial off the scale"
            axes.plot(*zip(*points, strict=True), marker, color=ink.MUTED, alpha=0.65, ms=size, mew=0, label=label)
    for key, label, colour, line in (
        ("best", "best trial", ink.SERIES[0], "-"),
        ("ensemble", "ensemble", ink.SERIES[1], "--"),
    ):
        if data[key]:
            x, y = zip(*[*data[key], [max(data["end_s"], data[key][-1][0]), data[key][-1][1]]], strict=True)
            axes.step([at / unit_s for at in x], y, where="post", color=colour, ls=line, label=label)
    if data["budget_s"]:
        at = data["budget_s"] / unit_s
        axes.axvline(at, color=ink.MUTED, lw=0.9, ls=(0, (1.5, 2.5)), label="time budget")
    axes.set_xlim(-end / unit_s * 0.01, end / unit_s)
    pad = (high - low) * 0.03
    axes.set_ylim(low - pad, high + pad)
    axes.set_xlabel(f"{unit} since the start")
    axes.set_ylabel(f"{short(metric_name(document['run']['metric']), 24)} ({_direction(document)})")
    ink.legend_above(axes, 3)
    return figure


def spaced(items: Sequence[T], limit: int) -> list[T]:
    """Return at most ``limit`` of the items, evenly spaced, with the first and the last."""
    if len(items) <= limit:
        return list(items)
    return [items[round(place * (len(items) - 1) / (limit - 1))] for place in range(limit)]


def draw_leaderboard(document: Document) -> Figure | None:
    """The best trials with the score of each fold."""
    rows = [row for row in document["leaderboard"] if row["state"] == "done"][:_BARS]
    if not rows:
        return None
    figure, axes = ink.barh([f"#{row['trial']} {row['family']}" for row in rows])
    ink.ticks(axes, y=False)
    low, high = fold_range(rows) or (0.0, 1.0)
    for place, row in enumerate(rows):
        colour = ink.SERIES[0] if row["weight"] > 0 else ink.MUTED
        folds = [min(max(value, low), high) for value in row["fold_scores"]]
        axes.plot(folds, [place] * len(folds), "o", color=colour, alpha=0.45, ms=4, mew=0, clip_on=False)
        axes.plot([min(max(row["score"], low), high)], [place], "|", color=colour, ms=11, mew=2.2, clip_on=False)
    axes.set_xlim(low, high)
    axes.set_xlabel(
        f"{short(metric_name(document['run']['metric']), 24)} per fold, bar: mean ({_direction(document)})", loc="right"
    )
    return figure


def _bars(axes: Axes, values: list[float], labels: list[str], colour: str) -> None:
    axes.barh(range(len(values)), values, height=0.62, color=colour, alpha=0.85)
    room = max([*values, 1e-12]) * 1.22
    axes.set_xlim(min([*values, 0.0]) * 1.1, room)
    for place, (value, label) in enumerate(zip(values, labels, strict=True)):
        axes.text(max(value, 0.0) + room * 0.012, place, label, va="center", fontsize=8.2, color=ink.MUTED)


def draw_weights(document: Document) -> Figure | None:
    """The weight of each member, and of each kind of model where several members share one."""
    data = document["weights"]
    members = data["trials"]
    if len(members) < 2:
        return None
    rows = [(f"#{item['trial']} {item['family']}", item["weight"], 0) for item in members[:_BARS]]
    if len(members) > _BARS:
        rows.append((f"{len(members) - _BARS} more", sum(item["weight"] for item in members[_BARS:]), 0))
    if 1 < len(data["families"]) < len(members):
        rows += [(f"all {item['family']}", item["weight"], 1) for item in data["families"]]
    figure, axes = ink.barh([label for label, _, _ in rows])
    _bars(axes, [weight for _, weight, _ in rows], [percent(weight) for _, weight, _ in rows], ink.SERIES[0])
    for bar, (_, _, kind) in zip(axes.patches, rows, strict=True):
        bar.set_facecolor(ink.SERIES[kind])
    _percent_axis(axes)
    axes.set_xlabel("share of the delivered model", loc="right")
    return figure


def _percent_axis(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f}%"))


def draw_importance(document: Document) -> Figure | None:
    """How much the score drops when a column is shuffled."""
    items = (document["importance"] or [])[:20]
    if not items:
        return None
    figure, axes = ink.barh([item["feature"] for item in items])
    ink.ticks(axes, y=False)
    values = [item["importance"] or 0.0 for item in items]
    spread = [item.get("std") or 0.0 for item in items]
    colours = [ink.SERIES[0] if value > 0 else ink.MUTED for value in values]
    axes.barh(range(len(items)), values, height=0.62, color=colours, alpha=0.85)
    axes.errorbar(values, range(len(items)), xerr=spread, fmt="none", ecolor=ink.TEXT, elinewidth=0.9, capsize=0)
    axes.axvline(0, color=ink.MUTED, lw=0.8)
    axes.set_xlabel(
        f"change of {short(metric_name(document['run']['metric']), 24)} for the worse when shuffled", loc="right"
    )
    return figure


def draw_cost(document: Document) -> Figure | None:
    """Where the time of fitting went."""
    items = [item for item in document["costs"] if item["fit_s"] > 0]
    if not items:
        return None
    rows = [
        (f"{item['family']} × {item['done'] + item['failed'] + item['skipped']}", item["fit_s"])
        for item in items[:_BARS]
    ]
    if len(items) > _BARS:
        rows.append((f"{len(items) - _BARS} more kinds", sum(item["fit_s"] for item in items[_BARS:])))
    unit, unit_s = ink.time_unit(max(value for _, value in rows))
    figure, axes = ink.barh([label for label, _ in rows])
    ink.ticks(axes, y=False)
    _bars(axes, [value / unit_s for _, value in rows], [seconds(value) for _, value in rows], ink.SERIES[2])
    axes.set_xlabel(f"{unit} of fitting, all scored folds of all trials", loc="right")
    return figure


def draw_latency(document: Document) -> Figure | None:
    """Score against the time that predicting takes; the line joins the trials that no other beats in both."""
    rows = [row for row in document["leaderboard"] if row["state"] == "done" and (row["predict_s"] or 0) > 0]
    if len(rows) < 3:
        return None
    up = document["run"]["greater_is_better"]
    low, high = window([row["score"] for row in rows], up)
    front: list[tuple[float, float]] = []
    for row in sorted(rows, key=lambda row: (row["predict_s"], -row["score"] if up else row["score"])):
        if not front or (row["score"] > front[-1][1] if up else row["score"] < front[-1][1]):
            front.append((row["predict_s"], row["score"]))
    front = [point for point in front if low <= point[1] <= high]
    rows = [*rows[:DOTS], *(row for row in rows[DOTS:] if (row["predict_s"], row["score"]) in front)]
    families = list(dict.fromkeys(row["family"] for row in rows))
    lines = (min(len(families), 8) + 1) // 2
    figure, axes = ink.canvas(height=2.8 + 0.2 * lines, left=0.86, top=0.14 + 0.19 * lines)
    ink.ticks(axes, x=False)
    axes.set_xscale("log")
    for place, family in enumerate(families[:8]):
        others = families[7:] if place == 7 and len(families) > 8 else [family]
        own = [row for row in rows if row["family"] in others]
        x = [row["predict_s"] for row in own]
        y = [min(max(row["score"], low), high) for row in own]
        label = short(family, 22) if len(others) == 1 else f"{len(others)} more kinds"
        axes.plot(x, y, "osD^vPX*"[place], color=ink.SERIES[place], ms=4.6, mew=0, alpha=0.85, label=label)
    if len(front) > 1:
        axes.plot(*zip(*front, strict=True), color=ink.MUTED, lw=0.9, zorder=0)
    axes.set_ylim(low, high)
    _log_seconds(axes, [row["predict_s"] for row in rows])
    axes.set_xlabel("time to predict one fold")
    axes.set_ylabel(f"{short(metric_name(document['run']['metric']), 24)} ({_direction(document)})")
    ink.legend_above(axes, 2)
    return figure


def _log_seconds(axes: Axes, values: list[float]) -> None:
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    low, high = min(values) / 1.4, max(values) * 1.4
    axes.set_xlim(low, high)
    steps: list[float] = []
    for parts in ((1, 3), (1, 1.5, 2, 3, 4, 5, 6, 8)):  # the latter where all are about equally quick
        if len(steps) < 2:
            steps = [m * 10.0**e for e in range(-6, 6) for m in parts if low <= m * 10.0**e <= high]
    steps = steps[:: -(-len(steps) // 5) or 1]
    axes.xaxis.set_major_locator(FixedLocator(steps))
    axes.xaxis.set_major_formatter(FixedFormatter([_unit(value) for value in steps]))
    axes.xaxis.set_minor_locator(NullLocator())


def _unit(value: float) -> str:
    return f"{compact(value)} s" if value >= 1 else f"{compact(value * 1e3)} ms"
