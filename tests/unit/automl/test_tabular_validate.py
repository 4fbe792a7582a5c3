"""One test per defect of a table: the code, and that the message names column, count and rows."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from rayctl.automl.model import RunRequest
from rayctl.automl.tabular.columns import Feature
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


def test_models_that_learn_without_weights_are_named() -> None:
    space = {"knn": {}, "linear": {}, "sklearn.neighbors.KNeighborsClassifier": {}, "sklearn.svm.SVC": {}}
    for fields in ({"weight_column": "size"}, {"class_weight": "balanced"}):
        found = warnings_of(table(size=np.arange(N) + 1.0, z=list("abcd") * 10), search_space=space, **fields)
        assert [text for text in found if "weights" in text] == [
            "The model 'knn' takes no weights of rows when it learns.",
            "The model 'sklearn.neighbors.KNeighborsClassifier' takes no weights of rows when it learns.",
        ]


def test_wishes_without_effect_are_warnings() -> None:
    assert ENGINE.validate(table(), request(horizon=3)).warnings[0] == "Without effect on classification: horizon."


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


@pytest.mark.parametrize(
    "fields",
    [
        {"features": ["sise"]},
        {"id_columns": ["sise"]},
        {"time_column": "sise"},
        {"weight_column": "sise"},
        {"validation": {"group_column": "sise"}},
    ],
)
def test_unknown_columns(fields: dict[str, Any]) -> None:
    error = defect(table(), **fields)
    assert error.code == "unknown-column"
    assert "'sise'" in error.message
    assert error.hint == "Did you mean 'size'?"


def test_target_among_the_features() -> None:
    assert defect(table(), features=["size", "y"]).code == "target-in-features"
    assert defect(table(), weight_column="y").code == "target-in-features"


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


def test_too_few_groups() -> None:
    data = table(g=["a", "a", "b", "b"] * (N // 4))
    assert defect(data, validation={"group_column": "g", "folds": 3}).code == "too-few-groups"
    assert inspect_table(data, request(validation={"group_column": "g"})).features == (
        Feature("size", "number"),
        Feature("kind", "category"),
    )


def test_bad_weights() -> None:
    error = defect(table(w=[-1.0] + [1.0] * (N - 1)), weight_column="w")
    assert error.code == "invalid-weights"
    assert error.errors[0]["pointer"] == "/weight_column"


@pytest.mark.parametrize("heavy", ["a", "b"])
def test_weights_must_leave_two_classes(heavy: str) -> None:
    data = table(y=["a", "b"] * (N // 2), w=[1.0 if name == heavy else 0.0 for name in ["a", "b"] * (N // 2)])
    error = defect(data, weight_column="w")
    assert error.code == "invalid-weights"
    assert f"only the class '{heavy}'" in error.message


def warnings_of(data: pa.Table, **fields: Any) -> list[str]:
    return ENGINE.validate(data, request(**fields)).warnings


def test_small_classes_are_named() -> None:
    rare = warnings_of(table(kind=list("abcd") * 10, y=["rare"] * 3 + ["common"] * (N - 3)))
    assert rare == [
        "A class has only 3 rows: 3 folds instead of 8.",
        "1 class has fewer than 10 rows ('rare': 3): what is said about them is uncertain.",
    ]
    single = table(kind=list("abcd") * 10, y=["single"] + ["common"] * (N - 1))
    [told] = warnings_of(single, metric="accuracy")
    assert "1 class has a single row" in told
    assert defect(single).code == "unusable-folds"  # the default metric ranks


@pytest.mark.parametrize(
    ("form", "second"),
    [
        ("{:,}.5", 1001.5),
        ("$ {:,}", 1001),
        ("{}.25 EUR", 1001.25),
        ("{} %", 1001),
        (" {} ", 1001),
        ("{:,}", 1001),
    ],
)
def test_numbers_as_text_are_a_target_for_regression(form: str, second: float) -> None:
    written = [form.format(1000 + row) for row in range(N - 2)]
    plan = inspect_table(table(y=[*written, "n/a", None]), request(task="regression"))
    assert plan.target.values[1] == second
    assert len(plan.target.values) == N - 2
    assert plan.target.rows is not None
    told = f"Target 'y' is text and was read as numbers ({written[0]!r} is "
    assert [told in warning for warning in plan.warnings] == [True, False]


def test_a_comma_may_be_the_decimal_sign() -> None:
    plan = inspect_table(table(y=[f"1.{row:03d},5" for row in range(N)]), request(task="regression"))
    assert plan.target.values[7] == 1007.5


def test_a_number_target_with_other_texts_is_refused_and_they_are_named() -> None:
    error = defect(table(y=[*(f"{row}.5" for row in range(N - 1)), "plenty"]), task="regression")
    assert error.code == "target-type"
    assert f"1 value that is none ('plenty'; rows {N - 1})" in error.message
    assert defect(table(y=[f"{row % 24}:30" for row in range(N)]), task="regression").code == "target-type"


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
        huge=2**60 + np.arange(N),
    )
    plan = inspect_table(data, request())
    assert plan.features == (Feature("size", "number"), Feature("kind", "category"))
    reasons = " ".join(plan.warnings)
    assert "'nothing' was dropped: all its values are missing" in reasons
    assert "'nan' was dropped: all its values are missing" in reasons
    assert "'same' was dropped: all 40 rows have the same value" in reasons
    assert "'huge' was dropped: its values are so large that they are one" in reasons
    assert "'lists' was dropped: values of type list" in reasons
    assert "'day' was dropped" in reasons


def test_identifiers_as_text_are_dropped() -> None:
    data = pa.table({"x": np.arange(300.0), "id": [f"user-{i}" for i in range(300)], "y": [0, 1, 2] * 100})
    plan = inspect_table(data, request())
    assert "'id' was dropped: it is text with 300 different values in 300 rows, like an identifier" in plan.warnings[0]


def test_what_was_read_from_text_is_said() -> None:
    prices = [f"${index},000" for index in range(1, N)] + [None]
    [warning] = warnings_of(table(kind=list("abcde") * 8, price=prices))
    assert warning == "Column 'price' is text and was read as numbers ('$1,000' is 1000.0)."


def test_equal_columns_are_dropped() -> None:
    sizes = np.arange(N, dtype=float)
    data = table(kind=list("abcd") * 10, copy=sizes.astype(np.int32), again=list("abcd") * 10, other=sizes[::-1])
    plan = inspect_table(data, request())
    assert [feature.name for feature in plan.features] == ["size", "kind", "other"]
    assert plan.warnings == (
        "Column 'copy' was dropped: it is the same as column 'size'.",
        "Column 'again' was dropped: it is the same as column 'kind'.",
    )


def test_rows_without_weight_are_left_out_and_positions_are_those_of_the_caller() -> None:
    weights = [0.0, 2.0, 0.0] + [1.0] * (N - 3)
    data = table(y=["rare", *["a", "b"] * 19, None], w=weights, kind=list("abcd") * 10)
    plan = inspect_table(data, request(weight_column="w"))
    assert plan.target.rows is not None
    assert plan.target.rows.tolist() == [1, *range(3, N - 1)]
    assert plan.target.classes == ("a", "b")
    assert plan.weights is not None
    assert plan.weights.mean() == pytest.approx(1.0)
    assert plan.weights[0] == 2 * plan.weights[1]
    assert "2 rows with weight 0 in 'w' are left out (rows 0, 2), and with them 1 of the classes." in plan.warnings
    bad = table(y=[None, *["a", "b"] * 19, "a"], w=[1.0] * (N - 1) + [-1.0])
    assert f"(rows {N - 1})" in defect(bad, weight_column="w").message
    alone = table(y=[None, *["a", "b"] * 19, "a"], g=["p", "q"] * 19 + [None, "p"])
    plan = inspect_table(alone, request(validation={"group_column": "g"}))
    assert any("(rows 38)" in warning for warning in plan.warnings)


def test_weights_must_leave_two_values_to_learn() -> None:
    error = defect(table(y=[1.5] * 20 + [2.5] * 20, w=[1.0] * 20 + [0.0] * 20), task="regression", weight_column="w")
    assert "only the value 1.5" in error.message


@pytest.mark.parametrize(
    "times",
    [
        [dt.datetime(2024, 1, 1) + dt.timedelta(days=(7 * row) % N) for row in range(N)],
        [(7 * row) % N for row in range(N)],
        [f"{1 + (7 * row) % N % 28}.{1 + (7 * row) % N // 28}.2024" for row in range(N)],
    ],
    ids=["dates", "numbers", "texts"],
)
def test_windows_follow_the_time_column(times: list[Any]) -> None:
    data = table(kind=list("abcd") * 10, t=times)
    asked = request(time_column="t", validation={"scheme": "time_series"}, metric="accuracy")
    rows = inspect_table(data, asked).target.rows
    assert rows is not None
    assert [(7 * row) % N for row in rows] == list(range(N))
    prepared = ENGINE.prepare(data, asked)
    assert prepared.rows is not None
    assert prepared.rows.tolist() == rows.tolist()
    np.testing.assert_array_equal(prepared.tree[:, 0], rows)  # the column size counts the caller's rows
    ordered = inspect_table(data.take(pa.array(rows)), asked)
    assert ordered.target.rows is None


def test_what_cannot_order_rows_is_refused() -> None:
    asked = {"time_column": "kind", "validation": {"scheme": "time_series"}}
    assert defect(table(), **asked).code == "invalid-times"
    late = table(t=[None, *range(N - 1)], kind=list("abcd") * 10)
    asked = {"time_column": "t", "metric": "accuracy", "validation": {"scheme": "time_series"}}
    warnings = inspect_table(late, request(**asked)).warnings
    assert warnings[0] == "1 rows have no time in 't' (rows 0): they count as the first."


def test_whole_labels_stay_whole_where_some_rows_have_none() -> None:
    assert str(inspect_table(table(y=[None, 1.0] + [0.0, 1.0] * 19), request()).target.classes) == "(0, 1)"
    assert str(inspect_table(table(y=[None, 1.0] + [0.5, 1.0] * 19), request()).target.classes) == "(0.5, 1.0)"


def test_many_classes_of_some_rows_each_are_classes() -> None:
    codes = np.arange(1200) % 240
    data = pa.table({"x": RNG.normal(size=1200), "y": [f"who{code}" for code in codes]})
    assert len(inspect_table(data, request()).target.classes or ()) == 240
    with pytest.raises(InvalidData, match="too many for classes"):
        inspect_table(pa.table({"x": np.arange(1200.0) % 7, "y": np.arange(1200) % 400}), request())


def test_a_target_whose_squares_are_lost_is_refused() -> None:
    for size in (1e200, 1e-200):
        assert defect(table(y=size * (1.0 + np.arange(N))), task="regression").code == "out-of-range"


def test_very_many_useless_columns_are_summed_up() -> None:
    columns = {f"same{index}": ["x"] * N for index in range(50)}
    columns |= {f"copy{index}": np.arange(N) * 1.0 for index in range(20)}
    warnings = inspect_table(table(**columns), request()).warnings
    assert len(warnings) == 32
    assert warnings[30] == f"20 more columns were dropped: all {N} rows have the same value."
    assert warnings[31] == "20 more columns were dropped: it is the same as another column."


RNG = np.random.default_rng(0)
ROWS = 400
BINARY, THREE, AMOUNT = RNG.integers(0, 2, ROWS), RNG.integers(0, 3, ROWS), RNG.normal(size=ROWS)


@pytest.mark.parametrize(
    ("task", "target", "leak", "found"),
    [
        ("classification", BINARY, BINARY + 0.4 * RNG.random(ROWS), "ROC AUC 1.0000"),
        ("classification", BINARY, [f"v{value}" for value in BINARY], "accuracy 1.0000"),
        ("classification", BINARY, [7.0 if value else None for value in BINARY], "ROC AUC 1.0000"),
        ("classification", THREE, THREE * 10 + RNG.random(ROWS), "accuracy"),
        ("regression", AMOUNT, np.exp(AMOUNT), "rank correlation 1.0000"),
        ("regression", THREE * 1.5, [f"v{value}" for value in THREE], "of its variance"),
    ],
)
def test_likely_leaks_are_named(task: str, target: Any, leak: Any, found: str) -> None:
    data = pa.table({"noise": RNG.normal(size=ROWS), "leak": leak, "y": target})
    [warning] = warnings_of(data, task=task)
    assert "Column 'leak' alone tells the target almost exactly" in warning
    assert found in warning


def test_good_features_and_high_cardinality_are_no_leaks() -> None:
    codes = RNG.integers(0, 150, ROWS)
    data = pa.table(
        {
            "good": BINARY + RNG.normal(0, 0.7, ROWS),
            "many": [f"v{code}" for code in codes],
            "y": BINARY,
        }
    )
    assert warnings_of(data) == []
    rare = np.zeros(ROWS, dtype=int)
    rare[:6] = [1, 2, 1, 2, 1, 2]  # almost all rows are of one class: telling it is no achievement
    assert not any("alone tells" in text for text in warnings_of(pa.table({"x": RNG.random(ROWS), "y": rare})))


def test_real_data_has_no_false_alarms() -> None:
    from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris

    for load, task in (
        (load_iris, "classification"),
        (load_breast_cancer, "classification"),
        (load_diabetes, "regression"),
    ):
        frame = load(as_frame=True).frame
        found = warnings_of(pa.Table.from_pandas(frame, preserve_index=False), task=task, target="target")
        assert not any("alone tells" in text for text in found)


def test_repeated_rows_are_counted_and_shown() -> None:
    rows = np.r_[np.arange(100), np.arange(5)]
    data = pa.table({"a": rows * 1.5, "b": [f"v{row % 7}" for row in rows], "y": [None, *(rows[1:] % 2).tolist()]})
    [dropped, repeated] = warnings_of(data)
    assert "1 rows without a value" in dropped
    assert repeated.startswith("4 of 104 rows (4%) repeat another row exactly (rows 1 and 101; 2 and 102; 3 and 103)")
    assert warnings_of(data.slice(1, 99)) == []


def test_numbered_rows_and_empty_columns_are_mentioned() -> None:
    data = pa.table(
        {
            "id": np.arange(100, 200),
            "empty": [1.0, 2.0, *[None] * 98],
            "x": RNG.normal(size=100),
            "y": RNG.integers(0, 2, 100),
        }
    )
    numbered, empty = warnings_of(data)
    assert "Column 'id' holds a different, steadily rising or falling whole number in each of 100 rows" in numbered
    assert empty == "Column 'empty' has a value in only 2 of 100 rows."
    assert warnings_of(data, time_column="id") == [empty]


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


def test_every_value_of_a_grid_is_checked_on_its_own() -> None:
    data = table(y=1.5 * np.arange(N))
    for space, code in (
        ({"linear": {"target_transform": ["log", "standard"]}}, None),
        ({"lightgbm": {"derived": [["target_mean", "counts"], [], "arithmetic"]}}, None),
        ({"kernel": {"kernel": ["rbf", "laplacian"], "width": [1, 2.5]}}, None),
        ({"linear": {"target_transform": ["log", "square"]}}, "invalid-parameter"),
        ({"lightgbm": {"derived": [[], ["means"]]}}, "invalid-parameter"),
        ({"kernel": {"width": [1.0, -1]}}, "invalid-parameter"),
    ):
        if code is None:
            ENGINE.validate(data, request(task="regression", search_space=space))
            continue
        with pytest.raises(InvalidRequest) as raised:
            ENGINE.validate(data, request(task="regression", search_space=space))
        assert raised.value.code == code


def test_a_logarithmic_error_of_negative_targets_is_refused() -> None:
    data = pa.table({"x": np.arange(N) % 7, "y": np.arange(N) - 1.0})
    with pytest.raises(InvalidRequest, match="at least 0") as raised:
        ENGINE.validate(data, request(task="regression", metric="rmsle"))
    assert raised.value.code == "invalid-metric"


def _mean_error(truth: Any, predicted: Any) -> float:
    return float(np.abs(np.asarray(truth) - np.asarray(predicted)).mean())


def _varies(truth: Any, predicted: Any) -> float:
    return float(np.corrcoef(truth, predicted)[0, 1])


def _fails(truth: Any, predicted: Any) -> float:
    raise RuntimeError("no such thing")


def _no_number(truth: Any, predicted: Any) -> float:
    return float("nan")


def _uses_probabilities(truth: Any, predicted: Any) -> float:
    assert set(truth) == {"no", "yes"}
    assert predicted.shape == (len(truth), 2)
    return float(predicted[:, 1].mean())


def own_metric(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "path": f"{__name__}.{name}", **fields}


def test_own_metrics_are_tried_before_the_run() -> None:
    data = table(kind=list("abcd") * 10, y=["no", "yes"] * (N // 2))
    ENGINE.validate(data, request(custom_metric=own_metric("_uses_probabilities", needs_proba=True)))
    ENGINE.validate(table(kind=list("abcd") * 10), request(task="regression", custom_metric=own_metric("_mean_error")))
    first_rows_alike = np.r_[np.zeros(30), np.arange(N - 30)]
    ENGINE.validate(
        table(kind=list("abcd") * 10, y=first_rows_alike),
        request(task="regression", custom_metric=own_metric("_varies")),
    )
    for name, code, said in (
        ("_fails", "invalid-metric", "RuntimeError: no such thing"),
        ("_no_number", "invalid-metric", "it gave nan"),
        ("_missing", "unknown-metric", "_missing"),
    ):
        with pytest.raises(InvalidRequest) as raised:
            ENGINE.validate(data, request(custom_metric=own_metric(name)))
        assert raised.value.code == code
        assert said in raised.value.message


def test_a_metric_whose_direction_is_wrong_is_warned_of() -> None:
    data = table(kind=list("abcd") * 10, y=np.arange(N) * 1.5)
    for up, count in ((True, 1), (False, 0)):
        metric = own_metric("_mean_error", greater_is_better=up)
        found = warnings_of(data, task="regression", custom_metric=metric)
        assert len([text for text in found if "set greater_is_better to False" in text]) == count


def inspect_request(fields: dict[str, Any]) -> None:
    ENGINE.validate(table(), request(**fields))
