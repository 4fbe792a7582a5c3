"""ONNX: what onnxruntime computes is what rayctl predicts."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pyarrow as pa
import pytest

from rayctl.automl.engine import Candidate, Combination
from rayctl.automl.model import RunRequest
from rayctl.automl.onnx import export_onnx, onnx_inputs
from rayctl.automl.tabular.engine import ENGINE
from rayctl.errors import InvalidRequest

RNG = np.random.default_rng(2)
ROWS = 300
X = RNG.normal(size=(ROWS, 5))
SIGNAL = X[:, 0] * X[:, 1] + X[:, 2] + 0.5 * RNG.normal(size=ROWS)
COLUMNS: dict[str, Any] = {f"x{i}": np.where(RNG.random(ROWS) < 0.1, np.nan, X[:, i]) for i in range(4)}
COLUMNS["full"] = X[:, 4]
COLUMNS["kind"] = np.array(["a", "b", "c", "d"])[RNG.integers(0, 4, ROWS)]
TARGETS: dict[str, Any] = {
    "binary": np.where(SIGNAL > 0.7, "yes", "no"),
    "multiclass": np.digitize(SIGNAL, [-0.7, 0.7]),
    "regression": np.exp(SIGNAL),
}
CANDIDATES = {
    "lightgbm": Candidate("lightgbm", {"n_estimators": 20, "min_child_samples": 5}),
    "derived": Candidate("lightgbm", {"n_estimators": 10, "derived": ["target_mean", "arithmetic"]}),
    "catboost": Candidate("catboost", {"iterations": 20, "learning_rate": 0.1, "native_categories": False}),
    "extra_trees": Candidate("extra_trees", {"n_estimators": 10}),
    "random_forest": Candidate("random_forest", {"n_estimators": 10, "min_samples_leaf": 3}),
    "linear": Candidate("linear"),
    "kernel": Candidate("kernel"),
    "mlp": Candidate("mlp", {"hidden_layer_sizes": [8, 4], "activation": "tanh", "max_iter": 10}),
}


def bundle_of(
    kind: str, names: list[str], settings: dict[str, Any] | None = None, **fields: Any
) -> tuple[bytes, pa.Table]:
    table = pa.table({**COLUMNS, "y": TARGETS[kind]})
    task = "regression" if kind == "regression" else "classification"
    request = RunRequest(**{"task": task, "target": "y", "validation": {"folds": 2}, **fields})
    prepared = ENGINE.prepare(table, request)
    folds = ENGINE.split(prepared, request)
    candidates = {trial: CANDIDATES[name] for trial, name in enumerate(names)}
    outcomes = {
        trial: [ENGINE.evaluate(prepared, fold, candidate, request, seed=0, deadline=None) for fold in folds]
        for trial, candidate in candidates.items()
    }
    chosen = Combination({trial: 1 / len(names) for trial in candidates}, 0.0, settings or {})
    return ENGINE.assemble(prepared, folds, candidates, outcomes, chosen, request), table


def compare(bundle: bytes, table: pa.Table, kind: str) -> None:
    session = onnxruntime.InferenceSession(export_onnx(bundle), providers=["CPUExecutionProvider"])
    inputs = onnx_inputs(bundle, table)
    assert {item.name for item in session.get_inputs()} == set(inputs)
    expected = ENGINE.predict(bundle, table, proba=kind != "regression")
    if kind == "regression":
        (found,) = session.run(["prediction"], inputs)
        np.testing.assert_allclose(found, expected["prediction"].to_numpy(), rtol=1e-4, atol=1e-4)
        return
    found, label = session.run(["probabilities", "label"], inputs)
    classes = [name.removeprefix("proba_") for name in expected.column_names[1:]]
    wanted = np.column_stack([expected[f"proba_{name}"].to_numpy() for name in classes])
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert [classes[code] for code in label] == [str(value) for value in expected["prediction"].to_pylist()]


@pytest.mark.parametrize("kind", sorted(TARGETS))
@pytest.mark.parametrize("name", sorted(CANDIDATES))
def test_every_family_exports(name: str, kind: str) -> None:
    bundle, table = bundle_of(kind, [name])
    compare(bundle, table, kind)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("binary", {"temperature": 1.7, "threshold": 0.31}),
        ("multiclass", {"multipliers": [1.0, 0.4, 0.9]}),
        ("regression", {}),
        ("binary", {"stack": {"trials": {"0": 0.7, "1": -0.2, "2": 0.6}, "offsets": [0.1, -0.1]}}),
        ("regression", {"stack": {"trials": {"0": 0.7, "1": 0.2, "2": 0.3}, "offsets": [0.1]}}),
    ],
)
def test_ensembles_export_with_their_corrections(kind: str, settings: dict[str, Any]) -> None:
    bundle, table = bundle_of(kind, ["lightgbm", "linear", "extra_trees"], settings)
    compare(bundle, table, kind)


def test_logarithmic_targets_and_missing_classes_export(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CANDIDATES, "log", Candidate("linear", {"target_transform": "log"}))
    bundle, table = bundle_of("regression", ["log"])
    compare(bundle, table, "regression")
    monkeypatch.setitem(TARGETS, "late", np.array(["a", "b"] * 140 + ["late"] * 20))
    bundle, table = bundle_of(
        "late", ["lightgbm", "linear"], validation={"scheme": "time_series", "folds": 2}, metric="accuracy"
    )
    compare(bundle, table, "late")


def test_what_cannot_be_exported_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = {
        "knn": Candidate("knn"),
        "native lightgbm": Candidate(
            "lightgbm", {"native_categories": True, "min_data_per_group": 5, "n_estimators": 30}
        ),
        "native catboost": Candidate("catboost", {"iterations": 5}),
    }
    for name, candidate in refused.items():
        monkeypatch.setitem(CANDIDATES, name, candidate)
        monkeypatch.setitem(TARGETS, "kinds", np.where(np.isin(COLUMNS["kind"], ["a", "d"]), "yes", "no"))
        bundle, _ = bundle_of("kinds", [name])
        with pytest.raises(InvalidRequest) as raised:
            export_onnx(bundle)
        assert raised.value.code == "not-exportable"
