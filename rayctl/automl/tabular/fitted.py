"""Fitting one candidate on some rows of a prepared table, and predicting with what came out.

`FittedModel` is the same thing right after the fit and after a trip through a bundle, so that the predictions a
run is judged by are those that its model gives later.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from rayctl.automl.bundle import Member, dump_object, load_object
from rayctl.automl.engine import Candidate
from rayctl.automl.model import TaskType
from rayctl.automl.tabular.families import Resolved, View, resolve
from rayctl.automl.tabular.prepare import PreparedTable
from rayctl.automl.tabular.views import DenseEncoder, dense_view, tree_matrix, tree_view
from rayctl.errors import InvalidRequest, TrialError

__all__ = ["FittedModel", "fit_model", "one_thread", "restore_model"]


def one_thread() -> Any:
    """Return a context in which linear algebra uses one thread (repeatable, and kind to the other tasks)."""
    return _thread_pools().limit(limits=1)


@lru_cache(maxsize=1)
def _thread_pools() -> Any:
    """Find the thread pools of this process, once: looking for them takes 10 ms."""
    import scipy.linalg  # noqa: F401  (only pools of libraries that are loaded are found)
    import sklearn.utils  # noqa: F401
    from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

    return ThreadpoolController()


@dataclass(frozen=True)
class FittedModel:
    """A fitted estimator with what it needs to see encoded columns.

    ``present``: the class codes that the training rows had, in order (None for regression); the estimator knows
    them as 0, 1, …. ``estimator``: a LightGBM booster or any object with ``predict``. ``center`` and ``scale``: the
    estimator learned ``(target - center) / scale`` (regression).
    """

    view: View
    encoder: DenseEncoder | None
    estimator: Any
    present: tuple[int, ...] | None
    n_classes: int | None
    center: float = 0.0
    scale: float = 1.0

    @property
    def has_proba(self) -> bool:
        """Whether it gives class probabilities."""
        return self.present is not None and (_is_booster(self.estimator) or hasattr(self.estimator, "predict_proba"))

    def matrix(self, numeric: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Return encoded columns in the form that the estimator was fitted on."""
        return tree_matrix(numeric, codes) if self.encoder is None else self.encoder.transform(numeric, codes)

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        """Predict rows of a view: (n, n_classes) probabilities if it has them, else (n,) class codes or numbers.

        Raises:
            TrialError: ``invalid-prediction``: wrong shape, not finite, unknown classes.
        """
        if self.present is None:
            values = self.estimator.predict(matrix)
            return _finite(_vector(values, len(matrix)) * self.scale + self.center, "predictions")
        assert self.n_classes is not None
        if not self.has_proba:
            codes = _vector(self.estimator.predict(matrix), len(matrix))
            local = _finite(codes, "predictions").astype(np.int64)
            if (local != codes).any() or (local < 0).any() or (local >= len(self.present)).any():
                raise TrialError("The model predicted labels that it was not trained on.", code="invalid-prediction")
            return np.asarray(self.present, dtype=np.int64)[local]
        return self._expand(self._local_proba(matrix), len(matrix))

    def decision(self, matrix: np.ndarray) -> np.ndarray | None:
        """Return scores of the second class, shape (n,), for two-class models with a decision function, else None."""
        if self.n_classes != 2 or self.present != (0, 1) or not hasattr(self.estimator, "decision_function"):
            return None
        return _finite(_vector(self.estimator.decision_function(matrix), len(matrix)), "decision values")

    def _local_proba(self, matrix: np.ndarray) -> np.ndarray:
        if _is_booster(self.estimator):
            values = np.asarray(self.estimator.predict(matrix, num_threads=1), dtype=np.float64)
            return np.column_stack([1.0 - values, values]) if values.ndim == 1 else values
        return np.asarray(self.estimator.predict_proba(matrix), dtype=np.float64)

    def _expand(self, local: np.ndarray, rows: int) -> np.ndarray:
        """Give classes that were not in the training rows probability 0."""
        assert self.present is not None
        assert self.n_classes is not None
        if local.shape != (rows, len(self.present)):
            raise TrialError(
                f"The model gave probabilities of shape {local.shape}; expected are {(rows, len(self.present))}.",
                code="invalid-prediction",
            )
        _finite(local, "probabilities")
        if (local < -1e-9).any() or (local > 1 + 1e-6).any():
            raise TrialError("The model gave probabilities outside 0 to 1.", code="invalid-prediction")
        full = np.zeros((rows, self.n_classes))
        full[:, list(self.present)] = local
        return full

    def to_bundle(self) -> tuple[dict[str, Any], dict[str, Member]]:
        """Return (JSON information, members) from which `restore_model` makes an equal model."""
        info = {name: getattr(self, name) for name in ("view", "present", "n_classes", "center", "scale")}
        members = {}
        if self.encoder is not None:
            members["encoder.json"] = Member(json.dumps(self.encoder.to_json()).encode(), "json")
        if _is_booster(self.estimator):
            members["model"] = Member(self.estimator.model_to_string().encode(), "lightgbm")
        else:
            members["model"] = dump_object(self.estimator)
        return info, members


