"""How much a property test tries: a tenth in `make test FAST=1`, ten times in `make test-all`."""

from __future__ import annotations

import os


def examples(number: int) -> int:
    """As many examples as Hypothesis shall try, of so many in `make test`."""
    if "ACI_ML_FAST" in os.environ:
        return max(10, number // 10)
    return 10 * number if "ACI_ML_ALL" in os.environ else number
