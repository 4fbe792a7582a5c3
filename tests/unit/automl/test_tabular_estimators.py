"""From names to estimators: what is found, what is refused, what gets set."""

from __future__ import annotations

from typing import Any

import cloudpickle
import pytest
from lightgbm import LGBMClassifier
from sklearn.ensemble import BaggingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from rayctl.automl.estimators import accepted_parameters, build, check_methods, load_class
from rayctl.automl.model import TaskType
from rayctl.automl.tabular.families import FAMILIES, resolve
from rayctl.errors import InvalidRequest


class Minimal:
    """Neither random_state nor n_jobs nor get_params."""

    def __init__(self, depth: int = 1) -> None:
        self.depth = depth

    def fit(self, x: Any, y: Any) -> Minimal:
        return self

    def predict(self, x: Any) -> Any:
        return [0] * len(x)


class Incomplete:
    def fit(self, x: Any, y: Any) -> None: ...


def refused(call: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as raised:
        call()
    return raised.value


@pytest.mark.parametrize("task", [TaskType.CLASSIFICATION, TaskType.REGRESSION])
@pytest.mark.parametrize(
    "name", ["lightgbm", "catboost", "extra_trees", "random_forest", "linear", "knn", "mlp", "kernel"]
)
def test_every_family_builds(name: str, task: TaskType) -> None:
    resolved = resolve(name, None, task)
    resolved.check({})
    assert callable(resolved.fitter)
    estimator = build(resolved.cls, name, {}, seed=2**32 - 1)
    assert getattr(estimator, "random_state", 2**31 - 1) in (2**31 - 1, None)
    assert getattr(estimator, "n_jobs", 1) == 1


def test_paths_and_pickled_classes() -> None:
    assert load_class("sklearn.svm.SVC") is SVC
    loaded = load_class("mine", cloudpickle.dumps(Minimal))
    assert loaded.__name__ == "Minimal"


@pytest.mark.parametrize(
    ("model", "hint"),
    [
        ("lightgmb", "lightgbm"),
        ("sklearn.linear_model.LogisticRegresion", "LogisticRegression"),
        ("no_such_package.Model", "runtime_env"),
    ],
)
def test_unknown_models_get_a_hint(model: str, hint: str) -> None:
    error = refused(lambda: resolve(model, None, TaskType.CLASSIFICATION))
    assert error.code == "unknown-model"
    assert error.hint is not None
    assert hint in error.hint


def test_things_that_are_no_models() -> None:
    assert refused(lambda: load_class("sklearn.metrics.accuracy_score")).code == "unknown-model"
    assert refused(lambda: load_class("x", cloudpickle.dumps(3))).code == "unknown-model"
    assert refused(lambda: load_class("x", b"garbage")).code == "unknown-model"
    assert "no method predict" in refused(lambda: check_methods(Incomplete, "Incomplete")).message


def test_unknown_parameters_name_the_accepted_ones() -> None:
    error = refused(lambda: build(LogisticRegression, "linear", {"D": 1}, 0))
    assert error.code == "unknown-parameter"
    assert "'D'" in error.message
    assert "max_iter" in error.message
    assert refused(lambda: build(Minimal, "m", {"dept": 1}, 0)).hint == "Did you mean depth?"


def test_lightgbm_takes_its_own_names_but_not_typing_errors() -> None:
    accepted = accepted_parameters(LGBMClassifier)
    assert accepted is not None
    assert {"num_leaves", "bagging_fraction", "extra_trees", "min_data_in_leaf"} <= accepted
    assert "num_leafs" not in accepted


def test_seed_and_threads_are_set_where_they_exist() -> None:
    estimator = build(SVC, "svc", {"C": 2.0}, 2**32 - 1)
    assert (estimator.C, estimator.random_state) == (2.0, 2**31 - 1)
    assert build(SVC, "svc", {"random_state": 5}, 1).random_state == 5
    assert build(Minimal, "m", {"depth": 3}, 1).depth == 3
    assert build(RandomForestClassifier, "f", {"n_jobs": 4}, 1).n_jobs == 1


def test_nested_parameters_and_no_sharing_between_trials() -> None:
    inner = DecisionTreeClassifier()
    params = {"estimator": inner, "estimator__max_depth": 2}
    built = build(BaggingClassifier, "bag", params, 0)
    assert built.estimator is not inner
    assert (built.estimator.max_depth, inner.max_depth) == (2, None)


def test_family_table_is_consistent() -> None:
    for name, family in FAMILIES.items():
        assert name == family.name
        assert family.classifier or family.regressor
