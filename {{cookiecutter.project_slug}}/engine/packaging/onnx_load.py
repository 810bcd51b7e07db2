"""Load an ONNX file the way the service will, changed where the runtime needs that."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnxruntime as ort

from engine.packaging.adapt import TARGETS, adapted, with_known_version
from engine.packaging.bfloat16 import carry_as_float32, rename
from engine.packaging.onnx_file import OnnxFile
from engine.serving.errors import PackageError
from engine.serving.reasons import reason_of
from engine.serving.runtimes.onnx_runtime import DATATYPES, FATAL_ONLY
from engine.serving.tensors.datatypes import Array, Datatype

WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"
Tensor = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A file that ONNX Runtime has loaded, and its tensors as the manifest writes them.

    ``remarks`` say what had to be changed for that.
    """

    file: OnnxFile
    session: ort.InferenceSession
    inputs: list[Tensor]
    outputs: list[Tensor]
    remarks: list[str]

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Compute all outputs."""
        names = [each["name"] for each in self.outputs]
        return dict(zip(names, self.session.run(names, dict(inputs)), strict=True))


def with_output_names(loaded: Loaded, names: list[str], path: Path) -> Loaded:
    """The model with its first outputs under these names, and no others.

    Raises:
        PackageError: ONNX Runtime cannot load the changed model.
    """
    graph = loaded.file.model.graph
    kept = list(graph.output)[: len(names)]
    for value, name in zip(kept, names, strict=True):
        if value.name != name:
            rename(graph, value.name, name)
            value.name = name
    del graph.output[:]
    graph.output.extend(kept)
    return replace(load(loaded.file, path), remarks=loaded.remarks)


def load(file: OnnxFile, path: Path) -> Loaded:
    """Load a parsed file the way the service will, and read its signature.

    Raises:
        PackageError: ONNX Runtime cannot load it, or a tensor's type cannot be carried.
    """
    widened = carry_as_float32(file.model)
    remarks = [*file.remarks, *(f"{name}: bfloat16 is carried as FP32" for name in widened)]
    try:
        return _loaded(file, path, remarks)
    except PackageError as refused:
        if file.external:  # the converter would have to read all weights
            lowered = with_known_version(file.model)
            if lowered is file.model:
                raise
            return _loaded(replace(file, model=lowered), path, remarks)
        for model, remark in adapted(file.model):
            with contextlib.suppress(PackageError):
                more = [remark] if remark else []
                return _loaded(replace(file, model=model), path, [*remarks, *more])
        raise refused


def _loaded(file: OnnxFile, path: Path, remarks: list[str]) -> Loaded:
    options = ort.SessionOptions()
    options.log_severity_level = FATAL_ONLY
    options.intra_op_num_threads = 1
    if file.external:
        folder = str(next(iter(file.external.values())).parent)
        options.add_session_config_entry(WEIGHTS_FOLDER, folder)
    try:
        session = ort.InferenceSession(
            file.model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # noqa: BLE001 - onnxruntime's exceptions share no base class
        raise PackageError(
            f"{path}: ONNX Runtime {ort.__version__} cannot load it: {reason_of(error)}; export it "
            f"with an operator set up to {TARGETS[0]} and standard operators, or pin the ONNX "
            "Runtime that has them in requirements/serve-cpu.in"
        ) from None
    inputs, outputs = (
        [_tensor(node, path) for node in nodes]
        for nodes in (session.get_inputs(), session.get_outputs())
    )
    if not inputs:
        raise PackageError(f"{path}: takes no input, so there is nothing to serve")
    return Loaded(file, session, inputs, outputs, remarks)


def _tensor(node: Any, path: Path) -> Tensor:
    datatype: Datatype | None = DATATYPES.get(node.type)
    if datatype is None:
        raise PackageError(f"{path}: {node.name!r} is {node.type}, which cannot be carried")
    shape = [size if isinstance(size, int) else -1 for size in node.shape]
    tensor: Tensor = {"name": node.name, "datatype": datatype, "shape": shape}
    return tensor | ({"allow_empty": True} if 0 in shape else {})
