"""scikit-learn estimators converted to ONNX, with the estimator's own answers as the measure."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from sklearn.base import BaseEstimator, is_classifier

from engine.packaging.bfloat16 import rename
from engine.packaging.class_outputs import flattened
from engine.packaging.contract import modules_of, promised
from engine.packaging.given_answers import close
from engine.packaging.onnx_file import OnnxFile
from engine.packaging.onnx_load import Loaded, load, with_output_names
from engine.packaging.onnx_source import build
from engine.packaging.options import Options
from engine.packaging.provenance import Provenance, here
from engine.packaging.sklearn_calls import Table
from engine.packaging.write import Source
from engine.serving.errors import PackageError
from engine.serving.reasons import reason_of
from engine.serving.tensors.datatypes import NUMPY, Array

BOOL = onnx.TensorProto.BOOL
TARGET_OPSET = {"": 21, "ai.onnx.ml": 3}
TOLERANCE = 1e-4
REASON = "scikit-learn computes in float64, ONNX Runtime's classical operators in float32"
PROTOBUF_TOO_NEW = 7
AS_JOBLIB = "package it as joblib (without --to onnx)"
UNKNOWN = r"Unable to find a shape calculator for type '<class '(?:\w+\.)*(\w+)'>'"
# What makes ONNX files of libraries that skl2onnx does not know.
EXPORTERS = {
    "catboost": "model.save_model(path, format='onnx')",
    "lightgbm": "onnxmltools.convert_lightgbm(model, initial_types=..., zipmap=False)",
    "xgboost": "onnxmltools.convert_xgboost(model, initial_types=...)",
}


def converted(
    estimator: Any,
    table: Table,
    outputs: list[dict[str, Any]],
    golden: Mapping[str, Array],
    path: Path,
    provenance: Provenance,
    options: Options,
) -> tuple[Source, list[str]]:
    """What a package of the converted estimator is made of.

    Raises:
        PackageError: an operator has no converter, or the conversion answers differently.
    """
    dates = [each["name"] for each in table.tensors if each.get("date")]
    if dates:
        raise PackageError(
            f"{type(estimator).__name__} cannot be converted to ONNX: columns {dates} are dates, "
            f"which ONNX does not have; {AS_JOBLIB}"
        )
    model = _convert(estimator, table)
    flattened(model)  # several targets
    try:
        loaded = load(OnnxFile(model, {}), path)
    except PackageError:
        raise PackageError(
            f"{type(estimator).__name__} cannot be converted to ONNX: ONNX Runtime does not load "
            f"what skl2onnx makes of it; {AS_JOBLIB}"
        ) from None
    loaded, remarks = _matched(loaded, outputs, golden, path)
    inputs: dict[str, Array] = {}
    for tensor, described in zip(loaded.inputs, table.tensors, strict=True):
        # The converter writes underscores into names.
        inputs[tensor["name"]] = table.arrays[described["name"]]
        tensor.update({**described, "name": tensor["name"]})
    expected = {
        each["name"]: golden[each["name"]].reshape(_served_shape(each, golden[each["name"]]))
        for each in loaded.outputs
    }
    _check_answers(loaded, inputs, expected, options)
    if options.tolerance is None:
        options = replace(options, tolerance=TOLERANCE, tolerance_reason=REASON)
    packages = dict(provenance.packages) | here("skl2onnx", "protobuf")
    source, more = build(
        path,
        loaded,
        inputs,
        expected,
        replace(provenance, packages=packages),
        options,
        promised(estimator),
    )
    return source, remarks + more


def _check_answers(
    loaded: Loaded, inputs: Mapping[str, Array], expected: Mapping[str, Array], options: Options
) -> None:
    """Compare the conversion with the estimator, whose answers are right.

    Raises:
        PackageError: with the first value that differs.
    """
    if options.tolerance is None:
        options = replace(options, tolerance=TOLERANCE)
    try:
        served = loaded.run(inputs)
    except Exception:  # noqa: BLE001 - building the package says why
        return
    for name, wanted in expected.items():
        same = wanted.shape == served[name].shape
        wrong = ~close(wanted, served[name], options) if same else np.array(True)
        if wrong.any():
            at = tuple(int(axis[0]) for axis in np.nonzero(wrong)) if same else ()
            got = served[name][at] if same else list(served[name].shape)
            raise PackageError(
                f"the conversion to ONNX answers differently: output {name!r} at {list(at)} is "
                f"{got!s} and scikit-learn gives {(wanted[at] if same else list(wanted.shape))!s} "
                f"({int(wrong.sum())} of {wrong.size} values differ); {AS_JOBLIB}"
            )


def _convert(estimator: Any, table: Table) -> Any:
    _check_protobuf()
    fault: Exception | None = None
    for options in _option_sets(estimator):
        try:
            return _to_onnx(estimator, table, options)
        except NameError as error:  # "Option … not in …": this converter does not know it
            fault = error
        except Exception as error:  # noqa: BLE001 - converters raise anything
            fault = error
            break
    reason = reason_of(fault) if fault else ""
    unknown = re.search(UNKNOWN, str(fault))
    if unknown:
        reason = f"skl2onnx has no converter for {unknown[1]}"
    exporters = [EXPORTERS[name] for name in sorted(modules_of(estimator) & EXPORTERS.keys())]
    if exporters:
        reason = f"skl2onnx has no converter for it; export it in the notebook with {exporters[0]}"
        reason += ", and package that file with samples that hold its answers"
    raise PackageError(
        f"{type(estimator).__name__} cannot be converted to ONNX: {reason}; or {AS_JOBLIB}"
    )


def _option_sets(estimator: Any) -> list[dict[str, bool]]:
    """Options to try: a matrix instead of a list of dictionaries; scores where it has no more."""
    if not isinstance(estimator, BaseEstimator) or not is_classifier(estimator):
        return [{}]
    if hasattr(estimator, "predict_proba"):
        return [{"zipmap": False}, {}]
    return [{"zipmap": False, "raw_scores": True}, {"raw_scores": True}, {"zipmap": False}, {}]


def _to_onnx(estimator: Any, table: Table, options: dict[str, bool]) -> Any:
    from skl2onnx import to_onnx

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model: Any = to_onnx(
            estimator,
            # The default is a random name, and the file would differ every time.
            name="model",
            initial_types=[(each["name"], _type(each)) for each in table.tensors],
            options={id(estimator): options} if options else None,
            target_opset=TARGET_OPSET,
        )
    # The converter lists them in the order of a set; sorted, the bytes are always the same.
    imports = sorted(model.opset_import, key=lambda each: str(each.domain))
    del model.opset_import[:]
    model.opset_import.extend(imports)
    return model


def _check_protobuf() -> None:
    version = metadata.version("protobuf")
    if int(version.split(".")[0]) >= PROTOBUF_TOO_NEW:
        raise PackageError(
            f"protobuf {version} breaks the conversion of histogram gradient boosting; put "
            "protobuf<7 into requirements/train.in and run `make lock`"
        )


def _type(tensor: Mapping[str, Any]) -> Any:
    from skl2onnx.common import data_types

    names = {"FP32": "Float", "FP64": "Double", "INT64": "Int64", "BYTES": "String",
             "BOOL": "Boolean"}  # fmt: skip
    return getattr(data_types, f"{names[tensor['datatype']]}TensorType")(
        [None, *tensor["shape"][1:]]
    )


def _matched(
    loaded: Loaded, outputs: list[dict[str, Any]], golden: Mapping[str, Array], path: Path
) -> tuple[Loaded, list[str]]:
    """Give the converted model the outputs of the estimator, under their names, and no others."""
    count = min(len(loaded.outputs), len(outputs))
    if count < len(outputs) and any("target" in each for each in outputs):
        # Probabilities of all targets in one tensor, whose rows are not those of the inputs.
        count = 1
    for place, output in enumerate(outputs[:count]):
        if (
            golden[output["name"]].dtype.kind == "b"
            and loaded.outputs[place]["datatype"] == "INT64"
        ):
            _make_booleans(loaded.file.model.graph, place)
    remarks = [f"the conversion has no {each['name']}: it is left out" for each in outputs[count:]]
    again = with_output_names(loaded, [each["name"] for each in outputs[:count]], path)
    for tensor, output in zip(again.outputs, outputs, strict=False):
        values = golden[output["name"]]
        if NUMPY[tensor["datatype"]].kind != values.dtype.kind:
            raise PackageError(
                f"output {output['name']!r} is {tensor['datatype']} after the conversion and "
                f"{output['datatype']} in scikit-learn; package it as joblib instead"
            )
        tensor["shape"] = [-1, *tensor["shape"][1:]]
        if "labels" in output:
            tensor["labels"] = output["labels"]
    return again, remarks


def _make_booleans(graph: onnx.GraphProto, place: int) -> None:
    """The converter gives true and false as 1 and 0."""
    value = graph.output[place]
    number = f"{value.name}_number"
    rename(graph, value.name, number)
    graph.node.append(onnx.helper.make_node("Cast", [number], [value.name], to=BOOL))
    value.type.tensor_type.elem_type = BOOL


def _served_shape(tensor: Mapping[str, Any], golden: Array) -> tuple[int, ...]:
    """A column of predictions is [rows, 1] in ONNX and [rows] in scikit-learn."""
    shape = tuple(tensor["shape"])
    if len(shape) == 2 and golden.ndim == 1:
        return (len(golden), 1)
    if len(shape) == 1 and golden.ndim == 2 and golden.shape[1] == 1:
        return (len(golden),)
    return golden.shape
