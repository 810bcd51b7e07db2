"""Fixtures of all tests: rendered services, and an environment in which their code runs."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cookiecutter.main import cookiecutter

REPOSITORY = Path(__file__).resolve().parents[1]
BUILD = REPOSITORY / "build"

Rendered = Callable[[str], Path]


def pytest_configure() -> None:
    """Child processes import onnxruntime; its telemetry is off before they do."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    """A function that gives the service rendered for a model format; nobody may change it."""
    done: dict[str, Path] = {}

    def render(model_format: str) -> Path:
        if model_format not in done:
            output = tmp_path_factory.mktemp(f"service-{model_format}")
            answers = {"model_format": model_format}
            project = cookiecutter(
                str(REPOSITORY), no_input=True, output_dir=str(output), extra_context=answers
            )
            done[model_format] = Path(project)
        return done[model_format]

    return render


@pytest.fixture(scope="session")
def rendered_service(rendered: Rendered) -> Path:
    """The service rendered with the default answers: ONNX on CPU."""
    return rendered("onnx")


@pytest.fixture(scope="session")
def service_python(rendered_service: Path) -> Path:
    """An interpreter with the service's development lock installed, kept in build/ by its hash."""
    lock = rendered_service / "requirements" / "dev.txt"
    key = hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()[:12]
    venv = BUILD / f"service-venv-{key}"
    stamp = venv / ".complete"
    if not stamp.exists():
        uv = Path(sys.executable).parent / "uv"
        subprocess.run([uv, "venv", "--quiet", "--clear", "-p", sys.executable, venv], check=True)
        subprocess.run(
            [uv, "pip", "install", "--quiet", "-p", venv, "--require-hashes", "-r", lock],
            check=True,
        )
        stamp.touch()
    return venv / "bin" / "python"
