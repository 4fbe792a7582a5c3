"""A fitted model of one fold: how it predicts encoded rows, and how it is kept.

`FittedModel` is the same thing right after the fit and after storage, so that the predictions a run is judged by
are those that its model gives later.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module
from typing import Any, cast

import numpy as np

from rayctl.automl.bundle import DAMAGED, MAX_BYTES, Member, read_bundle, write_bundle
from rayctl.automl.tabular.derived import DerivedFeatures
from rayctl.automl.tabular.families import View
from rayctl.automl.tabular.scale import TargetScale
from rayctl.automl.tabular.training import Predictor
from rayctl.errors import InvalidRequest, TrialError

__all__ = ["BLOB_KIND", "FittedModel", "load_model", "one_thread"]

BLOB_KIND = "tabular-fold"
_DERIVED = "derived.json"
_PREFIX = "model/"
_SUM_TOLERANCE = 1e-3

_PREDICTORS = {
    "lightgbm": "lightgbm_model:LightgbmPredictor",
    "catboost": "catboost_model:CatboostPredictor",
    "forest": "forest_model:ForestPredictor",
    "network": "network_model:NetworkPredictor",
    "neighbors": "neighbors_model:NeighborsPredictor",
    "kernel": "kernel_model:KernelPredictor",
    "object": "object_model:ObjectPredictor",
}


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
    """A predictor with what it needs to see encoded rows.

    ``present``: the class codes that the training rows had, in order (None for regression); the predictor knows
    them as 0, 1, …. ``derived``: features that it computes from the tree form. ``scale``: of a regression's target.
    """

    predictor: Predictor
    view: View
    present: tuple[int, ...] | None
    n_classes: int | None
    derived: DerivedFeatures | None = None
    scale: TargetScale = field(default_factory=TargetScale)

    @property
    def has_proba(self) -> bool:
        """Whether it gives class probabilities."""
        return self.predictor.has_proba

    def matrix(self, rows: np.ndarray) -> np.ndarray:
        """Return the predictor's matrix for encoded rows of the model's view."""
        if self.derived is None:
            return rows
        return np.ascontiguousarray(np.concatenate([rows, self.derived.transform(rows)], axis=1))

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Predict encoded rows of the model's view.

        Returns (n, n_classes) probabilities (float32) if it has them, else (n,) class codes (int64) or numbers
        (float64).

        Raises:
            TrialError: ``invalid-prediction``: wrong shape, not finite, unknown classes.
        """
        values = self.predictor.predict(self.matrix(rows))
        if self.present is None:
            return _finite(self.scale.invert(_vector(values, len(rows))), "predictions")
        assert self.n_classes is not None
        if not self.has_proba:
            codes = _vector(values, len(rows))
            local = _finite(codes, "predictions").astype(np.int64)
            if (local != codes).any() or (local < 0).any() or (local >= len(self.present)).any():
                raise _invalid(
                    "The model predicted labels that it was not trained on.",
                    "Return the class numbers that fit was given in y, from 0 on.",
                )
            return np.asarray(self.present, dtype=np.int64)[local]
        return self._expand(values, len(rows))

    def decision(self, rows: np.ndarray) -> np.ndarray | None:
        """Return scores of the second class, shape (n,), for two-class models with a decision function, else None."""
        decide = getattr(self.predictor, "decision", None)
        values = None if decide is None or self.present != (0, 1) else decide(self.matrix(rows))
        return None if values is None else _finite(_vector(values, len(rows)), "decision values")

    def _expand(self, local: np.ndarray, rows: int) -> np.ndarray:
        """Give classes that were not in the training rows probability 0."""
        assert self.present is not None
        assert self.n_classes is not None
        if local.shape != (rows, len(self.present)):
            raise _invalid(
                f"The model gave probabilities of shape {local.shape}; expected are {(rows, len(self.present))}.",
                "Return one row per row of X, and one column per class that y had, in order.",
            )
        _finite(local, "probabilities")
        if (local < -1e-9).any() or (local > 1 + 1e-6).any():
            raise _invalid("The model gave probabilities outside 0 to 1.", "Return predict_proba as shares of 1.")
        total = local.sum(axis=1, keepdims=True)
        if (total <= 0).any():
            empty = int((total <= 0).sum())
            raise _invalid(
                f"The model gave no class a probability in {empty} of {rows} rows.", "Return rows that sum to 1."
            )
        if (np.abs(total - 1) > _SUM_TOLERANCE).any():
            local = local / total
        if len(self.present) == self.n_classes:
            return local.astype(np.float32)
        full = np.zeros((rows, self.n_classes), dtype=np.float32)
        full[:, list(self.present)] = local
        return full

    def to_blob(self) -> bytes:
        """Return the stored form: a small bundle of kind `BLOB_KIND`."""
        parts, members = self.predictor.to_parts()
        info = {
            "kind": type(self.predictor).kind,
            "view": self.view,
            "present": self.present,
            "n_classes": self.n_classes,
            "scale": self.scale.to_json(),
            "predictor": parts,
            "row_us": round(self.predictor.row_us, 3),
        }
        stored = {_PREFIX + name: member for name, member in members.items()}
        if self.derived is not None:
            stored[_DERIVED] = Member(json.dumps(self.derived.to_json()).encode(), "json")
        return write_bundle(BLOB_KIND, info, stored)


