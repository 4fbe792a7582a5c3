"""The model families of rayctl and the order in which they are tried when the caller names none.

Importing this module imports no model library: the trainer uses it to plan.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from rayctl.automl import estimators
from rayctl.automl.engine import Candidate
from rayctl.automl.model import DataSummary, TaskType
from rayctl.automl.search import Space, distinct, int_log_uniform, log_uniform, uniform, variations
from rayctl.errors import InvalidRequest

__all__ = ["FAMILIES", "Family", "Resolved", "portfolio", "resolve"]

View = Literal["tree", "dense"]


@dataclass(frozen=True)
class Family:
    """One family: its classes, its view of the data, settings that always hold, the space of variations."""

    name: str
    classifier: str
    regressor: str
    view: View
    space: Space
    fixed: Mapping[str, Any] = field(default_factory=dict)
    max_rows: float = math.inf
    scale_target: bool = False

    def path(self, task: TaskType) -> str:
        """Return the importable path of the class for a task."""
        return self.classifier if task is TaskType.CLASSIFICATION else self.regressor


@dataclass(frozen=True)
class Resolved:
    """A model of a request, imported: its class, its view, settings under the caller's, its family if it has one."""

    model: str
    cls: type
    view: View
    fixed: Mapping[str, Any]
    family: Family | None

    def check(self, params: Mapping[str, Any]) -> None:
        """Refuse unknown parameters (InvalidRequest ``unknown-parameter``)."""
        estimators.check_parameters(self.cls, self.model, params)

    def build(self, params: Mapping[str, Any], seed: int) -> Any:
        """Return a new seeded single-threaded estimator."""
        return estimators.build(self.cls, self.model, {**self.fixed, **params}, seed)


_LIGHTGBM_SPACE: Space = {
    "n_estimators": int_log_uniform(100, 500),
    "learning_rate": log_uniform(0.02, 0.2),
    "num_leaves": int_log_uniform(6, 96),
    "min_child_samples": int_log_uniform(4, 60),
    "colsample_bytree": uniform(0.4, 1.0),
    "subsample": uniform(0.6, 1.0),
    "subsample_freq": [1],
    "reg_lambda": log_uniform(1e-3, 10.0),
    "extra_trees": [False, False, True],
}
_FOREST_SPACE: Space = {
    "n_estimators": [60, 100, 150],
    "max_features": ["sqrt", 0.2, 0.3, 0.4, 0.6],
    "min_samples_leaf": int_log_uniform(1, 12),
}
_EXTRA_SPACE: Space = {**_FOREST_SPACE, "max_features": ["sqrt", 0.5, 0.8, 1.0]}
_MLP_SPACE: Space = {
    "hidden_layer_sizes": [[32], [64], [128], [64, 32]],
    "alpha": log_uniform(1e-5, 1e-1),
    "learning_rate_init": log_uniform(5e-4, 1e-2),
}

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family(
            "lightgbm",
            "lightgbm.LGBMClassifier",
            "lightgbm.LGBMRegressor",
            "tree",
            _LIGHTGBM_SPACE,
            # Bit-for-bit repeatable whatever the machine; the layout choice would otherwise be timed at run time.
            {"deterministic": True, "force_row_wise": True, "verbose": -1},
        ),
        Family(
            "extra_trees",
            "sklearn.ensemble.ExtraTreesClassifier",
            "sklearn.ensemble.ExtraTreesRegressor",
            "tree",
            _EXTRA_SPACE,
        ),
        Family(
            "random_forest",
            "sklearn.ensemble.RandomForestClassifier",
            "sklearn.ensemble.RandomForestRegressor",
            "tree",
            _FOREST_SPACE,
        ),
        Family("logistic_regression", "sklearn.linear_model.LogisticRegression", "", "dense", {}, {"max_iter": 300}),
        Family("ridge", "", "sklearn.linear_model.Ridge", "dense", {}),
        Family(
            "knn",
            "sklearn.neighbors.KNeighborsClassifier",
            "sklearn.neighbors.KNeighborsRegressor",
            "dense",
            {"n_neighbors": int_log_uniform(3, 80), "weights": ["uniform", "distance"]},
            # The search trees are compiled structures that a file cannot describe safely; brute force has none.
            {"algorithm": "brute"},
            max_rows=20_000,
        ),
        Family(
            "mlp",
            "sklearn.neural_network.MLPClassifier",
            "sklearn.neural_network.MLPRegressor",
            "dense",
            _MLP_SPACE,
            {"early_stopping": True, "max_iter": 60, "n_iter_no_change": 6},
            max_rows=100_000,
            scale_target=True,  # gradient steps are sized for targets around 1
        ),
        Family(
            "linear",
            "sklearn.linear_model.LogisticRegression",
            "sklearn.linear_model.Ridge",
            "dense",
            {"strength": log_uniform(1e-3, 1e3)},  # translated to C or alpha by `_adapt`
        ),
    )
}

