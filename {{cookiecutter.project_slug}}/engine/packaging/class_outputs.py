"""What exporters make of classes: lists of maps and of tensors become matrices, names are read.

Sources: ONNX-ML's operators (ZipMap, classifiers and their ``classlabels_*``), ONNX's
SequenceConstruct.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from onnx import helper

from engine.serving.tensors.datatypes import Array

ZIP_MAP, CONSTRUCT = "ZipMap", "SequenceConstruct"
# What gives back the columns that it takes.
SAME_COLUMNS = ("Identity", "Normalizer", "Softmax", "Cast")
TEXTS, NUMBERS = ("classlabels_strings",), ("classlabels_int64s", "classlabels_ints")
CLASSIFIER_OUTPUTS = 2


def flattened(model: Any) -> list[str]:
    """Change outputs of a model in place: a list of maps is carried as the matrix that it is made
    of, and a list of tensors as an output for each.

    Returns:
        What was changed, a sentence each.
    """
    graph, outputs, remarks = model.graph, [], []
    made = {name: node for node in graph.node for name in node.output}
    for value in graph.output:
        node = made.get(value.name)
        form = value.type.WhichOneof("value")
        if node is None or form != "sequence_type" or node.op_type not in (ZIP_MAP, CONSTRUCT):
            outputs.append(value)
            continue
        element, shape = value.type.sequence_type.elem_type, None
        if node.op_type == ZIP_MAP:
            names, form = [value.name], "a list of maps is carried as a matrix of their values"
            kind, shape = element.map_type.value_type.tensor_type.elem_type, [None, _width(node)]
        else:
            names = [f"{value.name}_{number}" for number in range(len(node.input))]
            kind, form = element.tensor_type.elem_type, "a list of tensors is carried as one each"
        remarks.append(f"output {value.name!r}: {form}")
        graph.node.remove(node)
        for given, name in zip(node.input, names, strict=True):
            graph.node.append(helper.make_node("Identity", [given], [name]))
            outputs.append(helper.make_tensor_value_info(name, kind, shape))
    if remarks:
        kept = [type(each).FromString(each.SerializeToString()) for each in outputs]
        del graph.output[:]
        graph.output.extend(kept)
    return remarks


def class_names(model: Any) -> dict[str, list[str]]:
    """The classes that a graph names, by the tensor that holds them or has a column for each."""
    found: dict[str, list[str]] = {}
    for node in model.graph.node:
        texts, numbers = _classes(node, TEXTS), _classes(node, NUMBERS)
        names = texts or ([] if numbers == list(range(len(numbers))) else [str(n) for n in numbers])
        if node.op_type == ZIP_MAP:
            found[node.output[0]] = names
        elif names and len(node.output) == CLASSIFIER_OUTPUTS:
            found[node.output[1]] = names
            if texts:
                found[node.output[0]] = names
        elif node.op_type in SAME_COLUMNS and node.input[0] in found:
            found[node.output[0]] = found[node.input[0]]
    return {name: names for name, names in found.items() if names}


def with_names(
    tensors: Sequence[Mapping[str, Any]],
    answers: Mapping[str, Array],
    names: Mapping[str, list[str]],
) -> list[dict[str, Any]]:
    """Outputs as the manifest writes them, with the names of classes where they fit."""
    named = []
    for each in tensors:
        found, values = names.get(each["name"], []), answers[each["name"]]
        texts = values.dtype.kind == "O" and values.ndim > 0 and values.size == len(values)
        fits = texts or (values.dtype.kind == "f" and values.shape[1:] == (len(found),))
        named.append({**each, "labels": found} if found and fits else dict(each))
    return named


def _width(node: Any) -> int:
    return len(_classes(node, TEXTS) or _classes(node, NUMBERS))


def _classes(node: Any, attributes: tuple[str, ...]) -> list[Any]:
    for each in node.attribute:
        if each.name in attributes:
            return [text.decode("utf-8", "replace") for text in each.strings] or list(each.ints)
    return []
