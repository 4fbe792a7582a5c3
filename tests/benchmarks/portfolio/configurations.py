"""The configurations that compete for a place: the hand-written portfolio, variants of it, and random draws.

Parameters are those of ``portfolio.json``: written for some thousand rows, adapted to the data by
`rayctl.automl.tabular.portfolio.adapt`. What two kinds of task share has the same key, so that one kind can learn from
the other's data.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from rayctl.automl.engine import Candidate
from rayctl.automl.search import Range, int_log_uniform, log_uniform, uniform

__all__ = ["REFERENCE", "Configuration", "handwritten", "pool"]

HANDWRITTEN = Path(__file__).with_name("handwritten.json")
_DRAWS = {"lightgbm": 3, "extra_trees": 1, "mlp": 1}
_SEED = 11
_ROWS = {"subsample": 0.8, "subsample_freq": 1}
_PLAIN = {"boosting_type": "Plain", "max_ctr_complexity": 1}


@dataclass(frozen=True)
class Configuration:
    """One entry. ``adapted`` False: given to the engine as it is."""

    model: str
    params: Mapping[str, Any] = field(default_factory=dict)
    adapted: bool = True

    @property
    def key(self) -> str:
        """Equal for equal configurations; names the file of its results."""
        text = json.dumps([self.model, self.params, self.adapted], sort_keys=True)
        return f"{self.model}-{sha256(text.encode()).hexdigest()[:12]}"

    @property
    def candidate(self) -> Candidate:
        """As the engine takes it."""
        return Candidate(self.model, dict(self.params))

    def entry(self) -> dict[str, Any]:
        """As ``portfolio.json`` has it."""
        return {"model": self.model, "params": dict(self.params)}


REFERENCE = Configuration("lightgbm", {"n_estimators": 100}, adapted=False)
"""LightGBM with its own defaults: a regret of 1."""

_VARIANTS = (
    # Cheap boosters.
    Configuration("lightgbm", {"n_estimators": 300, "learning_rate": 0.1, "num_leaves": 6, "colsample_bytree": 0.6,
                               **_ROWS, "reg_lambda": 1.0, "early_stopping_rounds": 20}),
    Configuration("catboost", {"learning_rate": 0.12, "depth": 4, "l2_leaf_reg": 3.0, "rsm": 0.7, **_PLAIN}),
    Configuration("catboost", {"learning_rate": 0.08, "depth": 6, "l2_leaf_reg": 3.0, "native_categories": False,
                               "boosting_type": "Plain"}),
    Configuration("catboost", {"learning_rate": 0.1, "depth": 6, "l2_leaf_reg": 3.0, "iterations": 500, **_PLAIN}),
    # Other regularisation, other ways to grow, other ways with categories.
    Configuration("lightgbm", {"learning_rate": 0.05, "num_leaves": 31, "colsample_bytree": 0.5, **_ROWS,
                               "reg_lambda": 1.0, "path_smooth": 10.0}),
    Configuration("lightgbm", {"learning_rate": 0.05, "num_leaves": 31, "colsample_bytree": 0.6, **_ROWS,
                               "min_child_samples": 10, "reg_lambda": 1.0, "native_categories": True}),
    Configuration("lightgbm", {"learning_rate": 0.05, "num_leaves": 16, "colsample_bytree": 0.6, **_ROWS,
                               "reg_lambda": 1.0, "native_categories": True, "cat_l2": 50.0, "cat_smooth": 50.0,
                               "derived": ["target_mean", "counts"]}),
    Configuration("lightgbm", {"learning_rate": 0.06, "num_leaves": 16, "linear_tree": True, "linear_lambda": 0.1,
                               "colsample_bytree": 0.7, "reg_lambda": 1.0}),
    Configuration("catboost", {"learning_rate": 0.06, "depth": 6, "l2_leaf_reg": 5.0, "one_hot_max_size": 20,
                               **_PLAIN}),
    Configuration("extra_trees", {"n_estimators": 120, "max_features": 0.5, "min_samples_leaf": 2}),
    Configuration("extra_trees", {"n_estimators": 120, "max_features": 0.8, "min_samples_leaf": 1}),
    Configuration("extra_trees", {"n_estimators": 120, "max_features": 0.3, "min_samples_leaf": 3,
                                  "derived": ["target_mean"]}),
    Configuration("extra_trees", {"n_estimators": 120, "max_features": 0.6, "min_samples_leaf": 2,
                                  "derived": ["target_mean", "arithmetic"]}),
    Configuration("random_forest", {"n_estimators": 120, "max_features": "sqrt", "min_samples_leaf": 2}),
    Configuration("random_forest", {"n_estimators": 120, "max_features": 0.5, "min_samples_leaf": 2}),
    Configuration("mlp", {"hidden_layer_sizes": [64, 64], "alpha": 0.01, "learning_rate_init": 0.002}),
    Configuration("mlp", {"hidden_layer_sizes": [128], "alpha": 1.0, "learning_rate_init": 0.001}),
    Configuration("linear", {"strength": 5.0}),
    Configuration("knn", {"n_neighbors": 8, "weights": "distance"}),
)  # fmt: skip

_REGRESSION_VARIANTS = (
    Configuration("extra_trees", {"n_estimators": 120, "max_features": 0.8, "min_samples_leaf": 1,
                                  "target_transform": "log"}),
    Configuration("catboost", {"learning_rate": 0.12, "depth": 4, "l2_leaf_reg": 3.0, "rsm": 0.7, **_PLAIN,
                               "target_transform": "log"}),
    Configuration("mlp", {"hidden_layer_sizes": [64], "alpha": 0.001, "learning_rate_init": 0.002,
                          "target_transform": "log"}),
)  # fmt: skip


def handwritten(kind: str) -> list[Configuration]:
    """Return the portfolio that was written by hand before there was data, in its order."""
    entries = json.loads(HANDWRITTEN.read_text(encoding="utf-8"))[kind]
    return [Configuration(entry["model"], entry["params"]) for entry in entries]


def pool(kind: str) -> list[Configuration]:
    """Return all configurations of a kind of task, each once; the reference is not among them."""
    found = {configuration.key: configuration for configuration in handwritten(kind)}
    extra = [*_VARIANTS, *(_REGRESSION_VARIANTS if kind == "regression" else ()), *_drawn()]
    return list((found | {configuration.key: configuration for configuration in extra}).values())


def _drawn() -> Iterator[Configuration]:
    for model, count in _DRAWS.items():
        rng = random.Random(f"{_SEED}/{model}")
        for _ in range(count):
            space = _SPACES[model]
            params = {
                name: choice(rng) if isinstance(choice, Range) else choice[int(rng.random() * len(choice))]
                for name, choice in space.items()
            }
            yield Configuration(model, {name: _short(value) for name, value in params.items() if value != []})


def _short(value: Any) -> Any:
    return float(f"{value:.2g}") if isinstance(value, float) else value


_DERIVED: list[list[str]] = [[], [], ["target_mean", "counts"], ["arithmetic"], ["target_mean", "arithmetic"]]
# As `rayctl.automl.tabular.portfolio.spaces`, without what `adapt` sets by the size of the data.
_SPACES: Mapping[str, Mapping[str, Any]] = {
    "lightgbm": {
        "learning_rate": log_uniform(0.03, 0.1),
        "num_leaves": int_log_uniform(5, 100),
        "min_child_samples": int_log_uniform(3, 60),
        "colsample_bytree": uniform(0.3, 1.0),
        "subsample": uniform(0.6, 1.0),
        "subsample_freq": [1],
        "reg_lambda": log_uniform(0.5, 20.0),
        "extra_trees": [False, False, True],
        "native_categories": [False, False, True],
        "derived": _DERIVED,
    },
    "extra_trees": {
        "n_estimators": [120],
        "max_features": ["sqrt", 0.3, 0.5, 0.8, 1.0],
        "min_samples_leaf": int_log_uniform(1, 8),
        "derived": _DERIVED[2:],
    },
    "mlp": {
        "hidden_layer_sizes": [[128], [64, 64], [128, 64]],
        "alpha": log_uniform(1e-3, 1.0),
        "learning_rate_init": log_uniform(5e-4, 3e-3),
    },
}