def load_model(blob: bytes, *, allow_pickle: bool, max_bytes: int = MAX_BYTES) -> FittedModel:
    """Rebuild a model from its stored form.

    Raises:
        InvalidRequest: ``untrusted-model``, ``invalid-bundle``, ``missing-extra``.
    """
    opened = read_bundle(blob, kind=BLOB_KIND, max_bytes=max_bytes)
    info, members = opened.info, opened.members
    try:
        module, _, name = _PREDICTORS[info["kind"]].partition(":")
        present = None if info["present"] is None else tuple(int(code) for code in info["present"])
        n_classes = None if present is None else int(info["n_classes"])
        if present is not None and not all(0 <= code < cast(int, n_classes) for code in present):
            raise ValueError("class codes out of range")
        derived = None
        if _DERIVED in members:
            derived = DerivedFeatures.from_json(json.loads(members[_DERIVED].data))
        scale = TargetScale.from_json(info["scale"])
        view, parts = info["view"], dict(info["predictor"])
        if view not in ("tree", "dense"):
            raise ValueError(f"unknown view {view!r}")
        cls = getattr(import_module(f"rayctl.automl.tabular.{module}"), name)
        own = {name.removeprefix(_PREFIX): part for name, part in members.items() if name.startswith(_PREFIX)}
        predictor = cls.load(parts, own, allow_pickle=allow_pickle)
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidRequest(
            f"The model bundle is incomplete: {error!r}.", code="invalid-bundle", hint=DAMAGED
        ) from error
    return FittedModel(predictor, cast(View, view), present, n_classes, derived, scale)


def _vector(values: Any, rows: int) -> np.ndarray:
    array = np.asarray(values)
    if array.shape == (rows, 1):
        array = array[:, 0]
    if array.shape != (rows,):
        raise _invalid(
            f"The model gave predictions of shape {array.shape}; expected is {(rows,)}.",
            "Return one value per row of X.",
        )
    try:
        return array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise _invalid(
            f"The model's predictions are not numbers ({error}).",
            "Return numbers; for classes the numbers that fit was given in y.",
        ) from error


def _invalid(message: str, hint: str) -> TrialError:
    return TrialError(message, code="invalid-prediction", hint=hint)


def _finite(array: np.ndarray, what: str) -> np.ndarray:
    bad = ~np.isfinite(array)
    if bad.any():
        raise TrialError(
            f"{int(bad.sum())} of {bad.size} {what} are missing or infinite.",
            code="invalid-prediction",
            hint="The model may have diverged; try stronger regularisation.",
        )
    return array
