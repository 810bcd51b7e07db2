"""How large an answer may be, looked at before it is encoded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from engine.serving.errors import BodyTooLarge
from engine.serving.package.manifest import OutputTensor
from engine.serving.tensors.datatypes import Array
from engine.serving.transports.bounds import UNLIMITED
from engine.serving.transports.classes import names_columns

# What Python keeps for a value with its name, before both are text.
NAMED_VALUE_BYTES: Final = 64


def check_answer(outputs: Sequence[Array], rows: Sequence[int], limit: int) -> None:
    """Refuse outputs that are too large for an answer.

    Args:
        outputs: of a run.
        rows: of each request that shared it.
        limit: most bytes of the outputs of one request.

    Raises:
        BodyTooLarge: those of the largest request have more.
    """
    if limit != UNLIMITED:
        _check(sum(map(_size, outputs)), rows, limit)


def check_names(
    tensors: Sequence[OutputTensor], outputs: Mapping[str, Array], rows: Sequence[int], limit: int
) -> None:
    """Refuse an answer in which names of classes beside each value would take too much.

    Args:
        tensors: what the manifest says of the outputs.
        outputs: by name; ``rows`` and ``limit`` as in ``check_answer``.

    Raises:
        BodyTooLarge: as in ``check_answer``.
    """
    size = sum(
        len(outputs[each.name]) * sum(NAMED_VALUE_BYTES + len(label) for label in each.labels)
        for each in tensors
        if names_columns(each) and outputs[each.name].ndim
    )
    _check(size, rows, limit)


def _check(size: int, rows: Sequence[int], limit: int) -> None:
    if size <= limit:
        return
    largest = size * max(rows) // max(1, sum(rows))
    if largest > limit:
        raise BodyTooLarge(
            f"the answer would have {largest} bytes of outputs; send fewer rows, or ask for fewer "
            "outputs by the Open Inference Protocol",
            rule=f"at most {limit} bytes of outputs in an answer (MAX_ANSWER_BYTES)",
        )


def _size(array: Array) -> int:
    """Bytes of the values; of texts, their characters."""
    return (
        array.nbytes if array.dtype.kind != "O" else sum(len(text) for text in array.flat if text)
    )
