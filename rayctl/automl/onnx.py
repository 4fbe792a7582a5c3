"""Export of a tabular model to ONNX (extra ``rayctl[onnx]``).

The exported graph holds the whole combination: every fold's model, their averages and weights, calibration and the
decision. Its inputs are the matrices that the models see, because what makes them of a table (dates, texts, categories)
is not ONNX's business: ``tree`` and ``dense`` (see `rayctl.automl.tabular.encoder`), and ``derived_<trial>_<fold>`` for
models with derived features. `onnx_inputs` computes them. Outputs: ``probabilities`` (n, classes) and ``label`` (int64
class code), or ``prediction`` (n,). Everything but kernels is float32; predictions agree with rayctl's to about six
digits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rayctl.automl.onnx_trees import TreeNodes, add_catboost, add_forest, add_lightgbm, cannot
from rayctl.errors import InvalidRequest

if TYPE_CHECKING:
    import pyarrow as pa

    from rayctl.automl.tabular.delivered import Delivered
    from rayctl.automl.tabular.fitted import FittedModel
    from rayctl.automl.tabular.kernel_model import KernelPredictor

__all__ = ["export_onnx", "onnx_inputs"]

_OPSET, _ML_OPSET, _IR_VERSION = 17, 3, 8


def export_onnx(bundle: bytes) -> bytes:
    """Return the ONNX model of a tabular bundle.

    Raises:
        InvalidRequest: ``not-exportable`` (nearest neighbours, a caller's own classes, native categories),
            ``missing-extra`` (the extra is not installed), or as for every bundle that cannot be read.
    """
    from rayctl.automl.tabular.delivered import open_bundle

    _require_onnx()
    from onnx import TensorProto, checker, helper

    opened = open_bundle(bytes(bundle), allow_pickle=False)
    graph = _Graph()
    final = _combined(graph, opened)
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", width]) for name, width in _widths(opened)]
    if opened.classes is None:
        graph.add("Reshape", final, graph.constant(np.array([-1], dtype=np.int64)), output="prediction")
        outputs = [helper.make_tensor_value_info("prediction", TensorProto.FLOAT, ["n"])]
    else:
        graph.add("Identity", final, output="probabilities")
        _label(graph, final, opened)
        outputs = [
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", len(opened.classes)]),
            helper.make_tensor_value_info("label", TensorProto.INT64, ["n"]),
        ]
    model = helper.make_model(
        helper.make_graph(graph.nodes, "rayctl", inputs, outputs, graph.constants),
        opset_imports=[helper.make_opsetid("", _OPSET), helper.make_opsetid("ai.onnx.ml", _ML_OPSET)],
        ir_version=_IR_VERSION,
        producer_name="rayctl",
    )
    checker.check_model(model)
    return bytes(model.SerializeToString())


def onnx_inputs(bundle: bytes, table: pa.Table) -> dict[str, np.ndarray]:
    """Return the inputs of the exported graph for the rows of a table: name → float32 (rows, width).

    Raises:
        InvalidData: the table does not fit the training schema.
    """
    from rayctl.automl.tabular.delivered import open_bundle
    from rayctl.automl.tabular.predict import match_columns

    opened = open_bundle(bytes(bundle), allow_pickle=False)
    columns = match_columns(opened.encoder.features, table, opened.encoder.categories)
    rows = opened.encoder.transform(columns, len(table), want=opened.views)
    found = {view: rows.tree if view == "tree" else rows.dense for view in opened.views}
    for name, model in _derived(opened).items():
        assert model.derived is not None
        found[name] = model.derived.transform(rows.tree)
    return {name: np.ascontiguousarray(matrix, dtype=np.float32) for name, matrix in found.items()}


def _require_onnx() -> None:
    try:
        import onnx  # noqa: F401
    except ImportError as error:
        raise InvalidRequest(
            "Export to ONNX needs the package onnx, which is not installed.",
            code="missing-extra",
            hint="Install it: pip install 'rayctl[onnx]'.",
        ) from error


def _derived(opened: Delivered) -> dict[str, FittedModel]:
    return {
        f"derived_{trial.trial}_{place}": model
        for trial in opened.trials
        for place, model in enumerate(trial.models)
        if model.derived is not None
    }


def _widths(opened: Delivered) -> list[tuple[str, int]]:
    encoder = opened.encoder
    widths = [(view, len(encoder.tree_names) if view == "tree" else encoder.dense_width) for view in opened.views]
    for name, model in _derived(opened).items():
        assert model.derived is not None
        widths.append((name, len(model.derived.names)))
    return widths


class _Graph:
    """Nodes and constants, with names made up on the way."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, values: Any, *, double: bool = False) -> str:
        """Add a constant and return its name; floats become float32, or float64 if ``double``."""
        from onnx import numpy_helper

        array = np.asarray(values)
        name = f"c{len(self.constants)}"
        array = array.astype(np.float64 if double else np.float32) if array.dtype.kind == "f" else array
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def add(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Add a node with one output and return its name."""
        from onnx import helper

        name = output or f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def trees(self, nodes: TreeNodes, rows: str, n_targets: int, base: list[float]) -> str:
        """Add an ensemble of trees and return its output: (n, n_targets)."""
        name = f"v{len(self.nodes)}"
        self.nodes.append(nodes.operator(rows, name, n_targets, base))
        return name


def _combined(graph: _Graph, opened: Delivered) -> str:
    stack = opened.settings.get("stack")
    parts = []
    for trial in opened.trials:
        models = [_model(graph, f"{trial.trial}_{place}", model) for place, model in enumerate(trial.models)]
        mean = graph.add("Mean", *models)
        weight = stack["trials"][str(trial.trial)] if stack is not None else trial.weight
        if stack is not None and opened.classes is not None:
            mean = _log(graph, mean)
        parts.append(graph.add("Mul", mean, graph.constant(float(weight))))
    total = graph.add("Sum", *parts)
    if stack is not None:
        total = graph.add("Add", total, graph.constant(np.array(stack["offsets"], dtype=np.float32)))
        return total if opened.classes is None else graph.add("Softmax", total, axis=1)
    temperature = opened.settings.get("temperature")
    if temperature is None:
        return total
    return graph.add("Softmax", graph.add("Div", _log(graph, total), graph.constant(float(temperature))), axis=1)


def _log(graph: _Graph, proba: str) -> str:
    from rayctl.automl.tabular.mixing import TINY

    return graph.add("Log", graph.add("Clip", proba, graph.constant(TINY), graph.constant(1.0)))


def _label(graph: _Graph, proba: str, opened: Delivered) -> None:
    from onnx import TensorProto

    settings = opened.settings
    if settings.get("threshold") is not None:
        second = graph.add("Gather", proba, graph.constant(np.int64(1)), axis=1)
        above = graph.add("Greater", second, graph.constant(float(settings["threshold"])))
        graph.add("Cast", above, output="label", to=TensorProto.INT64)
        return
    if settings.get("multipliers") is not None:
        proba = graph.add("Mul", proba, graph.constant(np.array(settings["multipliers"], dtype=np.float32)))
    graph.add("ArgMax", proba, output="label", axis=1, keepdims=0)


def _model(graph: _Graph, name: str, model: FittedModel) -> str:
    """Add a fold's model; return (n, classes) probabilities or (n, 1) numbers."""
    rows: str = model.view
    if model.derived is not None:
        rows = graph.add("Concat", rows, f"derived_{name}", axis=1)
    if model.present is None:
        return _unscaled(graph, _numbers(graph, rows, model), model)
    local = _probabilities(graph, rows, model)
    if len(model.present) == model.n_classes:
        return local
    spread = np.zeros((len(model.present), model.n_classes or 0), dtype=np.float32)
    spread[np.arange(len(model.present)), list(model.present)] = 1.0
    return graph.add("MatMul", local, graph.constant(spread))


def _unscaled(graph: _Graph, values: str, model: FittedModel) -> str:
    scale = model.scale
    if scale.kind == "identity":
        return values
    values = graph.add("Clip", values, graph.constant(scale.low), graph.constant(scale.high))
    values = graph.add("Add", graph.add("Mul", values, graph.constant(scale.spread)), graph.constant(scale.center))
    if scale.kind == "standard":
        return values
    values = graph.add("Sub", graph.add("Exp", values), graph.constant(scale.shift))
    return graph.add("Mul", values, graph.constant(scale.factor))


def _raw(graph: _Graph, rows: str, model: FittedModel, targets: int) -> str:
    """Add a predictor up to its raw outputs, (n, targets)."""
    from rayctl.automl.tabular.catboost_model import CatboostPredictor
    from rayctl.automl.tabular.forest_model import ForestPredictor
    from rayctl.automl.tabular.kernel_model import KernelPredictor
    from rayctl.automl.tabular.lightgbm_model import LightgbmPredictor
    from rayctl.automl.tabular.network_model import NetworkPredictor

    predictor, nodes = model.predictor, TreeNodes()
    if isinstance(predictor, LightgbmPredictor):
        add_lightgbm(nodes, predictor.booster)
        return graph.trees(nodes, rows, targets, [0.0] * targets)
    if isinstance(predictor, CatboostPredictor):
        return graph.trees(nodes, rows, targets, add_catboost(nodes, predictor.model))
    if isinstance(predictor, ForestPredictor):
        add_forest(nodes, predictor.arrays)
        targets = predictor.arrays["values"].shape[1]
        return graph.trees(nodes, rows, targets, [0.0] * targets)
    if isinstance(predictor, NetworkPredictor):
        return _network(graph, rows, predictor)
    if isinstance(predictor, KernelPredictor):
        return _kernel(graph, rows, predictor)
    raise cannot(f"it contains a model of kind {type(predictor).kind!r}")


def _kernel(graph: _Graph, rows: str, predictor: KernelPredictor) -> str:
    """Add kernels at the landmarks and their weighted sum, in double precision: large weights cancel each other.

    All differences of a batch's rows and the landmarks are in memory at once: 8 * rows * landmarks * columns bytes.
    """
    from onnx import TensorProto

    wide = graph.add("Cast", rows, to=TensorProto.DOUBLE)
    each = graph.add("Unsqueeze", wide, graph.constant(np.array([1], dtype=np.int64)))
    apart = graph.add("Sub", each, graph.constant(predictor.landmarks[None].astype(np.float64), double=True))
    sized = graph.add("Abs", apart) if predictor.kernel == "laplacian" else graph.add("Mul", apart, apart)
    distance = graph.add("ReduceSum", sized, graph.constant(np.array([2], dtype=np.int64)), keepdims=0)
    scaled = graph.add("Mul", distance, graph.constant(np.float64(-predictor.gamma), double=True))
    weights, bias = predictor.network.weights[0], predictor.network.biases[0]
    summed = graph.add("MatMul", graph.add("Exp", scaled), graph.constant(weights, double=True))
    return graph.add("Cast", graph.add("Add", summed, graph.constant(bias, double=True)), to=TensorProto.FLOAT)


def _network(graph: _Graph, rows: str, predictor: Any) -> str:
    operators = {"relu": "Relu", "tanh": "Tanh", "logistic": "Sigmoid", "identity": "Identity"}
    for place, (weights, bias) in enumerate(zip(predictor.weights, predictor.biases, strict=True)):
        rows = graph.add("Gemm", rows, graph.constant(weights), graph.constant(bias))
        if place < len(predictor.weights) - 1:
            rows = graph.add(operators[predictor.activation], rows)
    return rows


def _numbers(graph: _Graph, rows: str, model: FittedModel) -> str:
    from rayctl.automl.tabular.catboost_model import CatboostPredictor
    from rayctl.automl.tabular.lightgbm_model import LightgbmPredictor

    predictor = model.predictor
    values = _raw(graph, rows, model, 1)
    logarithm = isinstance(predictor, CatboostPredictor) and predictor.exponent
    if isinstance(predictor, LightgbmPredictor):
        logarithm = predictor.objective.startswith(("poisson", "gamma", "tweedie"))
    return graph.add("Exp", values) if logarithm else values


def _probabilities(graph: _Graph, rows: str, model: FittedModel) -> str:
    from rayctl.automl.tabular.forest_model import ForestPredictor

    classes = len(model.present or ())
    forest = isinstance(model.predictor, ForestPredictor)
    objective = getattr(model.predictor, "objective", None)
    if objective is not None and objective not in ("binary sigmoid:1", f"multiclass num_class:{classes}"):
        raise cannot(f"LightGBM's objective is {objective!r}")
    targets = classes - 1 if forest or classes == 2 else classes
    values = _raw(graph, rows, model, targets)
    if forest:
        first = graph.add("ReduceSum", values, graph.constant(np.array([1], dtype=np.int64)), keepdims=1)
        return graph.add("Concat", graph.add("Sub", graph.constant(1.0), first), values, axis=1)
    if targets == 1:
        second = graph.add("Sigmoid", values)
        return graph.add("Concat", graph.add("Sub", graph.constant(1.0), second), second, axis=1)
    return graph.add("Softmax", values, axis=1)
