"""Trees of LightGBM, CatBoost and scikit-learn as one ONNX operator (``TreeEnsembleRegressor``)."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from rayctl.errors import InvalidRequest

__all__ = ["TreeNodes", "add_catboost", "add_forest", "add_lightgbm", "cannot"]


def cannot(
    what: str, hint: str = "Search with models that can be: lightgbm, extra_trees, random_forest, linear, mlp."
) -> InvalidRequest:
    """Return the error for what ONNX cannot express."""
    return InvalidRequest(f"The model cannot be exported to ONNX: {what}.", code="not-exportable", hint=hint)


class TreeNodes:
    """Attributes of the operator, collected tree by tree. Leaves add ``value`` to ``target``."""

    def __init__(self) -> None:
        self.nodes: dict[str, list[Any]] = {
            name: []
            for name in (
                *("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids"),
                "missing_value_tracks_true",
            )
        }
        self.targets: dict[str, list[Any]] = {name: [] for name in ("treeids", "nodeids", "ids", "weights")}
        self.trees = 0

    def node(self, place: int, feature: int, value: float, mode: str, true: int, false: int, missing: bool) -> None:
        """Add a node of the current tree; ``mode`` LEAF ignores the rest."""
        row = (self.trees, place, feature, value, mode, true, false, int(missing))
        for column, item in zip(self.nodes.values(), row, strict=True):
            column.append(item)

    def leaf(self, place: int, values: Mapping[int, float]) -> None:
        """Add a leaf with its value for each target."""
        self.node(place, 0, 0.0, "LEAF", 0, 0, False)
        for target, value in values.items():
            for column, item in zip(self.targets.values(), (self.trees, place, target, value), strict=True):
                column.append(item)

    def operator(self, rows: str, output: str, n_targets: int, base: list[float]) -> Any:
        """Return the operator: matrix ``rows`` → ``output`` (n, n_targets)."""
        from onnx import helper

        own = {f"nodes_{name}": values for name, values in self.nodes.items()}
        own |= {f"target_{name}": values for name, values in self.targets.items()}
        return helper.make_node(
            "TreeEnsembleRegressor",
            [rows],
            [output],
            domain="ai.onnx.ml",
            n_targets=n_targets,
            base_values=base,
            aggregate_function="SUM",
            post_transform="NONE",
            **own,
        )


def _rounded_down(threshold: float) -> float:
    """Return the largest float32 not above: the same side for every float32."""
    # LightGBM writes "larger than everything" for columns that have nothing but missing values.
    near = np.float32(min(threshold, float(np.finfo(np.float32).max)))
    return float(np.nextafter(near, np.float32(-np.inf)) if float(near) > threshold else near)


def add_lightgbm(nodes: TreeNodes, booster: Any) -> None:
    """Add all trees; round by round they belong to target 0, 1, ….

    Raises:
        InvalidRequest: ``not-exportable``: splits by sets of categories.
    """
    dumped = booster.dump_model()
    for index, info in enumerate(dumped["tree_info"]):
        target, places = index % dumped["num_tree_per_iteration"], 0
        stack = [(info["tree_structure"], 0)]
        while stack:
            tree, place = stack.pop()
            if "leaf_value" in tree:
                nodes.leaf(place, {target: tree["leaf_value"]})
                continue
            if tree["decision_type"] != "<=" or tree["missing_type"] == "Zero":
                raise cannot("LightGBM splits by sets of categories", "Search without native_categories for lightgbm.")
            left, right = places + 1, places + 2
            places += 2
            # Without missing values in training, LightGBM takes them for zero.
            to_left = tree["default_left"] if tree["missing_type"] == "NaN" else tree["threshold"] >= 0.0
            value = _rounded_down(tree["threshold"])
            nodes.node(place, tree["split_feature"], value, "BRANCH_LEQ", left, right, to_left)
            stack += [(tree["right_child"], right), (tree["left_child"], left)]
        nodes.trees += 1


def add_catboost(nodes: TreeNodes, model: Any) -> list[float]:
    """Add all symmetric trees; return what is added to each target.

    Raises:
        InvalidRequest: ``not-exportable``: statistics of categories.
    """
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        model.save_model(file.name, format="json")
        dumped = json.loads(file.read())
    if dumped["features_info"].get("categorical_features"):
        raise cannot("CatBoost looks up statistics of categories", "Search without catboost.")
    trees = dumped.get("oblivious_trees")
    if trees is None:
        raise cannot("only CatBoost's symmetric trees can be")
    floats = dumped["features_info"]["float_features"]
    column = {item["feature_index"]: item["flat_feature_index"] for item in floats}
    missing_true = {item["feature_index"]: item["nan_value_treatment"] == "AsTrue" for item in floats}
    scale, bias = dumped["scale_and_bias"]
    for tree in trees:
        splits = tree["splits"] or []
        leaves = np.asarray(tree["leaf_values"], dtype=np.float64).reshape(2 ** len(splits), -1) * scale
        inner = 2 ** len(splits) - 1
        for place in range(inner):
            depth = (place + 1).bit_length() - 1
            split = splits[depth]
            feature = split["float_feature_index"]
            children = 2 * place + 2, 2 * place + 1
            nodes.node(place, column[feature], split["border"], "BRANCH_GT", *children, missing_true[feature])
        for leaf in range(2 ** len(splits)):
            # From the root on, going right sets the next bit of the leaf's number.
            bits = sum(1 << depth for depth in range(len(splits)) if leaf >> (len(splits) - 1 - depth) & 1)
            nodes.leaf(inner + leaf, dict(enumerate(leaves[bits].tolist())))
        nodes.trees += 1
    return [float(value) for value in (bias if isinstance(bias, list) else [bias])]


def add_forest(nodes: TreeNodes, arrays: Mapping[str, np.ndarray]) -> None:
    """Add the mean of all trees of a forest as arrays (see `rayctl.automl.tabular.forest_model`)."""
    sizes = arrays["sizes"]
    values = arrays["values"].astype(np.float64) / len(sizes)
    leaf, start = 0, 0
    for size in sizes.tolist():
        for place in range(size):
            at = start + place
            feature = int(arrays["feature"][at])
            if feature < 0:
                nodes.leaf(place, dict(enumerate(values[leaf].tolist())))
                leaf += 1
            else:
                threshold, right = float(arrays["threshold"][at]), int(arrays["right"][at])
                missing = bool(arrays["missing_left"][at])
                nodes.node(place, feature, threshold, "BRANCH_LEQ", place + 1, right, missing)
        start += size
        nodes.trees += 1
