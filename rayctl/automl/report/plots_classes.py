"""Pictures of a classifier's validation predictions. Each function returns a figure, or None."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rayctl.automl.report import ink
from rayctl.automl.report.fmt import compact, number, percent, short, short_each

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "DEEP",
    "draw_calibration",
    "draw_confusion",
    "draw_gain",
    "draw_pr",
    "draw_roc",
    "draw_thresholds",
    "others_shown",
]

Document = dict[str, Any]
_SHOWN_CLASSES = 16
_FAINT, DEEP = 0.04, 0.55  # as deep as a cell may be for its number to be read in light and in dark
_CHAR = 0.074  # inches of a letter of a tick's label


def draw_confusion(document: Document) -> Figure | None:
    """True against predicted classes; the depth of a cell is its share of the true class."""
    data = document["classification"]
    if data is None:
        return None
    matrix, labels = _largest(np.array(data["confusion"]), data["classes"])
    shown = [*short_each(labels[:-1], 14), labels[-1]] if others_shown(len(data["classes"])) else short_each(labels, 14)
    k, longest = len(labels), max(map(len, shown))
    side = 2.4 if k <= 6 else 3.3
    left = 0.55 + 0.07 * longest
    width = max(4.6, side + left + 0.2)
    tilt = _CHAR * longest > 0.92 * (width - left - 0.14) / k
    bottom = 0.55 + (0.06 * longest if tilt else 0.0)
    figure, axes = ink.canvas(width, side + bottom, left=left, bottom=bottom)
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    from matplotlib.patches import Rectangle

    # Of the classes that are counted together it is not known which were right.
    together = k - 1 if others_shown(len(data["classes"])) else -1
    for a in range(k):
        for b in range(k):
            right = ink.MUTED if a == together else ink.SERIES[0]
            colour = right if a == b else ink.SERIES[1] if matrix[a, b] else ink.MUTED
            axes.add_patch(
                Rectangle(
                    (b + 0.02, a + 0.02),
                    0.96,
                    0.96,
                    facecolor=colour,
                    lw=0,
                    alpha=_FAINT + (DEEP - _FAINT) * float(share[a, b]),
                )
            )
            _cell(axes, a, b, int(matrix[a, b]), float(share[a, b]), k)
    axes.set_xlim(0, k)
    axes.set_ylim(k, 0)
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xticks(np.arange(k) + 0.5, shown, rotation=45 if tilt else 0, ha="right" if tilt else "center")
    axes.set_yticks(np.arange(k) + 0.5, shown)
    axes.tick_params(labelcolor=ink.TEXT)
    axes.set_xlabel("predicted")
    axes.set_ylabel("actual")
    axes.xaxis.set_label_coords(0.5, (0.31 - bottom) / (side - 0.12))  # below the labels, however long they are
    return figure


def others_shown(n_classes: int) -> bool:
    """Whether the matrix counts the smaller classes together."""
    return n_classes > _SHOWN_CLASSES


def _cell(axes: Axes, a: int, b: int, count: int, share: float, k: int) -> None:
    if k <= 4:
        axes.text(b + 0.5, a + 0.44, f"{count:,}", ha="center", va="center", color=ink.TEXT, fontsize=11)
        axes.text(b + 0.5, a + 0.68, percent(share), ha="center", va="center", color=ink.TEXT, fontsize=7.5)
    elif count:
        text = f"{count:,}" if count < 10_000 else compact(count)
        axes.text(b + 0.5, a + 0.5, text, ha="center", va="center", color=ink.TEXT, fontsize=8.5 if k <= 8 else 6.5)


def _largest(matrix: np.ndarray, labels: list[str]) -> tuple[np.ndarray, list[str]]:
    """Keep the largest classes and add up the others, so that the cells stay readable."""
    if not others_shown(len(labels)):
        return matrix, labels
    kept = np.sort(np.argsort(-matrix.sum(axis=1), kind="stable")[: _SHOWN_CLASSES - 1])
    group = np.full(len(labels), len(kept))
    group[kept] = np.arange(len(kept))
    small = np.zeros((len(kept) + 1, len(kept) + 1), np.int64)
    np.add.at(small, (group[:, None], group[None, :]), matrix)
    return small, [*(labels[i] for i in kept), f"{len(labels) - len(kept)} others"]


def _square(axes: Axes, x: str, y: str, end: float = 1.0) -> None:
    """Both axes from 0 to ``end``."""
    step = next(step for step in (0.02, 0.05, 0.1, 0.2) if end / step <= 5.01 or step == 0.2)
    places = [round(step * i, 3) for i in range(int(end / step + 1e-9) + 1)]
    for set_ticks in (axes.set_xticks, axes.set_yticks):
        set_ticks(places, [f"{place:g}" for place in places])
    axes.set_xlim(-0.015 * end, 1.015 * end)
    axes.set_ylim(-0.015 * end, 1.03 * end)
    axes.set_xlabel(x)
    axes.set_ylabel(y)


def _curve_figure(document: Document, kind: str, x: str, y: str, value: str, more: int) -> tuple[Figure, Axes] | None:
    """Return axes with a curve per class; ``more``: how many entries the legend will have beside those."""
    data = document["classification"]
    if data is None or not data.get("curves"):
        return None
    several = len(data["classes"]) > 2
    top = ink.above(len(data["curves"]) + (0 if several else more), 2)
    figure, axes = ink.canvas(height=3.0 + top, top=top)
    names = short_each([curve["class"] for curve in data["curves"]], 14)
    for place, curve in enumerate(data["curves"]):
        points = curve[kind]
        text = number(curve[value], 3 if several else 4)
        label = f"{names[place]}  {text}" if several else f"{value.replace('_', ' ')} {text}".replace("auc", "AUC")
        axes.plot(
            points[x],
            points[y],
            color=ink.SERIES[place],
            ls=ink.DASHES[place // 2 if several else 0],
            drawstyle="steps-pre" if kind == "pr" else "default",
            label=label,
        )
    if not several and kind == "roc":
        axes.fill_between(points[x], points[y], color=ink.SERIES[0], alpha=0.08, lw=0)
    return figure, axes


def draw_roc(document: Document) -> Figure | None:
    """True positive rate against false positive rate."""
    made = _curve_figure(document, "roc", "fpr", "tpr", "auc", 1)
    if made is None:
        return None
    figure, axes = made
    axes.plot([0, 1], [0, 1], color=ink.MUTED, lw=0.9, ls=(0, (1.5, 2.5)))
    _mark_decision(axes, document, roc=True)
    _square(axes, "false positive rate", "true positive rate")
    ink.legend_above(axes, 2)
    return figure


def draw_pr(document: Document) -> Figure | None:
    """Precision against recall."""
    made = _curve_figure(document, "pr", "recall", "precision", "average_precision", 2)
    if made is None:
        return None
    figure, axes = made
    curves = document["classification"]["curves"]
    if len(curves) == 1:
        chance = f"chance {number(curves[0]['share'], 3)}"
        axes.axhline(curves[0]["share"], color=ink.MUTED, lw=0.9, ls=(0, (1.5, 2.5)), label=chance)
    _mark_decision(axes, document, roc=False)
    _square(axes, "recall", "precision")
    ink.legend_above(axes, 2)
    return figure


def _mark_decision(axes: Axes, document: Document, *, roc: bool) -> None:
    """Two classes: the point on the curve that the delivered model's decisions are at."""
    data = document["classification"]
    if len(data["classes"]) != 2:
        return
    (tn, fp), (fn, tp) = data["confusion"]
    if not (tp + fn and tn + fp and tp + fp):
        return
    point = (fp / (fp + tn), tp / (tp + fn)) if roc else (tp / (tp + fn), tp / (tp + fp))
    axes.plot(
        *[[value] for value in point],
        "o",
        color=ink.SERIES[1],
        ms=6,
        mec=ink.SURFACE,
        mew=1.2,
        label="the model's decision",
    )


