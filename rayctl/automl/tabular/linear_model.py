"""Linear models by scikit-learn: logistic regression for classes, ridge regression for numbers."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from rayctl.automl import estimators
from rayctl.automl.tabular.clock import Clock
from rayctl.automl.tabular.network_model import NetworkPredictor
from rayctl.automl.tabular.training import TrainingData

__all__ = ["fit_linear"]

_CHUNK = 40
_DEFAULT_ITERATIONS = 300


def fit_linear(data: TrainingData, params: Mapping[str, Any], seed: int, clock: Clock) -> NetworkPredictor:
    """Fit with the parameters of LogisticRegression or Ridge. Steps of the clock are iterations of the solver.

    Solvers that can continue (all of LogisticRegression but liblinear) run in chunks; how they are cut does not
    depend on the clock, so that a repetition goes the same way.
    """
    from sklearn import linear_model

    clock.start()
    x = data.train.x.astype(np.float64)
    if data.n_classes is None:
        ridge = estimators.build(linear_model.Ridge, "linear", params, seed)
        ridge.fit(x, data.train.y, sample_weight=data.train.weights)
        return NetworkPredictor([ridge.coef_.reshape(-1, 1)], [np.atleast_1d(ridge.intercept_)], "identity", None)
    logistic = estimators.build(linear_model.LogisticRegression, "linear", params, seed)
    total = int(params.get("max_iter", _DEFAULT_ITERATIONS))
    chunk = total if logistic.solver == "liblinear" else _CHUNK
    logistic.set_params(warm_start=chunk < total)
    done = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # stopping before convergence is on purpose
        while done < total:
            step = min(chunk, total - done)
            if clock.stop_at is not None:
                step = max(1, min(step, clock.stop_at - done))
            logistic.set_params(max_iter=step)
            logistic.fit(x, data.train.y, sample_weight=data.train.weights)
            done += step
            if int(np.max(logistic.n_iter_)) < step or (done < total and clock.ends(done)):
                break
    return NetworkPredictor([logistic.coef_.T], [logistic.intercept_], "identity", data.n_classes)
