"""With no collector named, nothing of telemetry is imported, opened or sent."""

from __future__ import annotations

import signal
from pathlib import Path

import httpx
import pytest

from tests.engine.collectors import collecting
from tests.engine.server import started

pytestmark = pytest.mark.slow

# Python reports what it does to such a hook, whichever library asks for it.
HOOK = """
import os, sys

descriptor = os.open(os.environ["AUDIT_FILE"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND


def hook(event, arguments):
    if event == "import":
        line = f"import {arguments[0]}"
    elif event in ("socket.connect", "socket.bind"):
        line = f"{event} {arguments[1]}"
    elif event in ("socket.getaddrinfo", "subprocess.Popen"):
        line = f"{event} {arguments[0]}"
    elif event == "open" and arguments[2] & WRITES:
        line = f"write {arguments[0]}"
    else:
        return
    os.write(descriptor, (line + "\\n").encode())


sys.addaudithook(hook)
"""
# FastAPI imports opentelemetry's empty API, always; what can send something is in these.
FOREIGN = (
    "opentelemetry.sdk",
    "opentelemetry.exporter",
    "azure",
    "google.protobuf",
    "msal",
    "requests",
    "urllib3",
)


def audit(models: Path, place: Path, **settings: str) -> list[str]:
    """What a service does from its start to its end, answering some requests."""
    (place / "sitecustomize.py").write_text(HOOK)
    report = place / "audit"
    settings |= {
        "PYTHONPATH": str(place),
        "AUDIT_FILE": str(report),
        "PYTHONDONTWRITEBYTECODE": "1",
        "DEFAULT_MODEL": "scale",
    }
    traced = {"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"}
    with started(models, **settings) as server:
        server.wait_for("ready")
        for _ in range(5):
            answer = httpx.post(f"{server.url}/predict", json={"data": [[1, 2, 3]]}, headers=traced)
            assert answer.status_code == 200
        assert ("traceparent" in answer.headers) == ("OTEL_EXPORTER_OTLP_ENDPOINT" in settings)
        httpx.get(f"{server.url}/metrics")
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(timeout=15) == 0
    return report.read_text().splitlines()


def foreign(events: list[str]) -> set[str]:
    """The packages of the exporters that were imported."""
    modules = {event.removeprefix("import ") for event in events if event.startswith("import ")}
    return {name for name in FOREIGN for each in modules if (each + ".").startswith(name + ".")}


@pytest.mark.parametrize("workers", ["1", "2"])
def test_off_is_off(toy_dir: Path, tmp_path: Path, workers: str) -> None:
    events = audit(toy_dir, tmp_path, WORKERS=workers, TRACE_SAMPLE_RATIO="1")
    assert foreign(events) == set()
    sockets = [event for event in events if event.startswith("socket.")]
    assert len([event for event in sockets if event.startswith("socket.bind")]) == 1
    assert [event for event in sockets if event.startswith("socket.connect")] == []
    written = {event for event in events if event.startswith(("write", "subprocess"))}
    assert written <= {"write /dev/null"}


def test_the_audit_sees_what_is_on(toy_dir: Path, tmp_path: Path) -> None:
    with collecting() as collector:
        events = audit(toy_dir, tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)
    assert {"opentelemetry.sdk", "opentelemetry.exporter", "requests"} <= foreign(events)
    # Of the two exporters only the one that was asked for.
    assert "azure" not in foreign(events)
    assert any(event.startswith("socket.connect") for event in events)
