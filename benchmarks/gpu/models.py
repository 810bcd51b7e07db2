"""Build the models of the GPU checks; runs in the rendered service's training environment.

`python -m benchmarks.gpu.models OUT` in the service's folder writes the nets that are measured
everywhere, and three more: half precision, free shapes, and one that breaks the device when asked.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from benchmarks import make_models
from benchmarks.gpu.names import BREAKING, FREE, HALF, INPUT, POISON

# Half precision keeps eleven bits, and a GPU adds in another order.
HALF_TOLERANCE = {"absolute": 2e-3, "relative": 2e-2}
# A kernel that writes where nothing is. CUDA then refuses everything else in this process.
BREAKING_CODE = f'''
import ctypes

PTX = b"""
.version 7.0
.target sm_75
.address_size 64
.visible .entry break_device() {{
    .reg .u64 %address;
    mov.u64 %address, 64;
    st.global.u32 [%address], 1;
    ret;
}}
"""


def preprocess(inputs):
    if inputs["features"].flat[0] == {BREAKING}:
        break_device()
    return inputs


def break_device():
    cuda = ctypes.CDLL("libcuda.so.1")
    context, module, kernel = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
    assert cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0) == 0
    assert cuda.cuCtxSetCurrent(context) == 0
    assert cuda.cuModuleLoadData(ctypes.byref(module), PTX) == 0
    assert cuda.cuModuleGetFunction(ctypes.byref(kernel), module, b"break_device") == 0
    one, none = ctypes.c_uint(1), ctypes.c_uint(0)
    assert cuda.cuLaunchKernel(kernel, one, one, one, one, one, one, none, None, None, None) == 0
    assert cuda.cuCtxSynchronize() != 0
'''


def main() -> None:
    """Write all models into the folder that the command line names."""
    make_models.main()
    out = Path(sys.argv[1])
    _package(out, HALF, halved(make_models.dense()), "FP16")
    _package(out, FREE, free(), "FP32")
    code = out / "model_code.py"
    code.write_text(BREAKING_CODE, encoding="utf-8")
    _package(out, POISON, make_models.dense(), "FP32", code)


def halved(model: Any) -> Any:
    """A net in half precision: weights, inputs and outputs."""
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight).astype(np.float16)
        weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    onnx.checker.check_model(model, full_check=True)
    return model


def free() -> Any:
    """A net whose rows may have any width, so that no buffers can be made beforehand."""
    shape = ["rows", "width"]
    inputs = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, shape)
    outputs = helper.make_tensor_value_info(make_models.ANSWER, TensorProto.FLOAT, shape)
    node = helper.make_node("Softmax", [INPUT], [make_models.ANSWER], axis=1)
    graph = helper.make_graph([node], FREE, [inputs], [outputs])
    opsets = [helper.make_opsetid("", make_models.OPSET)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=make_models.IR_VERSION)


def _package(out: Path, name: str, model: Any, datatype: str, code: Path | None = None) -> None:
    # Found in the folder that this runs in: the rendered service.
    sys.path.insert(0, ".")
    from training.package import Source, write_package

    dtype = np.float16 if datatype == "FP16" else np.float32
    inputs = make_models.samples(make_models.SHAPES["dense"], 2).astype(dtype)
    (answer,) = ReferenceEvaluator(model).run([make_models.ANSWER], {INPUT: inputs})
    widths = (-1, -1) if name == FREE else (inputs.shape[1], answer.shape[1])
    output: dict[str, Any] = {"name": make_models.ANSWER, "datatype": datatype}
    if name == HALF:
        output["tolerance"] = HALF_TOLERANCE
    write_package(
        out / name / "packages",
        Source(
            name=name,
            version="1.0.0",
            description="A net for the checks of the GPU.",
            format="onnx",
            model=model.SerializeToString(),
            inputs=[{"name": INPUT, "datatype": datatype, "shape": [-1, widths[0]]}],
            outputs=[output | {"shape": [-1, widths[1]]}],
            golden_inputs={INPUT: inputs},
            golden_outputs={make_models.ANSWER: answer},
            training={"source": "benchmarks/gpu/models.py"},
            libraries=("onnx", "numpy"),
            files={"model_code.py": code} if code else {},
            manifest={"code_file": "model_code.py"} if code else {},
        ),
    )


if __name__ == "__main__":
    main()
