"""What a person does by hand: the runbook's blocks, `make monitor` and `make alerts`."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.readme.blocks import Reader, read_blocks
from tests.service.running import free_port, running

from .prometheus import Prometheus, wait_until_ready

pytestmark = pytest.mark.slow

STOP_SECONDS = 15


@pytest.fixture
def checkout(rendered_service: Path, service_python: Path, tmp_path: Path) -> Path:
    """A copy of the service, whose `.venv` is the environment that is installed already."""
    service = Path(shutil.copytree(rendered_service, tmp_path / "service"))
    programs = service / ".venv" / "bin"
    programs.mkdir(parents=True)
    launcher = programs / "python"
    launcher.write_text(f'#!/bin/sh\nexec "{service_python}" "$@"\n', encoding="utf-8")
    launcher.chmod(0o755)
    (programs.parent / ".serve").touch()
    return service


def test_the_blocks_of_the_runbook_that_ask_the_service_run(
    checkout: Path, service_python: Path
) -> None:
    blocks = read_blocks(checkout / "docs" / "runbook.md")
    assert len([block for block in blocks if not block.left_out]) > 10
    for block in blocks:
        assert block.left_out or "-m engine.deploy" not in block.text
    with running(service_python, checkout) as url:
        # grep fails where a metric has another name than the runbook says.
        reader = Reader(checkout, int(url.rpartition(":")[2]), {"URL": url}, {})
        printed = "\n".join(reader.type(block) for block in blocks)
    assert '"ready":true' in printed.replace(" ", "")
    assert 'inference_state{state="ready"} 1.0' in printed
    assert "x-request-id: asked-by-me-1" in printed.lower()


def test_make_alerts_checks_and_tests_the_rules(prometheus_program: str, checkout: Path) -> None:
    command = ["make", "--silent", "alerts"]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rules = checkout / "engine" / "monitoring" / "alerts.yml"
    rules.write_text(rules.read_text().replace("> 0.01", "> 0.5"), encoding="utf-8")
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "ErrorRatioHigh" in done.stdout + done.stderr


def test_make_monitor_says_what_is_missing(checkout: Path) -> None:
    tools = checkout / "tools"
    tools.mkdir()
    for name in ("make", "sh", "cat", "grep"):
        (tools / name).symlink_to(str(shutil.which(name)))
    for target in ("monitor", "alerts"):
        done = subprocess.run(
            ["make", "--silent", target, f"PYTHON={checkout}/.venv/bin/python"],
            cwd=checkout,
            env={"PATH": str(tools)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode != 0
        assert "apt install prometheus" in done.stderr


def test_make_monitor_watches_the_service(
    prometheus_program: str, checkout: Path, service_python: Path
) -> None:
    port = free_port()
    with running(service_python, checkout) as url:
        config = checkout / "engine" / "monitoring" / "prometheus.yml"
        text = config.read_text(encoding="utf-8")
        config.write_text(text.replace("15s", "1s"), encoding="utf-8")
        process = subprocess.Popen(
            ["make", "-s", "monitor", f"LISTEN=127.0.0.1:{port}", f"PORT={url.rpartition(':')[2]}"],
            cwd=checkout,
            env={**os.environ, "MAKEFLAGS": ""},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        prometheus = Prometheus(f"http://127.0.0.1:{port}", config)
        try:
            wait_until_ready(prometheus, process)
            prometheus.wait(
                "the service is scraped",
                lambda: bool(prometheus.now('inference_ready{job="inference"} == 1')),
                30,
            )
            assert len(prometheus.get("rules")["groups"][0]["rules"]) > 5
            # Every alert's link to the runbook begins with it.
            address = "repository: https://github.com/your-github-name/iris-service\n"
            assert address in prometheus.get("status/config")["yaml"]
            page = httpx.get(prometheus.url, trust_env=False, follow_redirects=True)
            assert page.status_code == 200
            assert "Alerts" in page.text
        finally:
            prometheus.close()
            process.terminate()
            process.wait(timeout=STOP_SECONDS)
