"""Whether the shapes of an ONNX graph tie the rows of every output to those of the input.

Shapes are inferred, not read: those that a file declares for its outputs are what an exporter says,
and are removed first. The number of rows is then set to several sizes; every output must have
exactly as many, and its other dimensions must stay. Operators whose output depends on values
(NonMaxSuppression, NonZero, Unique, Compress) leave a dimension unknown, which proves nothing.

Shapes say nothing about values: a running sum over the rows keeps the shape. ``rows`` tests those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import onnx
import onnxruntime as ort
from onnx import AttributeProto, TensorProto, helper, shape_inference

from engine.packaging.onnx_file import graph_inputs
from engine.packaging.onnx_load import WEIGHTS_FOLDER
from engine.serving.reasons import reason_of
from engine.serving.runtimes.onnx_runtime import FATAL_ONLY

# One, because a graph may drop dimensions of 1; many, because it may take the first hundred rows.
ROWS = (1, 2, 7, 1009, 20011)
# ONNX Runtime computes whatever depends on shapes alone, and that grows with the rows.
FEWER_ROWS = (1, 2, 7, 1009)
# Inference needs the values of small constants, which may be shapes; larger ones are weights.
SMALL_BYTES = 1024

Shape = tuple[int | None, ...]
Inner = Mapping[str, tuple[int, ...]]
Infer = Callable[[int, Inner], Mapping[str, Shape | None]]


def unproven(model: Any, inner: Inner, folder: Path | None = None) -> str:
    """Why the graph does not prove that each output has the input's rows; empty where it does.

    Args:
        model: an ``onnx.ModelProto``; it is not changed.
        inner: dimensions of a sample of each input, without the first.
        folder: holds the weights that are not in the file.
    """
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    _forget(bare.graph, outermost=True)
    light = onnx.ModelProto()
    light.CopyFrom(bare)
    _leave_weights_out(light.graph)

    def by_onnx(rows: int, sizes: Inner) -> Mapping[str, Shape | None]:
        _set_sizes(light, rows, sizes)
        found = shape_inference.infer_shapes(light, data_prop=True)
        return {each.name: _shape(each) for each in found.graph.output}

    def by_runtime(rows: int, sizes: Inner) -> Mapping[str, Shape | None]:
        _set_sizes(bare, rows, sizes)
        return {
            each.name: tuple(size if isinstance(size, int) else None for size in each.shape)
            for each in _session(bare, folder).get_outputs()
        }

    fault, certain = _fault(by_onnx, ROWS, inner)
    if fault and not certain:
        # It knows more operators, and computes what follows from shapes alone.
        fault, _ = _fault(by_runtime, FEWER_ROWS, inner)
    return fault


def unproven_of(content: bytes, inner: Inner) -> str:
    """The same for the bytes of a file."""
    return unproven(onnx.load_from_string(content), inner)


def _fault(infer: Infer, numbers: tuple[int, ...], inner: Inner) -> tuple[str, bool]:
    """What is not shown, or nothing; and whether the opposite is."""
    first: dict[str, Shape] = {}
    try:
        for rows in numbers:
            for name, shape in infer(rows, inner).items():
                if not shape or shape[0] != rows:
                    words = f"output {name!r} has a first dimension that the graph does not tie to"
                    return f"{words} the input's", shape is not None and None not in shape[:1]
                if None in shape or first.setdefault(name, shape[1:]) != shape[1:]:
                    words = f"output {name!r} has a dimension that the graph does not tie to"
                    return f"{words} the input's shape", None not in shape
    except Exception as error:  # noqa: BLE001 - inference and the runtime raise their own classes
        return f"the graph's shapes cannot be inferred: {reason_of(error)}", False
    return "", False


def _shape(value: Any) -> Shape | None:
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return tuple(
        each.dim_value if each.HasField("dim_value") else None for each in tensor.shape.dim
    )


def _session(model: Any, folder: Path | None) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = FATAL_ONLY
    options.intra_op_num_threads = 1
    # Basic: constants are computed, and nothing is replaced that shapes are not known of.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    if folder is not None:
        options.add_session_config_entry(WEIGHTS_FOLDER, str(folder))
    return ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def _set_sizes(model: Any, rows: int, inner: Inner) -> None:
    for each in graph_inputs(model):
        dimensions = each.type.tensor_type.shape.dim
        del dimensions[:]
        for size in (rows, *inner[each.name]):
            dimensions.add().dim_value = size


def _forget(graph: Any, *, outermost: bool = False) -> None:
    """Remove declared shapes, in the graphs inside nodes too; known operators for unknown ones."""
    del graph.value_info[:]
    for value in (*graph.output, *(() if outermost else graph.input)):
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.ClearField("shape")
    nodes = [fresh for node in graph.node for fresh in _stand_ins(node, graph)]
    del graph.node[:]
    graph.node.extend(nodes)
    for node in graph.node:
        for attribute in node.attribute:
            inner = [attribute.g] if attribute.type == AttributeProto.GRAPH else attribute.graphs
            for each in inner:
                _forget(each)


def _leave_weights_out(graph: Any) -> None:
    """Tell the shapes of large constants instead of their values."""
    for tensor in graph.initializer:
        if tensor.ByteSize() > SMALL_BYTES:
            kind, shape, name = tensor.data_type, list(tensor.dims), tensor.name
            tensor.Clear()
            graph.value_info.append(helper.make_tensor_value_info(name, kind, shape))
    kept = [tensor for tensor in graph.initializer if tensor.name]
    del graph.initializer[:]
    graph.initializer.extend(kept)


# Operators of ``ai.onnx.ml`` of which ONNX has no rule for shapes, or not for all of their inputs.
# All take one row after another: the output has the input's shape, or a row of this width for each
# row; classifiers have a label for each row beside it. Source: ONNX, "ai.onnx.ml Operators".
SAME_SHAPE = ("Imputer", "Normalizer", "Scaler")
WIDTHS: dict[str, Callable[[dict[str, Any]], int]] = {
    "FeatureVectorizer": lambda attributes: sum(attributes["inputdimensions"]),
    "LinearRegressor": lambda attributes: attributes.get("targets", 1),
    "SVMRegressor": lambda _: 1,
    "TreeEnsembleRegressor": lambda attributes: attributes["n_targets"],
}
CLASSIFIERS = {"SVMClassifier": "classlabels_ints", "TreeEnsembleClassifier": "classlabels_int64s"}


def _stand_ins(node: Any, graph: Any) -> Iterator[Any]:
    """The node, or standard ones with the same shapes and types."""
    kind = node.op_type
    if node.domain == "ai.onnx.ml" and kind == "ArrayFeatureExtractor":
        yield from _picked(node, graph)
        return
    if node.domain != "ai.onnx.ml" or kind not in (*SAME_SHAPE, *WIDTHS, *CLASSIFIERS):
        yield node
        return
    given, outputs = node.input[0], list(node.output)
    attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    if kind in SAME_SHAPE:
        yield from (
            [helper.make_node("Identity", [given], outputs)]
            if kind == "Imputer"
            else [helper.make_node("Cast", [given], outputs, to=TensorProto.FLOAT)]
        )
        return
    if kind in CLASSIFIERS:
        numbers = attributes.get(CLASSIFIERS[kind], ())
        label, *outputs = outputs
        to = TensorProto.INT64 if numbers else TensorProto.STRING
        yield from _columns(graph, given, label, [], to)
        width = len(numbers or attributes["classlabels_strings"])
    else:
        width = WIDTHS[kind](attributes)
    for output in filter(None, outputs):
        yield from _columns(graph, given, output, [width], TensorProto.FLOAT)


def _columns(graph: Any, given: str, output: str, shape: list[int], to: int) -> Iterator[Any]:
    """So many columns for each row of a matrix; none, and one number, for an empty shape."""
    index, column = f"{output}__index", f"{output}__column"
    zeros = [0] * (shape[0] if shape else 1)
    graph.initializer.append(helper.make_tensor(index, TensorProto.INT64, shape, zeros))
    yield helper.make_node("Gather", [given, index], [column], axis=1)
    yield helper.make_node("Cast", [column], [output], to=to)


def _picked(node: Any, graph: Any) -> Iterator[Any]:
    """Elements of the last dimension by their numbers, of whatever shape those are."""
    given, numbers = node.input
    (output,) = node.output
    constants = {each.name: len(each.dims) for each in graph.initializer}
    if given not in constants and numbers not in constants:
        yield node
        return
    line, form = f"{output}__line", f"{output}__form"
    for name, shape in ((line, [-1]), (form, [1, -1])):
        graph.initializer.append(helper.make_tensor(name, TensorProto.INT64, [len(shape)], shape))
    yield helper.make_node("Reshape", [numbers, line], [f"{line}d"])
    if constants.get(given) != 1:
        yield helper.make_node("Gather", [given, f"{line}d"], [output], axis=-1)
        return
    yield helper.make_node("Gather", [given, f"{line}d"], [f"{form}ed"])
    yield helper.make_node("Reshape", [f"{form}ed", form], [output])
