"""The image in a container with a limit on its memory: Prometheus sees both, and tells in time."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import pytest

from tests.service.conftest import cpu_image, docker_engine
from tests.service.containers import HARDENED, docker, running

from . import prometheus
from .dashboard import queries, read

__all__ = ["cpu_image", "docker_engine"]

pytestmark = pytest.mark.slow

JOB = "iris-service"
LIMIT = 512 * 1024**2
NEARLY = 0.95
ALERT_SECONDS = 60


def seen_since(asked: prometheus.Prometheus, query: str, began: float) -> bool:
    return bool(asked.over(query, began, time.time()))


def test_memory_near_its_limit_is_told(
    prometheus_program: str, rendered_service: Path, cpu_image: str, tmp_path: Path
) -> None:
    limits = ("--memory", str(LIMIT), "--memory-swap", str(LIMIT))
    with running(cpu_image, *HARDENED, *limits) as container:
        container.seconds_until_ready(60)
        folder = tmp_path / "prometheus"
        address = f"127.0.0.1:{container.port}"
        prometheus.configure(rendered_service / "engine" / "monitoring", folder, {JOB: (address,)})
        with prometheus.running(prometheus_program, folder) as asked:
            began = time.time()
            used = f'inference_memory_bytes{{job="{JOB}"}}'
            asked.wait("it is scraped", lambda: bool(asked.now(used)), ALERT_SECONDS)
            for query in queries(read(rendered_service)):
                if query.panel == "Memory":
                    text = query.filled(JOB, interval="5s")
                    seen = partial(seen_since, asked, text, began)
                    asked.wait(text, seen, ALERT_SECONDS)
            assert "MemoryNearLimit" not in asked.firing(JOB)
            bytes_used = int(asked.now(used)[0]["value"][1])
            assert 0 < bytes_used < LIMIT * 0.9
            less = str(int(bytes_used / NEARLY))
            docker("update", "--memory", less, "--memory-swap", less, container.name)
            asked.wait("the alert", lambda: "MemoryNearLimit" in asked.firing(JOB), ALERT_SECONDS)
