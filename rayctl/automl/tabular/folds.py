"""Splits of a table: seeded k-fold, holdout, expanding windows; groups of rows that are never split. Plain numpy.

Written out here instead of taken from scikit-learn so that a run's folds stay the same across its versions and
classes with a single row are no special case.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from rayctl.automl.engine import Fold
from rayctl.automl.model import RunRequest, Validation
from rayctl.errors import InvalidData

if TYPE_CHECKING:
    from rayctl.automl.tabular.prepare import PreparedTable

__all__ = ["choose_folds", "make_folds"]

_DEFAULT_FOLDS = ((3_000, 8), (20_000, 5))  # below so many rows, so many folds
_DEFAULT_FOLDS_LARGE = 3
_DEFAULT_WINDOWS = 5
_HOLDOUT_FROM = 200_000
_HOLDOUT_FRACTION = 0.2
_HOLDOUT_ROWS = 50_000
_MIN_ROWS = 5
_TARGET_BINS = 20


def choose_folds(
    rows: int, class_counts: Sequence[int] | None, validation: Validation, groups: int | None = None
) -> tuple[int, list[str]]:
    """Return (number of scored folds, warnings).

    Without ``validation.folds``: 8 below 3,000 rows, 5 below 20,000, else 3; more than 200,000 rows are held out once.
    Two classes: no more folds than the smaller class has rows, so that every test part has both.

    Raises:
        InvalidData: ``too-few-rows``, ``too-few-groups``.
    """
    warnings = _singletons(class_counts)
    if _is_holdout(rows, validation):
        if rows < 4:
            raise _too_few(rows, "a holdout needs at least 4")
        _check_groups(groups, 2)
        return 1, warnings
    if validation.scheme == "time_series":
        folds = validation.folds or _DEFAULT_WINDOWS
        if rows < 2 * (folds + 1):
            raise _too_few(rows, f"{folds} expanding windows need at least {2 * (folds + 1)}")
        _check_groups(groups, 2)
        return folds, []
    folds = validation.folds or min(_default_folds(rows), max(2, rows // 2), groups or rows)
    if rows < max(folds, _MIN_ROWS if validation.folds is None else 0):
        raise _too_few(rows, f"{folds} folds need at least {max(folds, _MIN_ROWS)}")
    if class_counts is not None and len(class_counts) == 2:
        # A class with one row is in one test part whatever the number of folds: fewer folds would not help it.
        smallest = min((count for count in class_counts if count > 1), default=folds)
        if smallest < folds:
            warnings.append(f"A class has only {smallest} rows: {smallest} folds instead of {folds}.")
            folds = smallest
    _check_groups(groups, max(folds, 2))
    return folds, warnings


def _default_folds(rows: int) -> int:
    return next((folds for limit, folds in _DEFAULT_FOLDS if rows < limit), _DEFAULT_FOLDS_LARGE)


def _is_holdout(rows: int, validation: Validation) -> bool:
    return validation.scheme == "holdout" or (
        validation.scheme == "auto" and validation.folds is None and rows > _HOLDOUT_FROM
    )


def _singletons(class_counts: Sequence[int] | None) -> list[str]:
    single = sum(1 for count in class_counts or () if count == 1)
    if not single:
        return []
    have = "1 class has" if single == 1 else f"{single} classes have"
    return [f"{have} a single row: models cannot be both trained and scored on such a class."]


def _too_few(rows: int, need: str) -> InvalidData:
    return InvalidData(
        f"The table has {rows} usable rows; {need}.",
        code="too-few-rows",
        hint="Add rows, or ask for fewer folds in validation.folds.",
        errors=[{"pointer": "/validation/folds", "message": need}],
    )


def _check_groups(groups: int | None, need: int) -> None:
    if groups is not None and groups < need:
        message = f"The group column has {groups} different values; {need} parts need at least {need}."
        raise InvalidData(
            message,
            code="too-few-groups",
            hint="Ask for fewer folds in validation.folds, or for another group column.",
            errors=[{"pointer": "/validation/group_column", "message": message}],
        )


def make_folds(prepared: PreparedTable, request: RunRequest) -> list[Fold]:
    """Return the folds of a table, scored ones first; train and test are sorted row positions (int32).

    Classes, and numbers by their quantiles, are spread evenly over the folds. Every fold is a group of its own for the
    leaderboard. A request for a single model gets one more fold, not scored, that trains on all rows.

    Raises:
        InvalidData: as `choose_folds`; ``too-few-groups`` also if a window has no row left to train on.
    """
    validation, target, rows = request.validation, prepared.target, len(prepared.target)
    counts = None if prepared.n_classes is None else np.bincount(target, minlength=prepared.n_classes).tolist()
    groups = prepared.groups
    number = None if groups is None else len(np.unique(groups))
    count, _ = choose_folds(rows, counts, validation, number)
    rng = np.random.default_rng(request.seed)
    if validation.scheme == "time_series":
        folds = _windows(rows, count, groups)
    else:
        strata = target if counts is not None else _bins(target, count, rng)
        if _is_holdout(rows, validation):
            fraction = validation.holdout_fraction
            if validation.scheme == "auto":
                fraction = min(_HOLDOUT_FRACTION, _HOLDOUT_ROWS / rows)
            test = _hold_out(strata, fraction, rng) if groups is None else _hold_out_groups(groups, fraction, rng)
            folds = [_fold(0, test)]
        else:
            fold_of = _deal(strata, count, rng) if groups is None else _deal_groups(strata, groups, count, rng)
            folds = [_fold(index, fold_of == index) for index in range(count)]
    if not request.delivers_ensemble:
        everything, nothing = np.arange(rows, dtype=np.int32), np.empty(0, dtype=np.int32)
        folds.append(Fold(len(folds), everything, nothing, group=len(folds), scored=False))
    return folds


def _fold(index: int, test: np.ndarray) -> Fold:
    return Fold(index, np.flatnonzero(~test).astype(np.int32), np.flatnonzero(test).astype(np.int32), group=index)


def _bins(target: np.ndarray, folds: int, rng: np.random.Generator) -> np.ndarray:
    """Return quantile bins of numbers (int64), at least two rows per bin and fold; equal numbers in random order."""
    rows = len(target)
    bins = max(1, min(_TARGET_BINS, rows // (2 * max(folds, 2))))
    ranks = np.empty(rows, dtype=np.int64)
    ranks[np.lexsort((rng.random(rows), target))] = np.arange(rows)
    return ranks * bins // rows


def _shuffled(strata: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    return [rng.permutation(np.flatnonzero(strata == code)) for code in np.unique(strata)]


def _deal(strata: np.ndarray, folds: int, rng: np.random.Generator) -> np.ndarray:
    """Deal all rows in turn, stratum after stratum: folds differ by at most one row, in total and per stratum."""
    fold_of = np.empty(len(strata), dtype=np.int64)
    fold_of[np.concatenate(_shuffled(strata, rng))] = np.arange(len(strata)) % folds
    return fold_of


def _deal_groups(strata: np.ndarray, groups: np.ndarray, folds: int, rng: np.random.Generator) -> np.ndarray:
    """Give whole groups to folds, the largest first, each to the fold that it unbalances least.

    Greedy: the fold is chosen where the squared shares of strata and of rows grow least; equal ones by size of fold.
    """
    _, codes = np.unique(strata, return_inverse=True)
    names, numbers = np.unique(groups, return_inverse=True)
    table = np.zeros((len(names), int(codes.max()) + 1))
    np.add.at(table, (numbers, codes), 1.0)
    sizes = table.sum(axis=1)
    shares = np.column_stack([table / table.sum(axis=0), sizes / sizes.sum()])
    order = rng.permutation(len(names))
    order = order[np.argsort(-sizes[order], kind="stable")]
    filled, fold_of_group = np.zeros((folds, shares.shape[1])), np.empty(len(names), dtype=np.int64)
    for place, group in enumerate(order):
        # (f + s)² - f² summed over strata, without the part s² that is the same for all folds.
        growth = 2 * (filled @ shares[group])
        growth[filled[:, -1] > 0] += 1e-12  # every fold gets a group first
        if len(order) - place <= int((filled[:, -1] == 0).sum()):
            growth[filled[:, -1] > 0] = np.inf
        chosen = int(np.argmin(growth))
        filled[chosen] += shares[group]
        fold_of_group[group] = chosen
    return fold_of_group[numbers]


def _hold_out(strata: np.ndarray, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """Take the fraction of every stratum; a class with a single row stays in the training part."""
    test = np.zeros(len(strata), dtype=bool)
    parts = _shuffled(strata, rng)
    for part in parts:
        test[part[: min(round(fraction * len(part)), len(part) - 1)]] = True
    if not test.any():  # tiny classes only: at least one row must be scored
        test[max(parts, key=len)[0]] = True
    return test


def _hold_out_groups(groups: np.ndarray, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """Take groups in random order as long as they fit into the fraction; at least one, and never all."""
    names, numbers, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    room, chosen = fraction * len(groups), np.zeros(len(names), dtype=bool)
    for group in rng.permutation(len(names)):
        if sizes[group] <= room and chosen.sum() < len(names) - 1:
            chosen[group] = True
            room -= sizes[group]
    if not chosen.any():
        chosen[np.argmin(sizes)] = True
    return chosen[numbers]


def _windows(rows: int, folds: int, groups: np.ndarray | None) -> list[Fold]:
    """Expanding windows over rows in their order; groups of the test part are taken out of the training part."""
    size = rows // (folds + 1)
    windows = []
    for index in range(folds):
        start = rows - (folds - index) * size
        train, test = (part.astype(np.int32) for part in (np.arange(start), np.arange(start, start + size)))
        if groups is not None:
            train = train[~np.isin(groups[train], groups[test])]
            if not len(train):
                raise InvalidData(
                    f"No row is left to train on before row {start}: all groups there occur later as well.",
                    code="too-few-groups",
                    hint="Leave out the group column for this scheme, or use another scheme.",
                )
        windows.append(Fold(index, train, test, group=index))
    return windows
