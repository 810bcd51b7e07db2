"""Generate a service, start it and ask it: the whole way in one command, `make demo`.

The service is written to build/demo/; its environment is kept from run to run.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from scripts.rendering import render

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "demo"
# A virginica that training did not see.
REQUEST = {"data": [[5.9, 3.0, 5.1, 1.8]]}
START_SECONDS = 60
# The service is on this machine: without the proxy that the environment names for the network.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
STOP_SECONDS = 15
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> int:
    """Render, install, start, ask; then serve until a signal, or stop with --stop."""
    options = _options()
    service = _render(options.format)
    _say("installing the locked serving set")
    subprocess.run(
        ["make", "--no-print-directory", f"PYTHON={options.python}", ".venv/.serve"],
        cwd=service,
        env={**os.environ, "MAKEFLAGS": ""},
        check=True,
    )
    return serve(service, _port(options.port), stop=options.stop)


def serve(service: Path, port: int, *, stop: bool) -> int:
    """Start a service and ask it; it ends with this process, whichever of ``SIGNALS`` ends it.

    Args:
        service: folder of a generated project with its environment.
        stop: stop after the answer.
    """
    for each in SIGNALS:
        if signal.getsignal(each) != signal.SIG_IGN:  # as nohup wants it
            signal.signal(each, signal.default_int_handler)
    url = f"http://127.0.0.1:{port}"
    environment = {**os.environ, "HOST": "127.0.0.1", "PORT": str(port), "LOG_LEVEL": "warning"}
    process = None
    try:
        process = subprocess.Popen(
            [".venv/bin/python", "-m", "engine.serving"], cwd=service, env=environment
        )
        _wait_until_ready(url, process)
        _ask(url)
        if stop:
            return 0
        _say(f"the page: {url}/   the documentation: {url}/docs   Ctrl-C stops it")
        return process.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        if process is not None:
            _stop(process)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default=sys.executable, help="interpreter of the service")
    parser.add_argument("--format", default="onnx", choices=("onnx", "joblib"))
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--stop", action="store_true", help="stop after the answer")
    return parser.parse_args()


def _say(line: str) -> None:
    print(f"demo: {line}", flush=True)


def _render(model_format: str) -> Path:
    """Write the service anew, but keep the environment of the last run: the locks decide."""
    output = BUILD / model_format
    kept = output / ".venv-of-last-run"
    for old in output.glob("*/.venv"):
        old.rename(kept)
    for old in output.glob("*/"):
        if old != kept:
            shutil.rmtree(old)
    output.mkdir(parents=True, exist_ok=True)
    _say("generating a service with the default answers")
    service = render(output, model_format=model_format)
    if kept.exists():
        kept.rename(service / ".venv")
    return service


def _port(wanted: int) -> int:
    """The wanted port, or a free one where something else listens on it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            probe.bind(("127.0.0.1", 0))
            _say(f"port {wanted} is in use, taking {probe.getsockname()[1]}")
        return int(probe.getsockname()[1])


def _wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    _say("starting it, and waiting until it is ready")
    deadline = time.monotonic() + START_SECONDS
    reason = "no answer"
    while time.monotonic() < deadline and process.poll() is None:
        try:
            DIRECT.open(f"{url}/readyz", timeout=2).close()
            return
        except urllib.error.HTTPError as error:
            reason = error.read().decode()
        except OSError as error:
            reason = str(error)
        time.sleep(0.1)
    raise SystemExit(f"demo: the service did not become ready: {reason}")


def _ask(url: str) -> None:
    body = json.dumps(REQUEST)
    _say(f"POST {url}/predict {body}")
    request = urllib.request.Request(
        f"{url}/predict", body.encode(), {"Content-Type": "application/json"}
    )
    with DIRECT.open(request, timeout=10) as response:
        _say(f"{response.status} {response.read().decode()}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    for each in SIGNALS:  # a second signal must not leave the service behind
        signal.signal(each, signal.SIG_IGN)
    process.terminate()
    try:
        process.wait(timeout=STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


if __name__ == "__main__":
    sys.exit(main())
