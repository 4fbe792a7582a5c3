"""Gradient-boosted trees by LightGBM, with early stopping and the clock.

Category codes are numbers to it unless ``native_categories`` is set: they count from the most frequent category on, and
splits of that order were better than splits by sets of categories on most tables of some thousand rows.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from rayctl.automl.bundle import DAMAGED, Member
from rayctl.automl.tabular.clock import Clock
from rayctl.automl.tabular.training import Part, TrainingData
from rayctl.errors import InvalidRequest

__all__ = ["LightgbmPredictor", "fit_lightgbm"]

_MAX_NATIVE = 128  # categories; above, splits by sets of categories fit noise and take long to find
_NOT_NATIVE = frozenset(
    {"n_jobs", "importance_type", "class_weight", "n_estimators", "early_stopping_rounds", "random_state"}
    | {"native_categories"}
)
_DEFAULT_ROUNDS = 100
_AFTER_TREE_S, _AFTER_LEAF_S = 3e-5, 4e-6  # to write, parse and compress
_LEAVES = "num_leaves="
_OBJECTIVE = re.compile(r"^objective=(.*)$", re.MULTILINE)
_NOT_NEEDED = ("tree_sizes=", "split_gain=", "leaf_weight=", "internal_weight=", "internal_value=")
_MAX_SEED = 2**31 - 1


class LightgbmPredictor:
    """A LightGBM model. Text is its stored form, which parses without running anything."""

    kind: ClassVar[str] = "lightgbm"
    rounds = 0

    def __init__(self, text: str, n_classes: int | None) -> None:
        self.text = text
        self.booster = _booster(text)
        self.n_classes = n_classes
        self.has_proba = n_classes is not None

    @property
    def objective(self) -> str:
        """LightGBM's text of it, for example ``binary sigmoid:1``."""
        found = _OBJECTIVE.search(self.text)
        return "" if found is None else found.group(1)

    @property
    def row_us(self) -> float:
        """Trees times their depth."""
        lines = (line.removeprefix(_LEAVES) for line in self.text.split("\n") if line.startswith(_LEAVES))
        sizes = [int(leaves) for leaves in lines if leaves.isdigit()]
        return sum(0.01 + 0.008 * math.log2(1 + leaves) for leaves in sizes)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Predict rows (see `Predictor.predict`)."""
        values = np.asarray(self.booster.predict(x, num_threads=1), dtype=np.float64)
        if self.n_classes is None or values.ndim == 2:
            return values
        return np.column_stack([1.0 - values, values])

    def to_parts(self) -> tuple[dict[str, Any], dict[str, Member]]:
        """Return JSON and the model's text."""
        return {"n_classes": self.n_classes}, {"model": Member(self.text.encode(), "lightgbm")}

    @classmethod
    def load(cls, info: Mapping[str, Any], members: Mapping[str, Member], *, allow_pickle: bool) -> LightgbmPredictor:
        """Rebuild a predictor from its parts."""
        return cls(members["model"].data.decode(), info["n_classes"])


def _slim(text: str) -> str:
    """Return a model's text without what is not needed to predict: half of it."""
    lines = text.partition("\nparameters:\n")[0].split("\n")
    return "\n".join([line for line in lines if not line.startswith(_NOT_NEEDED)])


def _booster(text: str) -> Any:
    from lightgbm import Booster

    try:
        return Booster(model_str=text)
    except Exception as error:  # LightGBM raises its own and built-in types on a malformed text
        raise InvalidRequest(
            f"The LightGBM model cannot be read: {error}", code="invalid-bundle", hint=DAMAGED
        ) from error


class _Watch:
    """LightGBM's callback: early stopping on the watched rows, and the clock."""

    before_iteration = False
    order = 30

    def __init__(self, clock: Clock, patience: int | None) -> None:
        self.clock, self.patience = clock, patience
        self.best, self.best_round, self.rounds = math.inf, -1, 0

    def __call__(self, env: Any) -> None:
        from lightgbm.callback import EarlyStopException

        round_ = env.iteration
        self.rounds = round_ + 1
        if self.patience is not None:
            loss = env.evaluation_result_list[0][2]
            if loss < self.best or self.best_round < 0:
                self.best, self.best_round = loss, round_
            elif round_ - self.best_round >= self.patience:
                raise EarlyStopException(self.best_round, [])
        if self.rounds < env.end_iteration and self.clock.ends(self.rounds):
            raise EarlyStopException(round_, [])


def fit_lightgbm(data: TrainingData, params: Mapping[str, Any], seed: int, clock: Clock) -> LightgbmPredictor:
    """Fit with the parameters of LightGBM's scikit-learn classes.

    ``early_stopping_rounds`` watches ``data.watch`` (log loss, squared error or the objective's own loss) and keeps
    the best round.
    """
    import lightgbm

    rounds = int(params.get("n_estimators", _DEFAULT_ROUNDS))
    patience = params.get("early_stopping_rounds") if data.watch is not None else None
    settings = _settings(data, params, seed)
    native = _native(data) if params.get("native_categories") else []
    train = _dataset(data.train, settings, native)
    watch = _Watch(clock, None if patience is None else int(patience))
    valid = []
    if patience is not None and data.watch is not None:
        valid = [_dataset(data.watch, settings, native, reference=train)]
    outputs = data.n_classes if data.n_classes and data.n_classes > 2 else 1
    clock.after_step_s = outputs * (_AFTER_TREE_S + _AFTER_LEAF_S * int(params.get("num_leaves", 31)))
    clock.start()
    booster = lightgbm.train(
        settings, train, num_boost_round=rounds, valid_sets=valid, callbacks=[watch], keep_training_booster=True
    )
    keep = watch.best_round + 1 if watch.patience is not None else watch.rounds
    # Through its text, so that what is scored now is what is loaded later.
    predictor = LightgbmPredictor(_slim(booster.model_to_string(num_iteration=keep)), data.n_classes)
    predictor.rounds = keep
    return predictor


def _settings(data: TrainingData, params: Mapping[str, Any], seed: int) -> dict[str, Any]:
    settings = {name: value for name, value in params.items() if name not in _NOT_NATIVE}
    defaults: dict[str, Any] = {"verbose": -1, "seed": int(params.get("random_state") or seed) & _MAX_SEED}
    if data.n_classes is None:
        defaults["objective"] = "regression"
    elif data.n_classes == 2:
        defaults["objective"] = "binary"
    else:
        defaults |= {"objective": "multiclass"}
        settings["num_class"] = data.n_classes
    # Bit-for-bit repeatable whatever the machine; the layout choice would otherwise be timed at run time.
    return {**defaults, **settings, "deterministic": True, "force_row_wise": True, "num_threads": 1}


def _native(data: TrainingData) -> list[int]:
    sizes = zip(data.categorical, data.cardinalities, strict=True)
    return [column for column, size in sizes if 2 < size <= _MAX_NATIVE]


def _dataset(part: Part, settings: Mapping[str, Any], native: list[int], reference: Any = None) -> Any:
    import lightgbm

    return lightgbm.Dataset(
        part.x,
        label=part.y,
        weight=part.weights,
        categorical_feature=native,
        reference=reference,
        params=dict(settings),
        free_raw_data=True,
    )
