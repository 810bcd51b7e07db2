"""A package whose model has code of its own around it; see ``engine.serving.runtimes.hooks``."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from engine.packaging.onnx_samples import OWN_REMARK, fitted_outputs, golden_by
from engine.packaging.options import CODE_FILE, Options
from engine.packaging.own_modules import collect, files_of, manifest_of
from engine.packaging.rows import Claim, judge
from engine.packaging.samples import read_samples, settled, text
from engine.packaging.tolerance import tolerance_of
from engine.packaging.write import OWN_CODE, Source, write_package
from engine.serving.errors import PackageError
from engine.serving.inference.model import Model, load_model
from engine.serving.package.reader import read_package
from engine.serving.reasons import reason_of
from engine.serving.runtimes.hooks import Hook, hooks_of
from engine.serving.settings import Settings
from engine.serving.tensors.datatypes import Array, canonical, datatype_of


@dataclass(frozen=True, slots=True)
class Chain:
    """The model between its hooks."""

    model: Model
    before: Hook | None
    after: Hook | None

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """What a client gets for what it sends."""
        own: Mapping[str, Array] = self.before(inputs) if self.before else inputs
        given: Mapping[str, Array] = self.model.run(own)
        if self.after is not None:
            given = self.after(given)
        return {name: canonical(np.asarray(value)) for name, value in given.items()}


def with_code(source: Source, options: Options) -> tuple[Source, list[str]]:
    """Put code around a model: signature and golden record become those of the whole.

    Raises:
        PackageError: a joblib model, no samples, or the code cannot be run on them.
    """
    path, content = _code(source, options)
    modules = collect(options.modules)
    if options.samples is None:
        raise PackageError(f"{path}: give samples of what clients send with --samples FILE.npz")
    given = read_samples(options.samples, options.types)
    inputs = dict(given.arrays) or {name: text(each) for name, each in settled(given).items()}
    with tempfile.TemporaryDirectory() as folder:
        model = _model(Path(folder), source)
        chain = Chain(model, *hooks_of(content, path, source.name))
        try:
            served = chain.run(inputs)
        except Exception as error:  # the code may raise anything
            raise PackageError(
                f"{path}: fails on the samples: {type(error).__name__}: {reason_of(error)}; the "
                f"samples hold {', '.join(inputs)}, as a client sends them"
            ) from error
        tensors = [_tensor(name, value) for name, value in inputs.items()]
        answers = [_tensor(name, value) for name, value in served.items()]
        claim = Claim(OWN_CODE, options.batching)
        verdict = judge(chain.run, inputs, tensors, answers, claim)
    remarks: list[str] = []
    expected = fitted_outputs(answers, given)
    golden = {**served, **expected}
    by = golden_by(expected, served, "given with the samples")
    if not expected:
        remarks.append(OWN_REMARK)
    made = replace(
        source,
        inputs=tensors,
        outputs=[
            _output(name, golden[name], value, options, verdict.noise.get(name, 0.0))
            for name, value in served.items()
        ],
        golden_inputs=inputs,
        golden_outputs=golden,
        training={**source.training, "golden": by},
        files={**source.files, **files_of(modules), CODE_FILE: path},
        manifest={"code_file": CODE_FILE, **manifest_of(modules)},
        verdict=verdict,
    )
    return made, remarks


def _code(source: Source, options: Options) -> tuple[Path, bytes]:
    path = options.code or Path(CODE_FILE)
    if source.format == "joblib":
        raise PackageError(
            f"{path}: code around a scikit-learn model belongs into its pipeline, as a "
            "FunctionTransformer; or convert the model with --to onnx"
        )
    try:
        return path, path.read_bytes()
    except OSError as error:
        raise PackageError(f"{path}: cannot be read: {error.strerror}") from None


def _model(folder: Path, source: Source) -> Model:
    bare = write_package(folder, source)
    return load_model(read_package(bare), Settings(execution_providers=("cpu",)))


def _tensor(name: str, array: Array) -> dict[str, Any]:
    tensor: dict[str, Any] = {
        "name": name,
        "datatype": datatype_of(array),
        "shape": [-1, *array.shape[1:]][: array.ndim],
    }
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        tensor["allow_nan"] = True
    return tensor


def _output(
    name: str, expected: Array, served: Array, options: Options, noise: float
) -> dict[str, Any]:
    tensor = _tensor(name, served)
    tensor.pop("allow_nan", None)
    if served.dtype.kind == "f":
        tensor["tolerance"] = tolerance_of(expected, served, options, noise).entry()
    return tensor
