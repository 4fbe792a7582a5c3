"""The engine on real tables: every default family, a caller's classes, and prediction with bundles."""

from __future__ import annotations

import subprocess
import sys
from itertools import islice
from typing import Any

import cloudpickle
import numpy as np
import pyarrow as pa
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris

from rayctl.automl.bundle import Member, read_bundle, write_bundle
from rayctl.automl.engine import Candidate, engine_for
from rayctl.automl.model import DataSummary, RunRequest, TaskType
from rayctl.automl.tabular.engine import ENGINE
from rayctl.automl.tabular.views import clear_cache
from rayctl.errors import InvalidData, InvalidRequest, RayctlError, TrialError


def as_table(loader: Any, rows: int, features: int, names: list[str] | None = None) -> pa.Table:
    x, y = loader(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))[:rows]
    columns: dict[str, Any] = {f"f{i}": x[order, i] for i in range(min(features, x.shape[1]))}
    # One text and one column with gaps, so that every kind of encoding takes part.
    columns["band"] = np.array(["low", "mid", "high"])[np.digitize(x[order, 0], np.quantile(x[:, 0], [0.3, 0.7]))]
    columns["gaps"] = np.where(np.arange(len(order)) % 7 == 0, np.nan, x[order, 1])
    columns["y"] = y[order] if names is None else np.array(names)[y[order]]
    return pa.table(columns)


TABLES = {
    "binary": as_table(load_breast_cancer, 300, 8, ["malignant", "benign"]),
    "multiclass": as_table(load_iris, 150, 4),
    "regression": as_table(load_diabetes, 300, 10),
}
FAMILIES = ["lightgbm", "linear", "extra_trees", "random_forest", "mlp", "knn"]
FLOOR = {"binary": 0.93, "multiclass": -0.6, "regression": -72.0}


def request_for(name: str, **fields: Any) -> RunRequest:
    task = "regression" if name == "regression" else "classification"
    return RunRequest(**{"task": task, "target": "y", **fields})


def summary(rows: int, classes: list[str] | None) -> DataSummary:
    return DataSummary(rows=rows, columns=[], features=["a"], fingerprint="", classes=classes)


def first_of(family: str, name: str) -> Candidate:
    classes = {"binary": ["a", "b"], "multiclass": ["0", "1", "2"], "regression": None}[name]
    candidates = ENGINE.portfolio(summary(300, classes), request_for(name))
    return next(candidate for candidate in candidates if candidate.model == family)


def error_of(candidate: Candidate, **fields: Any) -> TrialError:
    request = request_for("binary", **fields)
    prepared = ENGINE.prepare(TABLES["binary"], request)
    with pytest.raises(TrialError) as raised:
        ENGINE.evaluate(prepared, ENGINE.split(prepared, request)[0], candidate, request, seed=0, deadline=None)
    return raised.value


@pytest.mark.parametrize("name", sorted(TABLES))
@pytest.mark.parametrize("family", FAMILIES)
def test_families_learn_repeat_and_survive_a_bundle(family: str, name: str) -> None:
    table, request, candidate = TABLES[name], request_for(name), first_of(family, name)
    prepared = ENGINE.prepare(table, request)
    fold = ENGINE.split(prepared, request)[0]
    first = ENGINE.evaluate(prepared, fold, candidate, request, seed=7, deadline=None)
    clear_cache()
    second = ENGINE.evaluate(ENGINE.prepare(table, request), fold, candidate, request, seed=7, deadline=None)
    assert first.score == second.score
    np.testing.assert_array_equal(first.predictions, second.predictions)
    assert first.score * (1 if name == "binary" else -1) > FLOOR[name]
    assert first.fit_s > 0
    assert first.predict_s > 0

    bundle = ENGINE.fit_final(prepared, candidate, request, seed=7, fold=fold)
    test_rows = table.take(pa.array(fold.test)).drop_columns(["y"])
    predicted = ENGINE.predict(bundle, test_rows, proba=name != "regression")
    if name == "regression":
        np.testing.assert_array_equal(predicted["prediction"].to_numpy(), first.predictions)
    else:
        proba = np.column_stack([predicted[f"proba_{label}"].to_numpy() for label in prepared.classes or ()])
        np.testing.assert_array_equal(proba, first.predictions)
        assert set(predicted["prediction"].to_pylist()) <= set(table["y"].to_pylist())


