"""Package the cases of ONNX's backend test suite with the service's own packager.

A program for the environment of a rendered service, in its folder:
`python onnx_suite.py OUTPUT STEP` takes one case of each STEP. It writes models folders, golden
records as files of their own, and `report.json`: what was packaged and, for each case that was not,
the reason.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from engine.packaging.onnx_file import graph_inputs
from engine.packaging.options import Options
from engine.packaging.package import package
from engine.serving.errors import StartupError
from onnx import numpy_helper
from onnx.backend.test.loader import load_model_tests

KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator")
PER_FOLDER = 450
NO_TENSOR = 0
Case = tuple[str, bytes, list[tuple[list[Any], list[Any]]], float, float]


def cases() -> Iterator[Case]:
    """Name, model, sets of inputs and expected outputs, and tolerances of every case."""
    for kind in KINDS:
        for each in load_model_tests(kind=kind):
            name = f"{kind}-{each.name.removeprefix('test_')}"
            if each.model is not None:
                sets = [(list(given), list(wanted)) for given, wanted in each.data_sets or ()]
                yield name, each.model.SerializeToString(), sets, each.rtol, each.atol
            else:
                folder = Path(str(each.model_dir))
                content = (folder / "model.onnx").read_bytes()
                yield name, content, list(_stored(folder)), each.rtol, each.atol


def _stored(folder: Path) -> Iterator[tuple[list[Any], list[Any]]]:
    model = onnx.load(folder / "model.onnx")
    for data in sorted(folder.glob("test_data_set_*")):
        yield tuple(  # type: ignore[misc]
            [_value(data / f"{kind}_{i}.pb", value) for i, value in enumerate(values)]
            for kind, values in (("input", graph_inputs(model)), ("output", model.graph.output))
        )


def _value(path: Path, value: Any) -> Any:
    if value.type.WhichOneof("value") != "tensor_type":
        return None
    return numpy_helper.to_array(onnx.TensorProto.FromString(path.read_bytes()))


def plain(value: Any, element: int) -> Any:
    """An array that numpy can store without pickling, of the datatype that is served."""
    if value is None or isinstance(value, (list, dict)) or element == NO_TENSOR:
        raise ValueError("a value that is no tensor")
    array = numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value
    array = np.asarray(array)
    if array.dtype.kind in "OSU" and element == onnx.TensorProto.STRING:
        texts = [e.decode() if isinstance(e, bytes) else str(e) for e in array.reshape(-1)]
        return np.array(texts, dtype=np.str_).reshape(array.shape)
    if element == onnx.TensorProto.BFLOAT16:
        return array.astype(np.float32)
    # Some cases write their numbers as text, for the sake of NaN.
    return array.astype(onnx.helper.tensor_dtype_to_np_dtype(element), copy=False)


def write_samples(path: Path, model: Any, given: list[Any], wanted: list[Any]) -> None:
    """One set of inputs and expected outputs, by tensor name."""
    arrays = {}
    for part, values, found in (
        ("input", graph_inputs(model), given),
        ("output", model.graph.output, wanted),
    ):
        for tensor, value in zip(values, found, strict=True):
            arrays[f"{part}/{tensor.name}"] = plain(value, tensor.type.tensor_type.elem_type)
    np.savez(path, **arrays)


def main() -> None:
    """Package all cases."""
    warnings.simplefilter("ignore")
    output = Path(sys.argv[1])
    scratch = output / "sources"
    scratch.mkdir(parents=True)
    report: dict[str, Any] = {"packaged": {}, "refused": {}}
    for name, content, sets, rtol, atol in islice(cases(), 0, None, int(sys.argv[2])):
        folder = output / f"models-{len(report['packaged']) // PER_FOLDER}"
        model = onnx.ModelProto.FromString(content)
        samples = [scratch / f"{name}.{number}.npz" for number in range(len(sets))]
        try:
            for path, (given, wanted) in zip(samples, sets, strict=True):
                write_samples(path, model, given, wanted)
        except (ValueError, TypeError) as error:
            report["refused"][name] = f"the suite's own data: {error}"
            continue
        source = scratch / f"{name}.onnx"
        source.write_bytes(content)
        try:
            options = Options(name=name, samples=samples[0], tolerance=atol, relative=rtol)
            _, remarks = package(str(source), options, folder)
        except StartupError as error:
            report["refused"][name] = str(error)
        else:
            report["packaged"][name] = {
                "folder": folder.name,
                "samples": [path.name for path in samples],
                "rtol": rtol,
                "atol": atol,
                "remarks": remarks,
            }
        source.unlink()
    (output / "report.json").write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
