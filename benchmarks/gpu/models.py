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

from benchmarks import make_models
from benchmarks.gpu.names import BREAKING, FREE, HALF, INPUT, POISON

# Half precision keeps eleven bits, and a GPU adds in another order.
HALF_OUTPUT = {"tolerance": {"absolute": 2e-3, "relative": 2e-2}}
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
    rows = make_models.samples(make_models.SHAPES["dense"], 2)
    code = out / make_models.CODE
    code.write_text(BREAKING_CODE, encoding="utf-8")
    width = rows.shape[1:]
    half = halved(make_models.dense(HALF, make_models.DENSE))
    make_models.package(
        HALF, half, _folder(out, HALF), rows.astype(np.float16), width, output=HALF_OUTPUT
    )
    make_models.package(FREE, free(), _folder(out, FREE), rows, (-1,), output={"shape": [-1, -1]})
    poison = make_models.dense(POISON, make_models.DENSE)
    make_models.package(POISON, poison, _folder(out, POISON), rows, width, code=code)


def _folder(out: Path, name: str) -> Path:
    return out / name / "packages"


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


if __name__ == "__main__":
    main()
