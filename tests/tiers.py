"""What `make test FAST=1` leaves out beside the tests marked `slow`.

Of a test with many cases that is marked `sampled` it runs the first.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

ALL_SLOW = re.compile(r"^pytestmark = \[?pytest\.mark\.slow\b", re.MULTILINE)


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Do not import a file in which every test is slow: scikit-learn alone takes seconds."""
    if "ACI_ML_FAST" not in os.environ or collection_path.suffix != ".py":
        return None
    return ALL_SLOW.search(collection_path.read_text(encoding="utf-8")) is not None or None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of each test that is marked so all cases but the first are slow."""
    seen = set()
    for item in items:
        if isinstance(item, pytest.Function) and item.get_closest_marker("sampled"):
            test = (item.path, item.cls, item.originalname)
            if test in seen:
                item.add_marker(pytest.mark.slow)
            seen.add(test)
