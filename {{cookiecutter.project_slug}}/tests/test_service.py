"""`service.py` fits this engine, and takes none of its routes."""

from __future__ import annotations

from engine.serving.api_version import api_fault
from engine.serving.package.digest import SERVICE_FILE
from engine.serving.service_file import load_service_file


def test_it_uses_an_api_version_that_this_engine_supports() -> None:
    assert api_fault(SERVICE_FILE) is None


def test_it_can_be_loaded() -> None:
    load_service_file(SERVICE_FILE)
