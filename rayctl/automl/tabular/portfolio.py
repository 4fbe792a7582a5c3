"""The default candidates and the spaces of adaptive search.

``portfolio.json`` holds one ordered list per kind of task (``binary``, ``multiclass``, ``regression``): breadth first,
then variants, each entry placed by what it adds to those before it. Entries are written for some thousand rows and
are adapted here to the size of the data. ``tests/benchmarks/learn_portfolio.py`` writes the file; this module reads it.
``portfolio_large.json`` and ``portfolio_small.json`` hold what tables of many and of few rows are worth besides (models
of more capacity; kernels), and the places where they come in (``tests/benchmarks/portfolio/additions.py`` measures what
they bring).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

from rayctl.automl.engine import Candidate
from rayctl.automl.metrics import resolve_metric
from rayctl.automl.model import DataSummary, RunRequest, TaskType
from rayctl.automl.search import Space, distinct, int_log_uniform, log_uniform, uniform
from rayctl.automl.tabular.families import FAMILIES

__all__ = ["adapt", "portfolio", "raw_portfolio", "spaces"]

_MANY_CLASSES = 4
_SLOW_RATE_ROWS = 30_000
_FOREST_ROWS = 20_000
_LOSSES = {  # metric → (LightGBM's objective, CatBoost's loss function) that it is the loss of
    "mae": ("regression_l1", "MAE"),
    "median_absolute_error": ("regression_l1", "MAE"),
    "mape": ("mape", "MAPE"),
}


@lru_cache(maxsize=1)
def raw_portfolio() -> Mapping[str, tuple[Candidate, ...]]:
    """Return the portfolio file as it is: kind of task → candidates."""
    text = files("rayctl.automl.tabular").joinpath("portfolio.json").read_text(encoding="utf-8")
    return {
        kind: tuple(Candidate(entry["model"], dict(entry["params"])) for entry in entries)
        for kind, entries in json.loads(text).items()
    }


@dataclass(frozen=True)
class _Additions:
    """What tables of some sizes get besides. ``places``: kind of task → (place from 1 on, candidate), ascending."""

    from_rows: float
    below_rows: float
    places: Mapping[str, tuple[tuple[int, Candidate], ...]]


@lru_cache(maxsize=1)
def _additions() -> tuple[_Additions, ...]:
    found = []
    for name in ("portfolio_large.json", "portfolio_small.json"):
        document = json.loads(files("rayctl.automl.tabular").joinpath(name).read_text(encoding="utf-8"))
        from_rows, below_rows = document.pop("from_rows", 0), document.pop("below_rows", math.inf)
        places = {
            kind: tuple((entry["place"], Candidate(entry["model"], dict(entry["params"]))) for entry in entries)
            for kind, entries in document.items()
        }
        found.append(_Additions(from_rows, below_rows, places))
    return tuple(found)


def portfolio(summary: DataSummary, request: RunRequest) -> list[Candidate]:
    """Return the default candidates for data of this size, in the order in which they are worth their cost."""
    usable, kind = _usable(summary), _kind(summary, request)
    entries = list(raw_portfolio()[kind])
    for additions in _additions():
        if additions.from_rows <= summary.rows < additions.below_rows:
            for place, entry in additions.places.get(kind, ()):
                entries.insert(place - 1, entry)
    entries = [entry for entry in entries if entry.model in usable]
    return list(distinct(adapt(entry, summary, request) for entry in entries))


def spaces(summary: DataSummary, request: RunRequest) -> Mapping[str, Space]:
    """Return, per model worth varying, its parameter space; values are final (not adapted again)."""
    rows, usable = summary.rows, _usable(summary)
    leaf = max(2, min(60, rows // 40))
    derived: list[list[str]] = [[], [], ["target_mean", "counts"], ["arithmetic"], ["target_mean", "arithmetic"]]
    patience = _patience(0.05, rows)
    rounds = _rounds_limit(0.05, summary)
    losses = _LOSSES.get(_metric_name(request))
    found: dict[str, Space] = {
        "lightgbm": {
            "n_estimators": [rounds],
            "early_stopping_rounds": [patience],
            "learning_rate": log_uniform(0.02, 0.12),
            "num_leaves": int_log_uniform(5, 127 if rows > 5_000 else 48),
            "min_child_samples": int_log_uniform(2, leaf),
            "colsample_bytree": uniform(0.3, 1.0),
            "subsample": uniform(0.6, 1.0),
            "subsample_freq": [1],
            "reg_lambda": log_uniform(0.5 if len(summary.classes or ()) > 2 else 1e-3, 20.0),
            "extra_trees": [False, False, True],
            "derived": derived,
            **({} if losses is None else {"objective": [losses[0]]}),
        },
        "catboost": {
            "iterations": [rounds],
            "early_stopping_rounds": [patience],
            "learning_rate": log_uniform(0.03, 0.15),
            "depth": [4, 5, 6, 7, 8] if rows > 2_000 else [3, 4, 5, 6],
            "l2_leaf_reg": log_uniform(0.5, 20.0),
            "random_strength": uniform(0.0, 2.0),
            "rsm": [1.0, 0.7, 0.5],
            "boosting_type": ["Plain"],
            "max_ctr_complexity": [1],
            "derived": derived[1:4],
            "native_categories": [len(summary.classes or ()) <= _MANY_CLASSES],
            **({} if losses is None else {"loss_function": [losses[1]]}),
        },
        "extra_trees": {
            "n_estimators": [_trees(120, rows)],
            "max_features": ["sqrt", 0.3, 0.5, 0.8, 1.0],
            "min_samples_leaf": int_log_uniform(_min_leaf(1, rows), max(8, _min_leaf(1, rows))),
            "derived": derived,
        },
        "mlp": {
            "hidden_layer_sizes": [[64], [128], [64, 64], [128, 64]],
            "alpha": log_uniform(1e-5, 1e-1),
            "learning_rate_init": log_uniform(5e-4, 5e-3),
            "batch_size": [_batch(rows)],
            "max_iter": [_epochs(rows)],
        },
    }
    return {model: space for model, space in found.items() if model in usable}


def adapt(candidate: Candidate, summary: DataSummary, request: RunRequest) -> Candidate:
    """Fit an entry to task, metric and size: rounds, patience, leaves, batches, names of the class's parameters."""
    params = dict(candidate.params)
    rows, classes = summary.rows, len(summary.classes or ())
    losses = _LOSSES.get(_metric_name(request))
    if candidate.model in ("lightgbm", "catboost"):
        rate = float(params["learning_rate"])
        if classes > _MANY_CLASSES:
            # One tree per class and round: the cost grows with the classes, the need for rounds does not.
            rate = min(0.15, rate * 1.5)
        params["learning_rate"] = rate
        name = "n_estimators" if candidate.model == "lightgbm" else "iterations"
        params[name] = min(int(params.get(name, 10_000)), _rounds_limit(rate, summary))
        params.setdefault("early_stopping_rounds", _patience(rate, rows))
        if losses is not None and not params.get("linear_tree"):  # which LightGBM fits by squared errors only
            params |= {"objective": losses[0]} if candidate.model == "lightgbm" else {"loss_function": losses[1]}
        if candidate.model == "lightgbm" and classes > 2:
            # Without it, leaves of rows that are all but certain grow without bound, and the loss with them.
            params["reg_lambda"] = max(1.0, float(params.get("reg_lambda", 0.0)))
        if candidate.model == "catboost" and classes > _MANY_CLASSES:
            # Statistics per category and class: more than a second for each round.
            params["native_categories"] = False
    if candidate.model == "lightgbm" and rows < 1_500:
        # LightGBM's default of 20 rows per leaf would leave small tables with hardly a split.
        params["min_child_samples"] = min(params.get("min_child_samples", 20), max(2, rows // 40))
    elif candidate.model == "linear":
        strength = float(params.pop("strength"))
        if request.task is TaskType.CLASSIFICATION:
            params |= {"C": float(f"{1 / strength:.4g}"), "max_iter": 300 if rows <= 50_000 else 80}
        else:
            params["alpha"] = strength
    elif candidate.model == "mlp":
        params |= {"batch_size": _batch(rows), "max_iter": _epochs(rows)}
    elif candidate.model in ("extra_trees", "random_forest"):
        params["n_estimators"] = _trees(int(params["n_estimators"]), rows)
        params["min_samples_leaf"] = _min_leaf(int(params["min_samples_leaf"]), rows)
    elif candidate.model == "knn":
        params["n_neighbors"] = max(1, min(int(params["n_neighbors"]), rows // 4))
    return Candidate(candidate.model, params)


def _kind(summary: DataSummary, request: RunRequest) -> str:
    if request.task is TaskType.REGRESSION:
        return "regression"
    return "binary" if len(summary.classes or ()) <= 2 else "multiclass"


def _metric_name(request: RunRequest) -> str:
    if request.custom_metric is not None or request.task is not TaskType.REGRESSION:
        return ""
    return resolve_metric(request.metric, request.task).name


def _usable(summary: DataSummary) -> set[str]:
    from rayctl.automl.tabular.catboost_model import has_catboost

    names = {name for name, family in FAMILIES.items() if summary.rows <= family.max_rows}
    return names if has_catboost() else names - {"catboost"}


def _rounds_limit(rate: float, summary: DataSummary) -> int:
    """Return an upper bound of rounds that early stopping rarely needs."""
    most = 60.0 / rate
    classes = len(summary.classes or ())
    if classes > _MANY_CLASSES:
        most *= max(0.25, _MANY_CLASSES / classes)
    if summary.rows > _SLOW_RATE_ROWS:
        most *= 1.5
    return int(min(4000, max(60, most)))


def _patience(rate: float, rows: int) -> int:
    """Return rounds without a better loss after which a fit ends: more on small, noisy data and small steps."""
    base = 2.5 if rows < 3_000 else 2.0 if rows < 20_000 else 1.5
    return int(min(150, max(15, round(base / rate))))


def _batch(rows: int) -> int:
    return 32 if rows < 1_500 else 64 if rows < 5_000 else 128 if rows < 30_000 else 256


def _epochs(rows: int) -> int:
    return 100 if rows < 5_000 else 60 if rows < 20_000 else 40 if rows < 60_000 else 20


def _trees(trees: int, rows: int) -> int:
    return trees if rows <= _FOREST_ROWS else max(40, round(trees * _FOREST_ROWS / rows))


def _min_leaf(least: int, rows: int) -> int:
    return max(least, 1 if rows <= _FOREST_ROWS else 3 if rows <= 100_000 else 10)
