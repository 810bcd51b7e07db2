"""`make demo SERVE=0`: the whole way, for each model format, on this machine's Python."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

from .service.running import free_port

SECONDS = 300
# Answers like a service; in place of the real one, which takes seconds to start.
STAND_IN = """\
import http.server, os
class Service(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"ready")
    do_POST = do_GET
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Service).serve_forever()
"""
DEMO = "import sys; from pathlib import Path; from scripts import demo;"
DEMO += "sys.exit(demo.serve(Path(sys.argv[1]), int(sys.argv[2]), stop=False))"


@pytest.mark.slow
@pytest.mark.parametrize(
    # README's own block is the demo of the other format, and a test runs it.
    "model_format",
    [pytest.param("onnx", marks=pytest.mark.exhaustive), "joblib"],
)
def test_the_demo_prints_a_prediction_and_ends(model_format: str) -> None:
    command = ["make", "demo", "SERVE=0", f"FORMAT={model_format}", f"PORT={free_port()}"]
    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        env={**os.environ, "MAKEFLAGS": ""},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"predictions":[2],"labels":["virginica"]' in done.stdout


@pytest.fixture
def stand_in(tmp_path: Path) -> Path:
    """A project whose service is ready at once."""
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)
    (tmp_path / "engine").mkdir()
    (tmp_path / "engine" / "serving.py").write_text(STAND_IN)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_the_service_ends_with_the_demo_whatever_signal_ends_it(name: str, stand_in: Path) -> None:
    port = free_port()
    with subprocess.Popen(
        [sys.executable, "-c", DEMO, stand_in, str(port)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    ) as demo:
        assert demo.stdout is not None
        while "Ctrl-C stops it" not in demo.stdout.readline():
            assert demo.poll() is None
        urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10).close()
        demo.send_signal(getattr(signal, name))
        assert demo.wait(timeout=SECONDS) == 0
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))  # nobody listens there any more
