"""A Keras model as the source of a package: exported to ONNX, with Keras' own answers."""

from __future__ import annotations

import contextlib
import io
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from engine.packaging.given_answers import AS_GIVEN, check_given
from engine.packaging.onnx_file import read_onnx
from engine.packaging.onnx_load import Loaded, load, with_output_names
from engine.packaging.onnx_samples import sample_inputs
from engine.packaging.onnx_source import build
from engine.packaging.options import Options
from engine.packaging.provenance import Environment, Provenance, here
from engine.packaging.samples import Samples
from engine.packaging.write import Source
from engine.serving.errors import PackageError
from engine.serving.reasons import reason_of
from engine.serving.tensors.datatypes import Array


def keras_source(
    path: Path, options: Options, given: Samples, environment: Environment
) -> tuple[Source, list[str]]:
    """What a package of the exported model is made of, and remarks for the person.

    Raises:
        PackageError: Keras is not installed, cannot read or export the model, or the export
            answers differently.
    """
    try:
        import keras
    except ImportError:
        raise PackageError(
            f"{path}: needs Keras and its backend, which are not installed; add keras, tensorflow "
            "and tf2onnx to requirements/train.in and run `make lock`"
        ) from None
    try:
        # Lambda layers hold code, and are not run.
        model = keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # noqa: BLE001 - Keras raises anything
        raise PackageError(
            f"{path}: Keras {keras.__version__} cannot read it: {reason_of(error)}; save it with "
            "this version and without Lambda layers, or pin the version that saved it in "
            "requirements/train.in"
        ) from None
    with tempfile.TemporaryDirectory() as folder:
        exported = Path(folder) / f"{path.stem}.onnx"
        _export(model, exported, path)
        loaded = load(read_onnx(exported), exported)
        # The exporter calls them Identity:0 and so on.
        names = list(getattr(model, "output_names", [model.layers[-1].name]))
        if len(names) == len(loaded.outputs):
            loaded = with_output_names(loaded, names, exported)
        inputs = sample_inputs(loaded, given, exported)
        expected = _answers(model, loaded, inputs, path)
        check_given(given, expected, f"Keras {keras.__version__}", options)
        by = f"Keras {keras.__version__}" + (AS_GIVEN if given.outputs else "")
        section = {"golden": by, "estimator": type(model).__name__}
        packages = here("keras", "tf2onnx") | environment.telling()
        provenance = Provenance(section, packages, environment.python)
        return build(exported, loaded, inputs, expected, provenance, options)


def _export(model: Any, exported: Path, path: Path) -> None:
    try:
        # A model that was read from a file and never called has no graph to export.
        model([np.zeros([size or 1 for size in each.shape], each.dtype) for each in model.inputs])
        with contextlib.redirect_stdout(io.StringIO()):
            model.export(exported, format="onnx", verbose=False)
    except Exception as error:  # noqa: BLE001 - Keras and its exporters raise anything
        raise PackageError(
            f"{path}: Keras cannot export it to ONNX: {reason_of(error)}; export it where it was "
            "trained (model.export(path, format='onnx')) and package that file"
        ) from None


def _answers(model: Any, loaded: Loaded, inputs: dict[str, Array], path: Path) -> dict[str, Array]:
    """Keras' answers, in the order of the exported outputs."""
    values = list(inputs.values())
    answer = model(values if len(values) > 1 else values[0], training=False)
    parts = list(answer.values()) if isinstance(answer, dict) else answer
    parts = list(parts) if isinstance(parts, (list, tuple)) else [parts]
    if len(parts) != len(loaded.outputs):
        raise PackageError(
            f"{path}: Keras gives {len(parts)} outputs and its export {len(loaded.outputs)}"
        )
    return {
        tensor["name"]: np.asarray(part) for tensor, part in zip(loaded.outputs, parts, strict=True)
    }
