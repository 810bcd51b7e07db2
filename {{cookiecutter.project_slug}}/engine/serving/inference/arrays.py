"""How the inputs of several requests become those of one run, and what its outputs belong to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np

from engine.serving.request import Arrays, Inputs, Request, Rows
from engine.serving.tensors.datatypes import NUMPY, Array
from engine.serving.tensors.signature import TensorSpec


def size_of(inputs: Inputs, spec: TensorSpec) -> int:
    """Bytes of all inputs together.

    Args:
        spec: of the first input.
    """
    if isinstance(inputs, list):
        return len(inputs) * len(inputs[0]) * NUMPY[spec.datatype].itemsize
    size = 0
    for value in inputs.values():
        size += value.nbytes
        if value.dtype.kind == "O":
            # Texts; an array of them holds references.
            size += sum(len(each) for each in value.flat if isinstance(each, str | bytes))
    return size


def arrays_of(inputs: Inputs, spec: TensorSpec) -> Arrays:
    """Inputs as the model takes them.

    Args:
        spec: of the first input.
    """
    if isinstance(inputs, list):
        return {spec.name: np.array(inputs, NUMPY[spec.datatype])}
    return inputs


def joined(requests: Sequence[Request], spec: TensorSpec) -> Arrays:
    """The inputs of all requests, one behind the other.

    Args:
        spec: of the first input.
    """
    if len(requests) == 1:
        return arrays_of(requests[0].inputs, spec)
    if all(type(request.inputs) is list for request in requests):
        rows: Rows = []
        for request in requests:
            rows += cast(Rows, request.inputs)
        return arrays_of(rows, spec)
    parts = [arrays_of(request.inputs, spec) for request in requests]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def views(outputs: dict[str, Array], requests: Sequence[Request]) -> list[dict[str, Array]]:
    """The outputs of each request, as views."""
    if len(requests) == 1:
        return [outputs]
    parts, start = [], 0
    for request in requests:
        stop = start + request.rows
        parts.append({name: value[start:stop] for name, value in outputs.items()})
        start = stop
    return parts
