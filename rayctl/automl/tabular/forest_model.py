"""Random forests and extremely randomised trees by scikit-learn: grown by the clock, stored as plain arrays.

A forest is kept as concatenated arrays of its trees (`ForestPredictor`): saving and loading scikit-learn's own
objects takes seconds, and half of what they hold is not needed to predict. The trees that predict are
scikit-learn's, rebuilt from the arrays.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from rayctl.automl.bundle import DAMAGED, Member, dump_arrays, load_arrays
from rayctl.automl.tabular.clock import Clock
from rayctl.automl.tabular.training import TrainingData
from rayctl.errors import InvalidRequest

__all__ = ["ForestPredictor", "fit_extra_trees", "fit_random_forest"]

_MAX_TOTAL_NODES = 1_500_000  # about 20 MB as arrays, before compression
_DEFAULT_TREES = 100
_STEP_TREES = 16
_AFTER_NODE_S = 4e-7  # to take over, check and compress


class ForestPredictor:
    """A forest as arrays, one entry per node of all trees; a tree's nodes are in preorder.

    ``sizes`` int32 (trees,): number of nodes of each tree. ``feature`` int16 or int32: the column that an inner node
    tests, -1 for a leaf. ``threshold`` float32: values up to it go left (to the next node). ``right`` int32: position
    of the right child within the tree, 0 for leaves. ``missing_left`` uint8: whether missing values go left.
    ``values`` float32 (leaves, outputs): what leaves predict, in order: the mean, or the shares of all classes but
    the first.
    """

    kind: ClassVar[str] = "forest"
    rounds = 0

    def __init__(self, arrays: Mapping[str, np.ndarray], n_features: int, n_classes: int | None) -> None:
        self.arrays = dict(arrays)
        self.n_features = n_features
        self.n_classes = n_classes
        self.has_proba = n_classes is not None
        _check(self.arrays, n_features)

    @cached_property
    def _trees(self) -> list[tuple[Any, np.ndarray]]:
        return _rebuild(self.arrays, self.n_features)

    @property
    def row_us(self) -> float:
        """Trees times their depth."""
        trees = len(self.arrays["sizes"])
        return trees * 0.009 * math.log2(2 + len(self.arrays["feature"]) / trees)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Predict rows (see `Predictor.predict`)."""
        x = np.ascontiguousarray(x, dtype=np.float32)
        total = np.zeros((len(x), self.arrays["values"].shape[1]))
        for tree, values in self._trees:
            total += values[tree.apply(x)]
        mean = total / len(self._trees)
        if self.n_classes is None:
            return mean[:, 0]
        return np.column_stack([1.0 - mean.sum(axis=1), mean]).clip(0.0, 1.0)

    def thinned(self, trees: int) -> ForestPredictor:
        """Return the forest of the first ``trees`` trees."""
        sizes = self.arrays["sizes"]
        if trees >= len(sizes):
            return self
        nodes = int(sizes[:trees].sum())
        leaves = int((self.arrays["feature"][:nodes] < 0).sum())
        arrays = {name: array[:nodes] for name, array in self.arrays.items()}
        arrays |= {"sizes": sizes[:trees], "values": self.arrays["values"][:leaves]}
        return ForestPredictor(arrays, self.n_features, self.n_classes)

    def to_parts(self) -> tuple[dict[str, Any], dict[str, Member]]:
        """Return JSON and the arrays."""
        return {"n_features": self.n_features, "n_classes": self.n_classes}, {"trees": dump_arrays(self.arrays)}

    @classmethod
    def load(cls, info: Mapping[str, Any], members: Mapping[str, Member], *, allow_pickle: bool) -> ForestPredictor:
        """Rebuild a predictor from its parts."""
        return cls(load_arrays(members["trees"]), int(info["n_features"]), info["n_classes"])

    @classmethod
    def from_sklearn(cls, estimators: Sequence[Any], n_features: int, n_classes: int | None) -> ForestPredictor:
        """Take over fitted decision trees of scikit-learn."""
        trees = [estimator.tree_ for estimator in estimators]
        feature = np.concatenate([np.where(tree.children_left < 0, -1, tree.feature) for tree in trees])
        leaf = feature < 0
        threshold = np.concatenate([tree.threshold for tree in trees])
        values = np.concatenate([tree.value[:, 0, :] for tree in trees])[leaf]
        if n_classes is not None:
            values = (values / values.sum(axis=1, keepdims=True))[:, 1:]
        arrays = {
            "sizes": np.array([tree.node_count for tree in trees], dtype=np.int32),
            "feature": feature.astype(np.int16 if n_features < 2**15 else np.int32),
            "threshold": np.where(leaf, np.float32(0), _rounded_down(threshold)),
            "right": np.where(leaf, 0, np.concatenate([tree.children_right for tree in trees])).astype(np.int32),
            "missing_left": np.concatenate([tree.missing_go_to_left for tree in trees]).astype(np.uint8),
            "values": values.astype(np.float32),
        }
        return cls(arrays, n_features, n_classes)


def _rounded_down(threshold: np.ndarray) -> np.ndarray:
    """Return the largest float32 not above: every float32 is on the same side of it as of the float64 threshold."""
    near = threshold.astype(np.float32)
    return np.where(near > threshold, np.nextafter(near, np.float32(-np.inf)), near)


