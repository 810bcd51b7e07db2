"""A model that is slow enough to be overloaded by a client on the same two CPUs.

`python -m benchmarks.resilience.heavy_model OUT` runs in the rendered service's folder and training
environment. A request is small, so that sending three times what the service can compute does not
keep the machine busy with sending.
"""

from __future__ import annotations

import shutil
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx  # type: ignore[import-not-found,unused-ignore]
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator  # type: ignore[import-not-found,unused-ignore]

NAME = "heavy"
SIZES = (64, 2048, 2048, 2048, 2048, 16)
OPSET = 21
IR_VERSION = 10


def main() -> None:
    """Write the package into the folder that the command line names."""
    out = Path(sys.argv[1])
    shutil.rmtree(out, ignore_errors=True)
    # Found in the folder that this runs in: the rendered service.
    sys.path.insert(0, ".")
    from training.package import (  # type: ignore[import-not-found,unused-ignore]
        Source,
        write_package,
    )

    model = fully_connected(np.random.default_rng(30))
    inputs = np.random.default_rng(31).normal(size=(2, SIZES[0])).astype(np.float32)
    (scores,) = ReferenceEvaluator(model).run(["scores"], {"features": inputs})
    write_package(
        out,
        Source(
            name=NAME,
            version="1.0.0",
            description="A net with random weights, to be overloaded.",
            format="onnx",
            model=model.SerializeToString(),
            inputs=[{"name": "features", "datatype": "FP32", "shape": [-1, SIZES[0]]}],
            outputs=[{"name": "scores", "datatype": "FP32", "shape": [-1, SIZES[-1]]}],
            golden_inputs={"features": inputs},
            golden_outputs={"scores": scores},
            training={"source": "benchmarks/resilience/heavy_model.py"},
            libraries=("onnx", "numpy"),
        ),
    )


def fully_connected(random: np.random.Generator) -> Any:
    """Layers of random weights, with the largest output of a row close to 1."""
    nodes: list[Any] = []
    weights: list[Any] = []
    flow = "features"
    for layer, (fan_in, fan_out) in enumerate(pairwise(SIZES)):
        last = layer == len(SIZES) - 2
        weight = _weight(random, fan_in, fan_out)
        weights.append(numpy_helper.from_array(weight, f"w{layer}"))
        product = "scores" if last else f"product{layer}"
        nodes.append(helper.make_node("MatMul", [flow, f"w{layer}"], [product]))
        if not last:
            flow = f"act{layer}"
            nodes.append(helper.make_node("Relu", [product], [flow]))
    return _model(nodes, weights)


def _weight(random: np.random.Generator, fan_in: int, fan_out: int) -> npt.NDArray[np.float32]:
    return random.normal(0, np.sqrt(2 / fan_in), (fan_in, fan_out)).astype(np.float32)


def _model(nodes: list[Any], weights: list[Any]) -> Any:
    inputs = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["rows", SIZES[0]])
    outputs = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["rows", SIZES[-1]])
    graph = helper.make_graph(nodes, NAME, [inputs], [outputs], weights)
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    return model


if __name__ == "__main__":
    main()
