"""The running service with this repository's models, for all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from engine.load.local import local_service
from engine.serving.proxies import keep_local_direct

ROOT = Path(__file__).resolve().parents[1]
MODELS = ROOT / "models"


@pytest.fixture(scope="session")
def client() -> Iterator[httpx.Client]:
    """A client of the service."""
    os.environ["MODELS_DIR"] = str(MODELS)
    keep_local_direct()
    with local_service() as url, httpx.Client(base_url=url) as client:
        yield client