def restore_model(info: Mapping[str, Any], members: Mapping[str, Member], *, allow_pickle: bool) -> FittedModel:
    """Rebuild a model from a bundle.

    Raises:
        InvalidRequest: ``untrusted-model``, ``invalid-bundle``.
    """
    try:
        encoder = None
        if info["view"] == "dense":
            encoder = DenseEncoder.from_json(json.loads(members["encoder.json"].data))
        member = members["model"]
        present = None if info["present"] is None else tuple(info["present"])
        n_classes, center, scale = info["n_classes"], float(info["center"]), float(info["scale"])
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidRequest(f"The model bundle is incomplete: {error!r}.", code="invalid-bundle") from error
    estimator = _booster(member.data) if member.stored == "lightgbm" else load_object(member, allow_pickle=allow_pickle)
    return FittedModel(info["view"], encoder, estimator, present, n_classes, center, scale)


def fit_model(
    prepared: PreparedTable, train: np.ndarray, candidate: Candidate, task: TaskType, seed: int
) -> FittedModel:
    """Fit a candidate on the rows ``train`` (positions).

    Raises:
        TrialError: ``model-error`` if the rows hold one class only.
        InvalidRequest: ``unknown-model``, ``unknown-parameter``.
        Exception: whatever the model raises.
    """
    resolved = resolve(candidate.model, candidate.pickled_class, task)
    estimator = resolved.build(candidate.params, seed)
    encoder, matrix = view_of(prepared, train, resolved.view)
    target, present, center, scale = prepared.target[train], None, 0.0, 1.0
    if prepared.n_classes is not None:
        found, target = np.unique(target, return_inverse=True)
        present = tuple(found.tolist())
        if len(present) < 2:
            raise TrialError("The training part of the fold has rows of one class only.", code="model-error")
    elif resolved.family is not None and resolved.family.scale_target:
        center, scale = float(target.mean()), float(target.std()) or 1.0
        target = (target - center) / scale
    fitted = _fit(estimator, resolved, prepared, matrix[train], target)
    return FittedModel(resolved.view, encoder, fitted, present, prepared.n_classes, center, scale)


def view_of(prepared: PreparedTable, train: np.ndarray, view: View) -> tuple[DenseEncoder | None, np.ndarray]:
    """Return (encoder or None, matrix of all rows) for a view; statistics come from the rows ``train`` only."""
    return (None, tree_view(prepared)) if view == "tree" else dense_view(prepared, train)


def _fit(estimator: Any, resolved: Resolved, prepared: PreparedTable, matrix: np.ndarray, target: np.ndarray) -> Any:
    if resolved.family is None:
        fitted = estimator.fit(matrix, target)
        # Some libraries return None from fit; scikit-learn's return the estimator itself.
        return estimator if fitted is None else fitted
    with warnings.catch_warnings():
        # Our own settings stop some models before they converge, on purpose: the budget decides, not the optimum.
        warnings.simplefilter("ignore")
        if resolved.family.name == "mlp" and (len(target) < 500 or _has_singleton(prepared, target)):
            estimator.set_params(early_stopping=False)  # too little to set aside for it
        if resolved.family.name != "lightgbm":
            return estimator.fit(matrix, target)
        first = prepared.numeric.shape[1]
        estimator.fit(matrix, target, categorical_feature=list(range(first, matrix.shape[1])))
    return _booster(estimator.booster_.model_to_string().encode())


def _has_singleton(prepared: PreparedTable, target: np.ndarray) -> bool:
    return prepared.n_classes is not None and int(np.bincount(target).min()) < 2


def _booster(text: bytes) -> Any:
    from lightgbm import Booster

    try:
        return Booster(model_str=text.decode())
    except Exception as error:  # LightGBM raises its own and built-in types on a malformed text
        raise InvalidRequest(f"The LightGBM model cannot be read: {error}", code="invalid-bundle") from error


def _is_booster(estimator: Any) -> bool:
    return type(estimator).__module__ == "lightgbm.basic" and type(estimator).__name__ == "Booster"


def _vector(values: Any, rows: int) -> np.ndarray:
    array = np.asarray(values)
    if array.shape == (rows, 1):
        array = array[:, 0]
    if array.shape != (rows,):
        raise TrialError(
            f"The model gave predictions of shape {array.shape}; expected is {(rows,)}.", code="invalid-prediction"
        )
    try:
        return array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise TrialError(f"The model's predictions are not numbers ({error}).", code="invalid-prediction") from error


def _finite(array: np.ndarray, what: str) -> np.ndarray:
    bad = ~np.isfinite(array)
    if bad.any():
        raise TrialError(
            f"{int(bad.sum())} of {bad.size} {what} are missing or infinite.",
            code="invalid-prediction",
            hint="The model may have diverged; try stronger regularisation.",
        )
    return array
