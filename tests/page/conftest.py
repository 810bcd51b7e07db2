"""Fixtures of the page: a browser, services in several states, and visits that are watched."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.monitoring.packages import wrong
from tests.service.running import running, started

from .asking import wait_for_failure
from .browser import Watched, chromium, program
from .proxy import behind

KEY = "right-key-0123456789"
Visit = Callable[..., Page]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Fail where there is none; skip only where `make test` found that none can be had."""
    if os.environ.get("ACI_ML_BROWSER") == "absent":
        pytest.skip("no Chromium can be had on this machine: see the log above")
    path = program()
    if path is None:
        pytest.fail("no Chromium; run scripts/browser.sh, or `make test`, which does", False)
    with chromium(path) as browser:
        yield browser


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """A function that opens a page; in the end no visit may have asked or complained elsewhere."""
    visits: list[tuple[str, Watched]] = []

    def go(url: str, *, path: str = "", expects: str = "", **options: Any) -> Page:
        page = browser.new_context(**options).new_page()
        visits.append((url, Watched(page, expects)))
        page.goto(f"{url}{path}")
        return page

    yield go
    for url, watched in visits:
        watched.page.context.close()
        watched.check(url)


@pytest.fixture(scope="session")
def url(service_python: Path, rendered_service: Path) -> Iterator[str]:
    """A service that is ready and open."""
    with running(service_python, rendered_service) as url:
        yield url


@pytest.fixture(scope="session")
def prefixed(url: str) -> Iterator[str]:
    """The same behind a proxy, at a path of its own. It outlives the pages, which ask on and on."""
    with behind(url, "/flowers/v1") as prefixed:
        yield prefixed


@pytest.fixture(scope="session")
def guarded(service_python: Path, rendered_service: Path, two_models: Path) -> Iterator[str]:
    """A service of two models that asks for a key, allowed a GPU which is not there."""
    settings = {
        "API_KEYS": KEY,
        "MODELS_DIR": str(two_models),
        "EXECUTION_PROVIDERS": "cuda,cpu",
        "GIT_REVISION": "f" * 40,
    }
    with running(service_python, rendered_service, **settings) as url:
        yield url


@pytest.fixture(scope="session")
def two_models(rendered_service: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample, and the same under another name and with another description."""
    folder = tmp_path_factory.mktemp("two") / "models"
    shutil.copytree(rendered_service / "models", folder)
    shutil.copytree(folder / "iris", folder / "second")
    manifest = folder / "second" / "model.yaml"
    text = manifest.read_text(encoding="utf-8").replace("name: iris\n", "name: second\n", 1)
    manifest.write_text(text.replace("description: ", "description: Another. ", 1))
    return folder


@pytest.fixture(scope="session")
def failed(
    service_python: Path, rendered_service: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A service whose model answers differently than in training."""
    models = wrong(rendered_service, tmp_path_factory.mktemp("wrong"))
    with started(service_python, rendered_service, MODELS_DIR=str(models)) as (url, process):
        wait_for_failure(url)
        yield url
        process.terminate()
        process.wait(timeout=15)
