"""Cells of CSV, which have no types, as the JSON values that say the same."""

from __future__ import annotations

import math
import re
from typing import Any, Final

from engine.serving.tensors.datatypes import NUMPY
from engine.serving.tensors.signature import TensorSpec

NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
WHOLE: Final = re.compile(r"[+-]?\d{1,20}", re.ASCII)
TRUTHS: Final = {"true": True, "false": False}


def value_of(cell: str, spec: TensorSpec) -> Any:
    """The value of a cell for that input; None where it is empty, which is a missing value.

    What is no value of the input's datatype stays text, so that the check of the request names it.
    """
    kind = NUMPY[spec.datatype].kind
    if not cell or kind == "O":
        return cell or None
    text = cell.strip()
    if kind == "b":
        return TRUTHS.get(text.lower(), cell)
    if WHOLE.fullmatch(text):
        return int(text)
    # JSON has no infinity, and null would be a missing value.
    number = float(text) if NUMBER.fullmatch(text) else math.inf
    return number if math.isfinite(number) else cell
