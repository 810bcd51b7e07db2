"""The running service with this repository's models, one for all tests."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import httpx
import pytest

from engine.deploy.errors import DeployError
from engine.load.local import local_service
from engine.serving.errors import PackageError

ROOT = Path(__file__).resolve().parents[1]
MODELS = ROOT / "models"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    """What the engine refuses fails a test with the engine's own words, and without a stack."""
    try:
        return (yield)
    except (DeployError, PackageError) as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="session")
def client() -> Iterator[httpx.Client]:
    """A client of the service, which goes through no proxy."""
    os.environ["MODELS_DIR"] = str(MODELS)
    try:
        with (
            local_service() as url,
            httpx.Client(base_url=url, trust_env=False, timeout=60) as client,
        ):
            yield client
    except DeployError as error:
        pytest.fail(str(error), pytrace=False)
