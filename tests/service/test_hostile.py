"""What the costliest requests cost the service, each kind once; benchmarks/hostile has them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.hostile.kinds import KINDS, Kind
from benchmarks.hostile.measure import cost_of, faults

from .running import started, wait_until_ready

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def service(rendered_service: Path, service_python: Path) -> Iterator[tuple[int, int]]:
    """Port and process of a service with all its defaults, which must survive all of it."""
    with started(service_python, rendered_service, LOG_LEVEL="error") as (url, process):
        wait_until_ready(url, process)
        yield int(url.rpartition(":")[2]), process.pid
        process.terminate()
        assert process.wait(timeout=15) == 0


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_hostile_request_costs_its_client_alone(service: tuple[int, int], kind: Kind) -> None:
    assert faults(kind, cost_of(kind, *service)) == []
