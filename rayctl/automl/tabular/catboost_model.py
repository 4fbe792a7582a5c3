"""Gradient-boosted symmetric trees by CatBoost (an optional extra), with native categories and the clock."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from rayctl.automl.bundle import DAMAGED, Member
from rayctl.automl.tabular.clock import Clock, timed_out
from rayctl.automl.tabular.cost import catboost_round_s
from rayctl.automl.tabular.training import Part, TrainingData
from rayctl.errors import InvalidRequest

__all__ = ["CatboostPredictor", "fit_catboost", "has_catboost", "require_catboost"]

_SYNONYMS = {
    "n_estimators": "iterations",
    "num_boost_round": "iterations",
    "eta": "learning_rate",
    "max_depth": "depth",
    "reg_lambda": "l2_leaf_reg",
    "random_state": "random_seed",
}
_DEFAULT_ROUNDS = 1000
_LOGARITHMIC = ("Poisson", "Tweedie")
_MAX_SEED = 2**31 - 1
_FORBIDDEN = ("class_weights", "auto_class_weights", "thread_count", "train_dir", "task_type", "devices")


@lru_cache(maxsize=1)
def has_catboost() -> bool:
    """Whether the extra is installed (without importing it)."""
    from importlib.util import find_spec

    return find_spec("catboost") is not None


def require_catboost() -> None:
    """Raise InvalidRequest ``missing-extra`` if CatBoost is not installed."""
    if not has_catboost():
        raise InvalidRequest(
            "The model 'catboost' needs the package catboost, which is not installed where models are fitted.",
            code="missing-extra",
            hint="Install it there: pip install 'rayctl[catboost]'.",
        )


class CatboostPredictor:
    """A CatBoost model. Its stored form is CatBoost's own binary format, which holds data only.

    ``categorical``: columns of the matrix that are category codes. ``exponent``: it predicts logarithms of numbers.
    """

    kind: ClassVar[str] = "catboost"
    rounds = 0

    def __init__(self, model: Any, n_classes: int | None, categorical: tuple[int, ...], exponent: bool) -> None:
        self.model = model
        self.n_classes = n_classes
        self.categorical = categorical
        self.exponent = exponent
        self.has_proba = n_classes is not None

    @property
    def row_us(self) -> float:
        """Symmetric trees are quick."""
        return 0.002 * float(self.model.tree_count_) * max(1, (self.n_classes or 2) - 1) + 0.1 * len(self.categorical)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Predict rows (see `Predictor.predict`)."""
        pool = _pool(x, self.categorical)
        kind = "Probability" if self.n_classes is not None else "Exponent" if self.exponent else "RawFormulaVal"
        return np.asarray(self.model.predict(pool, prediction_type=kind, thread_count=1))

    def to_parts(self) -> tuple[dict[str, Any], dict[str, Member]]:
        """Return JSON and the model in CatBoost's format."""
        info = {"n_classes": self.n_classes, "categorical": list(self.categorical), "exponent": self.exponent}
        return info, {"model": Member(_to_cbm(self.model), "catboost")}

    @classmethod
    def load(cls, info: Mapping[str, Any], members: Mapping[str, Member], *, allow_pickle: bool) -> CatboostPredictor:
        """Rebuild a predictor from its parts."""
        require_catboost()
        from catboost import CatBoost

        model = CatBoost()
        try:
            model.load_model(blob=members["model"].data)
        except Exception as error:  # CatBoost raises its own type, and TypeError
            raise InvalidRequest(
                f"The CatBoost model cannot be read: {error}", code="invalid-bundle", hint=DAMAGED
            ) from error
        categorical = tuple(int(column) for column in info["categorical"])
        return cls(model, info["n_classes"], categorical, bool(info["exponent"]))


def _to_cbm(model: Any) -> bytes:
    metadata = model.get_metadata()
    # Little of the rest is needed to predict, and the time of the fit is different each time.
    metadata["params"] = json.dumps({"loss_function": json.loads(metadata["params"])["loss_function"]})
    for name in list(metadata.keys()):
        if name not in ("class_params", "params"):
            del metadata[name]
    with tempfile.NamedTemporaryFile(suffix=".cbm") as file:  # CatBoost has no public way to memory
        model.save_model(file.name, format="cbm")
        return file.read()


