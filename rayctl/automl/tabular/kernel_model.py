"""Kernel models by scikit-learn: likeness to some of the training rows, weighted by ridge or logistic regression."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, cast

import numpy as np

from rayctl.automl.bundle import DAMAGED, Member, dump_arrays, load_arrays
from rayctl.automl.tabular.clock import Clock
from rayctl.automl.tabular.network_model import NetworkPredictor
from rayctl.automl.tabular.training import Part, TrainingData
from rayctl.errors import InvalidRequest

__all__ = ["DEFAULT_LANDMARKS", "KernelPredictor", "check_values", "fit_kernel"]

Kernel = Literal["laplacian", "rbf"]

DEFAULT_LANDMARKS = 1000
_DEFAULT_WIDTH = 2.0
_METRICS = {"laplacian": "manhattan", "rbf": "sqeuclidean"}
_STRENGTHS = (10.0, 100.0, 1000.0)  # inverse regularisation of the logistic regression, weakest last
_RIDGE_ALPHAS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
_ITERATIONS = 200
_WIDTH_ROWS = 400
_CHUNK_ROWS = 2048


class KernelPredictor:
    """A weighted sum of kernels at landmarks: exp(-gamma * distance) to rows of the training part.

    ``landmarks`` (m, p); ``network``: one layer from the m kernels to the outputs.
    """

    kind: ClassVar[str] = "kernel"
    rounds = 0

    def __init__(self, landmarks: np.ndarray, kernel: Kernel, gamma: float, network: NetworkPredictor) -> None:
        if kernel not in _METRICS or not gamma > 0 or landmarks.ndim != 2 or len(network.weights[0]) != len(landmarks):
            raise InvalidRequest(
                "The parts of a kernel model do not fit together.", code="invalid-bundle", hint=DAMAGED
            )
        self.landmarks, self.kernel, self.gamma, self.network = landmarks, kernel, gamma, network
        self.has_proba = network.has_proba

    @property
    def row_us(self) -> float:
        """A distance to each of the landmarks."""
        return float(0.0003 * self.landmarks.size + 0.008 * len(self.landmarks))

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Predict rows (see `Predictor.predict`)."""
        # In chunks: a row has as many kernels as there are landmarks.
        starts = range(0, max(1, len(x)), _CHUNK_ROWS)
        kernels = (
            _kernels(x[at : at + _CHUNK_ROWS], self.landmarks, self.kernel, self.gamma)
            if len(x)
            else np.empty((0, len(self.landmarks)))
            for at in starts
        )
        return np.concatenate([self.network.predict(part) for part in kernels])

    def to_parts(self) -> tuple[dict[str, Any], dict[str, Member]]:
        """Return JSON, the landmarks and the layer."""
        info, members = self.network.to_parts()
        parts = {"kernel": self.kernel, "gamma": self.gamma, "network": info}
        return parts, {**members, "landmarks": dump_arrays({"landmarks": self.landmarks})}

    @classmethod
    def load(cls, info: Mapping[str, Any], members: Mapping[str, Member], *, allow_pickle: bool) -> KernelPredictor:
        """Rebuild a predictor from its parts."""
        landmarks = load_arrays(members["landmarks"])["landmarks"]
        network = NetworkPredictor.load(info["network"], members, allow_pickle=allow_pickle)
        return cls(landmarks, info["kernel"], float(info["gamma"]), network)


def fit_kernel(data: TrainingData, params: Mapping[str, Any], seed: int, clock: Clock) -> KernelPredictor:
    """Fit by the Nyström approximation (Williams and Seeger, "Using the Nyström Method to Speed Up Kernel Machines",
    NIPS 2000). Steps of the clock are strengths of the logistic regression; ridge regression is one step.

    Parameters: ``kernel`` (laplacian or rbf); ``width``: the kernel is 1/e at so many times the median distance of two
    rows; ``n_components``: landmarks at most. The strength of regularisation is chosen: for numbers by leave-one-out
    errors, for classes by the rows that may be watched.

    Raises:
        InvalidRequest: ``invalid-parameter``.
    """
    from sklearn.kernel_approximation import Nystroem

    kernel, width, most = check_values(params)
    clock.start()
    x = data.train.x.astype(np.float64)
    rng = np.random.default_rng(seed)
    gamma = 1.0 / (width * _median_distance(x, kernel, rng))
    landmarks = min(most, len(x))
    mapping = Nystroem(kernel=kernel, gamma=gamma, n_components=landmarks, random_state=int(rng.integers(2**31)))
    features = mapping.fit_transform(x)
    # Weights of the mapped features are moved in front of the mapping: what remains is a sum over landmarks.
    back = mapping.normalization_.T
    if data.n_classes is None:
        weights, bias = _ridge(features, data.train)
        network = NetworkPredictor([back @ weights], [bias], "identity", None)
    else:
        watched = None
        if data.watch is not None:
            seen = _kernels(data.watch.x, mapping.components_, kernel, gamma) @ back
            watched = Part(seen, data.watch.y, data.watch.weights)
        weights, bias = _logistic(features, data.train, watched, data.n_classes, seed, clock)
        network = NetworkPredictor([back @ weights], [bias], "identity", data.n_classes)
    return KernelPredictor(mapping.components_.astype(np.float32), kernel, gamma, network)


