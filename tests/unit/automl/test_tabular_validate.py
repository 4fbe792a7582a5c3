"""One test per defect of a table: the code, and that the message names column, count and rows."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from rayctl.automl.model import RunRequest
from rayctl.automl.tabular.engine import ENGINE
from rayctl.automl.tabular.validate import inspect_table
from rayctl.errors import InvalidData, InvalidRequest

N = 40


def table(**columns: Any) -> pa.Table:
    base = {"size": np.arange(N, dtype=float), "kind": ["a", "b"] * (N // 2), "y": [0, 1] * (N // 2)}
    return pa.table({**base, **columns})


def request(**fields: Any) -> RunRequest:
    return RunRequest(**{"task": "classification", "target": "y", **fields})


def defect(data: pa.Table, **fields: Any) -> InvalidData:
    with pytest.raises(InvalidData) as raised:
        inspect_table(data, request(**fields))
    return raised.value


def test_a_sound_table_has_no_warnings() -> None:
    summary = ENGINE.validate(table(), request(id_columns="kind"))
    assert summary.rows == N
    assert summary.columns == ["size", "kind", "y"]
    assert summary.features == ["size"]
    assert summary.classes == ["0", "1"]
    assert summary.warnings == []
    assert len(summary.fingerprint) == 64


def test_missing_target_column() -> None:
    error = defect(table(), target="Y")
    assert error.code == "missing-target"
    assert defect(table(price=np.arange(N)), target="prise").hint == "Did you mean 'price'?"


def test_target_without_any_value() -> None:
    error = defect(table(y=pa.nulls(N, pa.int64())))
    assert error.code == "missing-target"
    assert "40 rows" in error.message


def test_rows_without_target_are_dropped_and_named() -> None:
    plan = inspect_table(table(y=[None, 1] + [0, 1] * 18 + [None, 0]), request())
    assert "2 rows" in plan.warnings[0]
    assert "(rows 0, 38)" in plan.warnings[0]
    assert len(plan.target.values) == N - 2


def test_nan_counts_as_missing_target() -> None:
    plan = inspect_table(table(y=np.r_[np.nan, np.arange(N - 1)]), request(task="regression"))
    assert len(plan.target.values) == N - 1


@pytest.mark.parametrize("field", ["features", "id_columns", "time_column"])
def test_unknown_columns(field: str) -> None:
    error = defect(table(), **{field: "sise" if field == "time_column" else ["sise"]})
    assert error.code == "unknown-column"
    assert "'sise'" in error.message
    assert error.hint == "Did you mean 'size'?"


def test_target_among_the_features() -> None:
    assert defect(table(), features=["size", "y"]).code == "target-in-features"


def test_empty_table() -> None:
    assert defect(table().slice(0, 0)).code == "empty-table"


def test_duplicate_columns() -> None:
    data = pa.Table.from_arrays([pa.array([1, 2]), pa.array([1, 2]), pa.array([0, 1])], names=["a", "a", "y"])
    error = defect(data)
    assert error.code == "duplicate-columns"
    assert error.errors[0]["pointer"] == "/data/a"


def test_one_class_and_constant_target() -> None:
    error = defect(table(y=["yes"] * N))
    assert error.code == "one-class"
    assert "'yes'" in error.message
    assert defect(table(y=[3.5] * N), task="regression").code == "constant-target"


def test_too_few_rows() -> None:
    assert defect(table().slice(0, 4)).code == "too-few-rows"
    error = defect(table(), validation={"folds": 50})
    assert "40 usable rows" in error.message
    assert defect(table().slice(0, 10), validation={"scheme": "time_series"}).code == "too-few-rows"


def test_small_classes_reduce_the_folds() -> None:
    plan = inspect_table(table(y=["rare"] * 3 + ["common"] * (N - 3)), request())
    assert "A class has only 3 rows: 3 folds instead of 5" in plan.warnings[0]
    plan = inspect_table(table(y=["single"] + ["common"] * (N - 1)), request())
    assert len(plan.warnings) == 1
    assert "1 classes have a single row" in plan.warnings[0]


def test_text_target_for_regression() -> None:
    error = defect(table(y=["cheap", "dear"] * (N // 2)), task="regression")
    assert error.code == "target-type"
    assert "'cheap'" in error.message
    assert defect(table(y=[True, False] * (N // 2)), task="regression").code == "target-type"


@pytest.mark.parametrize("values", [np.linspace(0, 1, N), np.arange(N)])
def test_number_target_for_classification(values: np.ndarray) -> None:
    error = defect(table(y=values))
    assert error.code == "target-type"
    assert error.hint == "Use task regression."


def test_date_target() -> None:
    assert defect(table(y=[dt.date(2026, 1, 1 + i % 5) for i in range(N)])).code == "target-type"


def test_infinite_features_are_all_named() -> None:
    error = defect(table(size=np.r_[np.inf, np.arange(N - 2), -np.inf], other=np.r_[np.arange(N - 1), np.inf]))
    assert error.code == "non-finite"
    assert "2 infinite values in column 'size' (rows 0, 39)" in error.message
    assert [item["pointer"] for item in error.errors] == ["/data/size", "/data/other"]


def test_infinite_target() -> None:
    error = defect(table(y=np.r_[np.arange(N - 1), np.inf]), task="regression")
    assert error.code == "non-finite"
    assert "rows 39" in error.message


def test_useless_columns_are_dropped_with_their_reason() -> None:
    data = table(
        nothing=pa.nulls(N),
        nan=np.full(N, np.nan),
        same=["x"] * N,
        lists=[[1]] * N,
        day=[dt.date(2026, 1, 1)] * N,
    )
    plan = inspect_table(data, request())
    assert plan.features == (("size", "number"), ("kind", "category"))
    reasons = " ".join(plan.warnings)
    assert "'nothing' was dropped: all its values are missing" in reasons
    assert "'nan' was dropped: all its values are missing" in reasons
    assert "'same' was dropped: all 40 rows have the same value" in reasons
    assert "'lists' was dropped: values of type list" in reasons
    assert "'day' was dropped" in reasons


def test_free_text_is_dropped() -> None:
    n = 300
    data = pa.table({"x": np.arange(n), "text": [f"word {i}" for i in range(n)], "y": [0, 1, 2] * 100})
    plan = inspect_table(data, request())
    assert "'text' was dropped: it is text with 300 different values in 300 rows" in plan.warnings[0]


def test_no_features_left() -> None:
    error = defect(pa.table({"same": ["x"] * N, "y": [0, 1] * (N // 2)}))
    assert error.code == "no-features"
    assert "'same' was dropped" in error.message


def test_request_errors_are_found_before_the_run() -> None:
    cases = [
        ({"metric": "rmse"}, "unknown-metric"),
        ({"search_space": {"lightgbn": {}}}, "unknown-model"),
        ({"search_space": {"lightgbm": {"num_leafs": [3]}}}, "unknown-parameter"),
        ({"search_space": {"linear": {"C": []}}}, "empty-grid"),
        ({"search_space": {"sklearn.linear_model.Ridge": {}}}, "wrong-model-type"),
    ]
    for fields, code in cases:
        with pytest.raises(InvalidRequest) as raised:
            inspect_request(fields)
        assert raised.value.code == code


def inspect_request(fields: dict[str, Any]) -> None:
    ENGINE.validate(table(), request(**fields))
