"""Fixtures: the service with models that the tests make; the rendered project's are not used."""

from __future__ import annotations

import functools
import os
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

# Before anything imports onnxruntime, which reads it once.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

from engine.deploy.targets import compare
from engine.serving.proxies import keep_local_direct

from tests import signals
from tests.durations import (
    pytest_runtest_makereport,
    pytest_runtest_protocol,
    pytest_terminal_summary,
)
from tests.engine import toy_models
from tests.engine.server import running
from tests.tiers import pytest_collection_modifyitems, pytest_ignore_collect

__all__ = [
    "pytest_collection_modifyitems",
    "pytest_ignore_collect",
    "pytest_runtest_makereport",
    "pytest_runtest_protocol",
    "pytest_terminal_summary",
]


def pytest_configure() -> None:
    """Programs under test heed signals, however the tests were started."""
    signals.restore()


@pytest.fixture(scope="session", autouse=True)
def _certificates_are_read_once() -> Iterator[None]:
    """Each HTTP client reads all certificates of the machine: 60 ms of CPU, hundreds of times."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl, "create_default_context", functools.cache(ssl.create_default_context))
        yield


@pytest.fixture(scope="session", autouse=True)
def _fingerprints_are_cheap() -> Iterator[None]:
    """scrypt is made to cost time, and the tests of rollouts run it thousands of times."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compare, "_COST", {"n": 2, "r": 1, "p": 1, "dklen": 32})
        yield


keep_local_direct()


@pytest.fixture(scope="session")
def sample_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with one classifier, `sides`; tests copy it before they change anything."""
    folder = tmp_path_factory.mktemp("sample-model")
    toy_models.write_classifier(folder)
    return folder


@pytest.fixture(scope="session")
def sample(sample_dir: Path) -> Iterator[httpx.Client]:
    """A client of the running service with that classifier."""
    with running(sample_dir) as server, httpx.Client(base_url=server.url) as client:
        yield client


@pytest.fixture(scope="session")
def toy_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with the toy models; tests copy it before they change anything."""
    folder = tmp_path_factory.mktemp("toy-models")
    toy_models.write_all(folder)
    return folder


@pytest.fixture(scope="session")
def toys(toy_dir: Path) -> Iterator[httpx.Client]:
    """A client of the running service with the toy models; `/predict` asks `scale`."""
    settings = {"DEFAULT_MODEL": "scale", "MAX_BODY_BYTES": "20000", "MAX_QUEUE_ROWS": "500"}
    with running(toy_dir, **settings) as server, httpx.Client(base_url=server.url) as client:
        yield client


@pytest.fixture
def steps_of_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps that a file of tests defines are packaged as if --module gave them."""
    monkeypatch.setattr("engine.packaging.sklearn_source.refuse_unknown", lambda *_: None)