def draw_calibration(document: Document) -> Figure | None:
    """Observed against claimed probability."""
    data = document["classification"]
    if data is None or not data.get("calibration"):
        return None
    bins = data["calibration"]["bins"]
    top = ink.above(2, 2)
    figure, axes = ink.canvas(height=3.0 + top, top=top)
    axes.plot([0, 1], [0, 1], color=ink.MUTED, lw=0.9, ls=(0, (1.5, 2.5)), label="perfect")
    x, y = [b["claimed"] for b in bins], [b["observed"] for b in bins]
    reach = [[b["observed"] - b["low"] for b in bins], [b["high"] - b["observed"] for b in bins]]
    label = f"model (mean distance {data['calibration']['ece']:.3f})"
    axes.errorbar(
        x, y, yerr=np.maximum(reach, 0), fmt="o-", color=ink.SERIES[0], ms=4.5, elinewidth=0.9, capsize=0, label=label
    )
    two = len(data["classes"]) == 2
    claimed = f"predicted probability of {short(data['positive'], 18)}" if two else "probability of the predicted class"
    end = min(1.0, 1.15 * max(max(x), max(b["high"] for b in bins)))  # rare classes: most of the square is empty
    _square(axes, claimed, "observed share" if two else "share that was right", end if end < 0.6 else 1.0)
    ink.legend_above(axes, 2)
    return figure


def draw_thresholds(document: Document) -> Figure | None:
    """Precision, recall and F1 over the decision threshold."""
    data = document["classification"]
    if data is None or not data.get("thresholds"):
        return None
    rows = data["thresholds"]
    top = ink.above(4, 4)
    figure, axes = ink.canvas(height=3.0 + top, top=top)
    for place, name in enumerate(("precision", "recall", "f1")):
        x = [row["threshold"] for row in rows if row[name] is not None]
        y = [row[name] for row in rows if row[name] is not None]
        axes.plot(x, y, color=ink.SERIES[place], ls=ink.DASHES[place], label="F1" if name == "f1" else name)
    chosen = next((row for row in rows if row["delivered"]), None)
    if chosen:
        axes.axvline(
            chosen["threshold"],
            color=ink.MUTED,
            lw=0.9,
            ls=(0, (1.5, 2.5)),
            label=f"delivered {chosen['threshold']:.3g}",
        )
    _square(axes, f"threshold for {short(data['positive'], 20)}", "")
    ink.legend_above(axes, 4)
    return figure


def draw_gain(document: Document) -> Figure | None:
    """Which share of the positives the highest-scored rows hold."""
    data = document["classification"]
    if data is None or not data.get("lift"):
        return None
    figure, axes = ink.canvas(height=3.2)
    x = [0.0, *(row["share"] for row in data["lift"])]
    y = [0.0, *(row["captured"] for row in data["lift"])]
    share = data["curves"][0]["share"] if data.get("curves") else 0.5
    axes.plot([0, share, 1], [0, 1, 1], color=ink.MUTED, lw=0.9, label="perfect")
    axes.plot([0, 1], [0, 1], color=ink.MUTED, lw=0.9, ls=(0, (1.5, 2.5)), label="chance")
    axes.plot(x, y, "o-", color=ink.SERIES[0], ms=4, label="model")
    _square(axes, "share of rows, highest scores first", f"share of all {short(data['positive'], 18)}")
    axes.legend(loc="lower right")
    return figure
