"""Portfolio, spaces, costs and importances."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from rayctl.automl.engine import Candidate, Combination
from rayctl.automl.model import DataSummary, RunRequest, TaskType
from rayctl.automl.search import candidate_key, sample_params
from rayctl.automl.tabular import catboost_model, portfolio
from rayctl.automl.tabular.delivered import open_bundle
from rayctl.automl.tabular.engine import ENGINE
from rayctl.automl.tabular.families import FAMILIES, resolve
from rayctl.automl.tabular.importance import importance

KINDS = {"binary": ["a", "b"], "multiclass": ["a", "b", "c"], "regression": None}


def request_for(kind: str, **fields: Any) -> RunRequest:
    task = "regression" if kind == "regression" else "classification"
    return RunRequest(**{"task": task, "target": "y", **fields})


def summary(rows: int, classes: list[str] | None, features: int = 12) -> DataSummary:
    names = [f"f{i}" for i in range(features)]
    return DataSummary(rows=rows, columns=[], features=names, fingerprint="", classes=classes)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_portfolio_is_broad_first_finite_and_without_repetition(kind: str) -> None:
    request, data = request_for(kind), summary(4000, KINDS[kind])
    found = ENGINE.portfolio(data, request)
    assert 20 <= len(found) <= 40
    assert {c.model for c in found[:8]} >= {"lightgbm", "catboost", "linear", "extra_trees", "mlp"}
    assert len({candidate_key(candidate) for candidate in found}) == len(found)
    assert found == ENGINE.portfolio(data, request)
    first = ENGINE.cost(data, request, found[0])
    assert first is not None
    assert first.seconds < 1.0
    assert found[0].model in ("lightgbm", "linear")


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("rows", [60, 1000, 30_000, 500_000])
def test_every_candidate_and_sample_has_known_parameters_and_a_cost(kind: str, rows: int) -> None:
    request, data = request_for(kind), summary(rows, KINDS[kind])
    samples = [
        Candidate(model, sample_params(space, 0, index))
        for model, space in ENGINE.spaces(data, request).items()
        for index in range(3)
    ]
    for candidate in [*ENGINE.portfolio(data, request), *samples]:
        resolve(candidate.model, None, request.task).check(candidate.params)
        cost = ENGINE.cost(data, request, candidate)
        assert cost is not None
        assert 0 < cost.seconds < 1e6
        assert 0 < cost.memory_bytes < 1e12
    assert {candidate.model for candidate in samples} >= {"lightgbm", "catboost", "extra_trees"}


def test_candidates_fit_the_size_of_the_data() -> None:
    request = request_for("binary")
    large = ENGINE.portfolio(summary(300_000, ["a", "b"]), request)
    assert {c.model for c in large} >= {"lightgbm", "catboost", "linear"}
    assert not {"knn", "mlp"} & {c.model for c in large}
    forests = [c for c in large if c.model in ("extra_trees", "random_forest")]
    assert all(c.params["n_estimators"] <= 40 and c.params["min_samples_leaf"] >= 10 for c in forests)
    small = [c for c in ENGINE.portfolio(summary(120, ["a", "b"]), request) if c.model == "lightgbm"]
    assert all(c.params["min_child_samples"] <= 3 for c in small)
    many = ENGINE.portfolio(summary(4000, [str(i) for i in range(30)]), request)
    few = ENGINE.portfolio(summary(4000, ["a", "b", "c"]), request)
    rounds = [max(c.params["n_estimators"] for c in found if c.model == "lightgbm") for found in (many, few)]
    assert rounds[0] < rounds[1]


def test_regressions_on_many_rows_get_models_of_more_capacity_in_time() -> None:
    request = request_for("regression")
    few, many = (
        [c.params.get("num_leaves", 0) for c in ENGINE.portfolio(summary(n, None), request)] for n in (3_999, 4_000)
    )
    assert max(few[:12]) < 64 <= max(many[:12])
    assert many[:5] == few[:5], "the first answers come as soon as ever"
    assert len([leaves for leaves in many if leaves >= 64]) == 2


@pytest.mark.parametrize(("kind", "kernels"), [("binary", 0), ("multiclass", 0), ("regression", 2)])
def test_small_tables_get_kernels_where_they_were_seen_to_help(kind: str, kernels: int) -> None:
    request = request_for(kind)
    few, many = ([c.model for c in ENGINE.portfolio(summary(n, KINDS[kind]), request)] for n in (3_999, 4_000))
    assert few[:12].count("kernel") == kernels
    assert "kernel" not in many


def test_the_loss_follows_the_metric() -> None:
    found = ENGINE.portfolio(summary(4000, None), request_for("regression", metric="mae"))
    lightgbm = [c.params for c in found if c.model == "lightgbm"]
    assert {p["objective"] for p in lightgbm if not p.get("linear_tree")} == {"regression_l1"}
    # LightGBM fits linear trees by squared errors only.
    assert {p.get("objective") for p in lightgbm if p.get("linear_tree")} == {None}
    assert {c.params["loss_function"] for c in found if c.model == "catboost"} == {"MAE"}
    plain = ENGINE.portfolio(summary(4000, None), request_for("regression"))
    assert not any("objective" in c.params for c in plain)
    space = ENGINE.spaces(summary(4000, None), request_for("regression", metric="mape"))
    assert space["lightgbm"]["objective"] == ["mape"]


def test_catboost_is_left_out_where_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catboost_model, "has_catboost", lambda: False)
    data, request = summary(4000, None), request_for("regression")
    assert "catboost" not in {c.model for c in ENGINE.portfolio(data, request)}
    assert "catboost" not in ENGINE.spaces(data, request)


def test_the_file_names_families_of_the_task_only() -> None:
    raw = portfolio.raw_portfolio()
    assert set(raw) == set(KINDS)
    for kind, entries in raw.items():
        task = TaskType.REGRESSION if kind == "regression" else TaskType.CLASSIFICATION
        assert all(FAMILIES[entry.model].path(task) for entry in entries)


def test_costs_grow_with_the_work() -> None:
    request = request_for("multiclass")

    def seconds(candidate: Candidate, rows: int = 5000, features: int = 10, classes: int = 3) -> float:
        cost = ENGINE.cost(summary(rows, [str(i) for i in range(classes)], features), request, candidate)
        assert cost is not None
        return cost.seconds

    for model in FAMILIES:
        plain = Candidate(model)
        assert seconds(plain) < seconds(plain, rows=50_000), model
        assert seconds(plain) < seconds(plain, features=60), model
    assert seconds(Candidate("lightgbm")) < seconds(Candidate("lightgbm"), classes=20)
    assert seconds(Candidate("lightgbm")) < seconds(Candidate("lightgbm", {"n_estimators": 500}))
    assert seconds(Candidate("lightgbm")) < seconds(Candidate("lightgbm", {"derived": ["arithmetic"]}))
    assert ENGINE.cost(summary(100, None), request_for("regression"), Candidate("my.Own")) is None
    assert ENGINE.cost(summary(100, None), request_for("regression"), Candidate("ridge", {}, b"class")) is None


RNG = np.random.default_rng(0)


def delivered(folds: int, fields: dict[str, Any]) -> tuple[bytes, Any, Any, RunRequest]:
    rows = 600
    kind = np.array(["u", "v", "w"])[RNG.integers(0, 3, rows)]
    strong, weak, noise = RNG.normal(size=(3, rows))
    y = 3 * strong + weak + np.where(kind == "u", 2.0, 0.0) + 0.3 * RNG.normal(size=rows)
    columns = {"noise": noise, "strong": strong, "weak": weak, "kind": kind}
    task = fields.get("task", "regression")
    table = pa.table({**columns, "y": y if task == "regression" else y > 0})
    request = RunRequest(**{"task": task, "target": "y", "validation": {"folds": folds}, **fields})
    prepared = ENGINE.prepare(table, request)
    parts = ENGINE.split(prepared, request)
    candidates = {0: Candidate("linear"), 1: Candidate("lightgbm", {"n_estimators": 40})}
    outcomes = {
        trial: [ENGINE.evaluate(prepared, fold, candidate, request, seed=0, deadline=None) for fold in parts]
        for trial, candidate in candidates.items()
    }
    bundle = ENGINE.assemble(prepared, parts, candidates, outcomes, Combination({0: 0.5, 1: 0.5}, 0.0), request)
    return bundle, prepared, parts, request


@pytest.mark.parametrize("fields", [{}, {"task": "classification"}, {"task": "classification", "metric": "accuracy"}])
def test_importances_rank_what_the_target_depends_on(fields: dict[str, Any]) -> None:
    bundle, prepared, folds, request = delivered(3, fields)
    found = ENGINE.importance(bundle, prepared, folds, request, seed=1, deadline=None)
    assert found is not None
    names = [item["feature"] for item in found]
    assert names[0] == "strong"
    assert names[-1] == "noise"
    assert set(names) == {"noise", "strong", "weak", "kind"}
    values = {item["feature"]: item["importance"] for item in found}
    assert abs(values["noise"]) < 0.1 * values["strong"]
    assert all(item["std"] >= 0 for item in found)
    assert found == ENGINE.importance(bundle, prepared, folds, request, seed=1, deadline=None)


def test_importances_stop_at_the_deadline() -> None:
    bundle, prepared, folds, request = delivered(2, {})
    opened = open_bundle(bundle, allow_pickle=False)
    looks = iter(range(100))
    some = importance(opened, prepared, folds, request, seed=0, deadline=1.0, now=lambda: next(looks))
    assert {item["feature"] for item in some} == {"noise", "strong", "weak", "kind"}  # one look, one fold
    assert importance(opened, prepared, folds, request, seed=0, deadline=0.0, now=lambda: 1.0) == []
