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
from engine.packaging.sklearn_columns import fitted_parts
from engine.packaging.write import Source
from engine.serving.errors import PackageError
from engine.serving.reasons import reason_of
from engine.serving.tensors.datatypes import NUMPY, Array

BOOL = onnx.TensorProto.BOOL
TARGET_OPSET = {"": 21, "ai.onnx.ml": 3}
TOLERANCE = 1e-4
REASON = "scikit-learn computes in float64, ONNX Runtime's classical operators in float32"
PROTOBUF_TOO_NEW = 7
TABLE = 2  # dimensions
AS_JOBLIB = "package it as joblib (without --to onnx)"
UNKNOWN = r"Unable to find a shape calculator for type '<class '(?:\w+\.)*(\w+)'>'"
# Only rows between the two thresholds, which samples may lack, would show what is left out.
THRESHOLDS = ("FixedThresholdClassifier", "TunedThresholdClassifierCV")
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
    for part in fitted_parts(estimator):
        if type(part).__name__ in THRESHOLDS:
            raise PackageError(
                f"{type(part).__name__} cannot be converted to ONNX: skl2onnx leaves its threshold "
                f"out; {AS_JOBLIB}"
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
    expected = {each["name"]: golden[each["name"]] for each in loaded.outputs}
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
        PackageError: it cannot be run, or the first value that differs.
    """
    if options.tolerance is None:
        options = replace(options, tolerance=TOLERANCE)
    try:
        served = loaded.run(inputs)
    except Exception as error:  # noqa: BLE001 - onnxruntime's exceptions share no base class
        raise PackageError(
            "ONNX Runtime cannot run what skl2onnx makes of it on the samples that scikit-learn "
            f"answers: {reason_of(error)}; {AS_JOBLIB}"
        ) from None
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
            options={id(estimator): options, id(_last(estimator)): options} if options else None,
            target_opset=TARGET_OPSET,
        )
    # The converter lists them in the order of a set; sorted, the bytes are always the same.
    imports = sorted(model.opset_import, key=lambda each: str(each.domain))
    del model.opset_import[:]
    model.opset_import.extend(imports)
    return model


def _last(estimator: Any) -> Any:
    """What answers in the end: a pipeline does not hand the option on for its scores."""
    if hasattr(estimator, "steps"):
        return _last(estimator.steps[-1][1])
    return _last(estimator.best_estimator_) if hasattr(estimator, "best_estimator_") else estimator


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
        _match(loaded.file.model.graph, place, loaded.outputs[place], golden[output["name"]])
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


def _match(graph: onnx.GraphProto, place: int, tensor: Mapping[str, Any], golden: Array) -> None:
    """Give an output the type and the shape of the estimator's answer.

    The converter gives true and false as 1 and 0, a prediction for each row as a column, and the
    score of two classes as a column for each, of which the second one is scikit-learn's.
    """
    if golden.dtype.kind == "b" and tensor["datatype"] == "INT64":
        _append(graph, place, "Cast", to=BOOL)
        graph.output[place].type.tensor_type.elem_type = BOOL
    shape = tensor["shape"]
    if golden.ndim == 1 and len(shape) == TABLE and shape[1] in (-1, 1, 2):
        _append(graph, place, "Gather", np.array(-1), axis=1)
    if golden.shape[1:] == (1,) and len(shape) == 1:
        _append(graph, place, "Unsqueeze", np.array([1]))


def _append(
    graph: onnx.GraphProto, place: int, operator: str, operand: Array | None = None, **more: Any
) -> None:
    """Put an operator between the graph and one of its outputs, whose shape is inferred anew."""
    value = graph.output[place]
    before, second = f"{value.name}_{operator}", f"{value.name}_{operator}_operand"
    rename(graph, value.name, before)
    if operand is not None:
        graph.initializer.append(onnx.numpy_helper.from_array(operand, second))
    given = [before] if operand is None else [before, second]
    graph.node.append(onnx.helper.make_node(operator, given, [value.name], **more))
    value.type.tensor_type.ClearField("shape")
