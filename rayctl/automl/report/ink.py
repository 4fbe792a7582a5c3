"""How pictures look: colours, figures, and SVG and PNG bytes. matplotlib without pyplot, so nothing global is kept.

Pictures are drawn once, in the light colours below. On the page every colour becomes a CSS variable, so the same
SVG serves light and dark. The colours of data are those of Okabe and Ito's palette for colour-blind readers (Color
Universal Design, 2008), darkened or lightened where the contrast to the background would be below 3:1.
"""

from __future__ import annotations

import io
import math
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rayctl.automl.report.fmt import compact, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "DARK",
    "DASHES",
    "GRID",
    "LIGHT",
    "MUTED",
    "SERIES",
    "SURFACE",
    "TEXT",
    "above",
    "barh",
    "canvas",
    "legend_above",
    "png",
    "style",
    "svg",
    "themed",
    "tick",
    "ticks",
    "time_unit",
]

LIGHT = {
    "surface": "#ffffff",
    "text": "#1c2430",
    "muted": "#5d6878",
    "grid": "#e3e7ed",
    "c1": "#0072b2",
    "c2": "#d55e00",
    "c3": "#00845f",
    "c4": "#a8558a",
    "c5": "#a87300",
    "c6": "#2f86b5",
    "c7": "#6b5b95",
    "c8": "#7a4b2a",
}
DARK = {
    "surface": "#171b22",
    "text": "#e8ebf0",
    "muted": "#9aa5b4",
    "grid": "#2c333e",
    "c1": "#5db3f0",
    "c2": "#ff8f4d",
    "c3": "#3ecf9b",
    "c4": "#e59fca",
    "c5": "#f0c04a",
    "c6": "#9bdcff",
    "c7": "#b9a8ee",
    "c8": "#cfa482",
}
SURFACE, TEXT, MUTED, GRID = (LIGHT[name] for name in ("surface", "text", "muted", "grid"))
SERIES = [LIGHT[f"c{i}"] for i in range(1, 9)]
DASHES: list[Any] = ["-", "--", (0, (5, 1.5, 1, 1.5)), (0, (1.5, 1.5))] * 2
PNG_DPI = 144

_STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": GRID,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 9.2,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.titley": 1.02,
    "axes.spines.top": False,
    "axes.unicode_minus": True,
    "figure.facecolor": SURFACE,
    "font.family": ["DejaVu Sans"],
    "font.size": 9.2,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.fontsize": 8.8,
    "legend.frameon": False,
    "legend.handlelength": 1.8,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
    "path.simplify": True,
    "savefig.facecolor": SURFACE,
    "savefig.edgecolor": "none",
    "svg.fonttype": "none",  # text stays text: small, searchable, read aloud
    "text.color": TEXT,
    "text.parse_math": False,  # a column may be called "$x"
    "xtick.color": MUTED,
    "xtick.labelsize": 8.8,
    "xtick.major.size": 0,
    "xtick.major.pad": 4,
    "ytick.color": MUTED,
    "ytick.labelsize": 8.8,
    "ytick.major.size": 0,
    "ytick.major.pad": 4,
}
_FONT = "system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif"
_LOCK = threading.Lock()  # matplotlib's settings are of the process


@contextmanager
def style() -> Iterator[None]:
    """Draw and save within this: our settings, none of the machine's, and no warnings of glyphs the PNG font lacks."""
    import matplotlib

    with _LOCK, matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        matplotlib.rcParams.update(_STYLE)
        yield


def canvas(
    width: float = 4.6, height: float = 3.0, *, left: float = 0.6, bottom: float = 0.54, top: float = 0.12
) -> tuple[Figure, Axes]:
    """Return an empty figure with one set of axes; sizes and margins in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    wide, high = width - left - 0.14, height - bottom - top
    axes = figure.add_axes((left / width, bottom / height, wide / width, high / height))
    # Fixed places: finding them would lay out all texts once more.
    axes.xaxis.set_label_coords(0.5, -0.24 / high)
    axes.yaxis.set_label_coords(-(left - 0.22) / wide, 0.5)
    return figure, axes


def ticks(axes: Axes, *, x: bool = True, y: bool = True, whole: str = "") -> None:
    """Write numbers on the axes in short form, at few places; ``whole``: axes (``"x"``, ``"xy"``) that count."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    for wanted, name, axis in ((x, "x", axes.xaxis), (y, "y", axes.yaxis)):
        if wanted:
            axis.set_major_locator(MaxNLocator(5, integer=name in whole))
            axis.set_major_formatter(FuncFormatter(lambda value, _, axis=axis: tick(value, *axis.get_view_interval())))


