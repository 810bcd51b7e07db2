"""An ONNX file as the source of a package: signature, samples, expected answers, tolerance."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from app.errors import PackageError
from app.runtimes.onnx_runtime import DATATYPES, FATAL_ONLY
from app.tensors.datatypes import NUMPY, Array, Datatype
from training.packaging.adapt import adapted
from training.packaging.bfloat16 import carry_as_float32, rename
from training.packaging.onnx_file import OnnxFile, read_onnx
from training.packaging.options import Options, package_name
from training.packaging.provenance import (
    Environment,
    Provenance,
    here,
    onnx_section,
    read_environment,
)
from training.packaging.rows import row_noise
from training.packaging.samples import Samples, made_up, read_samples
from training.packaging.tolerance import tolerance_of
from training.packaging.write import Source

WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"
ROWS = 4
# Sizes tried for a dimension that varies and of which nothing is known.
GUESSES = (1, 3, 16, 32, 64, 224)
OWN_ANSWERS = "ONNX Runtime itself, for want of other answers"
OWN_REMARK = (
    "no answers of a training framework were given, so the golden record holds ONNX Runtime's own: "
    "it notices a changed file or runtime, not a wrong export; give --samples with output/<name> "
    "arrays"
)
TOGETHER_REMARK = "rows depend on each other, so requests never share a run"
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


def onnx_source(
    path: Path,
    options: Options,
    given: Samples | None = None,
    environment: Environment | None = None,
) -> tuple[Source, list[str]]:
    """What a package of this file is made of, and remarks for the person.

    Args:
        path: the file.
        options: choices; its samples and environment count where the next ones are None.
        given: samples.
        environment: the one that trained the model.

    Raises:
        PackageError: it cannot be read, loaded or run, or the samples do not fit.
    """
    loaded = load(read_onnx(path), path)
    if given is None:
        given = read_samples(options.samples) if options.samples else Samples()
    inputs = sample_inputs(loaded, given, path)
    expected = fitted_outputs(loaded, given.outputs)
    if environment is None:
        environment = (
            read_environment(options.environment) if options.environment else Environment()
        )
    provenance = Provenance(
        {"golden": "given with the samples"},
        environment.telling(),
        environment.python or platform.python_version(),
    )
    return build(path, loaded, inputs, expected, provenance, options)


def build(
    path: Path,
    loaded: Loaded,
    inputs: dict[str, Array],
    expected: Mapping[str, Array],
    provenance: Provenance,
    options: Options,
) -> tuple[Source, list[str]]:
    """Put the source together; ``expected`` may be empty, and then the file's own answers serve."""
    remarks = list(loaded.remarks)
    section = dict(provenance.section)
    served = _run(loaded, inputs, path)
    if not expected:
        remarks.append(OWN_REMARK)
        expected, section["golden"] = served, OWN_ANSWERS
    _note_missing_values(loaded.inputs, inputs)
    _fill_shapes(loaded.outputs, expected)
    manifest: dict[str, Any] = {}
    noise: dict[str, float] = {}
    if _may_batch(loaded):
        found = None if options.together else row_noise(loaded.run, inputs)
        noise = found or {}
        if found is None:
            manifest["independent_rows"] = False
            remarks.append(TOGETHER_REMARK)
    outputs = [
        _with_tolerance(each, expected, served, options, noise.get(each["name"], 0.0))
        for each in loaded.outputs
    ]
    source = Source(
        name=package_name(options, path.stem),
        version=options.version,
        description=options.description or loaded.file.model.doc_string.strip(),
        format="onnx",
        model=loaded.file.model.SerializeToString(),
        inputs=loaded.inputs,
        outputs=outputs,
        golden_inputs=inputs,
        golden_outputs=expected,
        training=onnx_section(loaded.file, path, options) | section,
        libraries=(),
        packages=here("onnx", "onnxruntime", "numpy") | dict(provenance.packages),
        python=provenance.python,
        files=loaded.file.external,
        manifest=manifest,
    )
    return source, remarks


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
    remarks = [f"{name}: bfloat16 is carried as FP32" for name in widened]
    try:
        return _loaded(file, path, remarks)
    except PackageError as refused:
        if file.external:  # the converter would have to read all weights
            raise
        for model, remark in adapted(file.model):
            with contextlib.suppress(PackageError):
                return _loaded(replace(file, model=model), path, [*remarks, remark])
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
        reason = " ".join(str(error).split())
        raise PackageError(f"{path}: ONNX Runtime cannot load it: {reason}") from None
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


