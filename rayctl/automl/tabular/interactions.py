"""Which pairs of columns are worth a feature of their own: cheap scores on a sample of the training rows.

Linear algebra on small matrices: to be called with one thread (as all fits are), for speed and for equal results.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np

from rayctl.automl.tabular.target_means import Outcomes, explained, target_means

__all__ = [
    "OPERATIONS",
    "choose_crosses",
    "choose_group_means",
    "choose_pairs",
    "combine",
    "filled_codes",
    "pair_codes",
    "unit_ranks",
]

OPERATIONS = ("difference", "ratio", "product")
_SAMPLE_ROWS = 5_000
_CROSS_ROWS = 10_000
_CROSS_COLUMNS = 12
_CROSSES = 8
_CROSS_CODES = 4_096
_CROSS_GAIN = 0.002
_NUMBERS = 8
_PAIRS = 12
_GROUP_NUMBERS, _GROUP_CATEGORIES = 4, 4
_GROUP_CODES = 1_000
_GROUP_SHARE = 0.02


def filled_codes(column: np.ndarray, size: int) -> np.ndarray:
    """Return category codes (float32, NaN for missing) as int64; missing ones become ``size``."""
    return np.where(np.isnan(column), size, column).astype(np.int64)


def pair_codes(tree: np.ndarray, columns: Sequence[int], sizes: Sequence[int]) -> np.ndarray:
    """Return one code per row for one or two category columns: int64, below the product of (size + 1)."""
    codes = filled_codes(tree[:, columns[0]], sizes[0])
    for column, size in zip(columns[1:], sizes[1:], strict=True):
        codes = codes * (size + 1) + filled_codes(tree[:, column], size)
    return codes


def combine(operation: str, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return difference, ratio or product of two number columns: float64, NaN where it is not defined."""
    first, second = first.astype(np.float64), second.astype(np.float64)
    if operation == "difference":
        return first - second
    if operation == "product":
        return first * second
    return np.divide(first, second, out=np.full(len(first), np.nan), where=second != 0)


def choose_crosses(
    tree: np.ndarray, columns: Sequence[int], sizes: Sequence[int], outcomes: Outcomes
) -> list[tuple[int, int]]:
    """Return the places (in ``columns``) of pairs whose joint target means explain more than the sum of their own.

    Looks at 10,000 rows and the twelve columns that explain most; at most eight pairs of at most 4,096 combinations.
    """
    rows = _spread(len(tree), _CROSS_ROWS)
    tree, outcomes = tree[rows], outcomes.take(rows)
    overall = np.average(outcomes.values, axis=0, weights=outcomes.weights)
    means = [
        target_means(filled_codes(tree[:, column], size), size + 1, outcomes)[1]
        for column, size in zip(columns, sizes, strict=True)
    ]
    single = [explained(values, outcomes) for values in means]
    best = sorted(range(len(columns)), key=lambda place: -single[place])[:_CROSS_COLUMNS]
    gains = []
    for first, second in combinations(sorted(best), 2):
        total = (sizes[first] + 1) * (sizes[second] + 1)
        if total > _CROSS_CODES:
            continue
        codes = pair_codes(tree, (columns[first], columns[second]), (sizes[first], sizes[second]))
        known = max(single[first], single[second], explained(means[first] + means[second] - overall, outcomes))
        gain = explained(target_means(codes, total, outcomes)[1], outcomes) - known
        if gain > _CROSS_GAIN:
            gains.append((-gain, first, second))
    return [(first, second) for _, first, second in sorted(gains)[:_CROSSES]]


def choose_pairs(tree: np.ndarray, columns: Sequence[int], outcomes: Outcomes) -> list[tuple[str, int, int]]:
    """Return (operation, column, column) of at most twelve pairs of number columns.

    Looks at 5,000 rows and the eight columns of the largest rank correlation with the target. What counts of a pair is
    its rank correlation with what a linear model of the columns' own ranks, and the pairs chosen before, leave open.
    """
    rows = _spread(len(tree), _SAMPLE_ROWS)
    tree, ranked = tree[rows], _ranked_outcomes(outcomes.values[rows])
    follows = {column: float(np.abs(unit_ranks(tree[:, column]) @ ranked).max()) for column in columns}
    best = sorted(columns, key=lambda column: -follows[column])[:_NUMBERS]
    if len(best) < 2:
        return []
    pairs = [(operation, *pair) for pair in combinations(best, 2) for operation in OPERATIONS]
    ranks = np.column_stack([unit_ranks(combine(op, tree[:, i], tree[:, j])) for op, i, j in pairs])
    base, _ = np.linalg.qr(np.column_stack([unit_ranks(tree[:, column]) for column in best]))
    return [pairs[place] for place in _pursue(ranks - base @ (base.T @ ranks), ranked - base @ (base.T @ ranked))]


