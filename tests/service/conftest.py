"""What the tests of the running service share: an engine, and the images built once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Rendered

from .containers import built_image, docker
from .proxies import COMMANDS


@pytest.fixture(scope="session")
def docker_engine() -> None:
    """Fail where no engine answers; skip only where `make test` found that none can be had."""
    if os.environ.get("ACI_ML_DOCKER") == "absent":
        pytest.skip(
            "no Docker engine on this machine, and none can be installed: see the log above"
        )
    try:
        docker("version", timeout=30)
    except (AssertionError, OSError) as error:
        pytest.fail(
            "no Docker engine answers; run scripts/docker_engine.sh start and "
            f"scripts/base_image.sh, or `make test`, which does\n{error}",
            pytrace=False,
        )


@pytest.fixture(scope="session")
def cpu_image(docker_engine: None, rendered_service: Path) -> Iterator[str]:
    """The tag of the CPU image of the rendered service."""
    with built_image(rendered_service, "cpu") as tag:
        yield tag


@pytest.fixture(scope="session")
def gpu_service(rendered: Rendered) -> Path:
    """The service rendered for a T4: it has the locks of a GPU image."""
    return rendered("onnx", "containerapps-t4")


@pytest.fixture(scope="session")
def gpu_image(docker_engine: None, gpu_service: Path) -> Iterator[str]:
    """The tag of the GPU image; cold, it downloads two gigabytes."""
    with built_image(gpu_service, "gpu") as tag:
        yield tag


@pytest.fixture(scope="session")
def programs() -> None:
    """Fail where they are missing; skip only where `make test` found that they cannot be had."""
    if os.environ.get("ACI_ML_PROXIES") == "absent":
        pytest.skip("Caddy and nginx cannot be had on this machine: see the log above")
    if any(shutil.which(name) is None for name in COMMANDS):
        pytest.fail("no Caddy or nginx; run scripts/proxies.sh, or `make test`", False)
