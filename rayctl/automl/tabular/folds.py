"""Splits of a table: seeded k-fold (stratified for classes), holdout, expanding windows. Plain numpy.

Written out here instead of taken from scikit-learn so that a run's folds stay the same across its versions and
classes with a single row are no special case.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rayctl.automl.engine import Fold
from rayctl.automl.model import Validation
from rayctl.errors import InvalidData

__all__ = ["choose_folds", "make_folds"]

_DEFAULT_FOLDS = 5
_DEFAULT_FOLDS_LARGE = 3
_LARGE_ROWS = 20_000


def choose_folds(rows: int, class_counts: Sequence[int] | None, validation: Validation) -> tuple[int, list[str]]:
    """Return (number of folds, warnings): what was asked for, reduced to the size of the smallest class.

    Raises:
        InvalidData: ``too-few-rows``.
    """
    if validation.scheme == "holdout":
        if rows < 4:
            raise _too_few(rows, "a holdout needs at least 4")
        return 1, _singletons(class_counts)
    folds = validation.folds or (_DEFAULT_FOLDS_LARGE if rows > _LARGE_ROWS else _DEFAULT_FOLDS)
    if validation.scheme == "time_series":
        if rows < 2 * (folds + 1):
            raise _too_few(rows, f"{folds} expanding windows need at least {2 * (folds + 1)}")
        return folds, []
    if rows < folds:
        raise _too_few(rows, f"{folds} folds need at least {folds}")
    warnings = _singletons(class_counts)
    if class_counts is not None:
        # A class with one row is in one test part whatever the number of folds: fewer folds would not help it.
        smallest = min((count for count in class_counts if count > 1), default=folds)
        if smallest < folds:
            warnings.append(f"A class has only {smallest} rows: {smallest} folds instead of {folds}.")
            folds = smallest
    return folds, warnings


def _singletons(class_counts: Sequence[int] | None) -> list[str]:
    single = sum(1 for count in class_counts or () if count == 1)
    if not single:
        return []
    return [f"{single} classes have a single row: models cannot be both trained and scored on them."]


def _too_few(rows: int, need: str) -> InvalidData:
    return InvalidData(
        f"The table has {rows} usable rows; {need}.",
        code="too-few-rows",
        hint="Add rows, or ask for fewer folds in validation.folds.",
        errors=[{"pointer": "/validation/folds", "message": need}],
    )


def make_folds(target: np.ndarray, n_classes: int | None, validation: Validation, seed: int) -> list[Fold]:
    """Return the folds of a table; train and test are sorted row positions (int32).

    Args:
        target: Shape (rows,): class codes if ``n_classes`` is given, else numbers.
        n_classes: For classification; then every class is spread evenly over the folds.
        validation: Scheme and number of folds.
        seed: Same seed, same folds.
    """
    rows = len(target)
    counts = None if n_classes is None else np.bincount(target, minlength=n_classes).tolist()
    folds, _ = choose_folds(rows, counts, validation)
    if validation.scheme == "time_series":
        return _windows(rows, folds)
    rng = np.random.default_rng(seed)
    groups = [np.arange(rows)] if n_classes is None else [np.flatnonzero(target == code) for code in range(n_classes)]
    shuffled = [rng.permutation(group) for group in groups if len(group)]
    if validation.scheme == "holdout":
        return [_holdout(shuffled, rows, validation.holdout_fraction)]
    # Dealing all rows in turn, class after class, gives folds that differ by at most one row, in total and per class.
    order = np.concatenate(shuffled)
    fold_of = np.empty(rows, dtype=np.int64)
    fold_of[order] = np.arange(rows) % folds
    return [_fold(index, fold_of == index) for index in range(folds)]


def _fold(index: int, test: np.ndarray) -> Fold:
    return Fold(index, np.flatnonzero(~test).astype(np.int32), np.flatnonzero(test).astype(np.int32))


def _holdout(groups: list[np.ndarray], rows: int, fraction: float) -> Fold:
    """Take the fraction of every group; a class with a single row stays in the training part."""
    test = np.zeros(rows, dtype=bool)
    for group in groups:
        test[group[: min(round(fraction * len(group)), len(group) - 1)]] = True
    if not test.any():  # tiny classes only: at least one row must be scored
        test[max(groups, key=len)[0]] = True
    return _fold(0, test)


def _windows(rows: int, folds: int) -> list[Fold]:
    size = rows // (folds + 1)
    starts = [rows - (folds - index) * size for index in range(folds)]
    everything = np.arange(rows, dtype=np.int32)
    return [Fold(index, everything[:start], everything[start : start + size]) for index, start in enumerate(starts)]
