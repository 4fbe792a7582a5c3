"""The check of a table that is to be predicted against the columns that the model was trained on."""

from __future__ import annotations

import datetime as dt
import time
from typing import Any

import pyarrow as pa
import pytest

from rayctl.automl.tabular.columns import Feature
from rayctl.automl.tabular.predict import match_columns
from rayctl.errors import InvalidData

NUMBER, FLAG, CATEGORY = Feature("x", "number"), Feature("x", "bool"), Feature("x", "category")
TEXT, DAY = Feature("x", "text"), Feature("x", "datetime")
PRICE, DATE = Feature("x", "number", "number:point"), Feature("x", "datetime", "date:%d.%m.%Y")


def match(feature: Feature, values: Any) -> list[Any]:
    [column] = match_columns([feature], pa.table({"other": [0] * len(values), "x": values}))
    return column.to_pylist()


@pytest.mark.parametrize(
    ("feature", "values", "expected"),
    [
        (NUMBER, ["1.5", None, "-2"], [1.5, None, -2.0]),
        (NUMBER, [True, False], [True, False]),
        (NUMBER, [" 1.5 ", "?", "n/a", "-"], [1.5, None, None, None]),
        (DAY, ["2024-05-01", "unknown"], [dt.datetime(2024, 5, 1), None]),
        (NUMBER, pa.nulls(2), [None, None]),
        (FLAG, ["true", "false"], [True, False]),
        (FLAG, [1, 0], [1, 0]),
        (FLAG, ["TRUE", "0", None, "False", "1.0"], [True, False, None, False, True]),
        (CATEGORY, [1, None, 20], ["1", None, "20"]),
        (CATEGORY, [1.0, None, 20.0], ["1", None, "20"]),
        (CATEGORY, [True], ["true"]),
        (CATEGORY, ["new"], ["new"]),
        (TEXT, ["some words"], ["some words"]),
        (TEXT, [17], ["17"]),
        (DAY, ["2024-05-01"], [dt.datetime(2024, 5, 1)]),
        (PRICE, ["$1,234", "free", None, "?"], [1234.0, None, None, None]),
        (PRICE, [12.5], [12.5]),
        (PRICE, ["?", None], [None, None]),
        (DATE, ["31.12.2024", "never"], [dt.datetime(2024, 12, 31), None]),
        (DATE, [dt.date(2024, 1, 1)], [dt.date(2024, 1, 1)]),
    ],
)
def test_columns_that_fit(feature: Feature, values: Any, expected: list[Any]) -> None:
    assert match(feature, values) == expected


@pytest.mark.parametrize(
    ("feature", "values", "said"),
    [
        (NUMBER, ["1.5", "many", "few"], "2 of 3 values are other text (for example 'many', 'few')"),
        (FLAG, ["TRUE", "perhaps", "0"], "1 of 3 values are other text (for example 'perhaps')"),
        (NUMBER, [dt.date(2024, 1, 1)], "has type date32"),
        (CATEGORY, [1.5, 2.0], "has type double"),
        (TEXT, [dt.date(2024, 1, 1)], "must hold text"),
        (DAY, [20240101], "must hold dates"),
        (PRICE, ["free", "gratis"], "none of its 2 values reads like those of training (for example 'free', 'gratis')"),
        (DATE, ["2024-12-31"], "none of its 1 values"),
    ],
)
def test_columns_that_do_not_fit(feature: Feature, values: Any, said: str) -> None:
    with pytest.raises(InvalidData) as raised:
        match(feature, values)
    assert raised.value.code == "wrong-type"
    assert said in raised.value.message
    assert raised.value.errors[0]["pointer"] == "/data/x"


def test_missing_columns_are_all_named() -> None:
    with pytest.raises(InvalidData) as raised:
        match_columns([Feature("size", "number"), Feature("age", "number")], pa.table({"sice": [1]}))
    assert raised.value.code == "missing-column"
    assert [error["pointer"] for error in raised.value.errors] == ["/data/size", "/data/age"]
    assert raised.value.hint == "Did you mean 'sice' by 'size'?"


@pytest.mark.parametrize(
    ("there", "hint"),
    [
        (["income"], "The model needs the columns 'note', 'income', 'age'; values may be missing."),
        (["income", "Age"], "Did you mean 'Age' by 'age'?"),
    ],
)
def test_a_column_that_the_model_has_is_not_proposed_for_another(there: list[str], hint: str) -> None:
    features = [Feature("note", "text"), Feature("income", "number"), Feature("age", "number")]
    with pytest.raises(InvalidData) as raised:
        match_columns(features, pa.table({name: [1] for name in there}))
    assert raised.value.hint == hint


def test_infinite_numbers_and_empty_tables() -> None:
    with pytest.raises(InvalidData) as raised:
        match(NUMBER, [1.0, float("inf")])
    assert raised.value.code == "non-finite"
    with pytest.raises(InvalidData) as raised:
        match(NUMBER, pa.array([], pa.float64()))
    assert raised.value.code == "empty-table"


@pytest.mark.parametrize(
    ("known", "values", "expected"),
    [
        (["01", "02", "10"], [1, 2, 10, 3], ["01", "02", "10", "3"]),
        (["1.0", "2.0"], [1, 2, None], ["1.0", "2.0", None]),
        (["1.5", "2"], [1.5, 2.0, 3.25], ["1.5", "2", "3.25"]),
        (["1", "01"], [1], ["1"]),
        (["True", "False", "unknown"], [True, False], ["True", "False"]),
        (["NO", "YES"], [True], ["true"]),
        (["nan", "inf", "x", "9" * 400], [1], ["1"]),
    ],
)
def test_numbers_become_the_categories_that_training_had(known: list[str], values: Any, expected: list[Any]) -> None:
    [column] = match_columns([CATEGORY], pa.table({"x": values}), {"x": known})
    assert column.to_pylist() == expected


def test_infinite_categories_are_refused() -> None:
    with pytest.raises(InvalidData, match="has type double"):
        match_columns([CATEGORY], pa.table({"x": [1.0, float("inf")]}), {"x": ["1.5"]})


def test_a_wide_table_of_other_columns_is_refused_quickly_and_briefly() -> None:
    features = [Feature(f"feature number {index}", "number") for index in range(3_000)]
    table = pa.table({f"another column {index}": [1.0] for index in range(3_000)})
    started = time.process_time()
    with pytest.raises(InvalidData) as raised:
        match_columns(features, table)
    assert time.process_time() - started < 2.0
    assert raised.value.code == "missing-column"
    assert "and 2980 more" in raised.value.message
    assert len(raised.value.message) < 2_000
