"""Scores, shares, sizes and folds in a few characters, for leaderboards."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rayctl.automl.apart import apart_by

__all__ = ["Scale", "apart", "number_text", "share_text", "size_text", "spark", "spark_scale"]

Scale = tuple[float, float]
_BLOCKS = "▁▂▃▄▅▆▇█"
_TAIL = 0.1


def number_text(value: Any, digits: int = 4) -> str:
    """Return a score with so many significant digits, and never fewer than its whole part has below a thousand million.

    A dash where there is none. What is not quite 1 is not shown as 1.
    """
    if value is None or value != value:
        return "–"
    if not isinstance(value, float):
        return str(value)
    if 10**digits - 0.5 <= abs(value) < 1e9:
        return f"{value:.0f}"
    text = f"{value:.{digits}g}"
    while abs(value) < 1 and abs(float(text)) == 1 and digits < 9:
        digits += 1
        text = f"{value:.{digits}g}"
    return text


def apart(first: float | None, second: float | None, digits: int = 4) -> tuple[str, str]:
    """Return two scores as texts that differ if the scores do, by up to ten digits."""
    return apart_by(number_text, first, second, digits)


def share_text(share: float | None) -> str:
    """Return a share: ``62.5%``, ``<0.1%``; a dash where there is none."""
    return "–" if not share else "<0.1%" if 0 < share < 0.0005 else f"{100 * share:.1f}%"


def size_text(size: int | float | None) -> str | None:
    """Return ``812B``, ``1.2MB`` (powers of 1000); None for None."""
    if size is None:
        return None
    value = float(size)
    for unit in ("B", "kB", "MB"):
        if value < 999.5:
            return f"{value:.3g}{unit}"
        value /= 1000
    return f"{value:.3g}GB"


def spark_scale(fold_scores: Iterable[Sequence[float]]) -> Scale | None:
    """Return the range that `spark` draws in, for all trials of a table. A few far ends do not flatten the others."""
    values = sorted(value for scores in fold_scores for value in scores if value == value)
    if not values:
        return None
    cut = int(_TAIL * (len(values) - 1))
    return values[cut], values[len(values) - 1 - cut]


def spark(scores: Sequence[float], scale: Scale | None) -> str:
    """Return one block per fold, the higher the larger its score; empty for fewer than two folds."""
    if scale is None or len(scores) < 2:
        return ""
    low, high = scale
    width = high - low
    text = ""
    for score in scores:
        share = 0.5 if width <= 0 else min(1.0, max(0.0, (score - low) / width))
        text += "·" if score != score else _BLOCKS[round(share * (len(_BLOCKS) - 1))]
    return text
