"""Ask a running service through a client of the Open Inference Protocol that we did not write."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tritonclient.http as triton
from tritonclient.utils import np_to_triton_dtype, triton_to_np_dtype

Array = npt.NDArray[Any]


def client(url: str) -> Any:
    """A client of the service at that address."""
    return triton.InferenceServerClient(
        url.removeprefix("http://"), connection_timeout=60, network_timeout=60
    )


def ask(client: Any, model: str, inputs: Mapping[str, Array], *, binary: bool) -> dict[str, Array]:
    """The outputs for inputs by name, both carried as raw bytes, or both as JSON."""
    given = []
    for name, value in inputs.items():
        array = value.astype(np.object_) if value.dtype.kind == "U" else value
        tensor = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(array, binary_data=binary)
        given.append(tensor)
    names = [each["name"] for each in client.get_model_metadata(model)["outputs"]]
    wanted = [triton.InferRequestedOutput(name, binary_data=binary) for name in names]
    answer = client.infer(model, given, outputs=wanted)
    return {name: _output(answer, name) for name in names}


def _output(answer: Any, name: str) -> Array:
    array: Array = answer.as_numpy(name)
    if array.size == 0:  # the client forgets the datatype of what holds nothing
        datatype = answer.get_output(name)["datatype"]
        array = array.astype(np.str_ if datatype == "BYTES" else triton_to_np_dtype(datatype))
    return text(array)


def text(array: Array) -> Array:
    """Text as unicode, where the client gives bytes."""
    if array.dtype.kind != "O":
        return array
    texts = [e.decode() if isinstance(e, bytes) else str(e) for e in array.reshape(-1)]
    return np.array(texts, dtype=np.str_).reshape(array.shape)


def stored(archive: Mapping[str, Array], part: str) -> dict[str, Array]:
    """Arrays of a golden record or of samples: those of ``input`` or of ``output``."""
    prefix = f"{part}/"
    return {n.removeprefix(prefix): a for n, a in archive.items() if n.startswith(prefix)}


def difference(expected: Array, got: Array, rtol: float, atol: float) -> str:
    """What is wrong with an output; empty where nothing is."""
    if got.dtype.kind != expected.dtype.kind or got.shape != expected.shape:
        return f"{got.dtype}{got.shape} instead of {expected.dtype}{expected.shape}"
    if expected.dtype.kind != "f":
        return "" if np.array_equal(expected, got) else "other values"
    close = np.isclose(got, expected, rtol=rtol, atol=atol, equal_nan=True)
    return "" if close.all() else f"{int((~close).sum())} of {close.size} values differ"


def golden_inputs(folder: Path) -> dict[str, Array]:
    """The sample inputs of a package."""
    with np.load(folder / "golden.npz") as archive:
        return stored(dict(archive), "input")


def can_be_json(arrays: Mapping[str, Array]) -> bool:
    """Whether the client can write the numbers as JSON."""
    return all(value.dtype.kind != "f" or np.isfinite(value).all() for value in arrays.values())


def assert_same(got: Array, expected: Array, tolerance: float, name: str) -> None:
    """Labels are equal, numbers close."""
    if expected.dtype.kind != "f":
        assert got.tolist() == expected.tolist(), name
    else:
        np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance, err_msg=name)
