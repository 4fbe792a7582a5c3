"""A second model that learns how to combine trials from their validation predictions.

Classes: a log-linear pool, ``softmax(sum_m a_m log p_m + b)``, with one coefficient per trial and one offset per class
(logistic regression on log-odds if there are two). Numbers: a linear model. Both are drawn towards the greedy weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rayctl.automl.tabular.mixing import TINY
from rayctl.automl.tabular.network_model import softmax
from rayctl.automl.tabular.oof import Validation

__all__ = ["Stack", "fit_stack"]

_PULLS = (0.0003, 0.003, 0.03, 0.3)
_OFFSET_PULL = 0.1


@dataclass(frozen=True)
class Stack:
    """``coefficients``: trial → a; ``offsets``: one per class, or one number (regression)."""

    coefficients: Mapping[int, float]
    offsets: tuple[float, ...]

    def predict(self, parts: Mapping[int, np.ndarray]) -> np.ndarray:
        """Return the combined predictions: (n, classes) probabilities or (n,) numbers."""
        trials = sorted(self.coefficients)
        if parts[trials[0]].ndim == 1:
            return np.sum([self.coefficients[t] * parts[t] for t in trials], axis=0) + self.offsets[0]
        return softmax(np.sum([self.coefficients[t] * _logs(parts[t]) for t in trials], axis=0) + self.offsets)

    def shares(self) -> dict[int, float]:
        """Return each trial's share, for the leaderboard: its absolute coefficient against all (0.001 at least)."""
        sizes = {trial: max(abs(value), 1e-3) for trial, value in self.coefficients.items()}
        return {trial: size / sum(sizes.values()) for trial, size in sizes.items()}

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form kept in bundles."""
        return {"trials": {str(t): float(a) for t, a in self.coefficients.items()}, "offsets": list(self.offsets)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Stack:
        """Rebuild a stack from its JSON form."""
        coefficients = {int(trial): float(a) for trial, a in value["trials"].items()}
        return cls(coefficients, tuple(float(offset) for offset in value["offsets"]))


def fit_stack(
    validation: Validation, predictions: Mapping[int, np.ndarray], weights: Mapping[int, float]
) -> tuple[Stack, np.ndarray]:
    """Fit on validation predictions; return (the stack, its predictions of rows that it was not fitted on).

    The strength of the pull towards ``weights`` is the one with the least cross-validated loss.
    """
    trials = sorted(predictions)
    if validation.n_classes is None:
        stacked = np.column_stack([predictions[trial] for trial in trials])
    else:
        stacked = np.stack([_logs(predictions[trial]) for trial in trials], axis=1)
    towards = np.array([weights.get(trial, 0.0) for trial in trials])
    best: tuple[float, float, np.ndarray] | None = None
    for pull in _PULLS:

        def fit(part: Validation, values: np.ndarray, pull: float = pull) -> Any:
            stack = _fit(part, values, trials, towards, pull)
            return lambda others: _apply(stack, others, trials)

        unseen = validation.cross_validated(fit, stacked)
        loss = _loss(validation, unseen)
        if best is None or loss < best[0]:
            best = (loss, pull, unseen)
    assert best is not None
    return _fit(validation, stacked, trials, towards, best[1]), best[2]


def _logs(proba: np.ndarray) -> np.ndarray:
    return np.log(np.clip(np.asarray(proba, dtype=np.float64), TINY, 1.0))


def _apply(stack: Stack, values: np.ndarray, trials: list[int]) -> np.ndarray:
    a = np.array([stack.coefficients[trial] for trial in trials])
    if values.ndim == 2:
        return values @ a + stack.offsets[0]
    return softmax(np.einsum("nmk,m->nk", values, a) + np.asarray(stack.offsets))


def _loss(validation: Validation, predicted: np.ndarray) -> float:
    if predicted.ndim == 1:
        losses = (predicted - validation.truth) ** 2
    else:
        losses = -np.log(np.clip(predicted[np.arange(len(predicted)), validation.truth], TINY, 1.0))
    return float(np.average(losses, weights=validation.weights))


def _fit(validation: Validation, values: np.ndarray, trials: list[int], towards: np.ndarray, pull: float) -> Stack:
    mass = np.ones(len(values)) if validation.weights is None else validation.weights
    mass = mass / mass.sum()
    if values.ndim == 2:
        return _linear(values, validation.truth, mass, trials, towards, pull)
    return _pool(values, validation.truth, mass, trials, towards, pull)


def _linear(
    values: np.ndarray, truth: np.ndarray, mass: np.ndarray, trials: list[int], towards: np.ndarray, pull: float
) -> Stack:
    """Least squares with ``pull`` × (the trials' mean variance) × |a - towards|², in closed form."""
    centers, center = mass @ values, float(mass @ truth)
    x, y = values - centers, truth - center
    spread = float((mass @ x**2).mean()) or 1.0
    gram = (x * mass[:, None]).T @ x + pull * spread * np.eye(len(trials))
    a = np.linalg.solve(gram, (x * mass[:, None]).T @ y + pull * spread * towards)
    return Stack(dict(zip(trials, a.tolist(), strict=True)), (center - float(centers @ a),))


def _pool(
    values: np.ndarray, truth: np.ndarray, mass: np.ndarray, trials: list[int], towards: np.ndarray, pull: float
) -> Stack:
    from scipy.optimize import minimize

    members, classes = values.shape[1:]
    rows = np.arange(len(values))

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        a, b = theta[:members], theta[members:]
        proba = softmax(np.einsum("nmk,m->nk", values, a) + b)
        value = -mass @ np.log(np.maximum(proba[rows, truth], 1e-15))
        off = proba
        off[rows, truth] -= 1.0
        off *= mass[:, None]
        gradient = np.concatenate([np.einsum("nk,nmk->m", off, values), off.sum(axis=0)])
        value += pull * ((a - towards) ** 2).sum() + pull * _OFFSET_PULL * (b**2).sum()
        gradient[:members] += 2 * pull * (a - towards)
        gradient[members:] += 2 * pull * _OFFSET_PULL * b
        return float(value), gradient

    start = np.concatenate([towards, np.zeros(classes)])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 200}).x
    return Stack(dict(zip(trials, found[:members].tolist(), strict=True)), tuple(found[members:].tolist()))