def sample_inputs(loaded: Loaded, given: Samples, path: Path) -> dict[str, Array]:
    """Samples that were given, by input and in its datatype; or made-up ones.

    Raises:
        PackageError: they do not fit, or made-up ones cannot be run.
    """
    if given.columns:
        return _from_columns(loaded.inputs, given.columns, path)
    if not given.arrays:
        return _made_up(loaded, path)
    arrays = dict(given.arrays)
    if set(arrays) == {""} and len(loaded.inputs) == 1:
        arrays = {loaded.inputs[0]["name"]: arrays[""]}
    wanted = {each["name"] for each in loaded.inputs}
    if set(arrays) != wanted:
        raise PackageError(
            f"the samples hold {sorted(arrays)} and {path} takes {sorted(wanted)}; name the arrays "
            "as the inputs"
        )
    return {each["name"]: _cast(arrays[each["name"]], each) for each in loaded.inputs}


def _cast(array: Array, tensor: Tensor) -> Array:
    dtype = NUMPY[tensor["datatype"]]
    if array.dtype == dtype:
        return array
    if (array.dtype.kind == "O") != (dtype.kind == "O"):
        raise PackageError(f"the samples of {tensor['name']!r} are {array.dtype}, not {dtype}")
    cast = array.astype(dtype)
    if dtype.kind in "iub" and not np.array_equal(cast, array):
        raise PackageError(f"the samples of {tensor['name']!r} do not fit into {dtype}")
    return cast


def _from_columns(
    tensors: list[Tensor], columns: Mapping[str, Array], path: Path
) -> dict[str, Array]:
    """One table-shaped input takes all columns; several inputs take one each."""
    if len(tensors) == 1 and len(tensors[0]["shape"]) == 2:
        tensors[0]["features"] = list(columns)
        return {tensors[0]["name"]: _cast(np.column_stack(list(columns.values())), tensors[0])}
    wanted = [each["name"] for each in tensors]
    if not set(wanted) <= set(columns):
        raise PackageError(f"the samples have columns {sorted(columns)} and {path} takes {wanted}")
    return {
        each["name"]: _cast(columns[each["name"]], each).reshape(
            (-1, 1) if len(each["shape"]) == 2 else (-1,)
        )
        for each in tensors
    }


def _made_up(loaded: Loaded, path: Path) -> dict[str, Array]:
    reason = ""
    for guess in GUESSES:
        inputs = {
            each["name"]: made_up(_guessed(each["shape"], guess), NUMPY[each["datatype"]], number)
            for number, each in enumerate(loaded.inputs)
        }
        try:
            loaded.run(inputs)
        except Exception as error:  # noqa: BLE001 - onnxruntime's exceptions share no base class
            reason = reason or " ".join(str(error).split())
        else:
            return inputs
    raise PackageError(
        f"{path}: made-up inputs cannot be run ({reason}); give real ones with --samples"
    )


def _guessed(shape: list[int], guess: int) -> tuple[int, ...]:
    first = shape[0] if shape and shape[0] != -1 else ROWS
    return tuple([first, *(guess if size == -1 else size for size in shape[1:])][: len(shape)])


def fitted_outputs(loaded: Loaded, given: Mapping[str, Array]) -> dict[str, Array]:
    """Expected outputs in the datatypes of the file; empty where none were given.

    Raises:
        PackageError: some are given and others are not.
    """
    if not given:
        return {}
    wanted = [each["name"] for each in loaded.outputs]
    if set(given) != set(wanted):
        raise PackageError(f"the samples hold outputs {sorted(given)} and the model gives {wanted}")
    return {each["name"]: given[each["name"]].astype(NUMPY[each["datatype"]], copy=False)
            for each in loaded.outputs}  # fmt: skip


def _run(loaded: Loaded, inputs: Mapping[str, Array], path: Path) -> dict[str, Array]:
    try:
        return loaded.run(inputs)
    except Exception as error:  # noqa: BLE001 - onnxruntime's exceptions share no base class
        reason = " ".join(str(error).split())
        raise PackageError(f"{path}: the samples cannot be run: {reason}") from None


def _note_missing_values(tensors: list[Tensor], inputs: Mapping[str, Array]) -> None:
    for each in tensors:
        array = inputs[each["name"]]
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            each["allow_nan"] = True
        if array.size == 0:
            each["allow_empty"] = True


def _fill_shapes(tensors: list[Tensor], outputs: Mapping[str, Array]) -> None:
    """Shapes that the file leaves out are known in rank from what was computed."""
    for each in tensors:
        if len(each["shape"]) != outputs[each["name"]].ndim:
            each["shape"] = [-1] * outputs[each["name"]].ndim
        each.pop("allow_empty", None)


def _may_batch(loaded: Loaded) -> bool:
    return all(each["shape"][:1] == [-1] for each in (*loaded.inputs, *loaded.outputs))


def _with_tolerance(
    tensor: Tensor,
    expected: Mapping[str, Array],
    served: Mapping[str, Array],
    options: Options,
    noise: float,
) -> Tensor:
    name = tensor["name"]
    if NUMPY[tensor["datatype"]].kind != "f":
        return tensor
    tolerance = tolerance_of(expected[name], served[name], options, noise)
    return tensor | {"tolerance": tolerance.entry()}
