"""Pictures of a regression's validation predictions. Each function returns a figure, or None."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rayctl.automl.report import ink
from rayctl.automl.report.fmt import number, plural, short

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_actual", "draw_histogram", "draw_residuals"]

Document = dict[str, Any]


def draw_actual(document: Document) -> Figure | None:
    """Actual against predicted values."""
    data = document["regression"]
    if data is None:
        return None
    figure, axes = ink.canvas(height=3.2, left=0.72, top=0.3)
    ink.ticks(axes)
    x, y = np.array(data["sample"]["prediction"]), np.array(data["sample"]["truth"])
    low, high = float(min(x.min(), y.min())), float(max(x.max(), y.max()))
    pad = (high - low) * 0.03 or 1.0
    axes.plot([low - pad, high + pad], [low - pad, high + pad], color=ink.MUTED, lw=0.9, ls=(0, (1.5, 2.5)))
    axes.plot(x, y, "o", color=ink.SERIES[0], ms=3, mew=0, alpha=0.4)
    worst = data["worst"]
    axes.plot(
        [w["prediction"] for w in worst],
        [w["truth"] for w in worst],
        "o",
        color=ink.SERIES[1],
        ms=3.8,
        mew=0,
        label="10 largest errors",
    )
    axes.set_xlim(low - pad, high + pad)
    axes.set_ylim(low - pad, high + pad)
    target = short(document["run"]["target"], 22)
    axes.set_xlabel(f"predicted {target}")
    axes.set_ylabel(f"actual {target}")
    ink.legend_above(axes, 1)
    return figure


def draw_residuals(document: Document) -> Figure | None:
    """Residuals over the prediction, with the middle 80 % of groups of similar predictions."""
    data = document["regression"]
    if data is None:
        return None
    groups = data["by_prediction"]
    top = ink.above(2, 2) if len(groups) > 1 else 0.16
    figure, axes = ink.canvas(height=3.0 + top, left=0.72, top=top)
    ink.ticks(axes)
    x = np.array(data["sample"]["prediction"])
    y = np.array(data["sample"]["truth"]) - x
    center = [group["center"] for group in groups]
    axes.plot(x, y, "o", color=ink.SERIES[0], ms=3, mew=0, alpha=0.35)
    if len(groups) > 1:
        axes.fill_between(
            center,
            [g["p10"] for g in groups],
            [g["p90"] for g in groups],
            color=ink.SERIES[1],
            alpha=0.16,
            lw=0,
            label="middle 80%",
        )
        axes.plot(center, [g["median"] for g in groups], color=ink.SERIES[1], label="median")
        ink.legend_above(axes, 2)
    axes.axhline(0, color=ink.MUTED, lw=0.9, ls=(0, (1.5, 2.5)))
    axes.set_xlabel(f"predicted {short(document['run']['target'], 22)}")
    axes.set_ylabel("actual − predicted")
    return figure


def draw_histogram(document: Document) -> Figure | None:
    """How large residuals are."""
    data = document["regression"]
    if data is None:
        return None
    bars = data["histogram"]
    top = ink.above(1, 1)
    figure, axes = ink.canvas(height=3.0 + top, left=0.72, top=top)
    ink.ticks(axes, whole="y")
    edges = np.array(bars["edges"])
    axes.bar(edges[:-1], bars["counts"], width=np.diff(edges) * 0.92, align="edge", color=ink.SERIES[0], alpha=0.85)
    axes.axvline(0, color=ink.MUTED, lw=0.9, ls=(0, (1.5, 2.5)))
    outside = bars["below"] + bars["above"]
    label = f"mean {number(data['bias'], 3)}" + (f" ({plural(outside, 'row')} outside)" if outside else "")
    axes.axvline(data["bias"], color=ink.SERIES[1], lw=1.2, label=label)
    axes.set_xlabel("actual − predicted")
    axes.set_ylabel("rows")
    axes.grid(axis="x", visible=False)
    ink.legend_above(axes, 1)
    return figure
