"""Build the models that are measured; runs in the rendered service's training environment.

`python make_models.py OUT` in the service's folder writes, for each model, a model package for the
service, the same bare ONNX file for everything else, and the inputs and right answers of the
loads. The weights come from a seeded generator, so that the files are the same every time.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime  # type: ignore[import-not-found]
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

FloatArray = npt.NDArray[np.float32]

ROWS = {"iris": (1, 256), "dense": (1, 256), "conv": (1,)}
DENSE = (256, 1024, 1024, 1024, 16)
SHAPES = {"iris": (4,), "dense": DENSE[:1], "conv": (3, 224, 224)}
ANSWER = "probabilities"
CODE = "model_code.py"
# As many digits as measurements have; JSON bodies are about 7 bytes a number.
DECIMALS = 4
OPSET = 21
IR_VERSION = 10


def main() -> None:
    """Write iris, dense and conv into the folder that the command line names."""
    out = Path(sys.argv[1])
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree("models/iris", out / "iris" / "packages" / "iris")
    shutil.copy("models/iris/model.onnx", out / "iris" / "model.onnx")
    for name, model in (("dense", dense("dense", DENSE)), ("conv", conv())):
        (out / name).mkdir()
        (out / name / "model.onnx").write_bytes(model.SerializeToString())
        inputs = samples(SHAPES[name], 2)
        package(name, model, out / name / "packages", inputs, inputs.shape[1:])
    for name, counts in ROWS.items():
        for rows in counts:
            write_samples(out / name, samples(SHAPES[name], rows))


def dense(name: str, sizes: Sequence[int]) -> Any:
    """A net of fully connected layers; of the sizes `DENSE` it has 2.4 million weights.

    Args:
        name: of the graph.
        sizes: numbers in a row of the input, of each layer, and of the answer.
    """
    random = np.random.default_rng(20)
    nodes: list[Any] = []
    weights: list[Any] = []
    flow = "features"
    for layer, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        weights += _weights(random, layer, (fan_in, fan_out), fan_in)
        nodes.append(helper.make_node("Gemm", [flow, f"w{layer}", f"b{layer}"], [f"sum{layer}"]))
        flow = f"sum{layer}"
        if layer < len(sizes) - 2:
            nodes.append(helper.make_node("Relu", [flow], [f"act{layer}"]))
            flow = f"act{layer}"
    nodes.append(helper.make_node("Softmax", [flow], [ANSWER], axis=1))
    return _model(name, nodes, weights, sizes[:1], sizes[-1])


def conv() -> Any:
    """Four strided convolutions, a mean and a fully connected layer: 327 million products."""
    random = np.random.default_rng(21)
    nodes: list[Any] = []
    weights: list[Any] = []
    channels = (3, 48, 96, 160, 256)
    flow = "features"
    for layer, (before, after) in enumerate(pairwise(channels)):
        weights += _weights(random, layer, (after, before, 3, 3), before * 9, bias=after)
        names = [flow, f"w{layer}", f"b{layer}"]
        nodes.append(
            helper.make_node("Conv", names, [f"sum{layer}"], strides=[2, 2], pads=[1, 1, 1, 1])
        )
        nodes.append(helper.make_node("Relu", [f"sum{layer}"], [f"act{layer}"]))
        flow = f"act{layer}"
    nodes.append(helper.make_node("GlobalAveragePool", [flow], ["pooled"]))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["flat"]))
    last = len(channels) - 1
    weights += _weights(random, last, (channels[-1], 10), channels[-1])
    nodes.append(helper.make_node("Gemm", ["flat", f"w{last}", f"b{last}"], ["scores"]))
    nodes.append(helper.make_node("Softmax", ["scores"], [ANSWER], axis=1))
    return _model("conv", nodes, weights, SHAPES["conv"], 10)


def samples(shape: Sequence[int], rows: int) -> FloatArray:
    """Deterministic inputs with few digits."""
    values = np.random.default_rng(rows).normal(1.0, 1.0, (rows, *shape))
    return np.round(values, DECIMALS).astype(np.float32)


def write_samples(folder: Path, inputs: FloatArray) -> None:
    """Keep inputs and the answers that bare onnxruntime gives."""
    session = onnxruntime.InferenceSession(
        folder / "model.onnx", providers=["CPUExecutionProvider"]
    )
    (answer,) = session.run([ANSWER], {"features": inputs})
    np.savez(folder / f"samples-{len(inputs)}.npz", inputs=inputs, answer=answer)


def package(
    name: str,
    model: Any,
    folder: Path,
    inputs: npt.NDArray[Any],
    shape: Sequence[int],
    *,
    output: Mapping[str, Any] | None = None,
    code: Path | None = None,
) -> None:
    """Package a model for the service; ONNX's own reference evaluator gives the golden answers.

    Args:
        inputs: the golden ones.
        shape: of a row, -1 where a size is free.
        output: what the manifest says of the output, beside what follows from the answers.
        code: of the model's own.
    """
    # Found in the folder that this runs in: the rendered service.
    sys.path.insert(0, ".")
    from engine.packaging.package import Source, write_package

    datatype = {"float16": "FP16", "float32": "FP32"}[str(inputs.dtype)]
    (answer,) = ReferenceEvaluator(model).run([ANSWER], {"features": inputs})
    write_package(
        folder,
        Source(
            name=name,
            version="1.0.0",
            description="A net with random weights, for measuring.",
            format="onnx",
            model=model.SerializeToString(),
            inputs=[{"name": "features", "datatype": datatype, "shape": [-1, *shape]}],
            outputs=[
                {"name": ANSWER, "datatype": datatype, "shape": [-1, answer.shape[1]]}
                | dict(output or {})
            ],
            golden_inputs={"features": inputs},
            golden_outputs={ANSWER: answer},
            training={"source": "benchmarks/make_models.py"},
            libraries=("onnx", "numpy"),
            files={CODE: code} if code else {},
            manifest={"code_file": CODE} if code else {},
        ),
    )


def _weights(
    random: np.random.Generator,
    layer: int,
    shape: tuple[int, ...],
    fan_in: int,
    bias: int | None = None,
) -> list[Any]:
    scale = np.sqrt(2 / fan_in)
    size = shape[1] if bias is None else bias
    arrays = {
        f"w{layer}": random.normal(0, scale, shape),
        f"b{layer}": random.normal(0, 0.1, size),
    }
    return [
        numpy_helper.from_array(array.astype(np.float32), name) for name, array in arrays.items()
    ]


def _model(
    name: str, nodes: list[Any], weights: list[Any], shape: Sequence[int], classes: int
) -> Any:
    inputs = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["rows", *shape])
    outputs = helper.make_tensor_value_info(ANSWER, TensorProto.FLOAT, ["rows", classes])
    graph = helper.make_graph(nodes, name, [inputs], [outputs], weights)
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    return model


if __name__ == "__main__":
    main()
