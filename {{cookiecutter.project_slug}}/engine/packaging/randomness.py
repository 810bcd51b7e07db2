"""Models that answer the same input differently each time, which no golden record can hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from onnx import AttributeProto, TensorProto, numpy_helper

from engine.packaging.rows import ROUNDING
from engine.serving.errors import PackageError
from engine.serving.tensors.datatypes import Array

# Source: ONNX, "Operators"; Dropout is one of them in training mode, which its third input sets.
RANDOM = frozenset(
    ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform",
     "RandomUniformLike")
)  # fmt: skip
DROPOUT, DROPOUT_INPUTS = "Dropout", 3
RUNS = 4


def refuse_random(
    graph: Any, run: Callable[[], Mapping[str, Array]], first: Mapping[str, Array], where: str
) -> list[str]:
    """Run a graph again where it draws random numbers, and compare.

    Args:
        graph: of an ONNX model.
        run: computes all outputs of the same inputs.
        first: what it gave before.
        where: names the model in the message.

    Returns:
        A remark where it draws random numbers that do not show in the answers.

    Raises:
        PackageError: an answer is another one.
    """
    names = sorted(set(_random(graph)))
    for _ in range(RUNS if names else 1):
        again = run()
        for name, value in first.items():
            if not _same(value, again[name]):
                drawn = f"; {', '.join(names)} in it draws random numbers" if names else ""
                raise PackageError(
                    f"{where}: answers the same input differently each time (output {name!r})"
                    f"{drawn}; export it for inference (PyTorch: model.eval(), Keras: "
                    "training=False), or leave what is random to the client"
                )
    return [f"{', '.join(names)} draws random numbers, which the samples do not show"] * bool(names)


def _same(one: Array, other: Array) -> bool:
    """Whether two answers to one input are equal, numbers up to rounding."""
    if one.shape != other.shape or one.dtype.kind != "f":
        return bool(np.array_equal(one, other))
    limit = ROUNDING[min(one.dtype.itemsize, 8)]
    return bool(np.allclose(one, other, rtol=limit, atol=limit, equal_nan=True))


def _random(graph: Any) -> Iterator[str]:
    """Operators that draw random numbers, also in the graphs inside nodes."""
    values = {each.name: each for each in graph.initializer}
    values |= {n.output[0]: n.attribute[0].t for n in graph.node if n.op_type == "Constant"}
    off = {name for name, each in values.items() if _is_false(each)}
    for node in graph.node:
        training = node.op_type == DROPOUT and len(node.input) == DROPOUT_INPUTS
        if node.op_type in RANDOM or (training and node.input[2] not in (*off, "")):
            yield node.op_type
        for each in node.attribute:
            inner = [each.g] if each.type == AttributeProto.GRAPH else each.graphs
            for one in inner:
                yield from _random(one)


def _is_false(tensor: Any) -> bool:
    is_flag = tensor.data_type == TensorProto.BOOL
    return is_flag and not numpy_helper.to_array(tensor).any()
