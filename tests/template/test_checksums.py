"""The manifest of the engine is that of its files, and differences are named."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Render, git


def remark(project: Path) -> str:
    """What the check prints, with the standard library alone; it never fails."""
    command = [sys.executable, "-B", "-S", "-m", "engine.upkeep.checksums"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.fixture
def project(render: Render, tmp_path: Path) -> Path:
    """A project of which the test may change the engine."""
    copy = tmp_path / "service"
    shutil.copytree(render(), copy)
    return copy


def test_the_manifest_lists_every_file_of_the_engine(project: Path) -> None:
    """`make checksums` writes it anew."""
    command = ["sha256sum", "--check", "--strict", "--quiet", "engine/CHECKSUMS"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    committed = git(project, "ls-files", "engine").split()
    lines = (project / "engine" / "CHECKSUMS").read_text(encoding="utf-8").splitlines()
    assert [*(line.split(maxsplit=1)[1] for line in lines)] == sorted(
        {*committed} - {"engine/CHECKSUMS"}
    )
    assert remark(project) == ""


def test_an_edited_engine_is_named_and_no_failure(project: Path) -> None:
    engine = project / "engine"
    (engine / "VERSION").write_text("9.9.9\n", encoding="utf-8")
    (engine / "load" / "chart.py").unlink()
    (engine / "serving" / "extra.py").touch()
    (engine / "serving" / "__pycache__").mkdir(exist_ok=True)
    (engine / "serving" / "__pycache__" / "extra.pyc").touch()
    assert remark(project).startswith(
        "remark: engine/VERSION (changed), engine/load/chart.py (missing), "
        "engine/serving/extra.py (added): not as delivered."
    )


def test_an_engine_without_manifest_is_no_failure(project: Path) -> None:
    (project / "engine" / "CHECKSUMS").unlink()
    assert remark(project).startswith("remark: engine/CHECKSUMS (missing): ")
