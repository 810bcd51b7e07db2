"""The golden record: sample inputs and the outputs that the training framework gave for them.

``golden.npz`` holds arrays named ``input/<name>`` and ``output/<name>``. Text is stored as
fixed-width unicode, so that nothing has to be unpickled.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from engine.serving.errors import InvalidInput, PackageError
from engine.serving.package.manifest import GOLDEN, Manifest, OutputTensor
from engine.serving.tensors.datatypes import Array, canonical

# Of all samples, unpacked.
MOST_BYTES: Final = 512 * 1024 * 1024
LIKELY_CAUSES = (
    "likely causes: the model was trained on float64 and exported to float32, another version of "
    "the converter (protobuf 7 breaks histogram gradient boosting), other preprocessing, an "
    "operator that the GPU rounds differently (GPU_TF32), or the wrong model file"
)


@dataclass(frozen=True, slots=True)
class Golden:
    """Named inputs, and the named outputs that belong to them."""

    inputs: dict[str, Array]
    outputs: dict[str, Array]


def read_golden(directory: Path, manifest: Manifest) -> Golden:
    """Read ``golden.npz`` and check it against the signature.

    Raises:
        PackageError: unreadable, incomplete, or in conflict with the signature.
    """
    path = directory / GOLDEN
    try:
        arrays = _arrays(path)
    except PackageError:
        raise
    # zipfile, zlib and numpy raise nearly everything on what is no record.
    except Exception as error:  # noqa: BLE001
        reason = " ".join(str(error).split()) or type(error).__name__
        raise PackageError(f"{path}: cannot be read: {reason}") from None
    inputs = _part(arrays, "input/")
    outputs = _part(arrays, "output/")
    try:
        manifest.signature.check(inputs)
    except InvalidInput as error:
        raise PackageError(f"{path}: {error.message}") from None
    missing = {output.name for output in manifest.outputs} ^ set(outputs)
    if missing:
        raise PackageError(f"{path}: outputs and manifest differ in {sorted(missing)}")
    return Golden(inputs, outputs)


def _arrays(path: Path) -> dict[str, Array]:
    """The arrays of inputs and outputs, unpacked only if they are of a sensible size."""
    with zipfile.ZipFile(path) as archive:
        size = sum(each.file_size for each in archive.infolist())
    if size > MOST_BYTES:
        raise PackageError(
            f"{path}: has {size} bytes when unpacked; at most {MOST_BYTES} are read: package the "
            "model with fewer samples"
        )
    with np.load(path, allow_pickle=False) as content:
        return {name: canonical(content[name]) for name in content.files}


def write_golden(path: Path, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
    """Write a golden record; text goes in as unicode. The same arrays give the same bytes."""
    arrays = {f"input/{name}": value for name, value in inputs.items()}
    arrays |= {f"output/{name}": value for name, value in outputs.items()}
    plain = {
        name: value.astype(np.str_) if value.dtype.kind == "O" else value
        for name, value in arrays.items()
    }
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **plain)


def _part(arrays: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    return {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}


def compare(
    outputs: tuple[OutputTensor, ...], golden: Mapping[str, Array], served: Mapping[str, Array]
) -> None:
    """Compare served outputs with golden ones; integers, booleans and text must be equal.

    Raises:
        PackageError: at the first sample that differs, with both values and likely causes.
    """
    for output in outputs:
        expected, got = golden[output.name], canonical(served[output.name])
        if expected.shape != got.shape or expected.dtype != got.dtype:
            raise PackageError(
                f"golden check failed: output {output.name!r} is {got.dtype}{list(got.shape)}, "
                f"in training it was {expected.dtype}{list(expected.shape)}"
            )
        wrong = ~_close(output, expected, got)
        if wrong.any():
            at = tuple(int(axis[0]) for axis in np.nonzero(wrong)) if wrong.ndim else ()
            raise PackageError(
                f"golden check failed: output {output.name!r} at {list(at)} is {got[at]}, in "
                f"training it was {expected[at]} ({int(wrong.sum())} of {wrong.size} values "
                f"differ); {LIKELY_CAUSES}"
            )


def _close(output: OutputTensor, expected: Array, got: Array) -> Array:
    if expected.dtype.kind != "f":
        return np.asarray(expected == got)
    return np.isclose(
        got,
        expected,
        rtol=output.tolerance.relative,
        atol=output.tolerance.absolute,
        equal_nan=True,
    )
