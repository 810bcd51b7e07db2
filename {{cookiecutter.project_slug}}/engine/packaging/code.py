"""A package whose model has code of its own around it; see ``engine.serving.runtimes.hooks``."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from engine.packaging import own_files, own_modules
from engine.packaging.onnx_samples import OWN_REMARK, fitted_outputs, golden_by
from engine.packaging.options import CODE_FILE, Options
from engine.packaging.rows import Claim, judge
from engine.packaging.samples import read_samples, settled, text
from engine.packaging.tolerance import tolerance_of
from engine.packaging.write import OWN_CODE, Source, write_package
from engine.serving.errors import PackageError
from engine.serving.inference.model import Model, load_model
from engine.serving.package.digest import MANIFEST
from engine.serving.package.manifest import GOLDEN
from engine.serving.package.reader import read_package
from engine.serving.reasons import reason_of
from engine.serving.runtimes.hooks import hooks_of, run_between
from engine.serving.settings import Settings
from engine.serving.tensors.datatypes import Array, canonical, datatype_of


def with_code(source: Source, options: Options) -> tuple[Source, list[str]]:
    """Put code around a model: signature and golden record become those of the whole.

    Raises:
        PackageError: a joblib model, no samples, or the code cannot be run on them.
    """
    path, content = _code(source, options)
    modules = own_modules.collect(options.modules)
    files = {**source.files, **own_modules.files_of(modules), CODE_FILE: path}
    taken = (MANIFEST, GOLDEN, f"model.{source.format}", *files)
    own = own_files.collect(options.files, taken)
    if options.samples is None:
        raise PackageError(f"{path}: give samples of what clients send with --samples FILE.npz")
    given = read_samples(options.samples, options.types)
    inputs = dict(given.arrays) or {name: text(each) for name, each in settled(given).items()}
    with tempfile.TemporaryDirectory() as folder:
        model = _model(Path(folder), source)
        hooks = hooks_of(content, path, source.name, own)

        def run(inputs: Mapping[str, Array]) -> dict[str, Array]:
            """What a client gets for what it sends."""
            given = run_between(hooks, model.run, inputs)
            return {name: canonical(value) for name, value in given.items()}

        try:
            served = run(inputs)
        except Exception as error:  # the code may raise anything
            raise PackageError(
                f"{path}: fails on the samples: {type(error).__name__}: {reason_of(error)}; the "
                f"samples hold {', '.join(inputs)}, as a client sends them"
            ) from error
        tensors = [_tensor(name, value) for name, value in inputs.items()]
        answers = [_tensor(name, value) for name, value in served.items()]
        claim = Claim(OWN_CODE, options.batching)
        verdict = judge(run, inputs, tensors, answers, claim)
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
        files={**files, **own},
        manifest={"code_file": CODE_FILE, **own_modules.manifest_of(modules)},
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
