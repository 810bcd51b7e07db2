"""Toy models whose right answers are obvious, made with ONNX's own operators."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from engine.packaging.write import Source, write_package
from engine.serving.tensors.datatypes import DATATYPES, NUMPY, Array, Datatype
from onnx import TensorProto, helper, numpy_helper

OPSET = 21
IR_VERSION = 10
LIBRARIES = ("onnx", "numpy")
ELEMENT: dict[Datatype, int] = {
    "BOOL": TensorProto.BOOL, "UINT8": TensorProto.UINT8, "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32, "UINT64": TensorProto.UINT64, "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16, "INT32": TensorProto.INT32, "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16, "FP32": TensorProto.FLOAT, "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
}  # fmt: skip
Tensor = dict[str, Any]


def write_all(folder: Path) -> None:
    """Write every toy model."""
    write_scale(folder)
    write_add(folder)
    write_echo(folder)
    write_free_width(folder)
    write_fixed(folder)


def tensor(name: str, datatype: Datatype, *shape: int) -> Tensor:
    """One input or output of a manifest."""
    return {"name": name, "datatype": datatype, "shape": list(shape)}


def write_scale(folder: Path) -> Path:
    """`scale`: FP32[-1, 3] times two."""
    x = np.arange(12, dtype=np.float32).reshape(4, 3)
    two = helper.make_tensor("two", TensorProto.FLOAT, [], [2.0])
    nodes = [helper.make_node("Mul", ["x", "two"], ["y"])]
    return _write(
        folder, "scale", nodes, [tensor("x", "FP32", -1, 3)], [tensor("y", "FP32", -1, 3)],
        {"x": x}, {"y": x * 2}, [two],
    )  # fmt: skip


def write_classifier(folder: Path) -> Path:
    """`sides`: FP32[-1, 2], the position of the larger number and the softmax of both."""
    x = np.random.default_rng(1).normal(size=(24, 2)).astype(np.float32)
    powers = np.exp(x)
    nodes = [
        helper.make_node("ArgMax", ["x"], ["label"], axis=1, keepdims=0),
        helper.make_node("Softmax", ["x"], ["probabilities"], axis=1),
    ]
    outputs = [
        tensor("label", "INT64", -1) | {"labels": ["left", "right"]},
        tensor("probabilities", "FP32", -1, 2) | {"tolerance": {"absolute": 1e-5}},
    ]
    golden = {
        "label": x.argmax(axis=1).astype(np.int64),
        "probabilities": powers / powers.sum(axis=1, keepdims=True),
    }
    return _write(folder, "sides", nodes, [tensor("x", "FP32", -1, 2)], outputs, {"x": x}, golden)


def write_add(folder: Path) -> Path:
    """`add`: two inputs, INT64[-1] and INT64[-1], and their sum."""
    a, b = np.arange(3, dtype=np.int64), np.full(3, 10, dtype=np.int64)
    nodes = [helper.make_node("Add", ["a", "b"], ["sum"])]
    inputs = [tensor("a", "INT64", -1), tensor("b", "INT64", -1)]
    outputs = [tensor("sum", "INT64", -1)]
    return _write(folder, "add", nodes, inputs, outputs, {"a": a, "b": b}, {"sum": a + b})


def write_echo(folder: Path) -> Path:
    """`echo`: one input of every datatype, and each given back."""
    values = {name.lower(): sample(name) for name in DATATYPES}
    nodes = [helper.make_node("Identity", [name], [f"{name}_out"]) for name in values]
    inputs = [tensor(name.lower(), name, -1, 2) for name in DATATYPES]
    outputs = [tensor(f"{name.lower()}_out", name, -1, 2) for name in DATATYPES]
    echoed = {f"{name}_out": value for name, value in values.items()}
    return _write(folder, "echo", nodes, inputs, outputs, values, echoed)


def write_free_width(folder: Path) -> Path:
    """`wide`: FP32[-1, -1], negated; requests of different widths cannot share a run."""
    x = np.ones((2, 5), dtype=np.float32)
    nodes = [helper.make_node("Neg", ["x"], ["y"])]
    inputs = [tensor("x", "FP32", -1, -1) | {"allow_nan": True}]
    return _write(folder, "wide", nodes, inputs, [tensor("y", "FP32", -1, -1)], {"x": x}, {"y": -x})


def write_fixed(folder: Path) -> Path:
    """`fixed`: FP32[2, 2], no row dimension, so nothing is ever batched."""
    x = np.eye(2, dtype=np.float32)
    nodes = [helper.make_node("Transpose", ["x"], ["y"])]
    return _write(
        folder, "fixed", nodes, [tensor("x", "FP32", 2, 2)], [tensor("y", "FP32", 2, 2)],
        {"x": x}, {"y": x.T},
    )  # fmt: skip


def write_table(folder: Path) -> Path:
    """`people`: columns age FP32[-1, 1], which may be missing, and port BYTES[-1, 1], given back,
    and two parts with names: the age is lost, or saved.
    """
    age = np.array([[41.5], [np.nan], [7]], dtype=np.float32)
    port = np.array([["Cherbourg"], ["Dover"], ["Dover"]], dtype=np.object_)
    parts = np.array([[0, 1], [1, 0], [0, 1]], dtype=np.float32)
    lost = helper.make_tensor("lost", TensorProto.FLOAT, [2], [1.0, 0.0])
    saved = helper.make_tensor("saved", TensorProto.FLOAT, [2], [0.0, 1.0])
    shape = helper.make_tensor("wide", TensorProto.INT64, [2], [1, 2])
    nodes = [
        helper.make_node("Identity", ["port"], ["port_out"]),
        helper.make_node("Identity", ["age"], ["age_out"]),
        helper.make_node("Expand", ["age", "wide"], ["both"]),
        helper.make_node("IsNaN", ["both"], ["missing"]),
        helper.make_node("Where", ["missing", "lost", "saved"], ["parts"]),
    ]
    inputs = [
        tensor("age", "FP32", -1, 1) | {"allow_nan": True},
        tensor("port", "BYTES", -1, 1),
    ]
    outputs = [
        tensor("port_out", "BYTES", -1, 1),
        tensor("age_out", "FP32", -1, 1),
        tensor("parts", "FP32", -1, 2) | {"labels": ["lost", "saved"]},
    ]
    golden = {"port_out": port, "age_out": age, "parts": parts}
    given = {"age": age, "port": port}
    return _write(folder, "people", nodes, inputs, outputs, given, golden, [lost, saved, shape])


def write_named(folder: Path) -> Path:
    """`named`: FP32[-1, 2], whose columns have names, and the number of the larger one."""
    x = np.array([[1, 2], [4, 3]], dtype=np.float32)
    nodes = [helper.make_node("ArgMax", ["x"], ["label"], axis=1, keepdims=0)]
    inputs = [tensor("x", "FP32", -1, 2) | {"features": ["width (cm)", "height (cm)"]}]
    outputs = [tensor("label", "INT64", -1) | {"labels": ["wide", "high"]}]
    label = x.argmax(axis=1).astype(np.int64)
    return _write(folder, "named", nodes, inputs, outputs, {"x": x}, {"label": label})


def write_linear(folder: Path, name: str, weights: Array, bias: Array, labels: list[str]) -> Path:
    """FP64[-1, columns] with the names a, b, …: a number for each row; with labels, the number of
    the class whose sum is the largest, and the softmax of the sums.

    Args:
        weights: [columns, 1 or classes].
        bias: [1 or classes].
    """
    x = np.random.default_rng(2).normal(size=(12, len(weights)))
    sums = x @ weights + bias
    constants = [
        helper.make_tensor(each, TensorProto.DOUBLE, array.shape, array.ravel().tolist())
        for each, array in (("weights", weights), ("bias", bias))
    ]
    nodes = [
        helper.make_node("MatMul", ["x", "weights"], ["products"]),
        helper.make_node("Add", ["products", "bias"], ["sums"]),
    ]
    inputs = [tensor("x", "FP64", -1, len(weights)) | {"features": list("abcdefg"[: len(weights)])}]
    if not labels:
        outputs = [tensor("sums", "FP64", -1, 1)]
        return _write(folder, name, nodes, inputs, outputs, {"x": x}, {"sums": sums}, constants)
    nodes += [
        helper.make_node("ArgMax", ["sums"], ["label"], axis=1, keepdims=0),
        helper.make_node("Softmax", ["sums"], ["probabilities"], axis=1),
    ]
    outputs = [
        tensor("label", "INT64", -1) | {"labels": labels},
        tensor("probabilities", "FP64", -1, len(labels)) | {"labels": labels},
    ]
    powers = np.exp(sums)
    golden = {
        "label": sums.argmax(axis=1).astype(np.int64),
        "probabilities": powers / powers.sum(axis=1, keepdims=True),
    }
    return _write(folder, name, nodes, inputs, outputs, {"x": x}, golden, constants)


def sample(datatype: Datatype) -> Array:
    """Two rows of two values with the extremes of the datatype."""
    dtype = NUMPY[datatype]
    if datatype == "BYTES":
        return np.array([["a", ""], ["żółw 🐢", 'quote " and \\']], dtype=np.object_)
    if datatype == "BOOL":
        return np.array([[True, False], [False, True]])
    if dtype.kind == "f":
        limits = np.finfo(dtype)
        return np.array([[0, -1.5], [limits.max, limits.tiny]], dtype=dtype)
    bounds = np.iinfo(dtype)
    return np.array([[0, 1], [bounds.min, bounds.max]], dtype=dtype)


def _write(
    folder: Path,
    name: str,
    nodes: list[Any],
    inputs: list[Tensor],
    outputs: list[Tensor],
    golden_inputs: dict[str, Array],
    golden_outputs: dict[str, Array],
    constants: list[Any] | None = None,
) -> Path:
    graph = helper.make_graph(
        nodes,
        name,
        [_value_info(each) for each in inputs],
        [_value_info(each) for each in outputs],
        initializer=constants or [],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )
    source = Source(
        name=name,
        version="1",
        description=f"Toy model {name}.",
        format="onnx",
        model=model.SerializeToString(),
        inputs=inputs,
        outputs=outputs,
        golden_inputs=golden_inputs,
        golden_outputs=golden_outputs,
        training={},
        libraries=LIBRARIES,
    )
    written: Path = write_package(folder, source)
    return written


def _value_info(each: Tensor) -> Any:
    shape = [None if size == -1 else size for size in each["shape"]]
    return helper.make_tensor_value_info(each["name"], ELEMENT[each["datatype"]], shape)


def text_network(vectors: Array, classes: Array | None) -> Any:
    """A network for tokens, with the names that exporters of transformers give.

    Args:
        vectors: FP32[tokens, width], of each token.
        classes: FP32[width, classes] of a classifier, which gives ``logits`` of the mean over the
            tokens that the mask leaves; None for a network that gives ``last_hidden_state``.
    """
    make = helper.make_node
    weights = {"vectors": vectors, "last": np.array([-1]), "middle": np.array([1])}
    nodes = [make("Gather", ["vectors", "input_ids"], ["last_hidden_state"])]
    name, shape = "last_hidden_state", ["batch", "sequence", vectors.shape[1]]
    if classes is not None:
        weights["classes"] = classes
        nodes += [
            make("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
            make("Unsqueeze", ["mask", "last"], ["wide"]),
            make("Mul", ["last_hidden_state", "wide"], ["kept"]),
            make("ReduceSum", ["kept", "middle"], ["sum"], keepdims=0),
            make("ReduceSum", ["wide", "middle"], ["count"], keepdims=0),
            make("Div", ["sum", "count"], ["mean"]),
            make("MatMul", ["mean", "classes"], ["logits"]),
        ]
        name, shape = "logits", ["batch", classes.shape[1]]
    inputs = [
        helper.make_tensor_value_info(each, TensorProto.INT64, ["batch", "sequence"])
        for each in ("input_ids", "attention_mask")
    ]
    output = helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    arrays = [numpy_helper.from_array(value, key) for key, value in weights.items()]
    graph = helper.make_graph(nodes, "text", inputs, [output], arrays)
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
