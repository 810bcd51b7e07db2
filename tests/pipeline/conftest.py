"""Fixtures of the deploys: the Azure double, and the real `az` and `gh` talking to it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.azure_double.client import AzureDouble, azure_bin

from .commands import Azure

# Their assertions are told in full too.
pytest.register_assert_rewrite("tests.pipeline.rollout_world", "tests.pipeline.ways")

from .rollout_world import RolloutWorld, rollout_world  # noqa: E402 - rewritten from now on

__all__ = ["az", "azure_tools", "double", "running_double", "world"]


@pytest.fixture(scope="session")
def azure_tools() -> None:
    """Fail where the programs are missing; skip only where `make test` found none can be had."""
    if os.environ.get("ACI_ML_AZURE_TOOLS") == "absent":
        pytest.skip("gh or docker-registry cannot be had on this machine: see the log above")
    if not (azure_bin() / "az").exists():
        pytest.fail(f"no Azure CLI in {azure_bin()}; run `make build/azure/.complete`", False)


@pytest.fixture(scope="session")
def running_double(
    azure_tools: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AzureDouble]:
    """One process for all tests; use `double`."""
    with AzureDouble(tmp_path_factory.mktemp("azure-double")) as running:
        yield running
        words = running.words()
    # A fault of the double itself must not hide behind a test that expects a failure.
    assert "Traceback" not in words, words


@pytest.fixture
def double(running_double: AzureDouble) -> AzureDouble:
    """The double with an empty subscription, its owner, and nothing registered."""
    running_double.reset()
    return running_double


@pytest.fixture
def az(double: AzureDouble) -> Azure:
    """The Azure CLI, logged in as the owner, with all resource providers registered."""
    double.register()
    return Azure(double, double.env(double.owner))


@pytest.fixture(scope="module")
def world(
    request: pytest.FixtureRequest,
    running_double: AzureDouble,
    rendered_service: Path,
    deploy_python: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[RolloutWorld]:
    """Registry with images, identities with roles, and the environments of the module's STAGES; of
    the class WORLD where the module has one.
    """
    stages, kind = request.module.STAGES, getattr(request.module, "WORLD", RolloutWorld)
    folder = tmp_path_factory.mktemp("rollout")
    found = (running_double, rendered_service, deploy_python, folder, stages, kind)
    yield from rollout_world(*found)
