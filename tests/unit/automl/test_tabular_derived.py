"""Derived features: cross-fitted means do not leak, choices find what is there, everything survives JSON."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from rayctl.automl.model import RunRequest
from rayctl.automl.tabular.derived import KINDS, DerivedFeatures
from rayctl.automl.tabular.prepare import PreparedTable, prepare_table
from rayctl.automl.tabular.target_means import Outcomes, target_means


def prepare(task: str = "regression", **columns: Any) -> PreparedTable:
    return prepare_table(pa.table(columns), RunRequest(task=task, target="y"))


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a, b)[0, 1])


def test_target_means_by_hand() -> None:
    values, parts = np.array([[0.0], [2.0], [4.0], [6.0]]), np.array([0, 1, 2, 3])
    table, rows = target_means(np.array([0, 0, 1, 1]), 3, Outcomes(values, None, parts))
    # Two rows each, means 1 and 5: variance within 2, between 7 (method of moments); 2 / 7 is kept at 1.
    assert table[:, 0].tolist() == pytest.approx([(2 + 3) / 3, (10 + 3) / 3, 3.0])
    # The first row is left out of its own value: the other row of its category (2), and the mean of the others (4).
    assert rows[0, 0] == pytest.approx((2 + 4) / 2)


def test_weights_count_like_repeated_rows() -> None:
    codes, y = np.array([0, 0, 1, 1, 1]), np.array([[1.0], [2.0], [5.0], [6.0], [9.0]])
    weights, parts = np.array([2.0, 1.0, 1.0, 3.0, 1.0]), np.zeros(5, dtype=np.int64)
    weighted, _ = target_means(codes, 2, Outcomes(y, weights, parts))
    times = weights.astype(int)
    repeated, _ = target_means(codes.repeat(times), 2, Outcomes(y.repeat(times, axis=0), None, parts.repeat(times)))
    np.testing.assert_allclose(weighted, repeated)


def test_means_of_a_random_category_do_not_leak_the_target() -> None:
    rng = np.random.default_rng(0)
    rows = 2_000
    y = rng.normal(size=rows)
    prepared = prepare(c=[f"c{code}" for code in rng.integers(0, 600, rows)], y=y)
    derived, values = DerivedFeatures.fit(prepared, np.arange(rows), ("target_mean",), 0)
    assert values.shape == (rows, 1)
    assert values.dtype == np.float32
    assert abs(correlation(values[:, 0], y)) < 0.1
    # The values of `transform` do: they are for rows that were not trained on.
    assert correlation(derived.transform(prepared.tree)[:, 0], y) > 0.3


def test_groups_are_not_split_in_cross_fitting() -> None:
    rng = np.random.default_rng(0)
    rows, group = 1_000, np.repeat(np.arange(100), 10)
    effect = rng.normal(size=100)[group]
    table = pa.table({"c": [f"c{code}" for code in group], "g": group, "y": effect + 0.01 * rng.normal(size=rows)})
    for groups, low, high in ((None, 0.9, 1.0), ("g", -0.5, 0.5)):
        request = RunRequest(task="regression", target="y", features=["c"], validation={"group_column": groups})
        _, values = DerivedFeatures.fit(prepare_table(table, request), np.arange(rows), ("target_mean",), 0)
        found = correlation(values[:, 0], effect) if values.std() > 0 else 0.0
        assert low <= found <= high


def test_unknown_and_missing_categories() -> None:
    y = np.r_[np.zeros(60), np.ones(60), np.full(60, 5.0)] + np.tile([0.0, 0.1], 90)
    prepared = prepare(c=["a"] * 60 + ["b"] * 40 + ["c"] * 20 + [None] * 60, y=y)
    train = np.flatnonzero(prepared.tree[:, 0] != 2)  # without category c
    derived, _ = DerivedFeatures.fit(prepared, train, ("target_mean", "counts"), 0)
    means, counts = derived.transform(prepared.tree[[0, 60, 110, 179]]).T
    assert means[0] < means[1] < means[2] < means[3]
    assert means[2] == pytest.approx(y[train].mean(), rel=1e-5)  # never seen: the overall mean
    assert means[3] == pytest.approx(5.05, abs=0.2)  # missing is a category of its own
    np.testing.assert_allclose(counts, np.log1p([60, 40, 0, 60]), rtol=1e-6)


def test_means_per_class() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 900)
    prepared = prepare("classification", c=[f"c{code}" for code in np.where(rng.random(900) < 0.8, y, 3)], y=y)
    derived, values = DerivedFeatures.fit(prepared, np.arange(900), ("target_mean",), 0)
    assert derived.names == ("mean(c, class 0)", "mean(c, class 1)", "mean(c, class 2)")
    assert all(correlation(values[:, code], (y == code).astype(float)) > 0.6 for code in range(3))
    many = prepare("classification", c=[f"c{code}" for code in rng.integers(0, 5, 900)], y=np.arange(900) % 30)
    assert DerivedFeatures.fit(many, np.arange(900), ("target_mean",), 0)[1].shape == (900, 10)
    two = prepare("classification", c=[f"c{code}" for code in rng.integers(0, 5, 900)], y=np.arange(900) % 2)
    assert DerivedFeatures.fit(two, np.arange(900), ("target_mean",), 0)[0].names == ("mean(c, class 1)",)


def test_crosses_find_what_only_two_columns_together_tell() -> None:
    rng = np.random.default_rng(0)
    a, b, c = (rng.integers(0, 4, 3_000) for _ in range(3))
    y = ((a + b) % 2) + 0.1 * rng.normal(size=3_000)
    columns = {name: [f"{name}{v}" for v in values] for name, values in (("a", a), ("b", b), ("c", c))}
    derived, values = DerivedFeatures.fit(prepare(**columns, y=y), np.arange(3_000), ("crosses",), 0)
    assert derived.names == ("mean(a x b)",)
    assert correlation(values[:, 0], y) > 0.95


@pytest.mark.parametrize("operation", ["ratio", "product", "difference"])
def test_arithmetic_finds_the_formula(operation: str) -> None:
    rng = np.random.default_rng(0)
    columns = {name: rng.uniform(1, 10, 2_000) for name in "abcdef"}
    a, b = columns["a"], columns["b"]
    formula = {"ratio": a / b, "product": (a - 5.5) * (b - 5.5) * 0.2 + a * b, "difference": np.abs(a - b)}[operation]
    derived, values = DerivedFeatures.fit(prepare(**columns, y=formula), np.arange(2_000), ("arithmetic",), 0)
    assert len(derived.names) <= 12
    assert values.shape == (2_000, len(derived.names))
    if operation != "difference":  # the absolute difference is no rank away from any of them; trees find it there
        assert derived.names[0] == f"{operation}(a, b)" or derived.names[0] == f"{operation}(b, a)"


def test_ratios_by_zero_are_missing_and_large_ones_finite() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=500) * 1e30, rng.integers(-2, 3, 500) * 1e-30
    prepared = prepare(a=a, b=b, y=rng.normal(size=500))
    derived, values = DerivedFeatures.fit(prepared, np.arange(500), ("arithmetic",), 0)
    assert derived.names
    assert not np.isinf(values).any()
    ratios = [place for place, name in enumerate(derived.names) if name.startswith("ratio")]
    assert ratios


def test_groups_are_deviations_from_the_mean_of_a_category() -> None:
    rng = np.random.default_rng(0)
    code = rng.integers(0, 5, 2_000)
    x = 100.0 * code + rng.normal(size=2_000)
    prepared = prepare(c=[f"c{v}" for v in code], x=x, y=x - 100.0 * code + 0.01 * rng.normal(size=2_000))
    derived, values = DerivedFeatures.fit(prepared, np.arange(2_000), ("groups",), 0)
    assert derived.names == ("deviation(x, c)",)
    inside = values[code == 2, 0]
    assert abs(correlation(inside, prepared.target[code == 2])) > 0.99
    assert abs(inside.mean()) < 2.0


@pytest.mark.parametrize("task", ["regression", "classification"])
def test_everything_survives_json_exactly(task: str) -> None:
    rng = np.random.default_rng(0)
    rows = 600
    columns: dict[str, Any] = {f"n{i}": np.where(rng.random(rows) < 0.1, np.nan, rng.normal(size=rows)) for i in (1, 2)}
    columns |= {f"c{i}": [None if v == 0 else f"v{v}" for v in rng.integers(0, i, rows)] for i in (4, 60)}
    y = rng.integers(0, 3, rows) if task == "classification" else rng.normal(size=rows)
    prepared = prepare(task, **columns, y=y)
    train, test = np.arange(0, rows, 2), np.arange(1, rows, 2)
    derived, values = DerivedFeatures.fit(prepared, train, KINDS, 0)
    assert values.shape == (300, len(derived.names))
    again = DerivedFeatures.from_json(json.loads(json.dumps(derived.to_json(), allow_nan=False)))
    expected = derived.transform(prepared.tree[test])
    np.testing.assert_array_equal(again.transform(prepared.tree[test]), expected)
    assert expected.dtype == np.float32
    assert expected.shape == (300, len(derived.names))
    assert again.names == derived.names
    second = DerivedFeatures.fit(prepared, train, KINDS, 0)[1]
    np.testing.assert_array_equal(second, values)


def test_nothing_to_derive_and_unknown_kinds() -> None:
    prepared = prepare(x=np.arange(50.0), y=np.arange(50.0) % 7)
    derived, values = DerivedFeatures.fit(prepared, np.arange(50), KINDS, 0)
    assert values.shape == (50, 0)
    assert derived.transform(prepared.tree).shape == (50, 0)
    with pytest.raises(ValueError, match="unknown kinds"):
        DerivedFeatures.fit(prepared, np.arange(50), ("means",), 0)


def test_tables_that_do_not_fit_are_refused() -> None:
    prepared = prepare(c=["a", "b", "c", "d"] * 20, y=np.arange(80.0))
    value = DerivedFeatures.fit(prepared, np.arange(80), ("target_mean",), 0)[0].to_json()
    value["steps"][0]["table"].pop()
    with pytest.raises(ValueError, match="does not fit"):
        DerivedFeatures.from_json(value)


def test_means_of_enormous_targets_are_numbers() -> None:
    rng = np.random.default_rng(0)
    for size in (1e60, 1e-60):
        prepared = prepare(kind=rng.choice(list("abcde"), 200), x=rng.normal(size=200), y=size * rng.normal(size=200))
        derived, values = DerivedFeatures.fit(prepared, np.arange(150), ("target_mean", "groups"), 0)
        assert np.isfinite(values).all()
        assert np.isfinite(derived.transform(prepared.tree[150:])).all()
        assert len(np.unique(values[:, 0])) > 5
