"""Nearest neighbours by scikit-learn, kept as the training rows themselves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from rayctl.automl import estimators
from rayctl.automl.bundle import DAMAGED, Member, dump_arrays, load_arrays
from rayctl.automl.tabular.clock import Clock
from rayctl.automl.tabular.training import TrainingData
from rayctl.errors import InvalidRequest, TrialError

__all__ = ["NeighborsPredictor", "fit_neighbors"]


class NeighborsPredictor:
    """Training rows ``x`` (n, p), their ``y``, and scikit-learn's parameters (JSON).

    The search is by brute force: search trees are compiled structures that a file cannot describe safely.
    """

    kind: ClassVar[str] = "neighbors"
    rounds = 0

    def __init__(self, x: np.ndarray, y: np.ndarray, params: Mapping[str, Any], n_classes: int | None) -> None:
        from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

        self.x, self.y, self.params, self.n_classes = x, y, dict(params), n_classes
        self.has_proba = n_classes is not None
        cls = KNeighborsRegressor if n_classes is None else KNeighborsClassifier
        self._model = estimators.build(cls, "knn", self.params, 0).fit(x, y)

    @property
    def row_us(self) -> float:
        """A distance to each of the rows."""
        return float(0.0002 * self.x.size + 0.0025 * len(self.x))

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Predict rows (see `Predictor.predict`)."""
        return np.asarray(self._model.predict(x) if self.n_classes is None else self._model.predict_proba(x))

    def to_parts(self) -> tuple[dict[str, Any], dict[str, Member]]:
        """Return JSON and the rows."""
        return {"params": self.params, "n_classes": self.n_classes}, {"rows": dump_arrays({"x": self.x, "y": self.y})}

    @classmethod
    def load(cls, info: Mapping[str, Any], members: Mapping[str, Member], *, allow_pickle: bool) -> NeighborsPredictor:
        """Rebuild a predictor from its parts."""
        arrays, n_classes = load_arrays(members["rows"]), info["n_classes"]
        x, y = arrays["x"], arrays["y"]
        if x.ndim != 2 or y.shape != (len(x),) or (n_classes is not None and len(np.unique(y)) != n_classes):
            raise InvalidRequest(
                "The neighbours of the model bundle do not fit together.", code="invalid-bundle", hint=DAMAGED
            )
        return cls(x, y, info["params"], n_classes)


def fit_neighbors(data: TrainingData, params: Mapping[str, Any], seed: int, clock: Clock) -> NeighborsPredictor:
    """Keep the training rows. Parameters are those of scikit-learn's classes; weights of rows have no meaning here."""
    clock.start()
    own = {"algorithm": "brute", **params}
    try:
        own = json.loads(json.dumps(own))
    except (TypeError, ValueError) as error:
        raise TrialError(
            f"A parameter of 'knn' is not plain data ({error}).",
            code="invalid-parameter",
            hint="Give numbers and texts only: the model is stored without code.",
        ) from error
    rows, wanted = len(data.train.y), int(own.get("n_neighbors", 5))
    if wanted > rows:
        raise TrialError(
            f"There are {rows} training rows, fewer than {wanted} neighbours.",
            code="model-error",
            hint="Ask for fewer n_neighbors, or give more rows.",
        )
    return NeighborsPredictor(data.train.x, data.train.y, own, data.n_classes)