def test_the_engine_is_found_by_task_and_plans_without_model_libraries() -> None:
    assert engine_for(TaskType.REGRESSION) is ENGINE
    code = (
        "import sys; from rayctl.automl.engine import engine_for; from rayctl.automl.model import *\n"
        "engine = engine_for(TaskType.REGRESSION)\n"
        "summary = DataSummary(rows=9, columns=[], features=[], fingerprint='')\n"
        "next(engine.portfolio(summary, RunRequest(task='regression', target='y')))\n"
        "sys.exit(any(m in sys.modules for m in ('sklearn', 'lightgbm', 'skops', 'scipy', 'pandas')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_portfolio_starts_with_every_family_and_never_ends_or_repeats() -> None:
    for task, classes in (("classification", ["a", "b"]), ("regression", None)):
        request = RunRequest(task=task, target="y")
        first = list(islice(ENGINE.portfolio(summary(1000, classes), request), 300))
        assert {c.model for c in first[:7]} == set(FAMILIES)
        assert first == list(islice(ENGINE.portfolio(summary(1000, classes), request), 300))
        assert len({repr(c) for c in first}) == 300
        other = islice(ENGINE.portfolio(summary(1000, classes), request.model_copy(update={"seed": 1})), 300)
        assert first != list(other)
        assert sum(c.model == "lightgbm" for c in first) > 130


def test_the_portfolio_fits_the_size() -> None:
    request = RunRequest(task="classification", target="y")
    large = list(islice(ENGINE.portfolio(summary(200_000, ["a", "b"]), request), 100))
    assert {c.model for c in large} == {"lightgbm", "linear", "extra_trees", "random_forest"}
    assert all(c.params["n_estimators"] <= 30 for c in large if c.model.endswith(("trees", "forest")))
    many = list(islice(ENGINE.portfolio(summary(2000, [str(i) for i in range(20)]), request), 2))
    assert [c.model for c in many] == ["linear", "lightgbm"]  # an answer at once, then the strongest
    assert many[1].params["n_estimators"] == 40


def test_classes_only_in_the_test_part_get_probability_zero() -> None:
    table = pa.table({"x": np.arange(60.0), "y": ["a", "b"] * 25 + ["late"] * 10})
    request = RunRequest(task="classification", target="y", metric="roc_auc", validation={"scheme": "time_series"})
    prepared = ENGINE.prepare(table, request)
    fold = ENGINE.split(prepared, request)[-1]
    for family in FAMILIES:
        for metric in ("log_loss", "accuracy"):
            asked = request.model_copy(update={"metric": metric})
            outcome = ENGINE.evaluate(prepared, fold, Candidate(family), asked, seed=0, deadline=None)
            assert outcome.predictions.shape == (10, 3)
            assert (outcome.predictions[:, 2] == 0).all()
    with pytest.raises(TrialError) as raised:
        ENGINE.evaluate(prepared, fold, Candidate("linear"), request, seed=0, deadline=None)
    assert raised.value.code == "invalid-score"  # only "late" rows in this test part: nothing to rank


class Custom:
    """A caller's class: no get_params, no random_state, no predict_proba."""

    mode = "labels"

    def __init__(self, shift: float = 0.0) -> None:
        self.shift = shift

    def fit(self, x: Any, y: Any) -> None:
        assert np.isfinite(x).all()
        assert x.dtype == np.float64
        if self.mode == "raises":
            raise RuntimeError("first line\nthe reason " + "x" * 1000)
        if self.mode == "memory":
            raise MemoryError
        if self.mode == "interrupt":
            raise KeyboardInterrupt
        self.mean = float(np.mean(y)) + self.shift

    def predict(self, x: Any) -> Any:
        answers: dict[str, Any] = {
            "nan": np.full(len(x), np.nan),
            "shape": np.zeros(3),
            "matrix": np.zeros((len(x), 2)),
            "text": np.array(["benign"] * len(x)),
            "foreign": np.full(len(x), 7),
            "column": np.zeros((len(x), 1)),
        }
        return answers.get(self.mode, (x[:, 0] < 0).astype(int))


class Proba(Custom):
    def predict_proba(self, x: Any) -> Any:
        return np.full((len(x), 3 if self.mode == "wide" else 2), 1.5 if self.mode == "large" else 0.5)


class Decision(Custom):
    def decision_function(self, x: Any) -> Any:
        return -x[:, 0]


def custom(mode: str, base: type = Custom, **params: Any) -> Candidate:
    cls = type("Mine", (base,), {"mode": mode})
    return Candidate("Mine", params, cloudpickle.dumps(cls))


@pytest.mark.parametrize(
    ("candidate", "code", "text"),
    [
        (custom("raises"), "model-error", "RuntimeError: the reason"),
        (custom("memory"), "out-of-memory", "ran out of memory"),
        (custom("nan"), "invalid-prediction", "60 of 60 predictions are missing or infinite"),
        (custom("shape"), "invalid-prediction", "shape (3,)"),
        (custom("matrix"), "invalid-prediction", "shape (60, 2)"),
        (custom("text"), "invalid-prediction", "not numbers"),
        (custom("foreign"), "invalid-prediction", "labels"),
        (custom("wide", Proba), "invalid-prediction", "shape (60, 3)"),
        (custom("large", Proba), "invalid-prediction", "outside 0 to 1"),
        (custom("labels", shfit=1), "unknown-parameter", "'shfit'"),
        (Candidate("lightgbn"), "unknown-model", "lightgbn"),
        (Candidate("sklearn.svm.SVC", {"C": -1.0}), "model-error", "InvalidParameterError"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_failures_of_models_become_trial_errors(candidate: Candidate, code: str, text: str) -> None:
    error = error_of(candidate, metric="accuracy")
    assert error.code == code
    assert text in error.message
    assert len(error.message) <= 500
    assert "\n" not in error.message


def test_interrupts_pass_through() -> None:
    request = request_for("binary")
    prepared = ENGINE.prepare(TABLES["binary"], request)
    fold = ENGINE.split(prepared, request)[0]
    with pytest.raises(KeyboardInterrupt):
        ENGINE.evaluate(prepared, fold, custom("interrupt"), request, seed=0, deadline=None)


def test_metrics_that_need_probabilities() -> None:
    assert "has no predict_proba" in error_of(custom("labels"), metric="log_loss").message
    request = request_for("binary", metric="roc_auc")
    prepared = ENGINE.prepare(TABLES["binary"], request)
    fold = ENGINE.split(prepared, request)[0]
    outcome = ENGINE.evaluate(prepared, fold, custom("labels", Decision), request, seed=0, deadline=None)
    assert outcome.predictions.shape == (len(fold.test),)
    assert 0 <= outcome.score <= 1


def test_a_callers_class_needs_permission_to_predict() -> None:
    request = request_for("binary", metric="accuracy")
    prepared = ENGINE.prepare(TABLES["binary"], request)
    bundle = ENGINE.fit_final(prepared, custom("column"), request, seed=0)
    with pytest.raises(InvalidRequest) as raised:
        ENGINE.predict(bundle, TABLES["binary"])
    assert raised.value.code == "untrusted-model"
    predicted = ENGINE.predict(bundle, TABLES["binary"], allow_pickle=True)
    assert predicted.column_names == ["prediction"]
    assert set(predicted["prediction"].to_pylist()) == {"benign"}
    with pytest.raises(InvalidRequest, match="no class probabilities"):
        ENGINE.predict(bundle, TABLES["binary"], proba=True, allow_pickle=True)


def test_scikit_learn_by_path() -> None:
    request = request_for("regression")
    prepared = ENGINE.prepare(TABLES["regression"], request)
    candidate = Candidate("sklearn.linear_model.ElasticNet", {"alpha": 0.01})
    bundle = ENGINE.fit_final(prepared, candidate, request, seed=0)
    assert len(ENGINE.predict(bundle, TABLES["regression"])) == 300


MIXED = pa.table(
    {
        "num": np.arange(60.0),
        "flag": [True, False, True] * 20,
        "kind": ["a", "b"] * 30,
        "day": pa.array(np.arange(60) + 19000, pa.int32()).cast(pa.date32()),
        "y": [3, 5] * 30,
    }
)


@pytest.fixture(scope="module")
def mixed() -> bytes:
    request = RunRequest(task="classification", target="y")
    return ENGINE.fit_final(ENGINE.prepare(MIXED, request), Candidate("linear"), request, seed=0)


def refused(bundle: bytes, **columns: Any) -> RayctlError:
    data = {name: MIXED[name] for name in MIXED.column_names} | columns
    with pytest.raises(InvalidData) as raised:
        ENGINE.predict(bundle, pa.table({name: value for name, value in data.items() if value is not None}))
    return raised.value


def test_predictions_have_the_type_of_the_labels(mixed: bytes) -> None:
    predicted = ENGINE.predict(mixed, MIXED.select(["day", "kind", "num", "flag"]), proba=True)
    assert predicted.column_names == ["prediction", "proba_3", "proba_5"]
    assert pa.types.is_integer(predicted["prediction"].type)
    assert set(predicted["prediction"].to_pylist()) == {3, 5}


def test_bundles_of_other_kinds_or_without_their_parts_are_refused(mixed: bytes) -> None:
    opened = read_bundle(mixed)
    assert opened.info["schema"] == {"num": "number", "flag": "bool", "kind": "category", "day": "datetime"}
    without = {name: value for name, value in opened.info.items() if name != "features"}
    for bundle in (
        write_bundle("tabular", without, opened.members),
        write_bundle("tabular", opened.info, {"model": opened.members["model"]}),
        write_bundle("tabular", opened.info, {**opened.members, "model": Member(b"tree\nnonsense", "lightgbm")}),
    ):
        with pytest.raises(InvalidRequest) as raised:
            ENGINE.predict(bundle, MIXED)
        assert raised.value.code == "invalid-bundle"
    with pytest.raises(InvalidRequest, match="kind 'forecasting'"):
        ENGINE.predict(write_bundle("forecasting", {}, {}), MIXED)


def test_missing_columns_are_all_named(mixed: bytes) -> None:
    error = refused(mixed, num=None, kind=None, nun=pa.array(np.arange(60.0)))
    assert error.code == "missing-column"
    assert [item["pointer"] for item in error.errors] == ["/data/num", "/data/kind"]
    assert error.hint == "Did you mean 'nun' by 'num'?"


def test_wrong_types_name_count_and_examples(mixed: bytes) -> None:
    error = refused(mixed, num=["1.5", "oops", None] * 20, day=["yesterday"] * 60, kind=np.arange(60.0))
    assert error.code == "wrong-type"
    assert "20 of 60 values are other text (for example 'oops')" in error.message
    assert {item["pointer"] for item in error.errors} == {"/data/num", "/data/day", "/data/kind"}


def test_infinite_duplicate_and_empty_inputs(mixed: bytes) -> None:
    assert refused(mixed, num=np.r_[np.inf, np.zeros(59)]).code == "non-finite"
    twice = pa.Table.from_arrays([*MIXED.columns, MIXED["num"]], names=[*MIXED.column_names, "num"])
    for table, code in ((twice, "duplicate-columns"), (MIXED.slice(0, 0), "empty-table")):
        with pytest.raises(InvalidData) as raised:
            ENGINE.predict(mixed, table)
        assert raised.value.code == code
    with pytest.raises(InvalidRequest, match="no table"):
        ENGINE.predict(mixed, None)


def test_readable_texts_unseen_categories_and_missing_values_are_fine(mixed: bytes) -> None:
    plain = ENGINE.predict(mixed, MIXED, proba=True)
    texts = MIXED.set_column(0, "num", [[str(v) for v in MIXED["num"].to_pylist()]])
    texts = texts.set_column(3, "day", [[str(v) for v in MIXED["day"].to_pylist()]])
    assert ENGINE.predict(mixed, texts, proba=True).equals(plain)
    odd = pa.table(
        {"num": pa.nulls(2), "flag": [None, True], "kind": ["new", None], "day": pa.nulls(2), "extra": [1, 2]}
    )
    assert len(ENGINE.predict(mixed, odd)) == 2


def test_the_seed_matters_and_only_the_seed() -> None:
    request = request_for("binary")
    prepared = ENGINE.prepare(TABLES["binary"], request)
    fold, candidate = ENGINE.split(prepared, request)[1], first_of("extra_trees", "binary")
    a, b, c = (
        ENGINE.evaluate(prepared, fold, candidate, request, seed=seed, deadline=None).predictions for seed in (1, 1, 2)
    )
    assert (a == b).all()
    assert (a != c).any()


def test_tiny_tables_work_with_every_family() -> None:
    table = pa.table(
        {"x": [1.0, 2.0, None, 4.0, 5.0, 6.0, 7.0, 8.0], "y": ["a", "b", "a", "b", "a", "b", "a", "single"]}
    )
    request = RunRequest(task="classification", target="y", metric="accuracy")
    prepared = ENGINE.prepare(table, request)
    folds = ENGINE.split(prepared, request)
    assert len(folds) == 3
    for family in FAMILIES:
        params = {"n_neighbors": 2} if family == "knn" else {}
        for fold in folds:
            outcome = ENGINE.evaluate(prepared, fold, Candidate(family, params), request, seed=0, deadline=None)
            assert outcome.predictions.shape == (len(fold.test), 3)
