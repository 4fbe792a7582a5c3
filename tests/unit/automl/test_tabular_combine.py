"""Combinations: what is chosen, corrections, stacking, and that bundle and validation table say the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import cloudpickle
import numpy as np
import pyarrow as pa
import pytest
from sklearn.datasets import load_diabetes, load_wine

from rayctl.automl.bundle import read_bundle
from rayctl.automl.engine import Candidate, Combination, Fold, FoldOutcome
from rayctl.automl.metrics import METRICS, metric_of, score
from rayctl.automl.model import RunRequest
from rayctl.automl.tabular.calibrate import decision_settings, temperature_settings
from rayctl.automl.tabular.combine import _mean_auc
from rayctl.automl.tabular.engine import ENGINE
from rayctl.automl.tabular.mixing import labels_of, mix, tempered
from rayctl.automl.tabular.oof import Validation
from rayctl.automl.tabular.stacking import Stack
from rayctl.automl.tabular.thresholds import SCORED, scores_at

RNG = np.random.default_rng(11)
ROWS = 1200
SIGNAL = RNG.normal(size=ROWS)


def prepared_for(truth: np.ndarray, **fields: Any) -> tuple[Any, list[Fold], RunRequest]:
    """Return (prepared table with this target, folds, request); the features do not matter here."""
    numbers = truth.dtype.kind == "f"
    request = RunRequest(**{"task": "regression" if numbers else "classification", "target": "y", **fields})
    prepared = ENGINE.prepare(pa.table({"x": SIGNAL, "y": truth}), request)
    return prepared, ENGINE.split(prepared, request), request


def outcomes_of(prepared: Any, folds: Sequence[Fold], request: RunRequest, predicted: np.ndarray) -> list[FoldOutcome]:
    """Cut predictions of all rows into outcomes of the folds."""
    metric, found = metric_of(request, prepared.n_classes), []
    for fold in folds:
        part = predicted[fold.test].astype(np.float32 if predicted.ndim == 2 else predicted.dtype)
        value = score(metric, prepared.target[fold.test], part, prepared.n_classes) if fold.scored else None
        found.append(FoldOutcome(value, part, 0.1, 0.1, np.empty(0, dtype=np.uint8)))
    return found


def combined(
    predictions: Mapping[int, np.ndarray], truth: np.ndarray, **fields: Any
) -> tuple[Combination, Any, dict[int, list[FoldOutcome]], list[Fold], RunRequest]:
    prepared, folds, request = prepared_for(truth, **fields)
    outcomes = {trial: outcomes_of(prepared, folds, request, values) for trial, values in predictions.items()}
    return ENGINE.combine(prepared, folds, outcomes, request), prepared, outcomes, folds, request


def proba(logits: np.ndarray) -> np.ndarray:
    second = 1 / (1 + np.exp(-logits))
    return np.column_stack([1 - second, second])


LOGITS = 1.5 * SIGNAL
BINARY = (RNG.random(ROWS) < proba(LOGITS)[:, 1]).astype(int)


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=ROWS)


def noisy(scale: float, seed: int = 1) -> np.ndarray:
    return LOGITS + scale * noise(seed)


@pytest.mark.parametrize("metric", ["log_loss", "roc_auc", "accuracy", "f1", "mcc", "balanced_accuracy"])
def test_a_blend_beats_its_members_and_leaves_bad_ones_out(metric: str) -> None:
    members = {3: proba(noisy(1.0, 2)), 5: proba(noisy(1.0, 3)), 8: proba(noisy(1.0, 4)), 9: proba(-LOGITS)}
    found, prepared, outcomes, folds, request = combined(members, BINARY, metric=metric)
    assert set(found.weights) == {3, 5, 8}
    assert sum(found.weights.values()) == pytest.approx(1.0)
    chosen = METRICS[metric]
    best = Validation.of(prepared, folds)
    singles = [best.mean_score(parts) for parts in outcomes.values()]
    assert all(not chosen.better(single, found.score) for single in singles)
    assert found == ENGINE.combine(prepared, folds, outcomes, request)  # deterministic
    assert found.history


def test_numbers_are_averaged() -> None:
    truth = SIGNAL + 0.1 * noise(19)
    members = {1: SIGNAL + noise(20), 2: SIGNAL + noise(21)}
    for metric in ("rmse", "mae", "r2"):
        found, prepared, outcomes, folds, request = combined(members, truth, metric=metric)
        assert found.weights[1] == pytest.approx(0.5, abs=0.1)
        table = ENGINE.blended(prepared, folds, outcomes, found, request)
        assert table.column_names == ["row", "fold", "truth", "prediction"]
        np.testing.assert_array_equal(np.sort(table["row"].to_numpy()), np.arange(ROWS))
        np.testing.assert_allclose(table["truth"].to_numpy(), truth[table["row"].to_numpy()])
        mixed = sum(found.weights[trial] * members[trial] for trial in members)
        np.testing.assert_allclose(table["prediction"].to_numpy(), mixed[table["row"].to_numpy()])


def test_one_model_wanted_is_the_best_one_untouched() -> None:
    members = {3: proba(noisy(3.0, 5)), 5: proba(3 * noisy(0.5, 6)), 8: proba(noisy(2.0, 7))}
    found, prepared, outcomes, folds, _ = combined(members, BINARY, metric="log_loss", ensemble=False)
    best = Validation.of(prepared, folds)
    expected = min(members, key=lambda trial: best.mean_score(outcomes[trial]))
    assert found.weights == {expected: 1.0}
    assert found.settings == {}
    assert found.score == best.mean_score(outcomes[expected])


def test_equal_trials_go_to_the_first() -> None:
    values = proba(noisy(1.0, 8))
    found, *_ = combined({4: values, 2: values}, BINARY, metric="roc_auc")
    assert found.weights == {2: 1.0}


def test_overconfident_probabilities_are_cooled() -> None:
    members = {1: proba(4 * noisy(0.3, 9)), 2: proba(4 * noisy(0.3, 10))}
    found, *_ = combined(members, BINARY, metric="log_loss")
    assert found.settings["temperature"] > 2
    off, *_ = combined(members, BINARY, metric="log_loss", calibrate=False)
    assert off.settings == {}
    assert found.score < off.score - 0.05
    asked, *_ = combined(members, BINARY, metric="roc_auc", calibrate=True)
    assert asked.settings["temperature"] > 2
    right, *_ = combined({1: proba(LOGITS)}, BINARY, metric="log_loss")
    assert right.settings.get("temperature", 1.0) == pytest.approx(1.0, abs=0.2)


def test_temperature_one_changes_nothing_and_others_keep_the_order() -> None:
    values = proba(LOGITS)
    np.testing.assert_allclose(tempered(values, 1.0), values, atol=1e-5)
    hot = tempered(values, 3.0)
    np.testing.assert_allclose(hot.sum(axis=1), 1.0)
    inner = np.abs(LOGITS) < 8
    assert (np.argsort(hot[inner, 1]) == np.argsort(values[inner, 1])).all()


def test_rare_classes_get_another_threshold_where_the_metric_wants_it() -> None:
    logits = LOGITS - 2.2
    truth = (np.random.default_rng(77).random(ROWS) < proba(logits)[:, 1]).astype(int)
    for metric in ("f1", "balanced_accuracy", "mcc"):
        found, *_ = combined({1: proba(logits)}, truth, metric=metric)
        plain, *_ = combined({1: proba(logits)}, truth, metric=metric, calibrate=False)
        assert found.settings["threshold"] < 0.45
        assert found.score > plain.score
    found, *_ = combined({1: proba(LOGITS)}, BINARY, metric="accuracy")
    assert abs(found.settings.get("threshold", 0.5) - 0.5) < 0.15  # 0.5 is right already


def test_three_classes_are_balanced_by_their_shares() -> None:
    logits = np.column_stack([np.full(ROWS, 2.0), SIGNAL, -SIGNAL])
    values = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = (values.cumsum(axis=1) < np.random.default_rng(78).random((ROWS, 1))).sum(axis=1)
    prepared, folds, _ = prepared_for(truth)
    validation = Validation.of(prepared, folds)
    own = values[validation.rows]
    for metric in (METRICS["balanced_accuracy"], METRICS["f1_macro"]):
        settings = decision_settings(validation, metric, own)
        assert settings["multipliers"][0] == min(settings["multipliers"])
        after = validation.score(metric, labels_of(own, settings))
        assert after > validation.score(metric, own.argmax(axis=1)) + 0.02
    for name in ("accuracy", "precision_macro", "quadratic_kappa"):
        assert decision_settings(validation, METRICS[name], own) == {}
    assert temperature_settings(validation, own).get("temperature", 1.0) == pytest.approx(1.0, abs=0.2)


@pytest.mark.parametrize("name", sorted(SCORED))
def test_all_thresholds_at_once_are_scored_as_one_by_one(name: str) -> None:
    truth = (np.random.default_rng(5).random(ROWS) < 0.2).astype(int)
    prepared, folds, _ = prepared_for(truth)
    prepared = replace(prepared, weights=np.random.default_rng(6).random(ROWS))
    validation = Validation.of(prepared, folds)
    second = np.round(np.random.default_rng(7).random(ROWS), 2)  # with ties
    thresholds = np.array([-0.1, 0.0, 0.3, 0.505, 0.99, 1.0])
    expected = [validation.score(METRICS[name], (second > value).astype(int)) for value in thresholds]
    np.testing.assert_allclose(scores_at(name, validation, second, thresholds), expected, atol=1e-7)


def test_the_fast_area_under_the_curve_is_the_same() -> None:
    prepared, folds, _ = prepared_for(BINARY)
    validation = Validation.of(prepared, folds)
    for digits in (1, 3, 16):
        values = np.round(proba(noisy(1.0, 70 + digits)), digits)[validation.rows]
        assert _mean_auc(validation, values[:, 1]) == pytest.approx(
            validation.score(METRICS["roc_auc"], values), abs=1e-12
        )


def test_noise_gets_no_threshold() -> None:
    truth = np.arange(ROWS) % 2
    prepared, folds, _ = prepared_for(truth)
    validation = Validation.of(prepared, folds)
    kept = [decision_settings(validation, METRICS["accuracy"], proba(noise(100 + seed))) for seed in range(12)]
    assert sum(bool(settings) for settings in kept) <= 6


def test_a_second_model_is_taken_only_if_it_is_better() -> None:
    shifted = {1: proba(0.3 * LOGITS + 1.0), 2: proba(noisy(2.0, 511))}
    stacked, prepared, outcomes, folds, request = combined(shifted, BINARY, metric="log_loss", stacking=True)
    greedy, *_ = combined(shifted, BINARY, metric="log_loss")
    assert stacked.settings["stack"]["trials"]
    assert stacked.score < greedy.score - 0.01
    table = ENGINE.blended(prepared, folds, outcomes, stacked, request)
    values = np.column_stack([table["proba_0"].to_numpy(), table["proba_1"].to_numpy()])
    np.testing.assert_allclose(values.sum(axis=1), 1.0)
    again = Stack.from_json(stacked.settings["stack"])
    assert sum(again.shares().values()) == pytest.approx(1.0)
    good = {1: proba(noisy(0.7, 12)), 2: proba(noisy(0.7, 13))}
    kept, *_ = combined(good, BINARY, metric="roc_auc", stacking=True)
    assert sum(kept.weights.values()) == pytest.approx(1.0)


def test_a_second_model_of_numbers_corrects_a_wrong_scale() -> None:
    truth = SIGNAL + 0.1 * noise(23)
    members = {1: 0.5 * SIGNAL + 0.2 * noise(24), 2: 0.5 * SIGNAL + 0.2 * noise(25)}
    stacked, *_ = combined(members, truth, stacking=True)
    greedy, *_ = combined(members, truth)
    assert stacked.score < 0.6 * greedy.score


def test_labels_cannot_be_averaged() -> None:
    labels = np.where(LOGITS > 0, 1, 0)
    weak = {1: proba(noisy(4.0, 14)), 2: proba(noisy(4.0, 15)), 3: labels}
    found, prepared, outcomes, folds, request = combined(weak, BINARY, metric="accuracy")
    assert found.weights == {3: 1.0}
    assert found.settings == {}
    table = ENGINE.blended(prepared, folds, outcomes, found, request)
    assert set(table["prediction"].to_pylist()) == {0, 1}
    strong, *_ = combined({1: proba(LOGITS), 2: proba(noisy(0.1, 16)), 3: 1 - labels}, BINARY, metric="accuracy")
    assert 3 not in strong.weights


def cost_of_misses(truth: Any, predicted: Any) -> float:
    return float(np.mean((truth == 1) & (predicted == 0)) * 5 + np.mean((truth == 0) & (predicted == 1)))


def test_a_callers_metric_decides() -> None:
    metric = {"name": "cost", "pickled": cloudpickle.dumps(cost_of_misses), "greater_is_better": False}
    eager, shy = proba(noisy(0.5, 17) + 1.5), proba(noisy(0.5, 18) - 1.5)
    found, *_ = combined({1: shy, 2: eager}, BINARY, custom_metric=metric)
    assert found.weights[2] > 0.6
    assert found.settings == {}


def test_weights_of_rows_count() -> None:
    left = np.arange(ROWS) < ROWS // 2
    first = np.where(left, LOGITS, noise(26))
    second = np.where(left, noise(27), LOGITS)
    weights = np.where(left, 1.0, 20.0)
    request = RunRequest(task="classification", target="y", metric="log_loss", weight_column="w")
    prepared = ENGINE.prepare(pa.table({"x": SIGNAL, "y": BINARY, "w": weights}), request)
    folds = ENGINE.split(prepared, request)
    outcomes = {
        1: outcomes_of(prepared, folds, request, proba(first)),
        2: outcomes_of(prepared, folds, request, proba(second)),
    }
    assert ENGINE.combine(prepared, folds, outcomes, request).weights.get(2, 0) > 0.8


def test_large_tables_are_sampled_the_same_way_every_time() -> None:
    prepared, folds, _ = prepared_for(BINARY)
    validation = Validation.of(prepared, folds)
    sample = validation.sample(300, seed=1)
    assert abs(len(sample.rows) - 300) <= len(folds)
    np.testing.assert_array_equal(sample.rows, validation.sample(300, seed=1).rows)
    assert len(np.unique(sample.fold)) == len(folds)
    assert validation.sample(10**6, seed=1) is validation


def table_of(name: str) -> tuple[pa.Table, str]:
    x, y = load_wine(return_X_y=True) if name == "wine" else load_diabetes(return_X_y=True)
    columns = {f"f{i}": x[:, i] for i in range(6)}
    return pa.table({**columns, "y": np.array(["a", "b", "c"])[y] if name == "wine" else y}), name


CANDIDATES = {
    0: Candidate("lightgbm", {"n_estimators": 30, "num_leaves": 6, "min_child_samples": 5}),
    1: Candidate("linear"),
    2: Candidate("extra_trees", {"n_estimators": 30}),
}


@pytest.mark.parametrize("name", ["wine", "diabetes"])
@pytest.mark.parametrize("stacking", [False, True])
def test_from_trials_to_predictions(name: str, stacking: bool) -> None:
    table, _ = table_of(name)
    task = "classification" if name == "wine" else "regression"
    request = RunRequest(task=task, target="y", validation={"folds": 3}, stacking=stacking)
    prepared = ENGINE.prepare(table, request)
    folds = ENGINE.split(prepared, request)
    outcomes = {
        trial: [ENGINE.evaluate(prepared, fold, candidate, request, seed=trial, deadline=None) for fold in folds]
        for trial, candidate in CANDIDATES.items()
    }
    found = ENGINE.combine(prepared, folds, outcomes, request)
    if len(found.weights) == 1:
        found = Combination({0: 0.5, 1: 0.5}, found.score, found.settings)
    bundle = ENGINE.assemble(prepared, folds, CANDIDATES, outcomes, found, request)
    assert bundle == ENGINE.assemble(prepared, folds, CANDIDATES, outcomes, found, request)
    info = read_bundle(bundle).info
    assert {part["trial"]: part["weight"] for part in info["trials"]} == dict(found.weights)
    assert all(part["bytes"] > 0 and len(part["folds"]) == 3 for part in info["trials"])

    predicted = ENGINE.predict(bundle, table, proba=name == "wine")
    if name == "wine":
        got = np.column_stack([predicted[f"proba_{label}"].to_numpy() for label in "abc"])
        assert np.mean(np.array(predicted["prediction"].to_pylist()) == np.array(table["y"].to_pylist())) > 0.9
    else:
        got = predicted["prediction"].to_numpy()
    parts = {}
    for trial in found.weights:
        alone = [ENGINE.assemble(prepared, folds, CANDIDATES, outcomes, Combination({trial: 1.0}, 0.0), request)]
        single = ENGINE.predict(alone[0], table, proba=name == "wine")
        columns = [single[f"proba_{label}"].to_numpy() for label in "abc"] if name == "wine" else []
        parts[trial] = np.column_stack(columns) if columns else single["prediction"].to_numpy()
    np.testing.assert_allclose(got, mix(parts, found.weights, found.settings), rtol=1e-6, atol=1e-9)


@pytest.fixture(scope="module")
def forest_and_line() -> tuple[Any, list[Fold], dict[int, list[FoldOutcome]]]:
    table, _ = table_of("diabetes")
    prepared, request = ENGINE.prepare(table, QUICK), QUICK
    folds = ENGINE.split(prepared, request)
    return (
        prepared,
        folds,
        {
            trial: [ENGINE.evaluate(prepared, fold, candidate, request, seed=trial, deadline=None) for fold in folds]
            for trial, candidate in SLOW_AND_QUICK.items()
        },
    )


QUICK = RunRequest(task="regression", target="y", validation={"folds": 3})
SLOW_AND_QUICK = {
    0: Candidate("extra_trees", {"n_estimators": 300}),
    1: Candidate("linear", {}),
    2: Candidate("random_forest", {"n_estimators": 300}),
}


@pytest.mark.parametrize(
    ("most_ms", "members"),
    [(1000.0, {0, 1, 2}), (2.0, {1}), (1e-6, {1})],
    ids=["all", "the quick one", "nothing is quick enough: the quickest"],
)
@pytest.mark.parametrize("ensemble", [True, False])
def test_prediction_time_is_limited(forest_and_line: Any, most_ms: float, members: set[int], ensemble: bool) -> None:
    prepared, folds, outcomes = forest_and_line
    request = QUICK.model_copy(update={"max_predict_ms": most_ms, "ensemble": ensemble})
    found = ENGINE.combine(prepared, folds, outcomes, request)
    assert found.weights.keys() <= members
    bundle = ENGINE.assemble(prepared, folds, SLOW_AND_QUICK, outcomes, found, request)
    kept = {part["trial"]: len(part["folds"]) for part in read_bundle(bundle).info["trials"]}
    assert kept.keys() == found.weights.keys()
    assert most_ms > 1 or kept == {1: 1}  # one model of three: the least that there can be
    measured = ENGINE.predict_ms(bundle, prepared)
    assert measured is not None
    assert 0 < measured < 1000


def frozen(values: np.ndarray) -> np.ndarray:
    values.flags.writeable = False
    return values


@pytest.mark.parametrize("name", ["wine", "diabetes"])
def test_arrays_from_the_object_store_are_never_written_to(name: str) -> None:
    table, _ = table_of(name)
    task = "classification" if name == "wine" else "regression"
    request = RunRequest(task=task, target="y", validation={"folds": 2}, stacking=True)
    prepared = ENGINE.prepare(table, request)
    for values in (prepared.tree, prepared.dense, prepared.target):
        frozen(values)
    folds = [
        replace(fold, train=frozen(fold.train), test=frozen(fold.test)) for fold in ENGINE.split(prepared, request)
    ]
    candidates = CANDIDATES | {
        3: Candidate("catboost", {"iterations": 5}),
        4: Candidate("mlp", {"max_iter": 3}),
        5: Candidate("knn"),
        6: Candidate("lightgbm", {"n_estimators": 5, "derived": ["arithmetic"], "early_stopping_rounds": 3}),
    }
    outcomes = {}
    for trial, candidate in candidates.items():
        parts = [ENGINE.evaluate(prepared, fold, candidate, request, seed=trial, deadline=None) for fold in folds]
        outcomes[trial] = [
            replace(part, predictions=frozen(part.predictions.copy()), model=frozen(part.model.copy()))
            for part in parts
        ]
    found = ENGINE.combine(prepared, folds, outcomes, request)
    all_of_them = Combination({trial: 1 / len(candidates) for trial in candidates}, found.score)
    bundle = ENGINE.assemble(prepared, folds, candidates, outcomes, all_of_them, request)
    assert ENGINE.blended(prepared, folds, outcomes, found, request).num_rows == table.num_rows
    assert len(ENGINE.predict(bundle, table)) == table.num_rows
    assert ENGINE.importance(bundle, prepared, folds, request, seed=0, deadline=None)


def test_a_single_model_is_the_one_of_all_rows() -> None:
    table, _ = table_of("diabetes")
    request = RunRequest(task="regression", target="y", validation={"folds": 3}, ensemble=False)
    prepared = ENGINE.prepare(table, request)
    folds = ENGINE.split(prepared, request)
    outcomes = {1: [ENGINE.evaluate(prepared, f, CANDIDATES[1], request, seed=0, deadline=None) for f in folds]}
    found = ENGINE.combine(prepared, folds, {1: outcomes[1][:3]}, request)
    bundle = ENGINE.assemble(prepared, folds, CANDIDATES, outcomes, found, request)
    described = read_bundle(bundle).info["trials"]
    assert [part["fold"] for part in described[0]["folds"]] == [None]
    importances = ENGINE.importance(bundle, prepared, folds, request, seed=0, deadline=None)
    assert importances is not None
    assert importances[0]["importance"] > 0
