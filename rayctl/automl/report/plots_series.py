"""Pictures of forecasts. Each function returns a figure, or None."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rayctl.automl.report import ink
from rayctl.automl.report.fmt import number, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_by_series", "draw_by_step", "draw_forecasts", "draw_panel"]

Document = dict[str, Any]
_TOGETHER = 4
_BAND = 0.16
_YEAR = 365.25 * 86400
_FEW_SECONDS, _FEW_MINUTES = 10.0, 300.0
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def draw_by_step(document: Document) -> Figure | None:
    """Scaled error by step ahead."""
    data = document["forecast"]
    if data is None or len(data["by_step"]) < 2:
        return None
    top = ink.above(3, 2)
    figure, axes = ink.canvas(height=2.8 + top, top=top)
    ink.ticks(axes, whole="x")
    steps = [item["step"] for item in data["by_step"]]
    low, high = ([item[key] for item in data["by_step"]] for key in ("p10", "p90"))
    axes.fill_between(steps, low, high, color=ink.SERIES[0], alpha=0.14, lw=0, label="10–90% of forecasts")
    mark = "o-" if len(steps) <= 30 else "-"
    axes.plot(steps, [item["mean"] for item in data["by_step"]], mark, ms=3.5, color=ink.SERIES[0], label="mean")
    axes.axhline(1, color=ink.MUTED, lw=0.9, ls=(0, (1.5, 2.5)), label="usual change")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("steps ahead")
    axes.set_ylabel("scaled error")
    ink.legend_above(axes, 2)
    return figure


def draw_by_series(document: Document) -> Figure | None:
    """Distribution of the scaled error over series."""
    data = document["forecast"]
    if data is None or not data["by_series"]["histogram"]:
        return None
    bars = data["by_series"]["histogram"]
    top = ink.above(1, 1)
    figure, axes = ink.canvas(height=2.8 + top, top=top)
    ink.ticks(axes, whole="y")
    edges = np.array(bars["edges"])
    axes.bar(edges[:-1], bars["counts"], width=np.diff(edges) * 0.92, align="edge", color=ink.SERIES[0], alpha=0.85)
    middle = next(item["value"] for item in data["by_series"]["quantiles"] if item["quantile"] == 0.5)
    outside = bars["below"] + bars["above"]
    label = f"median {number(middle, 3)}" + (f" ({outside:,} series outside)" if outside else "")
    axes.axvline(middle, color=ink.SERIES[1], lw=1.2, label=label)
    axes.set_xlabel("scaled error of a series")
    axes.set_ylabel("series")
    axes.grid(axis="x", visible=False)
    ink.legend_above(axes, 1)
    return figure


def draw_forecasts(document: Document) -> Figure | None:
    """The first series together in one picture (the page shows each in its own)."""
    data = document["forecast"]
    if data is None or not data["panels"]:
        return None
    from matplotlib.figure import Figure

    shown = data["panels"][:_TOGETHER]
    rows = (len(shown) + 1) // 2
    high = 0.65 + 2.1 * rows
    figure = Figure(figsize=(9.0, high))
    for place, panel in enumerate(shown):
        axes = figure.add_subplot(rows, 2, place + 1)
        _panel(axes, panel)
        axes.set_title(short(panel["series"], 40), fontsize=9, loc="left", color=ink.TEXT)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="lower center", ncols=5)
    figure.subplots_adjust(0.07, 0.65 / high, 0.985, 1 - 0.3 / high, wspace=0.16, hspace=0.36)
    return figure


def draw_panel(panel: dict[str, Any], *, legend: bool) -> Figure:
    """History, windows and forecast of one series."""
    figure, axes = ink.canvas(4.6, 2.35 if legend else 2.1, left=0.56, bottom=0.3, top=0.37 if legend else 0.12)
    _panel(axes, panel)
    if legend:
        ink.legend_above(axes, 5)
    return figure


def _panel(axes: Axes, panel: dict[str, Any]) -> None:
    ink.ticks(axes, x=False)
    calendar = any(isinstance(time, str) for time in panel["history"]["time"])
    axes.plot(_x(panel["history"]["time"]), _y(panel["history"]["value"]), color=ink.TEXT, lw=1.1, label="actual")
    for place, item in enumerate(panel["windows"]):
        label = None if place else "validation"
        x = _x(item["time"])
        axes.plot(x, _y(item["prediction"]), color=ink.SERIES[1], lw=1.3, ls="--", label=label)
        axes.axvline(x[0], color=ink.GRID, lw=0.8, zorder=0)
    ahead = panel["forecast"]
    if ahead:
        x = _x(ahead["time"])
        names = (name.removeprefix("lower_") for name in ahead if name.startswith("lower_"))
        levels = [level for level in sorted(names, key=_width, reverse=True) if f"upper_{level}" in ahead]
        for place, level in enumerate(levels, 1):
            low, high = _y(ahead[f"lower_{level}"]), _y(ahead[f"upper_{level}"])
            axes.fill_between(x, low, high, color=ink.SERIES[0], alpha=_BAND, lw=0)
            # In the legend as it looks: on all wider ones.
            depth = 1 - (1 - _BAND) ** place
            axes.fill_between(x[:1], low[:1], low[:1], color=ink.SERIES[0], alpha=depth, lw=0, label=f"{level}%")
        axes.plot(x, _y(ahead["prediction"]), color=ink.SERIES[0], lw=1.6, label="forecast")
    _time_ticks(axes, panel, calendar)


def _width(level: str) -> float:
    return float(level) if level.isdecimal() else 0.0


def _x(times: list[Any]) -> np.ndarray:
    """Return positions on the time axis: seconds, or the whole numbers themselves."""
    if times and isinstance(times[0], str):
        return np.asarray(np.array(times, dtype="datetime64[us]").astype(np.int64) / 1e6)
    return np.array(times, dtype=np.float64)


def _y(values: list[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _time_ticks(axes: Axes, panel: dict[str, Any], calendar: bool) -> None:
    """Four times on the axis, as precise as the span asks for."""
    times = list(panel["history"]["time"]) + (list(panel["forecast"]["time"]) if panel["forecast"] else [])
    x = _x(times)
    places = x[np.unique(np.linspace(0, len(x) - 1, 5).astype(int))[:-1]]
    axes.set_xlim(x[0], x[-1] + (x[-1] - x[0]) * 0.01 or x[0] + 1)
    if not calendar:
        axes.set_xticks(places, [f"{place:g}" for place in places])
        return
    span = x[-1] - x[0]
    axes.set_xticks(places, [_time_text(place, span) for place in places])


def _time_text(at: float, span: float) -> str:
    """Return a time (written as if it were UTC) in as few words as the span (seconds) allows.

    English, whatever the machine's language.
    """
    from datetime import datetime, timezone

    time = datetime.fromtimestamp(at, timezone.utc)
    month = _MONTHS[time.month - 1]
    if span > 8 * _YEAR:
        return str(time.year)
    if span > 0.6 * _YEAR:
        return f"{month} {time.year}"
    if span < _FEW_SECONDS:
        return f"{time:%H:%M:%S}.{time.microsecond // 1000:03d}"
    if span < _FEW_MINUTES:
        return f"{time:%H:%M:%S}"
    return f"{time.day} {month}" if span > _YEAR / 90 else f"{time.day} {month} {time.hour:02d}:{time.minute:02d}"