def check_values(params: Mapping[str, Any]) -> tuple[Kernel, float, int]:
    """Return kernel, width and number of landmarks.

    Raises:
        InvalidRequest: ``invalid-parameter``.
    """
    kernel = params.get("kernel", "laplacian")
    width, most = params.get("width", _DEFAULT_WIDTH), params.get("n_components", DEFAULT_LANDMARKS)
    if kernel not in _METRICS:
        raise _refused(f"There is no kernel {kernel!r}.", "Choose laplacian or rbf.")
    for name, value, least in (("width", width, 0.0), ("n_components", most, 1.0)):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not np.isfinite(value) or value <= 0:
            raise _refused(f"{name} of 'kernel' is {value!r}.", "Give a finite number above 0.")
        if value < least:
            raise _refused(f"{name} of 'kernel' is {value!r}.", f"Give at least {least:g}.")
    return cast(Kernel, kernel), float(width), int(most)


def _refused(message: str, hint: str) -> InvalidRequest:
    return InvalidRequest(message, code="invalid-parameter", hint=hint)


def _kernels(x: np.ndarray, landmarks: np.ndarray, kernel: Kernel, gamma: float) -> np.ndarray:
    """Return the kernel of every row with every landmark: float64 (n, m)."""
    from sklearn.metrics.pairwise import laplacian_kernel, rbf_kernel

    function = laplacian_kernel if kernel == "laplacian" else rbf_kernel
    return np.asarray(function(x.astype(np.float64, copy=False), landmarks.astype(np.float64, copy=False), gamma=gamma))


def _median_distance(x: np.ndarray, kernel: Kernel, rng: np.random.Generator) -> float:
    """Return the median distance of two different rows of a sample (1 where half of them are alike)."""
    from scipy.spatial.distance import pdist

    rows = rng.choice(len(x), min(len(x), _WIDTH_ROWS), replace=False)
    metric: Any = {"manhattan": "cityblock"}.get(_METRICS[kernel], _METRICS[kernel])
    return float(np.median(pdist(x[rows], metric))) or 1.0


def _ridge(features: np.ndarray, train: Part) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.linear_model import RidgeCV

    model = RidgeCV(alphas=_RIDGE_ALPHAS).fit(features, train.y, sample_weight=train.weights)
    return model.coef_.reshape(-1, 1), np.atleast_1d(model.intercept_)


def _logistic(
    features: np.ndarray, train: Part, watched: Part | None, n_classes: int, seed: int, clock: Clock
) -> tuple[np.ndarray, np.ndarray]:
    """Return (weights, bias) of the strength with the least loss on the watched rows; of the middle one without them.

    From strong regularisation to weak, each fit begins where the last one ended; a worse loss is the end.
    """
    from sklearn.linear_model import LogisticRegression

    tried: Sequence[float] = _STRENGTHS if watched is not None else _STRENGTHS[1:2]
    model = LogisticRegression(max_iter=_ITERATIONS, warm_start=True, random_state=seed)
    best: tuple[float, np.ndarray, np.ndarray] | None = None
    for done, strength in enumerate(tried, start=1):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # stopping before convergence is on purpose
            model.set_params(C=strength).fit(features, train.y, sample_weight=train.weights)
        weights, bias = model.coef_.T.copy(), model.intercept_.copy()
        found = NetworkPredictor([weights], [bias], "identity", n_classes)
        loss = 0.0 if watched is None else _log_loss(found, watched)
        if best is not None and loss >= best[0]:
            break
        best = (loss, weights, bias)
        if done < len(tried) and clock.ends(done):
            break
    assert best is not None
    return best[1], best[2]


def _log_loss(model: NetworkPredictor, part: Part) -> float:
    predicted = model.predict(part.x)[np.arange(len(part.y)), part.y]
    return float(np.average(-np.log(np.maximum(predicted, 1e-7)), weights=part.weights))
