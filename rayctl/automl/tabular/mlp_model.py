"""Small neural networks by scikit-learn, trained epoch by epoch with early stopping and the clock."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from rayctl.automl import estimators
from rayctl.automl.tabular.clock import Clock
from rayctl.automl.tabular.network_model import NetworkPredictor
from rayctl.automl.tabular.training import Part, TrainingData

__all__ = ["fit_mlp"]

_DEFAULT_EPOCHS = 60
_PATIENCE = 8


def fit_mlp(data: TrainingData, params: Mapping[str, Any], seed: int, clock: Clock) -> NetworkPredictor:
    """Fit with the parameters of MLPClassifier or MLPRegressor. Steps of the clock are epochs.

    With ``early_stopping`` the loss of ``data.watch`` is looked at after every epoch; ``n_iter_no_change`` epochs
    without a better one end the fit, and the best weights are kept. The solver lbfgs runs in one piece.
    """
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    own = dict(params)
    epochs = int(own.pop("max_iter", _DEFAULT_EPOCHS))
    patience = int(own.pop("n_iter_no_change", _PATIENCE))
    watch = data.watch if own.pop("early_stopping", True) else None
    cls = MLPRegressor if data.n_classes is None else MLPClassifier
    network = estimators.build(cls, "mlp", own, seed)
    clock.start()
    train = data.train
    weighted = {} if train.weights is None else {"sample_weight": train.weights}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # stopping before convergence is on purpose
        if network.solver == "lbfgs":
            network.set_params(max_iter=epochs).fit(train.x, train.y, **weighted)
            return _predictor(network, data.n_classes)
        best, best_loss, best_epoch = None, np.inf, 0
        first = {} if data.n_classes is None else {"classes": np.arange(data.n_classes)}
        for epoch in range(1, epochs + 1):
            network.partial_fit(train.x, train.y, **weighted, **(first if epoch == 1 else {}))
            if watch is not None:
                predictor = _predictor(network, data.n_classes)
                loss = _loss(predictor, watch)
                if loss < best_loss or best is None:
                    best, best_loss, best_epoch = _copied(predictor), loss, epoch
                elif epoch - best_epoch >= patience:
                    break
            if epoch < epochs and clock.ends(epoch):
                break
    return _predictor(network, data.n_classes) if best is None else best


def _predictor(network: Any, n_classes: int | None) -> NetworkPredictor:
    return NetworkPredictor(network.coefs_, network.intercepts_, network.activation, n_classes)


def _copied(predictor: NetworkPredictor) -> NetworkPredictor:
    """Return a predictor of its own memory: the optimiser changes the weights in place."""
    weights, biases = [layer.copy() for layer in predictor.weights], [bias.copy() for bias in predictor.biases]
    return NetworkPredictor(weights, biases, predictor.activation, predictor.n_classes)


def _loss(predictor: NetworkPredictor, watch: Part) -> float:
    """Return the log loss or mean squared error on the watched rows (NaN counts as infinite)."""
    predicted = predictor.predict(watch.x)
    if predictor.n_classes is None:
        losses = (predicted - watch.y) ** 2
    else:
        losses = -np.log(np.maximum(predicted[np.arange(len(watch.y)), watch.y], 1e-7))
    loss = float(np.average(losses, weights=watch.weights))
    return loss if np.isfinite(loss) else np.inf
