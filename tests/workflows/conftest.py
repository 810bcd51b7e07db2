"""Fixtures: workflows of both kinds, and the programs that check and run them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.pipeline.conftest import azure_tools, running_double
from tests.workflows import tools

__all__ = ["act", "actionlint", "azure_tools", "ci_tools", "running_double"]


@pytest.fixture(scope="session")
def ci_tools(rendered_service: Path) -> Path:
    """The folder with zizmor, check-jsonschema, shellcheck, hadolint and cruft."""
    return tools.python_tools(rendered_service)


def _go_tool(module: str) -> Path:
    program = tools.go_tool(module)
    if program is None and not os.environ.get("CI"):
        pytest.skip("Go is not installed; it builds this program: https://go.dev/doc/install")
    assert program is not None, "CI has to have Go"
    return program


@pytest.fixture(scope="session")
def actionlint() -> Path:
    """The checker of expressions, inputs and needs."""
    return _go_tool(tools.ACTIONLINT)


@pytest.fixture(scope="session")
def act() -> Path:
    """The program that runs workflows here."""
    return _go_tool(tools.ACT)
