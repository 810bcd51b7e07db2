"""A rendered service passes its own tests and its own linters, in its own locked environment."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, Rendered

TYPED = ["engine", "service.py", "training", "tests"]

# The full tier runs the suite and the checkers by the README's own `make test` and `make lint`.
DIFFERENCES = {
    "models/iris/model.joblib",
    "models/iris/model.onnx",
    "models/iris/model.yaml",
    "requirements/serve-cpu.in",
    "requirements/serve-cpu.txt",
}


def run(python: Path, folder: Path, *arguments: str, **variables: str) -> None:
    """Run a module of the service's environment in a folder, usually the service's."""
    done = subprocess.run(
        [str(python), "-m", *arguments],
        cwd=folder,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]


@pytest.mark.fast_only
def test_its_own_tests_pass(rendered_service: Path, service_python: Path) -> None:
    run(service_python, rendered_service, "pytest", "-q", "-n", "2", "-p", "no:cacheprovider")


def test_its_own_tests_hold_for_other_models(
    rendered_service: Path, service_python: Path, tmp_path: Path
) -> None:
    """Text labels, no labels, an added output, several inputs: the sample is replaced by them."""
    service = tmp_path / "service"
    shutil.copytree(rendered_service, service, ignore=shutil.ignore_patterns("__pycache__"))
    make = [str(service_python), str(Path(__file__).with_name("other_models.py")), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(service)}
    done = subprocess.run(
        make, cwd=service, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    run(service_python, service, "pytest", "-q", "-p", "no:cacheprovider")


def test_the_types_of_the_tests_of_the_machinery_are_right(
    rendered_service: Path, service_python: Path
) -> None:
    """They need the packages of the service, and follow its settings."""
    settings = str(rendered_service / "engine" / "mypy.ini")
    checked = ("mypy", "--cache-dir", "/dev/null", "--config-file", settings, "-p", "tests.engine")
    run(service_python, REPOSITORY, *checked, MYPYPATH=str(rendered_service))


@pytest.mark.fast_only
def test_its_types_are_right(rendered_service: Path, service_python: Path) -> None:
    """The same as in `make lint`."""
    folders = [name for name in TYPED if (rendered_service / name).exists()]
    settings = ("--config-file", "engine/mypy.ini", "--cache-dir", "/dev/null")
    run(service_python, rendered_service, "mypy", *settings, *folders)


def test_the_formats_differ_in_the_model_and_in_what_serves_it(rendered: Rendered) -> None:
    """So the README of the other format needs only those tests that read one of these."""
    one, other = (
        {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file() and not {".git", "__pycache__"} & set(path.relative_to(folder).parts)
        }
        for folder in (rendered("onnx"), rendered("joblib"))
    )
    different = {name for name in one.keys() | other.keys() if one.get(name) != other.get(name)}
    assert different == DIFFERENCES


@pytest.mark.slow
@pytest.mark.parametrize("model_format", ["onnx", "joblib"])
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
