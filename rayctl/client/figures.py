"""Sizes and folds in a few characters, for leaderboards."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["Scale", "size_text", "spark", "spark_scale"]

Scale = tuple[float, float]
_BLOCKS = "▁▂▃▄▅▆▇█"
_TAIL = 0.1


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