_FIRST: tuple[tuple[str, dict[str, Any]], ...] = (
    # Milliseconds on most tables: a small budget has an answer at once.
    ("linear", {"strength": 1.0}),
    ("lightgbm", {"n_estimators": 150, "learning_rate": 0.06, "num_leaves": 20, "colsample_bytree": 0.8}),
    ("extra_trees", {"n_estimators": 120, "min_samples_leaf": 1}),
    ("random_forest", {"n_estimators": 100, "max_features": 0.4, "min_samples_leaf": 2}),
    ("mlp", {"hidden_layer_sizes": [64], "alpha": 1e-3, "learning_rate_init": 2e-3}),
    (
        "lightgbm",
        {
            "n_estimators": 300,
            "learning_rate": 0.03,
            "num_leaves": 16,
            "min_child_samples": 10,
            "colsample_bytree": 0.6,
            "subsample": 0.8,
            "subsample_freq": 1,
        },
    ),
    ("knn", {"n_neighbors": 15, "weights": "distance"}),
    ("lightgbm", {"n_estimators": 250, "learning_rate": 0.05, "num_leaves": 31, "extra_trees": True}),
    ("extra_trees", {"n_estimators": 120, "max_features": 1.0, "min_samples_leaf": 3}),
    ("lightgbm", {"n_estimators": 300, "learning_rate": 0.06, "num_leaves": 6, "colsample_bytree": 0.5}),
    ("linear", {"strength": 20.0}),
)
"""Tried first: one strong or cheap member of every family, then more of the strongest."""

_CYCLE = (
    *("lightgbm", "lightgbm", "extra_trees", "lightgbm", "lightgbm", "mlp"),
    *("lightgbm", "random_forest", "lightgbm", "lightgbm", "knn", "linear"),
)
"""Order of the endless variations: half of them LightGBM."""


def resolve(model: str, pickled_class: bytes | None, task: TaskType) -> Resolved:
    """Import the model of a search entry or candidate. Only in task processes.

    Raises:
        InvalidRequest: ``unknown-model``, ``wrong-model-type``.
    """
    family = FAMILIES.get(model) if pickled_class is None else None
    if family is not None:
        if not family.path(task):
            raise InvalidRequest(
                f"The model {model!r} is not one for {task.value}.", code="wrong-model-type", hint="Use 'linear'."
            )
        return Resolved(model, estimators.load_class(family.path(task)), family.view, family.fixed, family)
    if pickled_class is None and "." not in model:
        raise estimators.unknown_model(model, FAMILIES)
    cls = estimators.load_class(model, pickled_class, FAMILIES)
    estimators.check_methods(cls, model)
    _check_type(cls, model, task)
    return Resolved(model, cls, "dense", {}, None)


def _check_type(cls: type, model: str, task: TaskType) -> None:
    """Refuse a scikit-learn regressor for classification and the other way round; unknown types pass."""
    wanted = "classifier" if task is TaskType.CLASSIFICATION else "regressor"
    from sklearn.base import ClassifierMixin, RegressorMixin

    wrong, right = (RegressorMixin, ClassifierMixin) if wanted == "classifier" else (ClassifierMixin, RegressorMixin)
    if issubclass(cls, wrong) and not issubclass(cls, right):
        raise InvalidRequest(
            f"The model {model!r} is not a {wanted}; the task is {task.value}.", code="wrong-model-type"
        )


def portfolio(summary: DataSummary, task: TaskType, seed: int) -> Iterator[Candidate]:
    """Yield the default candidates, then endless seeded variations, fitted to the size of the data."""
    return distinct(_portfolio(summary, task, seed))


def _portfolio(summary: DataSummary, task: TaskType, seed: int) -> Iterator[Candidate]:
    usable = {name for name, family in FAMILIES.items() if summary.rows <= family.max_rows}
    for name, params in _FIRST:
        if name in usable:
            yield _adapt(Candidate(name, params), summary, task)
    sources = {name: variations(name, FAMILIES[name].space, seed) for name in dict.fromkeys(_CYCLE) if name in usable}
    for name in itertools.cycle(_CYCLE):
        if name in sources:
            yield _adapt(next(sources[name]), summary, task)


def _adapt(candidate: Candidate, summary: DataSummary, task: TaskType) -> Candidate:
    """Fit a candidate to task and size: fewer trees for many classes and many rows, parameter names of the class."""
    params = dict(candidate.params)
    classes = len(summary.classes or ())
    if candidate.model == "linear":
        strength = params.pop("strength")
        if task is TaskType.CLASSIFICATION:
            params |= {"C": float(f"{1 / strength:.4g}"), "max_iter": 300 if summary.rows <= 50_000 else 100}
        else:
            params["alpha"] = strength
    elif candidate.model == "lightgbm":
        if classes > 4:
            # One tree per class and round: the cost grows with the classes, the need for rounds does not.
            params["n_estimators"] = max(40, round(params["n_estimators"] * 4 / classes))
        if summary.rows < 800:
            # LightGBM's default of 20 rows per leaf would leave small tables without any split.
            params["min_child_samples"] = min(params.get("min_child_samples", 20), max(2, summary.rows // 40))
    elif candidate.model == "mlp":
        params["batch_size"] = 32 if summary.rows < 1500 else 128
    elif candidate.model in ("extra_trees", "random_forest") and summary.rows > 20_000:
        params["n_estimators"] = max(30, round(params["n_estimators"] * 20_000 / summary.rows))
        params["min_samples_leaf"] = max(params["min_samples_leaf"], 3 if summary.rows <= 100_000 else 10)
    return Candidate(candidate.model, params)
