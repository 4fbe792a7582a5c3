"""Splits of a table: seeded k-fold, holdout, expanding windows; groups of rows that are never split. Plain numpy.

Written out here instead of taken from scikit-learn so that a run's folds stay the same across its versions and
classes with a single row are no special case.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from rayctl.automl.engine import Fold
from rayctl.automl.metrics import resolve_metric
from rayctl.automl.model import RunRequest, Validation
from rayctl.errors import InvalidData

if TYPE_CHECKING:
    from rayctl.automl.tabular.prepare import PreparedTable

__all__ = ["choose_folds", "make_folds", "plan_folds"]

_DEFAULT_FOLDS = ((3_000, 8), (20_000, 5))  # below so many rows, so many folds
_DEFAULT_FOLDS_LARGE = 3
_DEFAULT_WINDOWS = 5
_HOLDOUT_FROM = 200_000
_HOLDOUT_FRACTION = 0.2
_HOLDOUT_ROWS = 50_000
_MIN_ROWS = 5
_TARGET_BINS = 20
_DRAWS = 20
_COMPARE_CLASSES = frozenset({"cohen_kappa", "quadratic_kappa"})
"""Metrics without a value where all rows are of one class, besides those that rank."""


def choose_folds(
    rows: int,
    class_counts: Sequence[int] | None,
    validation: Validation,
    groups: int | None = None,
    class_groups: Sequence[int] | None = None,
) -> tuple[int, list[str]]:
    """Return (number of scored folds, warnings).

    Without ``validation.folds``: 8 below 3,000 rows, 5 below 20,000, else 3; more than 200,000 rows are held out once.
    Two classes: no more folds than the smaller class has rows (or is in groups), so that every test part has both.

    Args:
        rows: Of the table.
        class_counts: Rows of each class; None for regression.
        validation: What was asked for.
        groups: Number of groups, if rows have any.
        class_groups: In how many of them each class is.

    Raises:
        InvalidData: ``too-few-rows``, ``too-few-groups``.
    """
    warnings = _singletons(class_counts)
    if _is_holdout(rows, validation):
        if rows < 4:
            raise _too_few(rows, "a holdout needs at least 4", least=True)
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
        raise _too_few(rows, f"{folds} folds need at least {max(folds, _MIN_ROWS)}", least=folds <= 2)
    _check_groups(groups, max(folds, 2))
    if class_counts is not None and len(class_counts) == 2:
        # What there is one of is in one test part whatever the number of folds: fewer would not help it.
        smallest = min((count for count in class_groups or class_counts if count > 1), default=folds)
        if smallest < folds:
            has = "has only" if class_groups is None else "is in only"
            what = "rows" if class_groups is None else "groups"
            warnings.append(f"A class {has} {smallest} {what}: {smallest} folds instead of {folds}.")
            folds = smallest
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


def _too_few(rows: int, need: str, *, least: bool = False) -> InvalidData:
    return InvalidData(
        f"The table has {rows} usable rows; {need}.",
        code="too-few-rows",
        hint="Add rows." if least else "Add rows, or ask for fewer folds in validation.folds.",
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
    """Return the folds of a prepared table (see `plan_folds`)."""
    return plan_folds(prepared.target, prepared.n_classes, prepared.groups, request)[0]


def plan_folds(
    target: np.ndarray, n_classes: int | None, groups: np.ndarray | None, request: RunRequest
) -> tuple[list[Fold], list[str]]:
    """Return (the folds, scored ones first; warnings). Train and test are sorted row positions (int32).

    Classes, and numbers by their quantiles, are spread evenly over the folds; without groups, a class with a single
    row is in every training part and in no test part. Parts on which nothing can be learned or scored are left out.
    Every fold is a group of its own for the leaderboard. A request for a single model gets one more fold, not scored,
    that trains on all rows.

    Args:
        target: Class codes or numbers.
        n_classes: Number of classes; None for regression.
        groups: Numbers of the groups that are never split, if there are any.
        request: Says scheme, folds, metric and seed.

    Raises:
        InvalidData: as `choose_folds`; ``too-few-groups`` also if a window has no row left to train on;
            ``unusable-folds`` if no part can be used.
    """
    validation, rows = request.validation, len(target)
    counts = None if n_classes is None else np.bincount(target, minlength=n_classes).tolist()
    number = None if groups is None else len(np.unique(groups))
    spread = None if groups is None or n_classes is None else _groups_of_classes(target, n_classes, groups)
    count, warnings = choose_folds(rows, counts, validation, number, spread)
    rng = np.random.default_rng(request.seed)
    if validation.scheme == "time_series":
        folds = _windows(rows, count, groups)
    else:
        strata = target if counts is not None else _bins(target, count, rng)
        if _is_holdout(rows, validation):
            fraction = validation.holdout_fraction
            if validation.scheme == "auto":
                fraction = min(_HOLDOUT_FRACTION, _HOLDOUT_ROWS / rows)
            classes = None if counts is None else target
            test = (
                _hold_out(strata, fraction, rng) if groups is None else _hold_out_best(groups, classes, fraction, rng)
            )
            folds = [_fold(0, ~test, test)]
        else:
            fold_of = _deal(strata, count, rng) if groups is None else _deal_groups(strata, groups, count, rng)
            folds = [_fold(index, fold_of != index, fold_of == index) for index in range(count)]
    if n_classes is not None:
        folds, more = _usable(folds, target, n_classes, request)
        warnings = [*warnings, *more]
    if not request.delivers_ensemble:
        everything, nothing = np.arange(rows, dtype=np.int32), np.empty(0, dtype=np.int32)
        folds.append(Fold(len(folds), everything, nothing, group=len(folds), scored=False))
    return folds, warnings


def _groups_of_classes(target: np.ndarray, n_classes: int, groups: np.ndarray) -> list[int]:
    """Return in how many groups each class is."""
    _, numbers = np.unique(groups, return_inverse=True)
    pairs = np.unique(numbers.astype(np.int64) * n_classes + target)
    found: list[int] = np.bincount(pairs % n_classes, minlength=n_classes).tolist()
    return found


def _fold(index: int, train: np.ndarray, test: np.ndarray) -> Fold:
    return Fold(index, np.flatnonzero(train).astype(np.int32), np.flatnonzero(test).astype(np.int32), group=index)


def _usable(folds: list[Fold], target: np.ndarray, n_classes: int, request: RunRequest) -> tuple[list[Fold], list[str]]:
    """Leave out folds that train on one class, or are scored on one where the metric compares classes."""
    metric = None
    if request.custom_metric is None:
        metric = resolve_metric(request.metric, request.task, n_classes)
    compares = metric is not None and (metric.ranks or metric.name in _COMPARE_CLASSES)
    learned = [fold for fold in folds if len(fold.test) and _differ(target[fold.train])]
    kept = [fold for fold in learned if not compares or _differ(target[fold.test])]
    if len(kept) == len(folds):
        return folds, []
    reasons = []
    if len(learned) < len(folds):
        reasons.append("there are rows of one class only to learn from, or none to be scored")
    if metric is not None and len(kept) < len(learned):
        reasons.append(f"{metric.name} has no value for test rows of one class only")
    why = "; ".join(reasons)
    parts = "windows" if request.validation.scheme == "time_series" else "folds"
    if not kept:
        message = f"Nothing can be scored with {len(folds)} {parts}: {why}."
        raise InvalidData(
            message,
            code="unusable-folds",
            hint="Add rows of the rarer classes, or choose another validation scheme or a metric such as accuracy.",
            errors=[{"pointer": "/validation", "message": message}],
        )
    left_out = len(folds) - len(kept)
    kept = [Fold(place, fold.train, fold.test, group=place) for place, fold in enumerate(kept)]
    return kept, [f"{left_out} of {len(folds)} {parts} are left out: {why}."]


def _differ(codes: np.ndarray) -> bool:
    return len(codes) > 1 and bool((codes != codes[0]).any())


def _bins(target: np.ndarray, folds: int, rng: np.random.Generator) -> np.ndarray:
    """Return quantile bins of numbers (int64), at least two rows per bin and fold; equal numbers in random order."""
    rows = len(target)
    bins = max(1, min(_TARGET_BINS, rows // (2 * max(folds, 2))))
    ranks = np.empty(rows, dtype=np.int64)
    ranks[np.lexsort((rng.random(rows), target))] = np.arange(rows)
    return ranks * bins // rows


def _shuffled(strata: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    order = np.argsort(strata, kind="stable")
    return [rng.permutation(part) for part in np.split(order, np.flatnonzero(np.diff(strata[order])) + 1)]


def _deal(strata: np.ndarray, folds: int, rng: np.random.Generator) -> np.ndarray:
    """Deal all rows in turn, stratum after stratum: folds differ by at most one row, in total and per stratum.

    Returns the fold that tests each row; -1 for the only row of a stratum, which would be missed where it is tested.
    """
    fold_of = np.full(len(strata), -1, dtype=np.int64)
    dealt = np.concatenate([np.empty(0, dtype=np.int64), *(part for part in _shuffled(strata, rng) if len(part) > 1)])
    fold_of[dealt] = np.arange(len(dealt)) % folds
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


def _hold_out_best(
    groups: np.ndarray, classes: np.ndarray | None, fraction: float, rng: np.random.Generator
) -> np.ndarray:
    """Hold out groups; of several draws the first that has most classes in both parts."""
    best, most = _hold_out_groups(groups, fraction, rng), -1
    if classes is None:
        return best
    test, count = best, int(classes.max()) + 1
    for _ in range(_DRAWS):
        inside, outside = (np.bincount(classes[rows], minlength=count) > 0 for rows in (test, ~test))
        if (both := int((inside & outside).sum())) > most:
            best, most = test, both
        if both == count:
            break
        test = _hold_out_groups(groups, fraction, rng)
    return best


def _hold_out_groups(groups: np.ndarray, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """Take groups in random order as long as they fit into the fraction; at least one, and never all."""
    names, numbers, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    room, chosen, left = fraction * len(groups), np.zeros(len(names), dtype=bool), len(names)
    for group in rng.permutation(len(names)):
        if sizes[group] <= room and left > 1:
            chosen[group] = True
            room, left = room - sizes[group], left - 1
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
