"""An ONNX file as the source of a package: signature, golden record, tolerance, sharing of runs."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from engine.packaging.class_outputs import with_names
from engine.packaging.graph import unproven
from engine.packaging.onnx_file import read_onnx
from engine.packaging.onnx_load import Loaded, Tensor, load
from engine.packaging.onnx_samples import OWN_REMARK, fitted_outputs, golden_by, sample_inputs
from engine.packaging.options import Options, package_name
from engine.packaging.provenance import (
    Environment,
    Provenance,
    here,
    onnx_section,
    read_environment,
)
from engine.packaging.randomness import refuse_random
from engine.packaging.rows import Claim, judge
from engine.packaging.samples import Samples, read_samples
from engine.packaging.tolerance import tolerance_of
from engine.packaging.write import Source
from engine.serving.errors import PackageError
from engine.serving.reasons import reason_of
from engine.serving.tensors.datatypes import NUMPY, Array


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
        given = read_samples(options.samples, options.types) if options.samples else Samples()
    inputs = sample_inputs(loaded, given, path)
    expected = fitted_outputs(loaded.outputs, given)
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
    promised: str = "",
) -> tuple[Source, list[str]]:
    """Put the source together; the file's own answers serve where ``expected`` has none.

    Args:
        path: of the source, for messages.
        loaded: the model.
        inputs: samples.
        expected: their answers.
        provenance: where it comes from.
        options: choices.
        promised: whose word it is that each row is answered by itself; empty: nobody's.
    """
    remarks = list(loaded.remarks)
    section = dict(provenance.section)
    served = _run(loaded, inputs, path)
    graph = loaded.file.model.graph
    remarks += refuse_random(graph, lambda: loaded.run(inputs), served, str(path))
    if not expected:
        remarks.append(OWN_REMARK)
    section["golden"] = golden_by(expected, served, section["golden"])
    expected = {**served, **expected}
    _note_missing_values(loaded.inputs, inputs)
    _fill_shapes(loaded.outputs, expected)
    claim = Claim(_unproven(loaded, inputs), options.batching, promised)
    verdict = judge(loaded.run, inputs, loaded.inputs, loaded.outputs, claim)
    outputs = [
        _with_tolerance(each, expected, served, options, verdict.noise.get(each["name"], 0.0))
        for each in loaded.outputs
    ]
    if not options.labels:
        outputs = with_names(outputs, expected, loaded.file.classes)
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
        verdict=verdict,
    )
    return source, remarks


def _run(loaded: Loaded, inputs: Mapping[str, Array], path: Path) -> dict[str, Array]:
    try:
        return loaded.run(inputs)
    except Exception as error:  # noqa: BLE001 - onnxruntime's exceptions share no base class
        described = ", ".join(f"{e['name']} {e['datatype']}{e['shape']}" for e in loaded.inputs)
        raise PackageError(
            f"{path}: the samples cannot be run: {reason_of(error)}; give samples of {described} "
            "with sizes that the model was exported for"
        ) from None


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


def _unproven(loaded: Loaded, inputs: Mapping[str, Array]) -> str:
    external = next(iter(loaded.file.external.values()), None)
    inner = {name: value.shape[1:] for name, value in inputs.items()}
    return unproven(loaded.file.model, inner, external.parent if external else None)


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
