"""The engine on real tables: every default family, a caller's classes, and prediction with bundles."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import cloudpickle
import numpy as np
import pyarrow as pa
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris

from rayctl.automl.bundle import Member, read_bundle, write_bundle
from rayctl.automl.engine import Candidate, Combination, FoldOutcome, engine_for
from rayctl.automl.model import DataSummary, RunRequest, TaskType
from rayctl.automl.tabular.engine import ENGINE
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
FAMILIES = ["lightgbm", "catboost", "linear", "extra_trees", "random_forest", "mlp", "knn", "kernel"]
FLOOR = {"binary": 0.93, "multiclass": -0.6, "regression": -72.0}
CLASSES = {"binary": ["a", "b"], "multiclass": ["0", "1", "2"], "regression": None}


def request_for(name: str, **fields: Any) -> RunRequest:
    task = "regression" if name == "regression" else "classification"
    return RunRequest(**{"task": task, "target": "y", **fields})


def summary(rows: int, classes: list[str] | None, features: int = 12) -> DataSummary:
    names = [f"f{i}" for i in range(features)]
    return DataSummary(rows=rows, columns=[], features=names, fingerprint="", classes=classes)


def first_of(family: str, name: str) -> Candidate:
    candidates = ENGINE.portfolio(summary(300, CLASSES[name]), request_for(name))
    # A portfolio that was learned may do without a family; whoever names it gets it all the same.
    return next((candidate for candidate in candidates if candidate.model == family), Candidate(family, {}))


def evaluated(name: str, candidate: Candidate, place: int = 0, **fields: Any) -> FoldOutcome:
    options = {option: fields.pop(option, None) for option in ("deadline", "stop_at")}
    request = request_for(name, **fields)
    prepared = ENGINE.prepare(TABLES[name], request)
    return ENGINE.evaluate(prepared, ENGINE.split(prepared, request)[place], candidate, request, seed=7, **options)


def alone(table: pa.Table, candidate: Candidate, request: RunRequest) -> tuple[bytes, list[FoldOutcome]]:
    """Return (the bundle of a single trial, its outcomes)."""
    prepared = ENGINE.prepare(table, request)
    folds = ENGINE.split(prepared, request)
    parts = [ENGINE.evaluate(prepared, fold, candidate, request, seed=7, deadline=None) for fold in folds]
    chosen = Combination({3: 1.0}, 0.0)
    return ENGINE.assemble(prepared, folds, {3: candidate}, {3: parts}, chosen, request), parts


def error_of(candidate: Candidate, **fields: Any) -> TrialError:
    with pytest.raises(TrialError) as raised:
        evaluated("binary", candidate, **fields)
    return raised.value


@pytest.mark.parametrize("name", sorted(TABLES))
@pytest.mark.parametrize("family", FAMILIES)
def test_families_learn_repeat_and_survive_a_bundle(family: str, name: str) -> None:
    table, request, candidate = (
        TABLES[name],
        request_for(name, validation={"scheme": "holdout"}),
        first_of(family, name),
    )
    bundle, outcomes = alone(table, candidate, request)
    first = outcomes[0]
    second = evaluated(name, candidate, validation={"scheme": "holdout"})
    assert first.score == second.score
    np.testing.assert_array_equal(first.predictions, second.predictions)
    np.testing.assert_array_equal(first.model, second.model)
    assert first.score is not None
    assert first.score * (1 if name == "binary" else -1) > FLOOR[name]
    assert first.stopped_at is None
    assert 0 < len(first.model) < 2_000_000

    prepared = ENGINE.prepare(table, request)
    test_rows = table.take(pa.array(ENGINE.split(prepared, request)[0].test)).drop_columns(["y"])
    predicted = ENGINE.predict(bundle, test_rows, proba=name != "regression")
    if name == "regression":
        np.testing.assert_array_equal(predicted["prediction"].to_numpy(), first.predictions)
    else:
        proba = np.column_stack([predicted[f"proba_{label}"].to_numpy() for label in prepared.classes or ()])
        np.testing.assert_array_equal(proba.astype(np.float32), first.predictions)
        assert set(predicted["prediction"].to_pylist()) <= set(table["y"].to_pylist())


def test_names_of_single_classes_mean_the_linear_family() -> None:
    for name, other in (("binary", "logistic_regression"), ("regression", "ridge")):
        found, same = (evaluated(name, Candidate(model)) for model in (other, "linear"))
        # Two fits in one process differ in the last bits: the linear algebra's threads sum in another order.
        np.testing.assert_allclose(found.predictions, same.predictions, rtol=1e-9)
    with pytest.raises(TrialError) as raised:
        evaluated("binary", Candidate("ridge"))
    assert raised.value.code == "wrong-model-type"


def test_the_engine_is_found_by_task_and_plans_without_model_libraries() -> None:
    assert engine_for(TaskType.REGRESSION) is ENGINE
    code = (
        "import sys; from rayctl.automl.engine import engine_for; from rayctl.automl.model import *\n"
        "engine = engine_for(TaskType.REGRESSION)\n"
        "summary = DataSummary(rows=9, columns=[], features=['a'], fingerprint='')\n"
        "request = RunRequest(task='regression', target='y')\n"
        "candidates = engine.portfolio(summary, request)\n"
        "assert engine.spaces(summary, request) and engine.cost(summary, request, candidates[0])\n"
        "heavy = ('sklearn', 'lightgbm', 'catboost', 'skops', 'scipy', 'pandas')\n"
        "sys.exit(any(name in sys.modules for name in heavy))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_classes_only_in_the_test_part_get_probability_zero() -> None:
    table = pa.table({"x": np.arange(60.0), "y": ["a", "b"] * 25 + ["late"] * 10})
    validation = {"scheme": "time_series", "folds": 5}
    request = RunRequest(task="classification", target="y", metric="roc_auc", validation=validation)
    prepared = ENGINE.prepare(table, request)
    fold = ENGINE.split(prepared, request.model_copy(update={"metric": "log_loss"}))[-1]
    for family in FAMILIES:
        params = {"iterations": 10} if family == "catboost" else {}
        for metric in ("log_loss", "accuracy"):
            asked = request.model_copy(update={"metric": metric})
            outcome = ENGINE.evaluate(prepared, fold, Candidate(family, params), asked, seed=0, deadline=None)
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
        (custom("nan"), "invalid-prediction", "38 of 38 predictions are missing or infinite"),
        (custom("shape"), "invalid-prediction", "shape (3,)"),
        (custom("matrix"), "invalid-prediction", "shape (38, 2)"),
        (custom("text"), "invalid-prediction", "not numbers"),
        (custom("foreign"), "invalid-prediction", "labels"),
        (custom("wide", Proba), "invalid-prediction", "shape (38, 3)"),
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
    with pytest.raises(KeyboardInterrupt):
        evaluated("binary", custom("interrupt"))


def test_metrics_that_need_probabilities() -> None:
    assert "has no predict_proba" in error_of(custom("labels"), metric="log_loss").message
    outcome = evaluated("binary", custom("labels", Decision), metric="roc_auc")
    assert outcome.predictions.shape == (38,)
    assert outcome.score is not None
    assert 0 <= outcome.score <= 1


def test_a_callers_class_needs_permission_to_predict() -> None:
    request = request_for("binary", metric="accuracy")
    bundle, _ = alone(TABLES["binary"], custom("column"), request)
    with pytest.raises(InvalidRequest) as raised:
        ENGINE.predict(bundle, TABLES["binary"])
    assert raised.value.code == "untrusted-model"
    predicted = ENGINE.predict(bundle, TABLES["binary"], allow_pickle=True)
    assert predicted.column_names == ["prediction"]
    assert set(predicted["prediction"].to_pylist()) == {"benign"}
    with pytest.raises(InvalidRequest, match="no class probabilities"):
        ENGINE.predict(bundle, TABLES["binary"], proba=True, allow_pickle=True)


def test_scikit_learn_by_path() -> None:
    request = request_for("regression", ensemble=False)
    bundle, outcomes = alone(
        TABLES["regression"], Candidate("sklearn.linear_model.ElasticNet", {"alpha": 0.01}), request
    )
    assert outcomes[-1].score is None
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
    return alone(MIXED, Candidate("linear"), RunRequest(task="classification", target="y", validation={"folds": 2}))[0]


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
    assert opened.members["trial-3/fold-0"].stored == "bundle"
    without = {name: value for name, value in opened.info.items() if name != "features"}
    model = write_bundle("tabular-fold", {"kind": "lightgbm"}, {"model/model": Member(b"tree\nnonsense", "lightgbm")})
    for bundle in (
        write_bundle("tabular", without, opened.members),
        write_bundle("tabular", opened.info, {"trial-3/fold-0": opened.members["trial-3/fold-0"]}),
        write_bundle("tabular", opened.info | {"trials": []}, opened.members),
        write_bundle("tabular", opened.info, {**opened.members, "trial-3/fold-0": Member(model, "bundle")}),
        write_bundle("tabular", opened.info, {**opened.members, "trial-3/fold-0": Member(b"nonsense", "bundle")}),
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
    error = refused(mixed, num=["1.5", "oops", None] * 20, day=["yesterday"] * 60, kind=MIXED["day"])
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
    fold, candidate = ENGINE.split(prepared, request)[1], Candidate("extra_trees", {"n_estimators": 10})
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
    assert len(folds) >= 2
    for family in FAMILIES:
        params = {"knn": {"n_neighbors": 2}, "catboost": {"iterations": 5}}.get(family, {})
        for fold in folds:
            outcome = ENGINE.evaluate(prepared, fold, Candidate(family, params), request, seed=0, deadline=None)
            assert outcome.predictions.shape == (len(fold.test), 3)


class Shares(Custom):
    shares: tuple[float, float] = (0.0, 0.0)

    def predict_proba(self, x: Any) -> Any:
        return np.tile(np.array(self.shares), (len(x), 1))


def test_probabilities_that_do_not_sum_to_one_are_scaled_and_those_that_are_none_refused() -> None:
    def sharing(*shares: float) -> Candidate:
        return Candidate("Mine", {}, cloudpickle.dumps(type("Mine", (Shares,), {"shares": shares})))

    outcome = evaluated("binary", sharing(0.9, 0.3), metric="log_loss")
    np.testing.assert_allclose(outcome.predictions, np.tile([0.75, 0.25], (38, 1)))
    error = error_of(sharing(0.0, 0.0))
    assert (error.code, error.hint) == ("invalid-prediction", "Return rows that sum to 1.")
    assert "no class a probability in 38 of 38 rows" in error.message


def _picky(truth: Any, predicted: Any) -> float:
    if len(truth) == 38:
        raise ValueError("not with\nthese rows")
    return 1.0


def test_a_metric_that_fails_is_not_the_models_fault() -> None:
    metric = {"name": "picky", "path": f"{__name__}._picky"}
    error = error_of(Candidate("linear"), custom_metric=metric)
    assert error.code == "invalid-score"
    assert error.message == "The metric 'picky' failed on fold 0: ValueError: not with these rows"
    assert error.hint


def test_many_rows_are_predicted_in_parts_that_make_no_difference(mixed: bytes, monkeypatch: Any) -> None:
    many = pa.concat_tables([MIXED] * 300)
    whole = ENGINE.predict(mixed, many, proba=True)
    monkeypatch.setattr("rayctl.automl.tabular.delivered._MOST_CELLS", 1)
    assert ENGINE.predict(mixed, many, proba=True).equals(whole)


def test_texts_of_numbers_are_the_same_categories_from_another_source() -> None:
    codes = ["01", "02", "07", "11"] * 40
    table = pa.table({"code": codes, "x": RNG.normal(size=160), "y": [code in ("01", "11") for code in codes]})
    bundle, _ = alone(
        table, Candidate("linear"), RunRequest(task="classification", target="y", validation={"folds": 2})
    )
    numbers = table.set_column(0, "code", pa.array([int(code) for code in codes]))
    assert ENGINE.predict(bundle, numbers, proba=True).equals(ENGINE.predict(bundle, table, proba=True))
    assert ENGINE.predict(bundle, numbers)["prediction"].to_pylist() == table["y"].to_pylist()


RNG = np.random.default_rng(0)