def tick(value: float, low: float, high: float) -> str:
    """Return the text of a tick on an axis with these ends: as many digits as ticks beside each other differ by."""
    span, size = abs(high - low), max(abs(low), abs(high))
    if not span or abs(value) < 1e-9 * span:
        return compact(value if not span else 0.0)
    return compact(value, min(10, max(4, 1 + math.ceil(math.log10(5 * size / span)))))


def above(entries: int, columns: int) -> float:
    """Return the height in inches of a legend above the axes: margin ``top`` of `canvas` in its place."""
    return 0.16 + 0.19 * -(-entries // columns)


def time_unit(longest_s: float) -> tuple[str, float]:
    """Return the unit for an axis of durations up to this one, and how many seconds it has."""
    return ("seconds", 1.0) if longest_s < 600 else ("minutes", 60.0) if longest_s < 4 * 3600 else ("hours", 3600.0)


def legend_above(axes: Axes, columns: int) -> None:
    """Put the legend between the axes and the top of the figure, where it covers nothing."""
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(-0.02, 0.99),
        ncols=columns,
        borderaxespad=0.2,
        labelspacing=0.25,
        columnspacing=1.2,
        handletextpad=0.5,
    )


def barh(labels: list[str], *, row: float = 0.24, width: float = 4.6, bottom: float = 0.5) -> tuple[Figure, Axes]:
    """Return axes for horizontal bars with these labels from top to bottom, in a figure as high as they need.

    Give the label of the x-axis ``loc="right"``: it is often wider than the axes.
    """
    shown = [short(label, 26) for label in labels]
    left = min(2.05, 0.18 + 0.08 * max((len(label) for label in shown), default=4))
    figure, axes = canvas(width, max(1.3, bottom + 0.15 + row * len(labels)), left=left, bottom=bottom)
    axes.set_yticks(range(len(labels)), shown)
    axes.tick_params(axis="y", labelcolor=TEXT)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    return figure, axes


def svg(figure: Figure, name: str) -> bytes:
    """Return a figure as SVG: the same bytes for the same figure and name. Within `style`."""
    import matplotlib

    buffer = io.BytesIO()
    matplotlib.rcParams["svg.hashsalt"] = name
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue().decode()
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.S)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.S)
    # Two places are enough for coordinates; what stands between tags is text and stays as it is.
    return re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\d\.\d\d)\d+", r"\1", tag.group(0)), text).encode()


def png(figure: Figure) -> bytes:
    """Return a figure as PNG with 144 dots per inch. Within `style`."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=PNG_DPI, metadata={"Software": None})
    return buffer.getvalue()


def themed(picture: bytes, label: str) -> str:
    """Return an SVG for use inside an HTML page: its colours are CSS variables, its width that of its place.

    ``label`` is what a screen reader says; it must be escaped already.
    """
    text = picture[picture.index(b"<svg") :].decode()
    box = re.search(r'viewBox="[^"]*"', text)
    assert box is not None
    body = text[text.index(">") + 1 :]
    body = re.sub(r'<g id="[^"]*"', "<g", body)  # repeated from picture to picture, and used by nothing
    body = body.replace("xlink:href", "href")
    for name, colour in LIGHT.items():
        body = body.replace(colour, f"var(--{name})")
    body = re.sub(r"(font: [^;\"]*?px) [^;\"]*", rf"\1 {_FONT}", body)
    body = re.sub(r">\s+<", "><", body)
    return f'<svg {box.group(0)} role="img" aria-label="{label}" xmlns="http://www.w3.org/2000/svg">{body}'
