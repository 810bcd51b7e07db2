"""deploy.yml, run by act from a push to production, on the Azure double with real containers.

The suite of the generated repository is cut to a few tests here: it is run whole elsewhere, and
what is tried here is what its result does. Each gate is made to fail once.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.azure_double.client import AzureDouble
from tests.pipeline.conftest import azure_tools, double, running_double
from tests.service.containers import docker_client
from tests.workflows.pipeline import NAME, OWNER, Pipeline, Run

__all__ = ["azure_tools", "double", "running_double"]

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.environ.get("ACI_ML_DOCKER") == "absent", reason="no Docker")]

KEY = "planted-key-of-the-service"
QUICK_SLO = """\
users: 4
ramp_seconds: 0
warm_up_seconds: 1
run_seconds: 3
p95_ms: 400
error_ratio: 0.01
minimum_rps: 5
"""
KEPT_TESTS = ("test_predict.py",)


@dataclass
class World:
    """A subscription after bootstrap, a repository, and what runs its workflow."""

    double: AzureDouble
    repository: Path
    venv: Path
    act: Path
    folder: Path
    runs: int = 0

    def commit(self, message: str, **files: str) -> None:
        """Change files and commit them; names have __ for / and _dot_ for a dot."""
        for name, text in files.items():
            path = self.repository / name.replace("__", "/").replace("_dot_", ".")
            path.write_text(text, encoding="utf-8")
        git(self.repository, "add", "--all")
        git(self.repository, "commit", "--quiet", "--allow-empty", "--message", message)

    def push(self, *, findings: str = "") -> Run:
        """Run deploy.yml for the present commit."""
        self.runs += 1
        folder = self.folder / f"run-{self.runs}"
        folder.mkdir()
        pipeline = Pipeline(self.act, self.repository, self.double, folder)
        return pipeline.run(self.venv, findings=findings)

    def group(self, environment: str) -> dict[str, object] | None:
        """The document of a container group as it was sent, secrets included."""
        found = self.double.resource(
            f"{self.double.subscription_id}/resourceGroups/{NAME}-{environment}"
            f"/providers/Microsoft.ContainerInstance/containerGroups/{NAME}-{environment}"
        )
        return None if found is None else found["hidden"]["sent"]
