"""`python -m load`: run the load test, headless, against a service or against one it starts.

Exit code 0 when no request failed.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
START_SECONDS = 60


def main() -> int:
    """Run Locust with a bounded number of users for a bounded time."""
    parser = argparse.ArgumentParser(prog="python -m load", description=__doc__)
    parser.add_argument("--url", help="a running service; default: start one here")
    parser.add_argument("--users", type=int, default=20)
    parser.add_argument("--seconds", type=int, default=20)
    options = parser.parse_args()
    if options.url:
        return _locust(options.url, options.users, options.seconds)
    with _local_service() as url:
        return _locust(url, options.users, options.seconds)


def _locust(url: str, users: int, seconds: int) -> int:
    command = [sys.executable, "-m", "locust", "--headless", "--only-summary"]
    command += ["--locustfile", str(HERE / "locustfile.py"), "--host", url.rstrip("/")]
    command += ["--users", str(users), "--spawn-rate", str(users), "--run-time", f"{seconds}s"]
    print(f"{users} users for {seconds} s against {url}", flush=True)
    return subprocess.run(command, check=False).returncode  # noqa: S603


@contextmanager
def _local_service() -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "HOST": "127.0.0.1", "PORT": str(port), "LOG_LEVEL": "warning"}
    process = subprocess.Popen([sys.executable, "-m", "app"], env=environment)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_until_ready(url, process)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=15)


def _wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    reason = "no answer"
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(f"{url}/readyz", timeout=2).close()  # noqa: S310
            return
        except urllib.error.HTTPError as error:
            reason = error.read().decode()
        except OSError as error:
            reason = str(error)
        time.sleep(0.1)
    raise SystemExit(f"error: the service did not become ready: {reason}")


if __name__ == "__main__":
    sys.exit(main())
