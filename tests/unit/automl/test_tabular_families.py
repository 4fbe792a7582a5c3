"""The families: early stopping, the clock and its repetition, weights, scales, and how models are stored."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.ensemble import ExtraTreesClassifier, RandomForestRegressor

from rayctl.automl.bundle import Member, dump_arrays, load_arrays
from rayctl.automl.engine import Candidate, Fold, FoldOutcome
from rayctl.automl.model import RunRequest, TaskType
from rayctl.automl.tabular import catboost_model, lightgbm_model
from rayctl.automl.tabular.clock import Clock
from rayctl.automl.tabular.engine import ENGINE
from rayctl.automl.tabular.families import resolve
from rayctl.automl.tabular.fitted import load_model
from rayctl.automl.tabular.forest_model import ForestPredictor
from rayctl.automl.tabular.scale import TargetScale
from rayctl.automl.tabular.thinning import kept_models, thinned_forest
from rayctl.errors import InvalidRequest, TrialError

RNG = np.random.default_rng(3)
X = RNG.normal(size=(400, 6))
NOISY = X[:, 0] * X[:, 1] + X[:, 2] + RNG.normal(size=400)
COLUMNS: dict[str, Any] = {f"x{i}": X[:, i] for i in range(5)}
COLUMNS["x5"] = np.where(np.arange(400) % 9 == 0, np.nan, X[:, 5])
COLUMNS["kind"] = np.array(["a", "b", "c", "d"])[np.digitize(X[:, 2], [-1, 0, 1])]
BINARY = pa.table({**COLUMNS, "y": np.where(NOISY > 0.8, "yes", "no")})
NUMBERS = pa.table({**COLUMNS, "y": NOISY})

LONG: dict[str, dict[str, Any]] = {
    "lightgbm": {"n_estimators": 100_000, "learning_rate": 0.001, "num_leaves": 15},
    "catboost": {"iterations": 100_000, "learning_rate": 0.001, "depth": 4},
    "extra_trees": {"n_estimators": 100_000},
    "random_forest": {"n_estimators": 100_000},
    "mlp": {"max_iter": 100_000, "early_stopping": False},
}


def evaluate(candidate: Candidate, table: pa.Table = BINARY, place: int = 0, **fields: Any) -> FoldOutcome:
    options = {"deadline": fields.pop("deadline", None), "stop_at": fields.pop("stop_at", None)}
    task = "regression" if table is NUMBERS else "classification"
    request = RunRequest(**{"task": task, "target": "y", "validation": {"folds": 4}, **fields})
    prepared = ENGINE.prepare(table, request)
    return ENGINE.evaluate(prepared, ENGINE.split(prepared, request)[place], candidate, request, seed=5, **options)


def loaded(outcome: FoldOutcome) -> Any:
    return load_model(outcome.model.tobytes(), allow_pickle=False).predictor


@pytest.mark.parametrize("family", sorted(LONG))
def test_time_ends_a_fit_in_time_and_stop_at_repeats_it_exactly(family: str) -> None:
    candidate = Candidate(family, LONG[family])
    evaluate(candidate, stop_at=1)  # imports
    deadline = time.monotonic() + 0.6
    outcome = evaluate(candidate, deadline=deadline)
    assert time.monotonic() < deadline + 1.0  # generous: other processes may hold the processor
    assert outcome.stopped_at is not None
    assert outcome.stopped_at >= 1
    again = evaluate(candidate, stop_at=outcome.stopped_at)
    assert again.stopped_at == outcome.stopped_at
    assert again.score == outcome.score
    np.testing.assert_array_equal(again.predictions, outcome.predictions)
    np.testing.assert_array_equal(again.model, outcome.model)


@pytest.mark.parametrize("family", [*sorted(LONG), "linear", "knn", "kernel"])
def test_no_time_at_all_is_a_timeout(family: str) -> None:
    with pytest.raises(TrialError) as raised:
        evaluate(Candidate(family), deadline=time.monotonic() - 1.0)
    assert raised.value.code == "trial-timeout"


def test_boosted_trees_keep_the_best_round_of_the_watched_rows() -> None:
    for family, rounds in (("lightgbm", "n_estimators"), ("catboost", "iterations")):
        params = {rounds: 400, "learning_rate": 0.3}
        full = evaluate(Candidate(family, params))
        early = evaluate(Candidate(family, {**params, "early_stopping_rounds": 20}))
        counts = [
            model.booster.num_trees() if family == "lightgbm" else model.model.tree_count_
            for model in (loaded(full), loaded(early))
        ]
        assert counts[0] == 400
        assert 1 <= counts[1] < 200
        assert early.score is not None
        assert full.score is not None
        assert early.score > full.score
        assert early.stopped_at is None


def test_all_rows_are_fitted_with_the_rounds_that_rows_set_aside_ask_for() -> None:
    params = {"n_estimators": 400, "learning_rate": 0.3}
    outcomes = [
        evaluate(Candidate("lightgbm", {**params, **more}), place=-1, ensemble=False)
        for more in ({}, {"early_stopping_rounds": 20})
    ]
    assert [outcome.score for outcome in outcomes] == [None, None]
    assert outcomes[0].predictions.shape == (0, 2)
    exact, early = (loaded(outcome).booster.num_trees() for outcome in outcomes)
    assert exact == 400
    assert 1 <= early < 200
    repeated = evaluate(
        Candidate("lightgbm", {**params, "early_stopping_rounds": 20}), place=-1, ensemble=False, stop_at=7
    )
    assert loaded(repeated).booster.num_trees() == 7
    network = evaluate(Candidate("mlp", {"max_iter": 5}), place=-1, ensemble=False)
    assert len(network.model) > 0


class Ticks:
    """A clock that goes on by a second with every look at it."""

    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        self.at += 1.0
        return self.at


def test_the_clock_ends_before_a_step_that_would_be_late() -> None:
    clock = Clock(deadline=10.0, now=Ticks())
    clock.start()
    done = 1
    while not clock.ends(done):
        done += 1
    assert clock.stopped_at == done
    # Looks: 1 at the start, 2 to begin, one per step; a step takes one tick. The tick after 9 would pass the end.
    assert done == 7
    assert Clock(now=Ticks()).ends(1_000_000) is False
    exact = Clock(stop_at=3, now=Ticks())
    assert [exact.ends(step) for step in (1, 2, 3)] == [False, False, True]


@pytest.mark.parametrize(
    ("family", "params"),
    [
        ("linear", {"alpha": 0.5}),
        # Few different values, so that both have the same bins; leaves bounded by weight instead of rows.
        ("lightgbm", {"n_estimators": 8, "min_child_samples": 1, "min_sum_hessian_in_leaf": 20.0}),
    ],
)
def test_a_weight_of_two_is_a_row_twice(family: str, params: dict[str, Any]) -> None:
    rows = np.concatenate([np.arange(400), np.arange(100)])
    table = pa.table({f"x{i}": np.round(X[rows, i], 1) for i in range(4)} | {"y": NOISY[rows]})
    request = RunRequest(task="regression", target="y")
    plain = ENGINE.prepare(table, request)
    weighted = replace(plain, weights=np.where(np.arange(500) < 100, 2.0, 1.0))
    test, once = np.arange(300, 400, dtype=np.int32), np.arange(300, dtype=np.int32)
    twice = np.concatenate([once, np.arange(400, 500, dtype=np.int32)])
    a, b, unweighted = (
        ENGINE.evaluate(prepared, Fold(0, train, test), Candidate(family, params), request, seed=0, deadline=None)
        for prepared, train in ((weighted, once), (plain, twice), (plain, once))
    )
    np.testing.assert_allclose(a.predictions, b.predictions, rtol=1e-6)
    assert np.abs(a.predictions - unweighted.predictions).max() > 0.01


@pytest.mark.parametrize("family", ["lightgbm", "catboost", "linear", "extra_trees", "random_forest", "mlp"])
def test_balanced_classes_raise_the_recall_of_the_rare_class(family: str) -> None:
    params = {
        "lightgbm": {"n_estimators": 30},
        "catboost": {"iterations": 30, "learning_rate": 0.1},
        "mlp": {"max_iter": 15},
        "extra_trees": {"n_estimators": 30, "min_samples_leaf": 5},
        "random_forest": {"n_estimators": 30, "min_samples_leaf": 5},
    }.get(family, {})
    shares = []
    for class_weight in (None, "balanced"):
        outcome = evaluate(Candidate(family, params), class_weight=class_weight)
        shares.append(float(outcome.predictions[:, 1].mean()))
    assert shares[1] > shares[0] + 0.03


def test_logarithms_help_with_targets_that_grow_exponentially() -> None:
    table = pa.table({**COLUMNS, "y": np.exp(X[:, 0] + X[:, 1] + 0.1 * RNG.normal(size=400))})
    request = RunRequest(task="regression", target="y")
    prepared = ENGINE.prepare(table, request)
    fold = ENGINE.split(prepared, request)[0]
    plain, log = (
        ENGINE.evaluate(prepared, fold, Candidate("linear", {"target_transform": name}), request, seed=0, deadline=None)
        for name in ("standard", "log")
    )
    assert plain.score is not None
    assert log.score is not None
    assert log.score < 0.6 * plain.score


@pytest.mark.parametrize(
    ("model", "params"),
    [("linear", {}), ("mlp", {"max_iter": 5}), ("lightgbm", {"linear_tree": True, "n_estimators": 5})],
)
def test_a_strange_row_does_not_become_an_enormous_prediction(model: str, params: dict[str, Any]) -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=400)
    frame = pd.DataFrame({"x": x, "y": 3 * x + rng.normal(0, 0.1, 400)})
    frame.loc[0, "x"] = 1e6
    request = RunRequest(task="regression", target="y", validation={"folds": 3})
    prepared = ENGINE.prepare(pa.Table.from_pandas(frame), request)
    for fold in ENGINE.split(prepared, request):
        outcome = ENGINE.evaluate(prepared, fold, Candidate(model, params), request, seed=0, deadline=None)
        assert outcome.score is not None
        assert outcome.score < 20


def test_scales_invert_themselves_and_refuse_what_has_no_logarithm() -> None:
    y = np.array([0.0, 1.0, 10.0, 400.0])
    for kind in ("identity", "standard", "log"):
        scale = TargetScale.fit(kind, y)
        np.testing.assert_allclose(scale.invert(scale.apply(y)), y, atol=1e-9)
        assert TargetScale.from_json(scale.to_json()) == scale
    log = TargetScale.fit("log", y)
    assert log.invert(np.array([1e9]))[0] < 2000  # never far outside the range of training targets
    standard = TargetScale.fit("standard", y)
    np.testing.assert_allclose(standard.invert(np.array([-1e9, 1e9])), [-40.0, 440.0])
    assert np.isfinite(log.apply(np.array([-5.0]))).all()
    assert TargetScale.fit("log", -y).kind == "standard"
    doubled = log.corrected(y, y / 1.2, None)
    np.testing.assert_allclose(doubled.invert(log.apply(y)), 1.2 * y, atol=1e-6)


@pytest.mark.parametrize("kind", ["target_mean", "counts", "crosses", "arithmetic", "groups"])
def test_derived_features_belong_to_the_stored_model(kind: str) -> None:
    outcome = evaluate(Candidate("lightgbm", {"n_estimators": 5, "derived": [kind]}))
    request = RunRequest(task="classification", target="y", validation={"folds": 4})
    prepared = ENGINE.prepare(BINARY, request)
    fold = ENGINE.split(prepared, request)[0]
    again = load_model(outcome.model.tobytes(), allow_pickle=False)
    np.testing.assert_array_equal(again.predict(prepared.tree[fold.test]), outcome.predictions)


def test_own_parameters_are_checked() -> None:
    for model, params in (
        ("lightgbm", {"derived": ["means"]}),
        ("linear", {"derived": ["counts"]}),
        ("lightgbm", {"target_transform": "square"}),
    ):
        with pytest.raises(TrialError) as raised:
            evaluate(Candidate(model, params))
        assert raised.value.code == "invalid-parameter"
    with pytest.raises(TrialError) as raised:
        evaluate(Candidate("catboost", {"thread_count": 8}))
    assert raised.value.code == "unknown-parameter"


def test_categories_are_native_or_numbers() -> None:
    lightgbm = {"n_estimators": 5, "min_data_per_group": 5}
    texts = [
        loaded(evaluate(Candidate("lightgbm", {**lightgbm, "native_categories": native}), features=["kind", "x5"])).text
        for native in (False, True)
    ]
    assert "cat_threshold" not in texts[0]
    assert "cat_threshold" in texts[1]
    catboost = {"iterations": 5, "learning_rate": 0.1}
    models = [
        loaded(evaluate(Candidate("catboost", {**catboost, "native_categories": native}))) for native in (False, True)
    ]
    assert [len(model.categorical) for model in models] == [0, 1]
    many = pa.table({**COLUMNS, "y": np.digitize(NOISY, np.linspace(-2, 2, 6))})
    request = RunRequest(task="classification", target="y", validation={"folds": 4})
    found = ENGINE.portfolio(ENGINE.validate(many, request), request)
    assert {c.params["native_categories"] for c in found if c.model == "catboost"} == {False}


def test_class_weights_of_lightgbm_become_weights_of_rows() -> None:
    params = {"n_estimators": 10}
    a = evaluate(Candidate("lightgbm", {**params, "class_weight": "balanced"}))
    b = evaluate(Candidate("lightgbm", params), class_weight="balanced")
    np.testing.assert_array_equal(a.predictions, b.predictions)
    with pytest.raises(TrialError) as raised:
        evaluate(Candidate("lightgbm", {**params, "class_weight": {0: 1.0}}))
    assert raised.value.code == "invalid-parameter"


def test_a_stored_lightgbm_model_lacks_only_what_predicting_does_not_need() -> None:
    import lightgbm

    settings = {"verbose": -1, "num_leaves": 7, "num_threads": 1}
    booster = lightgbm.train(settings, lightgbm.Dataset(X, label=NOISY), num_boost_round=20)
    text = booster.model_to_string()
    unneeded = r"^(?:tree_sizes|split_gain|leaf_weight|internal_weight|internal_value)=.*\n|\nparameters:\n[\s\S]*"
    slim = lightgbm_model._slim(text)
    assert slim == re.sub(unneeded, "", text, flags=re.MULTILINE)
    assert lightgbm_model._slim(slim) == slim
    model = lightgbm_model.LightgbmPredictor(slim, None)
    assert np.array_equal(model.predict(X), booster.predict(X))
    leaves = [int(found) for found in re.findall(r"^num_leaves=(\d+)$", slim, re.MULTILINE)]
    assert len(leaves) == 20
    assert model.row_us == pytest.approx(sum(0.01 + 0.008 * np.log2(1 + count) for count in leaves))


def test_catboost_that_is_not_installed_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catboost_model, "has_catboost", lambda: False)
    with pytest.raises(InvalidRequest) as raised:
        resolve("catboost", None, TaskType.CLASSIFICATION)
    assert raised.value.code == "missing-extra"
    assert "rayctl[catboost]" in str(raised.value.hint)


def forests() -> list[tuple[Any, int | None]]:
    gaps = np.where(RNG.random(X.shape) < 0.1, np.nan, X).astype(np.float32)
    classes = np.digitize(NOISY, [-1, 0, 1])
    return [
        (ExtraTreesClassifier(7, random_state=0).fit(gaps, classes), 4),
        (RandomForestRegressor(7, random_state=0).fit(gaps, NOISY), None),
    ]


def test_forests_as_arrays_predict_like_scikit_learn() -> None:
    rows = np.where(RNG.random(X.shape) < 0.2, np.nan, X * 1.1).astype(np.float32)
    for forest, n_classes in forests():
        mine = ForestPredictor.from_sklearn(forest.estimators_, X.shape[1], n_classes)
        expected = forest.predict(rows) if n_classes is None else forest.predict_proba(rows)
        np.testing.assert_allclose(mine.predict(rows), expected, atol=1e-6)
        info, members = mine.to_parts()
        again = ForestPredictor.load(info, members, allow_pickle=False)
        np.testing.assert_array_equal(again.predict(rows), mine.predict(rows))
        three = mine.thinned(3)
        expected = np.mean([tree.tree_.predict(rows)[:, 0] for tree in forest.estimators_[:3]], axis=0)
        if n_classes is not None:
            expected = np.mean([tree.predict_proba(rows) for tree in forest.estimators_[:3]], axis=0)
        np.testing.assert_allclose(three.predict(rows), np.squeeze(expected), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("right", lambda a: a * 0),  # a child before its parent: a circle
        ("right", lambda a: a + 10_000),
        ("feature", lambda a: a + 100),
        ("sizes", lambda a: a + 1),
        ("values", lambda a: a[:-1]),
        ("threshold", lambda a: a[:-1]),
        ("feature", None),
    ],
)
def test_forests_that_cannot_be_are_refused(name: str, change: Any) -> None:
    forest, n_classes = forests()[0]
    info, members = ForestPredictor.from_sklearn(forest.estimators_, X.shape[1], n_classes).to_parts()
    arrays = load_arrays(members["trees"])
    if change is None:
        del arrays[name]
    else:
        arrays[name] = change(arrays[name])
    with pytest.raises(InvalidRequest) as raised:
        ForestPredictor.load(info, {"trees": dump_arrays(arrays)}, allow_pickle=False)
    assert raised.value.code == "invalid-bundle"


def test_arrays_that_are_no_arrays_are_refused() -> None:
    for member in (Member(b"zip?", "arrays"), Member(b"", "skops"), Member(dump_arrays({"a": X}).data[:-30], "arrays")):
        with pytest.raises(InvalidRequest) as raised:
            load_arrays(member)
        assert raised.value.code == "invalid-bundle"


def test_forests_of_several_folds_lose_trees_and_single_ones_do_not() -> None:
    blob = evaluate(Candidate("extra_trees", {"n_estimators": 60})).model.tobytes()
    assert thinned_forest(blob, models=1) == blob
    thin = load_model(thinned_forest(blob, models=5), allow_pickle=False).predictor
    assert isinstance(thin, ForestPredictor)
    assert len(thin.arrays["sizes"]) == 40
    other = evaluate(Candidate("linear")).model.tobytes()
    assert thinned_forest(other, models=5) == other


def test_expensive_models_of_small_weight_are_left_out_first() -> None:
    costs = {1: [20.0] * 5, 2: [20.0] * 5, 3: [1.0] * 5}
    weights = {1: 0.6, 2: 0.2, 3: 0.2}
    assert kept_models(costs, weights, budget_us=1000) == {1: [0, 1, 2, 3, 4], 2: [0, 1, 2, 3, 4], 3: [0, 1, 2, 3, 4]}
    kept = kept_models(costs, weights, budget_us=150)
    assert {trial: len(parts) for trial, parts in kept.items()} == {1: 5, 2: 2, 3: 5}
    assert kept[1] != kept[2]
    smallest = kept_models(costs, weights, budget_us=1)
    assert {len(parts) for parts in smallest.values()} == {2}
    assert kept_models({4: [500.0]}, {4: 1.0}) == {4: [0]}


@pytest.mark.parametrize("table", [BINARY, NUMBERS], ids=["classes", "numbers"])
@pytest.mark.parametrize("kernel", ["laplacian", "rbf"])
def test_kernels_learn_what_no_straight_line_can(table: pa.Table, kernel: str) -> None:
    """The target depends on a product of two columns."""
    bent = evaluate(Candidate("kernel", {"kernel": kernel, "n_components": 200}), table)
    straight = evaluate(Candidate("linear"), table)
    assert bent.score is not None
    assert straight.score is not None
    better = bent.score > straight.score if table is BINARY else bent.score < straight.score
    assert better
    assert loaded(bent).landmarks.shape[0] == 200


@pytest.mark.parametrize(
    ("params", "said"),
    [({"kernel": "cosine"}, "laplacian"), ({"width": 0}, "above 0"), ({"n_components": 0.5}, "at least 1")],
)
def test_kernels_refuse_what_they_cannot_do(params: dict[str, Any], said: str) -> None:
    with pytest.raises(TrialError) as raised:
        evaluate(Candidate("kernel", params))
    assert raised.value.code == "invalid-parameter"
    assert said in str(raised.value.hint)


def test_kernels_have_no_parameters_of_the_regression_behind_them() -> None:
    with pytest.raises(InvalidRequest, match="'C'") as raised:
        resolve("kernel", None, TaskType.CLASSIFICATION).check({"C": 1.0})
    assert "width" in raised.value.hint


@pytest.mark.parametrize("table", [BINARY, NUMBERS], ids=["classes", "numbers"])
def test_weights_of_rows_count_in_kernels(table: pa.Table) -> None:
    plain, heavy = (
        evaluate(
            Candidate("kernel", {"n_components": 50}),
            table.append_column("w", pa.array(weights)),
            task="regression" if table is NUMBERS else "classification",
            weight_column="w",
        )
        for weights in (np.ones(400), np.where(np.arange(400) < 100, 20.0, 1.0))
    )
    assert not np.allclose(plain.predictions, heavy.predictions)


@pytest.mark.parametrize("model", ["lightgbm", "catboost", "extra_trees", "random_forest"])
@pytest.mark.parametrize(("factor", "offset"), [(1.0, 1e9), (1e40, 0.0), (1e-40, 0.0)])
def test_targets_that_single_precision_cannot_hold_are_learned_as_well(
    model: str, factor: float, offset: float
) -> None:
    errors = []
    for y in (NOISY, NOISY * factor + offset):
        table = pa.table({**COLUMNS, "y": y})
        params = {"iterations" if model == "catboost" else "n_estimators": 30}
        outcome = evaluate(Candidate(model, params), table, task="regression", metric="r2")
        assert outcome.score is not None
        errors.append(outcome.score)
    assert errors[0] > 0.2
    assert errors[1] == pytest.approx(errors[0], abs=0.06)


def test_losses_of_relative_errors_see_targets_as_they_are() -> None:
    table = pa.table({**COLUMNS, "y": 1e9 + np.exp(NOISY)})
    outcome = evaluate(Candidate("lightgbm", {"objective": "mape", "n_estimators": 3}), table, task="regression")
    assert load_model(outcome.model.tobytes(), allow_pickle=False).scale.kind == "identity"


def test_cost_of_asking_for_a_features_columns_does_not_grow_with_the_table() -> None:
    wide = pa.table({**{f"w{index}": RNG.normal(size=50) for index in range(1_500)}, "y": np.arange(50) % 2})
    encoder = ENGINE.prepare(wide, RunRequest(task="classification", target="y")).encoder
    started = time.process_time()
    owned = [place for feature in range(1_500) for place in encoder.tree_of(feature)]
    assert owned == list(range(1_500))
    assert sum(len(encoder.dense_of(feature)) for feature in range(1_500)) == encoder.dense_width
    assert time.process_time() - started < 0.5