def _rebuild(arrays: Mapping[str, np.ndarray], n_features: int) -> list[tuple[Any, np.ndarray]]:
    """Return per tree (scikit-learn's tree, predicted value of each of its nodes); the arrays have been checked."""
    from sklearn.tree._tree import NODE_DTYPE, Tree

    sizes, feature, values = arrays["sizes"].astype(np.int64), arrays["feature"], arrays["values"]
    inner, position = feature >= 0, _positions(sizes)
    nodes = np.zeros(len(feature), dtype=NODE_DTYPE)
    nodes["left_child"] = np.where(inner, position + 1, -1)
    nodes["right_child"] = np.where(inner, arrays["right"], -1)
    nodes["feature"] = np.where(inner, feature, -2)
    nodes["threshold"] = np.where(inner, arrays["threshold"], -2.0)
    nodes["missing_go_to_left"] = arrays["missing_left"]
    per_node = np.zeros((len(feature), values.shape[1]))
    per_node[~inner] = values
    trees, start = [], 0
    blank = np.ones(1, dtype=np.intp)
    for size in sizes.tolist():
        tree = Tree(n_features, blank, 1)
        state = {"max_depth": 0, "node_count": size, "nodes": nodes[start : start + size]}
        tree.__setstate__({**state, "values": np.zeros((size, 1, 1))})
        trees.append((tree, per_node[start : start + size]))
        start += size
    return trees


def _positions(sizes: np.ndarray) -> np.ndarray:
    """Return each node's position in its tree."""
    return np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)


def _check(arrays: Mapping[str, np.ndarray], n_features: int) -> None:
    """Refuse nodes that cannot be: scikit-learn follows them without checking bounds.

    Raises:
        InvalidRequest: ``invalid-bundle``.
    """
    try:
        problem = _problem(arrays, n_features)
    except (KeyError, ValueError, TypeError, IndexError, OverflowError) as error:
        problem = repr(error)
    if problem is not None:
        raise InvalidRequest(
            f"The forest of the model bundle is unusable: {problem}", code="invalid-bundle", hint=DAMAGED
        )


def _problem(arrays: Mapping[str, np.ndarray], n_features: int) -> str | None:
    sizes, feature, right = (arrays[name].astype(np.int64) for name in ("sizes", "feature", "right"))
    count, values = len(feature), arrays["values"]
    if sizes.ndim != 1 or len(sizes) < 1 or (sizes < 1).any() or sizes.sum() != count:
        return "its trees do not have the sizes that they claim"
    if any(arrays[name].shape != (count,) for name in ("feature", "right", "threshold", "missing_left")):
        return "its arrays have different lengths"
    inner = feature >= 0
    if values.ndim != 2 or len(values) != count - int(inner.sum()) or not values.shape[1]:
        return "its leaves do not have a value each"
    # Children come after their parent in every tree that was really grown, which also rules out cycles.
    sound = (right > _positions(sizes) + 1) & (right < np.repeat(sizes, sizes)) & (feature < n_features)
    return None if sound[inner].all() else "a node points outside its tree"


def fit_extra_trees(data: TrainingData, params: Mapping[str, Any], seed: int, clock: Clock) -> ForestPredictor:
    """Fit extremely randomised trees with scikit-learn's parameters."""
    from sklearn import ensemble

    cls = ensemble.ExtraTreesRegressor if data.n_classes is None else ensemble.ExtraTreesClassifier
    return _grow(cls, data, params, seed, clock)


def fit_random_forest(data: TrainingData, params: Mapping[str, Any], seed: int, clock: Clock) -> ForestPredictor:
    """Fit a random forest with scikit-learn's parameters."""
    from sklearn import ensemble

    cls = ensemble.RandomForestRegressor if data.n_classes is None else ensemble.RandomForestClassifier
    return _grow(cls, data, params, seed, clock)


def _grow(cls: Any, data: TrainingData, params: Mapping[str, Any], seed: int, clock: Clock) -> ForestPredictor:
    """Add trees until there are as many as asked for, the clock ends it, or the forest would get too large.

    In which steps a forest grows does not change its trees (scikit-learn draws their seeds in order).
    """
    from rayctl.automl import estimators

    wanted = int(params.get("n_estimators", _DEFAULT_TREES))
    forest = estimators.build(cls, "forest", {**params, "n_estimators": 1, "warm_start": True}, seed)
    clock.start()
    done = 0
    limit: float = math.inf
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what single-class bootstrap samples and few trees make it say
        while done < min(wanted, limit):
            done += clock.steps_left(int(min(1 if done == 0 else _STEP_TREES, wanted - done, limit - done)))
            forest.set_params(n_estimators=done)
            forest.fit(data.train.x, data.train.y, sample_weight=data.train.weights)
            if limit == math.inf:
                # By the first tree alone, so that the number does not depend on the steps.
                nodes = forest.estimators_[0].tree_.node_count
                limit = max(1, _MAX_TOTAL_NODES // (nodes * _width(data)))
                clock.after_step_s = _AFTER_NODE_S * nodes * _width(data)
            if done < min(wanted, limit) and clock.ends(done):
                break
    return ForestPredictor.from_sklearn(forest.estimators_, data.train.x.shape[1], data.n_classes)


def _width(data: TrainingData) -> float:
    """Return the size of a node against one of a two-class tree."""
    return 1.0 if data.n_classes is None else 1.0 + max(0, data.n_classes - 2) / 6
