"""Samples that were given, fitted to the inputs and outputs of an ONNX model; or made-up ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from engine.packaging.onnx_load import Loaded, Tensor
from engine.packaging.samples import Samples, made_up, text
from engine.serving.errors import PackageError
from engine.serving.reasons import reason_of
from engine.serving.tensors.datatypes import NUMPY, Array

ROWS = 4
OWN_ANSWERS = "ONNX Runtime itself, for want of other answers"
OWN_REMARK = (
    "no answers of a training framework were given, so the golden record holds ONNX Runtime's own: "
    "it notices a changed file or runtime, not a wrong export; give --samples with output/<name> "
    "arrays, or those that record(model, X) of engine/packaging/record.py writes in the notebook"
)
# Sizes tried for a dimension that varies and of which nothing is known.
GUESSES = (1, 3, 16, 32, 64, 224)


def sample_inputs(loaded: Loaded, given: Samples, path: Path) -> dict[str, Array]:
    """Samples that were given, by input and in its datatype; or made-up ones.

    Raises:
        PackageError: they do not fit, or made-up ones cannot be run.
    """
    if given.columns:
        return _from_columns(loaded.inputs, given, path)
    if not given.arrays:
        return _made_up(loaded, path)
    arrays = dict(given.arrays)
    if set(arrays) == {""} and len(loaded.inputs) == 1:
        arrays = {loaded.inputs[0]["name"]: arrays[""]}
    wanted = [each["name"] for each in loaded.inputs]
    arrays = _whole_names(arrays, wanted, "input/")
    if set(arrays) != set(wanted):
        raise PackageError(
            f"the samples hold {sorted(arrays)} and {path} takes {sorted(wanted)}; name the arrays "
            "as the inputs, or input/<name>"
        )
    return {each["name"]: _cast(arrays[each["name"]], each) for each in loaded.inputs}


def _whole_names(arrays: Mapping[str, Array], wanted: list[str], prefix: str) -> dict[str, Array]:
    """Arrays under the names of tensors, which may begin with what samples put before names."""
    return {
        prefix + name if name not in wanted and prefix + name in wanted else name: each
        for name, each in arrays.items()
    }


def _cast(array: Array, tensor: Tensor) -> Array:
    dtype = NUMPY[tensor["datatype"]]
    if array.dtype.kind == "M" and dtype.kind != "O":
        raise PackageError(
            f"the samples of {tensor['name']!r} are dates, and the model takes "
            f"{tensor['datatype']}; give what the model was trained on instead of dates"
        )
    if array.dtype.kind in "OM" and array.ndim == 1:
        array = text(array)
    if array.dtype == dtype and all(isinstance(each, str) for each in array.flat if dtype == "O"):
        return array
    fault = PackageError(f"the samples of {tensor['name']!r} are {array.dtype}, not {dtype}")
    if dtype.kind == "O" or any(isinstance(each, str) for each in array.flat):
        raise fault
    try:
        cast = array.astype(dtype)
    except (TypeError, ValueError):
        raise fault from None
    if dtype.kind in "iub" and not np.array_equal(cast, array):
        raise PackageError(f"the samples of {tensor['name']!r} do not fit into {dtype}")
    return cast


def _from_columns(tensors: list[Tensor], given: Samples, path: Path) -> dict[str, Array]:
    """One table-shaped input takes all columns; several inputs take one each."""
    if len(tensors) == 1 and len(tensors[0]["shape"]) == 2:
        tensors[0]["features"] = list(given.columns)
        parts = [_read(given, name, tensors[0]).reshape(-1, 1) for name in given.columns]
        return {tensors[0]["name"]: np.hstack(parts)}
    wanted = [each["name"] for each in tensors]
    if not set(wanted) <= set(given.columns):
        raise PackageError(
            f"the samples have columns {sorted(given.columns)} and {path} takes {wanted}"
        )
    return {
        each["name"]: _read(given, each["name"], each).reshape(
            (-1, 1) if len(each["shape"]) == 2 else (-1,)
        )
        for each in tensors
    }


def _read(given: Samples, name: str, tensor: Tensor) -> Array:
    """A column as the input takes it: digits are text where the file says that it takes text."""
    array, found = given.columns[name], given.readings.get(name, {})
    if tensor["datatype"] == "BYTES":
        array = found.get("literal", found.get("string", array))
    return _cast(array, tensor)


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
            reason = reason or reason_of(error)
        else:
            return inputs
    raise PackageError(
        f"{path}: made-up inputs cannot be run ({reason}); give real ones with --samples"
    )


def _guessed(shape: list[int], guess: int) -> tuple[int, ...]:
    first = shape[0] if shape and shape[0] != -1 else ROWS
    return tuple([first, *(guess if size == -1 else size for size in shape[1:])][: len(shape)])


def fitted_outputs(outputs: list[Tensor], given: Samples) -> dict[str, Array]:
    """The answers that were given, in the datatypes of the model; those of some outputs are enough.

    Raises:
        PackageError: one is of an output that the model does not have, or of another type.
    """
    wanted = [each["name"] for each in outputs]
    given = replace(
        given,
        outputs=_whole_names(given.outputs, wanted, "output/"),
        texts=_whole_names(given.texts, wanted, "output/"),
    )
    if not set(given.outputs) <= set(wanted):
        raise PackageError(
            f"the samples hold outputs {sorted(given.outputs)} and the model gives {wanted}; name "
            "the answers as these outputs"
        )
    return {
        each["name"]: _answer(given.answer(each["name"], NUMPY[each["datatype"]]), each)
        for each in outputs
        if each["name"] in given.outputs
    }


def golden_by(given: Mapping[str, Array], served: Mapping[str, Array], by: str) -> str:
    """Whose answers the golden record holds."""
    own = [name for name in served if name not in given]
    if not given:
        return OWN_ANSWERS
    return f"{by}; {', '.join(own)}: {OWN_ANSWERS}" if own else by


def _answer(array: Array, tensor: Tensor) -> Array:
    """Given answers in the datatype of the output; only float numbers are rounded."""
    dtype = NUMPY[tensor["datatype"]]
    same = (array.dtype.kind == "O") == (dtype.kind == "O")
    cast = array.astype(dtype, copy=False) if same else array
    if not same or (dtype.kind != "f" and not np.array_equal(cast, array)):
        raise PackageError(
            f"the samples' output/{tensor['name']} holds {array.flat[0]!r}, and the model's output "
            f"of that name is {tensor['datatype']}; give answers of that type"
        )
    # A column of answers is [rows] in a table and [rows, 1] to many models.
    return cast.reshape(-1, 1) if cast.ndim == 1 and tensor["shape"][1:] == [1] else cast
