"""The mark `sampled`: of a test with many cases, `make test FAST=1` runs the first."""

from __future__ import annotations

import pytest


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