def _pursue(candidates: np.ndarray, open_: np.ndarray) -> list[int]:
    """Choose columns one after another by how much of ``open_`` each explains beyond those before it."""
    chosen: list[int] = []
    for _ in range(min(_PAIRS, candidates.shape[1])):
        lengths = np.sqrt((candidates**2).sum(axis=0))
        known = lengths < 0.01  # of unit length at first: nothing new in it
        scores = np.abs(candidates.T @ open_).max(axis=1) / np.where(known, 1.0, lengths)
        scores[known] = 0.0
        place = int(np.argmax(scores))
        if scores[place] <= 0.0:
            break
        chosen.append(place)
        direction = candidates[:, place] / lengths[place]
        open_ = open_ - np.outer(direction, direction @ open_)
        candidates = candidates - np.outer(direction, direction @ candidates)
    return chosen


def choose_group_means(
    tree: np.ndarray, numbers: Sequence[int], categories: Sequence[int], sizes: Sequence[int], outcomes: Outcomes
) -> list[tuple[int, int]]:
    """Return (number column, place of a category column): the mean of the number has to differ between categories."""
    rows = _spread(len(tree), _SAMPLE_ROWS)
    tree, ranked = tree[rows], _ranked_outcomes(outcomes.values[rows])
    follows = {column: float(np.abs(unit_ranks(tree[:, column]) @ ranked).max()) for column in numbers}
    best = sorted(numbers, key=lambda column: -follows[column])[:_GROUP_NUMBERS]
    found = []
    for column in best:
        for place, share in _shares(tree, column, categories, sizes):
            found.append((-share, column, place))
    kept = []
    for column in best:
        mine = sorted(item for item in found if item[1] == column)[:_GROUP_CATEGORIES]
        kept += [(column, place) for _, _, place in mine]
    return kept[:_PAIRS]


def _shares(
    tree: np.ndarray, column: int, categories: Sequence[int], sizes: Sequence[int]
) -> Iterator[tuple[int, float]]:
    """Yield (place, share of the number's variance between categories) of the categories that matter for a number."""
    values = tree[:, column].astype(np.float64)
    present = ~np.isnan(values)
    values = values[present] - values[present].mean() if present.any() else values[present]
    spread = float((values**2).sum())
    for place, (category, size) in enumerate(zip(categories, sizes, strict=True)):
        if not 3 <= size <= _GROUP_CODES or spread <= 0:
            continue
        codes = filled_codes(tree[present, category], size)
        count, total = np.bincount(codes, minlength=size + 1), np.bincount(codes, values, size + 1)
        between = float((total**2 / np.maximum(count, 1)).sum())
        # Categories without any relation explain one part of the variance each by chance.
        share = between / spread - int((count > 0).sum()) / max(len(values), 1)
        if share > _GROUP_SHARE:
            yield place, share


def _spread(rows: int, limit: int) -> np.ndarray:
    """Return at most ``limit`` row positions, evenly spread."""
    return np.arange(rows) if rows <= limit else np.linspace(0, rows - 1, limit).astype(np.int64)


def _ranked_outcomes(values: np.ndarray) -> np.ndarray:
    return np.column_stack([unit_ranks(column) for column in values.T])


def _ranks(values: np.ndarray) -> np.ndarray:
    """Return centred ranks, ties shared; NaN counts as the middle."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    ends = np.append(starts[1:], len(values))
    ranks = np.empty(len(values))
    ranks[order] = np.repeat((starts + ends - 1) / 2, ends - starts)
    present = ~np.isnan(values)
    return np.where(present, ranks - (ranks[present].mean() if present.any() else 0.0), 0.0)


def unit_ranks(values: np.ndarray) -> np.ndarray:
    """Return centred ranks of length 1 (0 for a column of one value)."""
    ranks = _ranks(values)
    length = float(np.sqrt((ranks**2).sum()))
    return ranks / length if length > 0 else ranks
