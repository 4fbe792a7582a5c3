"""A caller's own classes: models that are kept as the objects that they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from rayctl.automl import estimators
from rayctl.automl.bundle import Member, dump_object, load_object
from rayctl.automl.tabular.clock import Clock
from rayctl.automl.tabular.training import TrainingData

__all__ = ["ObjectPredictor", "fit_object"]


class ObjectPredictor:
    """Any object with ``predict`` and perhaps ``predict_proba``, ``decision_function``.

    ``n_classes``: classes that the object was fitted on (None for regression).
    """

    kind: ClassVar[str] = "object"
    rounds = 0

    def __init__(self, estimator: Any, n_classes: int | None) -> None:
        self.estimator = estimator
        self.n_classes = n_classes
        self.has_proba = n_classes is not None and hasattr(estimator, "predict_proba")

    @property
    def row_us(self) -> float:
        """Nobody knows."""
        return 5.0

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Predict rows (see `Predictor.predict`). What comes out is not checked yet."""
        x = x.astype(np.float64)
        if not self.has_proba:
            return np.asarray(self.estimator.predict(x))
        return np.asarray(self.estimator.predict_proba(x))

    def decision(self, x: np.ndarray) -> np.ndarray | None:
        """Return scores of the second of two classes if the object has a decision function, else None."""
        if self.n_classes != 2 or not hasattr(self.estimator, "decision_function"):
            return None
        return np.asarray(self.estimator.decision_function(x.astype(np.float64)))

    def to_parts(self) -> tuple[dict[str, Any], dict[str, Member]]:
        """Return JSON and the object: by skops if it consists of known types, else pickled."""
        return {"n_classes": self.n_classes}, {"model": dump_object(self.estimator)}

    @classmethod
    def load(cls, info: Mapping[str, Any], members: Mapping[str, Member], *, allow_pickle: bool) -> ObjectPredictor:
        """Rebuild a predictor from its parts."""
        return cls(load_object(members["model"], allow_pickle=allow_pickle), info["n_classes"])


def fit_object(
    cls: type, name: str, data: TrainingData, params: Mapping[str, Any], seed: int, clock: Clock
) -> ObjectPredictor:
    """Fit a class with ``fit(X, y)``; weights are passed on if its ``fit`` takes ``sample_weight``."""
    clock.start()
    estimator = estimators.build(cls, name, params, seed)
    weighted = {}
    if data.train.weights is not None and estimators.takes_weights(estimator):
        weighted = {"sample_weight": data.train.weights}
    fitted = estimator.fit(data.train.x.astype(np.float64), data.train.y, **weighted)
    # Some libraries return None from fit; scikit-learn's return the estimator itself.
    return ObjectPredictor(estimator if fitted is None else fitted, data.n_classes)
