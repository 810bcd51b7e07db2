"""Is this JSON what a resource type takes? Nothing unknown, nothing missing, nothing mistyped.

A shape is a type, ``[shape]`` for a list, ``{"*": shape}`` for names that callers choose, or an
object: names with their shapes, those that may be left out with a question mark at their end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .arm.errors import ArmError

Shape = Any
NUMBER = (int, float)
_CALLED = {str: "text", int: "a whole number", bool: "true or false", NUMBER: "a number"}


def check(body: Any, shape: Shape) -> None:
    """Compare a body with a shape.

    Raises:
        ArmError: 400 InvalidRequestContent, with everything that is wrong.
    """
    faults = list(_faults(body, shape, ""))
    if faults:
        raise ArmError(
            400,
            "InvalidRequestContent",
            "The request content was invalid and could not be deserialized: " + "; ".join(faults),
        )


def _faults(value: Any, shape: Shape, where: str) -> Iterator[str]:
    if isinstance(shape, Mapping):
        yield from _object_faults(value, shape, where)
    elif isinstance(shape, list):
        if not isinstance(value, list):
            yield f"'{where}' must be a list"
            return
        for position, item in enumerate(value):
            yield from _faults(item, shape[0], f"{where}[{position}]")
    elif not isinstance(value, shape) or (isinstance(value, bool) and shape is not bool):
        yield f"'{where}' must be {_CALLED[shape]}"


def _object_faults(value: Any, shape: Mapping[str, Shape], where: str) -> Iterator[str]:
    if not isinstance(value, Mapping):
        yield f"'{where or '(root)'}' must be an object"
        return
    if "*" in shape:
        for name, item in value.items():
            yield from _faults(item, shape["*"], f"{where}.{name}".lstrip("."))
        return
    known = {name.rstrip("?"): (each, name.endswith("?")) for name, each in shape.items()}
    for name in value.keys() - known.keys():
        yield f"Could not find member '{name}' at '{where or '(root)'}'"
    for name, (each, optional) in known.items():
        place = f"{where}.{name}".lstrip(".")
        if name in value:
            yield from _faults(value[name], each, place)
        elif not optional:
            yield f"Required property '{name}' not found in JSON at '{where or '(root)'}'"
