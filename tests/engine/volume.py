"""How much a property test tries: everything, or a tenth of it in `make test FAST=1`."""

from __future__ import annotations

import os

FAST = os.environ.get("ACI_ML_FAST") == "1"


def examples(number: int) -> int:
    """As many examples as Hypothesis shall try."""
    return max(10, number // 10) if FAST else number
