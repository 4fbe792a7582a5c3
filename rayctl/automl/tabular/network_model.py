"""Layers of weights: how linear models and small neural networks of scikit-learn are kept and predict.

A linear model is a network without hidden layers. Two dozen lines predict with either, so nothing of
scikit-learn has to be stored.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from rayctl.automl.bundle import DAMAGED, Member, dump_arrays, load_arrays
from rayctl.errors import InvalidRequest

__all__ = ["CHUNK_ROWS", "NetworkPredictor", "softmax"]

_ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "identity": lambda x: x,
    "relu": lambda x: np.maximum(x, 0, out=x),
    "tanh": np.tanh,
    "logistic": lambda x: 1.0 / (1.0 + np.exp(-np.clip(x, -60, 60))),
}
CHUNK_ROWS = 8192


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return probabilities of rows of logits, shape (n, k)."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


class NetworkPredictor:
    """Dense layers. ``weights[i]`` (inputs, outputs), ``biases[i]`` (outputs,).

    The last layer gives the number (regression), the log-odds of the second of two classes (one output), or a
    logit per class.
    """

    kind: ClassVar[str] = "network"
    rounds = 0

    def __init__(
        self, weights: Sequence[np.ndarray], biases: Sequence[np.ndarray], activation: str, n_classes: int | None
    ) -> None:
        self.weights = [np.ascontiguousarray(layer) for layer in weights]
        self.biases = list(biases)
        self.activation = activation
        self.n_classes = n_classes
        self.has_proba = n_classes is not None
        self._check()

    @property
    def row_us(self) -> float:
        """One multiplication per weight."""
        return 0.1 + 0.00006 * sum(layer.size for layer in self.weights)

    def _check(self) -> None:
        sizes = [layer.shape for layer in self.weights]
        fits = bool(sizes) and len(self.biases) == len(sizes) and self.activation in _ACTIVATIONS
        fits = fits and all(len(size) == 2 for size in sizes)
        fits = fits and all(bias.shape == (size[1],) for bias, size in zip(self.biases, sizes, strict=True))
        fits = fits and all(left[1] == right[0] for left, right in itertools.pairwise(sizes))
        outputs = (1,) if self.n_classes is None else (1, 2) if self.n_classes == 2 else (self.n_classes,)
        if not fits or sizes[-1][1] not in outputs:
            raise InvalidRequest(
                "The layers of the model bundle do not fit together.", code="invalid-bundle", hint=DAMAGED
            )

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Predict rows (see `Predictor.predict`)."""
        # In chunks of equal shape: keeps temporaries small, and rows' results independent of how many there are.
        parts = [self._outputs(x[at : at + CHUNK_ROWS]) for at in range(0, len(x), CHUNK_ROWS)]
        out = np.concatenate(parts) if parts else np.empty((0, self.weights[-1].shape[1]))
        if self.n_classes is None:
            return out[:, 0]
        if out.shape[1] == 1:
            second = _ACTIVATIONS["logistic"](out[:, 0])
            return np.column_stack([1.0 - second, second])
        return softmax(out)

    def _outputs(self, x: np.ndarray) -> np.ndarray:
        for place, (layer, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = x.astype(layer.dtype, copy=False) @ layer + bias
            if place < len(self.weights) - 1:
                x = _ACTIVATIONS[self.activation](x)
        return x.astype(np.float64)

    def to_parts(self) -> tuple[dict[str, Any], dict[str, Member]]:
        """Return JSON and the layers."""
        arrays = {f"weights_{place}": layer for place, layer in enumerate(self.weights)}
        arrays |= {f"bias_{place}": bias for place, bias in enumerate(self.biases)}
        info = {"layers": len(self.weights), "activation": self.activation, "n_classes": self.n_classes}
        return info, {"layers": dump_arrays(arrays)}

    @classmethod
    def load(cls, info: Mapping[str, Any], members: Mapping[str, Member], *, allow_pickle: bool) -> NetworkPredictor:
        """Rebuild a predictor from its parts."""
        arrays, layers = load_arrays(members["layers"]), range(int(info["layers"]))
        weights = [arrays[f"weights_{place}"] for place in layers]
        return cls(weights, [arrays[f"bias_{place}"] for place in layers], str(info["activation"]), info["n_classes"])
