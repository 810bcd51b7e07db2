"""Limits on what a request may ask for, checked before anything is allocated or multiplied."""

from __future__ import annotations

import math
import re
import sys
from typing import TYPE_CHECKING

import numpy as np

from engine.serving.errors import BodyTooLarge, InvalidInput, quoted
from engine.serving.tensors.signature import Signature, TensorSpec

if TYPE_CHECKING:
    # Not installed where a deploy verifies a service, which reads answers with this package.
    import simdjson

    from engine.serving.inference.model import Model

# Objects of a request have a handful of keys.
MOST_KEYS = 1000
# Most entries of a shape that a message shows.
SHOWN_SIZES = 8
# An empty tensor takes no bytes, so the body does not bound its other sizes.
LARGEST_EMPTY_SIZE = 65_536
# Parsing fewer bytes takes less time than a probe may wait.
PARSED_BYTES = 1024 * 1024
# Commas and brackets of a large body that belong to something else than tensors.
OTHER_SYMBOLS = 10_000
PIECE_BYTES = 1024 * 1024
UNLIMITED = sys.maxsize
# How an object or a list begins, in each encoding that Python's reader of JSON takes.
JSON = re.compile(rb"[\s\0\xef\xbb\xbf\xfe\xff]*+[\[{]")


def row_limit(model: Model, max_rows: int) -> int:
    """Most rows of one request; unlimited where the first dimension does not count rows."""
    return max_rows if model.signature.batched else UNLIMITED


def check_texts(count: int, most: int, field: str) -> None:
    """Check the number of texts in a binary tensor: each becomes an object of Python.

    Raises:
        BodyTooLarge: more than the values that a request may have as JSON.
    """
    if count > most:
        raise BodyTooLarge(
            f"{field} has {count} texts; send at most {most} at a time",
            rule=f"at most {most} values (MAX_JSON_VALUES)",
        )


def check_rows(rows: int, most: int) -> None:
    """Check the number of rows against MAX_QUEUE_ROWS.

    Raises:
        BodyTooLarge: more rows than the queue can ever hold.
    """
    if rows > most:
        raise BodyTooLarge(
            f"the request has {rows} rows; send at most {most} at a time",
            rule=f"at most {most} rows (MAX_QUEUE_ROWS)",
        )


def check_values(text: bytes, signature: Signature, most: int, max_values: int = UNLIMITED) -> None:
    """Check a large JSON body for more values than a request may have, before it is parsed.

    Parsing holds Python's lock, and takes many times the memory of the body. Where the rows are
    limited and all other dimensions fixed, the largest request has a known number of values.

    Args:
        text: the JSON. Commas in texts count, too.
        most: rows allowed in one request.
        max_values: values allowed in any request.

    Raises:
        BodyTooLarge: it has more values, or more lists.
    """
    if len(text) <= PARSED_BYTES:
        return
    specs = signature.inputs
    limit = shown = max_values
    rule = f"at most {max_values} values (MAX_JSON_VALUES)"
    advice = f"send at most {max_values} as JSON, or binary tensors"
    if most != UNLIMITED and not any(
        spec.datatype == "BYTES" or -1 in spec.shape[1:] for spec in specs
    ):
        each = sum(math.prod(spec.shape[1:]) for spec in specs)
        if most * each + OTHER_SYMBOLS < limit:
            shown = most * each
            limit = shown + OTHER_SYMBOLS
            rule = f"at most {most} rows (MAX_QUEUE_ROWS)"
            advice = f"send at most {most} rows at a time, each of {each} values"
    _check_symbols(text, limit, f"the body has more than {shown} values or lists; {advice}", rule)


def check_json(text: bytes, max_values: int) -> None:
    """Check a large JSON body that is for no model in the same way.

    Raises:
        BodyTooLarge: it has more values, or more lists.
    """
    if len(text) > PARSED_BYTES and JSON.match(text):
        _check_symbols(
            text,
            max_values,
            f"the body has more than {max_values} values or lists; send fewer",
            f"at most {max_values} values (MAX_JSON_VALUES)",
        )


def _check_symbols(text: bytes, limit: int, message: str, rule: str) -> None:
    # Each takes at least two bytes of what can be parsed.
    if len(text) <= 2 * limit:
        return
    data = np.frombuffer(text, np.uint8)
    for symbol in b",[":
        count = 0
        # In pieces, so that other threads run in between and no array of the body's size is made.
        for start in range(0, len(data), PIECE_BYTES):
            count += int(np.count_nonzero(data[start : start + PIECE_BYTES] == symbol))
            if count > limit:
                raise BodyTooLarge(message, rule=rule)


def check_shape(shape: tuple[int, ...], spec: TensorSpec, field: str) -> None:
    """Check a shape against the specification.

    Args:
        shape: its sizes, or as many of them as were looked at.

    Raises:
        InvalidInput: the rank or a fixed size is another, or an empty tensor is too wide.
    """
    if not spec.fits(shape):
        shown = ", ".join(map(str, shape[:SHOWN_SIZES])) + (", …" * (len(shape) > SHOWN_SIZES))
        raise InvalidInput(
            f"{spec.name!r} has shape [{shown}]; the model takes {list(spec.shape)}, "
            "where -1 stands for any number",
            field=field,
            rule=f"shape {list(spec.shape)}",
        )
    if 0 in shape and max(shape) > LARGEST_EMPTY_SIZE:
        raise InvalidInput(
            f"{spec.name!r} has shape {list(shape)}, which is empty and too wide",
            field=field,
            rule=f"no size above {LARGEST_EMPTY_SIZE} in an empty tensor",
        )


def check_keys(node: simdjson.Object, field: str, wanted: int = 0) -> simdjson.Object:
    """Check that no key of an object is given twice: readers differ in which one counts.

    Args:
        field: the object's place in the request; "" for the request itself.
        wanted: how many keys it needs.

    Returns:
        The object.

    Raises:
        InvalidInput: a key is given twice, or there are far too many keys.
    """
    place = field or "the request"
    most = max(MOST_KEYS, wanted)
    if len(node) > most:
        raise InvalidInput(
            f"{place} has {len(node)} keys", field=field or None, rule=f"at most {most} keys"
        )
    seen: set[str] = set()
    for key in node:
        if key in seen:
            raise InvalidInput(
                f"{place} has the key {quoted(key)} twice",
                field=field or None,
                rule="each key once",
            )
        seen.add(key)
    return node
