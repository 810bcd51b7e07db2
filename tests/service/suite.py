"""The tests of a generated repository, run in a copy of it that was changed as an owner does."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from tests.once import BUILD

SECONDS = 600


def copied(service: Path, target: Path, models: Path | None = None) -> Path:
    """A copy of a rendered service, with the packages of a folder in place of the sample."""
    shutil.copytree(service, target, ignore=shutil.ignore_patterns("__pycache__", ".git"))
    if models:
        shutil.rmtree(target / "models")
        shutil.copytree(models, target / "models")
    return target


def run_tests_of(python: Path, service: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run its tests with pytest's arguments, as its `make test` does."""
    environment = {**os.environ, "MYPY_CACHE_DIR": str(BUILD / "mypy-service")}
    environment.pop("PYTHONPATH", None)
    return subprocess.run(
        [python, "-m", "pytest", "-q", "-rp", "-p", "no:cacheprovider", *arguments],
        cwd=service,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def assert_every_model_passes(python: Path, service: Path, models: Iterable[str]) -> None:
    """All its tests pass, and each of these models was asked over both protocols."""
    done = run_tests_of(python, service)
    assert done.returncode == 0, done.stdout[-6000:]
    for model in models:
        name = f"test_the_golden_samples_are_answered_as_recorded[{model}]"
        assert f"PASSED tests/test_service.py::{name}" in done.stdout, done.stdout
