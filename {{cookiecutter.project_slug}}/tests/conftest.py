"""The running service with this repository's models, one for all tests."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import httpx
import pytest

from engine.deploy.verify import key_from
from engine.errors import EngineError
from engine.load.local import local_service
from engine.serving.errors import StartupError
from engine.serving.proxies import keep_local_direct

MODELS = Path(__file__).resolve().parents[1] / "models"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    """What the engine refuses fails a test with the engine's own words, and without a stack."""
    try:
        return (yield)
    except (EngineError, StartupError) as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None


@pytest.fixture(scope="session")
def client() -> Iterator[httpx.Client]:
    """A client of the service, with a key where API_KEYS is set; it goes through no proxy."""
    os.environ["MODELS_DIR"] = str(MODELS)
    keep_local_direct()
    key = key_from(os.environ)
    headers = {"X-API-Key": key} if key else {}
    try:
        with (
            local_service() as url,
            httpx.Client(base_url=url, headers=headers, timeout=60) as client,
        ):
            yield client
    except EngineError as error:
        pytest.fail(str(error), pytrace=False)
