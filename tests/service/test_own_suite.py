"""A rendered service passes its own tests and its own linters, in its own locked environment."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.conftest import Rendered

# The two variants differ in one model file and one lock, so the fast tier has the first only. The
# full tier runs both suites by the README's own `make test`, and leaves them out here.
FORMATS = ("onnx", pytest.param("joblib", marks=pytest.mark.slow))


def run(python: Path, folder: Path, *arguments: str) -> None:
    """Run a module of the service's environment in the service's folder."""
    command = [str(python), "-m", *arguments]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=1200, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]


@pytest.mark.fast_only
def test_its_own_tests_pass(rendered_service: Path, service_python: Path) -> None:
    run(service_python, rendered_service, "pytest", "-q", "-n", "2", "-p", "no:cacheprovider")


@pytest.mark.parametrize("model_format", FORMATS)
def test_its_types_are_right(rendered: Rendered, service_python: Path, model_format: str) -> None:
    run(service_python, rendered(model_format), "mypy", "--cache-dir", "/dev/null")


@pytest.mark.slow
@pytest.mark.parametrize("model_format", FORMATS)
def test_training_again_gives_the_same_answers(
    rendered: Rendered, service_python: Path, model_format: str, tmp_path: Path
) -> None:
    """`make train` reproduces the sample; the files are equal where the versions are."""
    folder = rendered(model_format)
    models = str(tmp_path / "models")
    run(service_python, folder, "training.train", "--models-dir", models, "--format", model_format)
    fresh, shipped = tmp_path / "models" / "iris", folder / "models" / "iris"
    assert (fresh / "golden.npz").read_bytes() == (shipped / "golden.npz").read_bytes()
    model = f"model.{model_format}"
    assert (fresh / model).read_bytes() == (shipped / model).read_bytes()
