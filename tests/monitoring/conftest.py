"""Fixtures of the monitoring: promtool and Prometheus themselves, from Debian's package."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Promtool = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def prometheus_program() -> str:
    """Fail where it is missing; skip only where `make test` found that it cannot be had."""
    if os.environ.get("ACI_ML_PROMETHEUS") == "absent":
        pytest.skip("no Prometheus can be had on this machine: see the log above")
    found = shutil.which("prometheus")
    if found is None or shutil.which("promtool") is None:
        pytest.fail("no Prometheus; run scripts/monitoring_tools.sh, or `make test`", False)
    return found


@pytest.fixture(scope="session")
def promtool(prometheus_program: str) -> Promtool:
    """A function that runs promtool with arguments in a folder."""

    def run(folder: Path, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["promtool", *arguments],
            cwd=folder,
            input=text,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run
