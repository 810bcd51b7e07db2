"""A request and its answer as JSON lines, one for each row."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

import numpy as np
import orjson

from engine.serving.errors import SettingsError
from engine.serving.inference.model import Model
from engine.serving.tensors.datatypes import Array
from engine.serving.transports.records import column_names, is_column

# Of one request.
MOST_ROWS: Final = 64
# Beside the columns of a row: when it was asked, and what was answered.
CAPTURED: Final = "captured"

OPTIONS: Final = orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY


class NoJson(ValueError):
    """The values cannot be written as JSON without a loss."""


def names_of(model: Model) -> set[str]:
    """All names by which something of a model's requests or answers can be left out."""
    inputs = {each.name for each in model.manifest.inputs}
    outputs = {each.name for each in model.manifest.outputs}
    return inputs | outputs | set(column_names(model))


def check_names(models: Collection[Model], left_out: Collection[str]) -> None:
    """Refuse a name that no model has: what it was meant for would be kept.

    Raises:
        SettingsError: names the first one.
    """
    known = set().union(*map(names_of, models))
    for name in left_out:
        if name not in known:
            raise SettingsError(
                [
                    f"CAPTURE_LEAVE_OUT={name!r}: no model has this column, input or output; name "
                    f"some of {', '.join(sorted(known))}"
                ]
            )


def lines_of(
    model: Model,
    facts: Mapping[str, Any],
    inputs: Mapping[str, Array],
    outputs: Mapping[str, Array],
    left_out: Collection[str],
) -> bytes:
    """The lines of a request: its columns, and the answer under ``captured``.

    Args:
        facts: put beside the answer.
        inputs: as they came, before the rules of `service.py`.
        outputs: as they were answered, after them.
        left_out: names of columns, inputs and outputs that are not written.

    Raises:
        NoJson: a number is infinite, or a text cannot be encoded.
    """
    given = dict(_columns(model, inputs))
    batched = model.signature.inputs[0].shape[:1] == (-1,)
    rows = len(next(iter(given.values()))) if batched else 1
    answered = {name: value for name, value in outputs.items() if name not in left_out}
    given = {name: value for name, value in given.items() if name not in left_out}
    key = CAPTURED
    while key in given:
        key += "."
    each_row = all(value.shape[:1] == (rows,) for value in answered.values())
    lines = []
    for row in range(min(rows, MOST_ROWS)):
        answer = {
            name: _plain(value[row] if batched and each_row else value)
            for name, value in answered.items()
        }
        record = {name: _plain(value[row] if batched else value) for name, value in given.items()}
        lines.append(record | {key: {**facts, "row": row, "outputs": answer}})
        if not each_row:
            break
    try:
        return b"".join(orjson.dumps(line, option=OPTIONS) for line in lines)
    except TypeError as error:
        raise NoJson from error


def _columns(model: Model, inputs: Mapping[str, Array]) -> Iterator[tuple[str, Array]]:
    """The inputs as a table's columns, where the model takes one; else as they are."""
    names = column_names(model)
    for position, spec in enumerate(model.signature.inputs):
        value = inputs[spec.name]
        if names and is_column(spec):
            yield names[position], value.reshape(-1)
        elif names:
            yield from ((name, value[:, at]) for at, name in enumerate(names))
        else:
            yield spec.name, value


def _plain(value: Any) -> Any:
    array = np.asarray(value)
    if array.dtype.kind == "f" and np.isinf(array).any():
        raise NoJson
    if array.dtype == np.float16:
        array = array.astype(np.float32)
    if array.dtype == np.float32:
        # With its own digits, which are half of those that a float of Python has.
        return np.ascontiguousarray(array) if array.ndim else np.float32(array)
    return array.tolist()
