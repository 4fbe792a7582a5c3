"""Drawings of the pages as SVG: no script, no style of their own, readable by screen readers. Pure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape

from rayctl.client.figures import number_text

__all__ = ["best_scores", "score_plot"]

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP, _RIGHT = 640, 240, 64, 34, 12, 12
_DOTS = 1000  # more are no clearer, and the page is made anew with every trial


def best_scores(rows: Sequence[Mapping[str, Any]], greater_is_better: bool) -> list[tuple[int, float, float]]:
    """Return (number, score, best so far) of the trials with a score, in the order in which they were made."""
    found: list[tuple[int, float, float]] = []
    for row in sorted(rows, key=lambda item: int(item["trial"])):
        if row.get("score") is None:
            continue
        score = float(row["score"])
        last = found[-1][2] if found else score
        found.append((int(row["trial"]), score, max(last, score) if greater_is_better else min(last, score)))
    return found


def score_plot(rows: Sequence[Mapping[str, Any]], metric: str, greater_is_better: bool) -> Markup:
    """Return the scores of trials as dots and the best so far as a stepped line; empty with fewer than two."""
    points = best_scores(rows, greater_is_better)
    if len(points) < 2:
        return Markup("")
    low, high = _range([value for _, score, best in points for value in (score, best)], greater_is_better)
    first, last = points[0][0], points[-1][0]

    def x(number: float) -> float:
        return _LEFT + (number - first) / max(1, last - first) * (_WIDTH - _LEFT - _RIGHT)

    def y(value: float) -> float:
        inside = min(max(value, low), high)
        return _HEIGHT - _BOTTOM - (inside - low) / (high - low) * (_HEIGHT - _BOTTOM - _TOP)

    steps = f"M{x(points[0][0]):.1f} {y(points[0][2]):.1f}"
    for (_, _, before), (number, _, best) in itertools.pairwise(points):
        if best != before or number == last:
            steps += f"H{x(number):.1f}V{y(best):.1f}"
    dots = "".join(
        f'<circle class="dot" cx="{x(number):.1f}" cy="{y(score):.1f}" r="3">'
        f"<title>trial {number}: {number_text(score, 5)}</title></circle>"
        for number, score, _ in points[:: -(-len(points) // _DOTS)]
    )
    lines = "".join(
        f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>'
        f'<text x="{_LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{number_text(value)}</text>'
        for value in _ticks(low, high)
    )
    outside = sum(not low <= score <= high for _, score, _ in points)
    edge = f"{outside} worse at the edge" if outside else ""
    name = escape(metric)
    text = f"{name} of {len(points)} trials; the best is {number_text(points[-1][2], 5)}"
    bottom = _HEIGHT - 8
    return Markup(
        f'<svg class="plot" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{text}">{lines}'
        f'<text x="{_LEFT}" y="{bottom}">trial {first}</text>'
        f'<text x="{(_WIDTH + _LEFT) / 2}" y="{bottom}" text-anchor="middle">{edge}</text>'
        f'<text x="{_WIDTH - _RIGHT}" y="{bottom}" text-anchor="end">trial {last}</text>'
        f'{dots}<path class="best" d="{steps}"/></svg>'
    )


def _ticks(low: float, high: float) -> list[float]:
    """Return round numbers between the limits: three to seven of them."""
    step = 10.0 ** math.floor(math.log10((high - low) / 2))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= 6)
    first = math.ceil(low / step)
    return [number * step for number in range(first, math.floor(high / step) + 1)]


def _range(values: Sequence[float], greater_is_better: bool) -> tuple[float, float]:
    """Return the limits of the axis; far worse trials are drawn at its edge: the good ones can be told apart."""
    ordered = sorted(values)
    low, high = ordered[0], ordered[-1]
    if len(ordered) >= 8:
        cut = len(ordered) // 10
        if greater_is_better:
            low = ordered[cut]
        else:
            high = ordered[-1 - cut]
    if high - low < 1e-12:
        low, high = low - max(abs(low), 1e-6) * 0.05, high + max(abs(high), 1e-6) * 0.05
    margin = (high - low) * 0.05
    return low - margin, high + margin
