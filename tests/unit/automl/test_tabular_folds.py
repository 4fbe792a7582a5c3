"""Folds: they partition the rows, spread classes and numbers evenly, and never split a group."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rayctl.automl.engine import Fold
from rayctl.automl.model import RunRequest
from rayctl.automl.tabular.folds import choose_folds, make_folds, plan_folds
from rayctl.automl.tabular.prepare import PreparedTable
from rayctl.errors import InvalidData


def request_for(
    n_classes: int | None, *, seed: int = 0, ensemble: bool = True, metric: str | None = None, **validation: Any
) -> RunRequest:
    task = "regression" if n_classes is None else "classification"
    return RunRequest(task=task, target="y", seed=seed, ensemble=ensemble, metric=metric, validation=validation)


def split(
    target: Any,
    n_classes: int | None = None,
    groups: Any = None,
    seed: int = 0,
    ensemble: bool = True,
    metric: str | None = None,
    **validation: Any,
) -> list[Fold]:
    """Split rows of which only the target, the classes and the groups are known, which is all that folds look at."""
    prepared = SimpleNamespace(
        target=np.asarray(target), n_classes=n_classes, groups=None if groups is None else np.asarray(groups)
    )
    request = request_for(n_classes, seed=seed, ensemble=ensemble, metric=metric, **validation)
    return make_folds(cast(PreparedTable, prepared), request)


@given(
    st.lists(st.integers(0, 3), min_size=10, max_size=80),
    st.integers(2, 6),
    st.sampled_from(["kfold", "holdout", "time_series"]),
    st.integers(0, 5),
)
@settings(max_examples=60, deadline=None)
def test_folds_partition_the_rows_evenly(labels: list[int], count: int, scheme: Any, seed: int) -> None:
    target = np.array(labels, dtype=np.int32)
    if (scheme == "time_series" and len(target) < 12) or len(set(labels)) < 2:
        return
    number = count if scheme == "kfold" else None
    try:
        folds = split(target, 4, seed=seed, scheme=scheme, folds=number)
    except InvalidData as error:
        if (error.code, scheme) != ("unusable-folds", "time_series"):
            raise
        return  # one class before all windows
    assert [(fold.index, fold.group, fold.scored) for fold in folds] == [(i, i, True) for i in range(len(folds))]
    for fold in folds:
        assert fold.train.dtype == fold.test.dtype == np.int32
        assert len(fold.train)
        assert len(fold.test)
        assert not set(fold.train) & set(fold.test)
        assert (np.diff(fold.train) > 0).all()
        assert (np.diff(fold.test) > 0).all()
    if scheme == "kfold":
        often = np.bincount(target)[target] > 1
        assert len(folds) == count
        assert sorted(np.concatenate([fold.test for fold in folds])) == np.flatnonzero(often).tolist()
        for code in range(4):
            spread = [int((target[fold.test] == code).sum()) for fold in folds]
            assert max(spread) - min(spread) <= 1
    if scheme == "time_series":
        assert len(folds) <= 5
        assert all(fold.train.max() < fold.test.min() for fold in folds)
        assert all(len(set(target[fold.train])) > 1 for fold in folds)
        assert folds[-1].test[-1] == len(target) - 1
    again = split(target, 4, seed=seed, scheme=scheme, folds=number)
    assert all((a.test == b.test).all() for a, b in zip(folds, again, strict=True))


@given(
    st.lists(st.integers(0, 12), min_size=20, max_size=120),
    st.integers(2, 4),
    st.sampled_from(["kfold", "holdout"]),
    st.booleans(),
)
@settings(max_examples=80, deadline=None)
def test_groups_are_never_split(groups: list[int], count: int, scheme: Any, classes: bool) -> None:
    numbers = np.array(groups)
    if len(set(groups)) < max(count, 2):
        return
    target = np.arange(len(groups)) % 3 if classes else np.arange(float(len(groups)))
    number = count if scheme == "kfold" else None
    folds = split(target, 3 if classes else None, groups=numbers, scheme=scheme, folds=number)
    for fold in folds:
        assert len(fold.train)
        assert len(fold.test)
        assert not set(numbers[fold.train]) & set(numbers[fold.test])
    if scheme == "kfold":
        assert len(folds) == count
        assert sorted(np.concatenate([fold.test for fold in folds])) == list(range(len(groups)))


def test_groups_of_different_size_are_balanced_by_rows_and_classes() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), rng.integers(1, 60, 60))
    target = (rng.random(len(groups)) < np.where(groups % 5 == 0, 0.6, 0.1)).astype(np.int32)
    folds = split(target, 2, groups=groups, folds=5)
    sizes = np.array([len(fold.test) for fold in folds]) / len(target)
    shares = np.array([target[fold.test].mean() for fold in folds]) / target.mean()
    assert np.abs(sizes - 0.2).max() < 0.03
    assert np.abs(shares - 1).max() < 0.15
    other = split(target, 2, groups=groups, folds=5, seed=1)
    assert any(len(a.test) != len(b.test) or (a.test != b.test).any() for a, b in zip(folds, other, strict=True))


def test_windows_leave_out_training_rows_of_groups_that_they_test() -> None:
    groups = np.arange(100) // 8 % 10  # each comes back after 80 rows
    folds = split(np.arange(100.0), groups=groups, scheme="time_series", folds=3)
    assert [len(fold.train) for fold in folds] == [24, 48, 48]
    for fold in folds:
        assert not set(groups[fold.train]) & set(groups[fold.test])
    with pytest.raises(InvalidData) as raised:
        split(np.arange(100.0), groups=np.arange(100) % 2, scheme="time_series")
    assert raised.value.code == "too-few-groups"


def test_too_few_groups() -> None:
    for validation in ({"folds": 5}, {"scheme": "holdout"}):
        with pytest.raises(InvalidData) as raised:
            split(np.arange(100.0), groups=np.arange(100) % (4 if "folds" in validation else 1), **validation)
        assert raised.value.code == "too-few-groups"
    # Without a number asked for, there are as many folds as there are groups, at most.
    assert len(split(np.arange(100.0), groups=np.arange(100) % 4)) == 4


def test_numbers_are_spread_by_their_size() -> None:
    target = np.random.default_rng(0).lognormal(0, 2, 800)
    folds = split(target, folds=8)
    means = [np.log(target[fold.test]).mean() for fold in folds]
    random = [np.log(np.random.default_rng(seed).choice(target, 100)).mean() for seed in range(8)]
    assert np.std(means) < 0.3 * np.std(random)
    assert sorted(np.concatenate([fold.test for fold in folds])) == list(range(800))


@pytest.mark.parametrize(("rows", "folds"), [(100, 8), (2_999, 8), (3_000, 5), (19_999, 5), (20_000, 3), (200_000, 3)])
def test_the_number_of_folds_follows_the_size(rows: int, folds: int) -> None:
    assert len(split(np.arange(rows, dtype=float))) == folds


def test_very_many_rows_are_held_out_once() -> None:
    [fold] = split(np.arange(240_000, dtype=float))
    assert len(fold.test) == pytest.approx(48_000, abs=20)
    [fold] = split(np.arange(400_000) % 2, 2)
    assert len(fold.test) == 50_000
    assert len(split(np.arange(240_000, dtype=float), folds=4)) == 4
    assert len(split(np.arange(240_000, dtype=float), scheme="kfold")) == 3


def test_requests_decide() -> None:
    target = np.arange(100.0)
    assert len(split(target, folds=7)) == 7
    assert [len(fold.test) for fold in split(target, scheme="holdout", holdout_fraction=0.2)] == [20]
    first, second = (split(target, seed=seed)[0].test for seed in (0, 1))
    assert first.tolist() != second.tolist()


@pytest.mark.parametrize("validation", [{}, {"scheme": "holdout"}, {"scheme": "time_series"}])
def test_a_single_model_is_fitted_on_all_rows_at_last(validation: dict[str, Any]) -> None:
    folds = split(np.arange(100.0), ensemble=False, **validation)
    scored = split(np.arange(100.0), **validation)
    assert len(folds) == len(scored) + 1
    last = folds[-1]
    assert (last.index, last.group, last.scored) == (len(scored), len(scored), False)
    assert last.train.tolist() == list(range(100))
    assert (last.test.shape, last.test.dtype) == ((0,), np.int32)
    assert all(fold.scored for fold in folds[:-1])


def test_small_classes_reduce_folds_only_where_every_fold_needs_both() -> None:
    validation = RunRequest(task="classification", target="y").validation
    assert choose_folds(100, [97, 3], validation) == (3, ["A class has only 3 rows: 3 folds instead of 8."])
    assert choose_folds(100, [90, 7, 3], validation) == (8, [])
    folds, warnings = choose_folds(100, [99, 1], validation)
    assert folds == 8
    assert "1 class has a single row" in warnings[0]


def test_few_rows() -> None:
    validation = RunRequest(task="regression", target="y").validation
    assert choose_folds(5, None, validation)[0] == 2
    with pytest.raises(InvalidData) as raised:
        choose_folds(4, None, validation)
    assert raised.value.code == "too-few-rows"


def unusable(*arguments: Any, **options: Any) -> InvalidData:
    with pytest.raises(InvalidData) as raised:
        split(*arguments, **options)
    assert raised.value.code == "unusable-folds"
    assert raised.value.hint
    return raised.value


def test_the_only_row_of_a_class_is_learned_everywhere_and_scored_nowhere() -> None:
    target = np.r_[np.arange(60) % 3, 3]
    folds = split(target, 4)
    assert len(folds) == 8
    assert all(60 in fold.train for fold in folds)
    assert sorted(np.concatenate([fold.test for fold in folds])) == list(range(60))
    # Of two classes, nothing is left that a ranking could be about.
    assert "roc_auc has no value" in unusable(np.r_[np.zeros(60, int), 1], 2).message
    assert len(split(np.r_[np.zeros(60, int), 1], 2, metric="accuracy")) == 8


def test_a_class_in_few_groups_is_in_every_test_part() -> None:
    groups = np.repeat(np.arange(20), 10)
    target = np.isin(groups, (3, 7, 11)).astype(np.int32)
    folds, warnings = plan_folds(target, 2, groups, request_for(2))
    assert len(folds) == 3
    assert all(0 < target[fold.test].mean() < 1 for fold in folds)
    assert warnings == ["A class is in only 3 groups: 3 folds instead of 8."]
    lonely = (groups == 3).astype(np.int32)
    unusable(lonely, 2, groups=groups)
    assert all(lonely[fold.train].any() for fold in split(lonely, 2, groups=groups, metric="accuracy"))


def test_windows_with_one_class_are_left_out_and_said() -> None:
    target = np.zeros(60, dtype=np.int32)
    target[[15, 35, 38, 52]] = 1
    folds, warnings = plan_folds(target, 2, None, request_for(2, scheme="time_series"))
    assert [(fold.index, fold.group, fold.test[0]) for fold in folds] == [(0, 0, 30), (1, 1, 50)]
    assert len(warnings) == 1
    assert warnings[0].startswith("3 of 5 windows are left out: there are rows of one class only to learn from")
    assert len(split(target, 2, scheme="time_series", metric="log_loss")) == 4
    unusable(np.r_[np.zeros(30, int), np.ones(30, int)], 2, scheme="time_series")


def test_groups_are_held_out_so_that_both_parts_have_all_classes_if_that_is_possible() -> None:
    groups = np.repeat(np.arange(12), 10)
    target = np.isin(groups, (0, 1)).astype(np.int32)
    for seed in range(8):
        [fold] = split(target, 2, groups=groups, seed=seed, scheme="holdout")
        assert set(target[fold.test]) == set(target[fold.train]) == {0, 1}
        assert not set(groups[fold.test]) & set(groups[fold.train])