class _Watch:
    """CatBoost's callback: the clock."""

    def __init__(self, clock: Clock, rounds: int) -> None:
        self.clock, self.rounds = clock, rounds

    def after_iteration(self, info: Any) -> bool:
        # `info.iteration` counts from 1.
        return info.iteration >= self.rounds or not self.clock.ends(info.iteration)


def fit_catboost(data: TrainingData, params: Mapping[str, Any], seed: int, clock: Clock) -> CatboostPredictor:
    """Fit with CatBoost's own parameters (a few of scikit-learn's names are understood as well).

    ``early_stopping_rounds`` watches ``data.watch`` and keeps the best round. ``native_categories`` False: category
    codes are numbers.
    """
    require_catboost()
    from catboost import CatBoost

    own = {name: value for name, value in params.items() if name != "native_categories"}
    categorical = data.categorical if params.get("native_categories", True) else ()
    settings = _settings(data, own, seed)
    rounds = settings["iterations"]
    patience = settings.pop("early_stopping_rounds", None)
    rows, columns = data.train.x.shape
    outputs = data.n_classes if data.n_classes and data.n_classes > 2 else 1
    # CatBoost asks after a round only, and with many classes and categories that may be long: refused up front.
    if catboost_round_s(rows, columns, len(categorical), int(settings.get("depth", 6)), outputs) > clock.left_s:
        raise timed_out()
    train = _pool(data.train.x, categorical, data.train)
    options: dict[str, Any] = {"callbacks": [_Watch(clock, rounds)]}
    if data.watch is not None and patience is not None:
        options |= {
            "eval_set": _pool(data.watch.x, categorical, data.watch),
            "early_stopping_rounds": int(patience),
            "use_best_model": True,
        }
    model = CatBoost(settings)
    clock.start()
    model.fit(train, **options)
    exponent = str(settings["loss_function"]).startswith(_LOGARITHMIC)
    predictor = CatboostPredictor(model, data.n_classes, categorical, exponent)
    predictor.rounds = int(model.tree_count_)
    return predictor


def _settings(data: TrainingData, params: Mapping[str, Any], seed: int) -> dict[str, Any]:
    named = {_SYNONYMS.get(name, name): value for name, value in params.items()}
    refused = sorted(set(named) & set(_FORBIDDEN))
    if refused:
        raise InvalidRequest(
            f"The model 'catboost' cannot be given {', '.join(refused)} here.",
            code="unknown-parameter",
            hint="Threads are the scheduler's; for class weights use class_weight of the request.",
        )
    loss = "RMSE" if data.n_classes is None else "Logloss" if data.n_classes == 2 else "MultiClass"
    defaults = {"loss_function": loss, "iterations": _DEFAULT_ROUNDS, "random_seed": seed & _MAX_SEED}
    fixed = {"thread_count": 1, "allow_writing_files": False, "logging_level": "Silent"}
    settings = {**defaults, **named, **fixed}
    settings["iterations"] = int(settings["iterations"])
    for name in ("verbose", "silent", "verbose_eval"):  # would contradict `logging_level`
        settings.pop(name, None)
    return settings


def _pool(x: np.ndarray, categorical: tuple[int, ...], part: Part | None = None) -> Any:
    """Return CatBoost's form of rows. Codes become whole numbers, missing ones -1: a category like the others."""
    from catboost import Pool

    labels: dict[str, Any] = {"thread_count": 1}
    if part is not None:
        labels |= {"label": part.y, "weight": part.weights}
    if not categorical:
        return Pool(np.ascontiguousarray(x), **labels)
    import pandas as pd

    chosen = set(categorical)
    columns: dict[int, np.ndarray] = {
        column: _codes(x[:, column]) if column in chosen else np.ascontiguousarray(x[:, column])
        for column in range(x.shape[1])
    }
    return Pool(pd.DataFrame(columns, copy=False), cat_features=list(categorical), **labels)


def _codes(column: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(column), -1, column).astype(np.int32)
