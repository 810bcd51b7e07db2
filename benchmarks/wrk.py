"""Closed-loop load with wrk: one thread, a fixed number of connections."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.wires import Request

SCRIPT = Path(__file__).with_name("post.lua")
REPORT = "REPORT "
TIMEOUT_SECONDS = 10
# For starting, and for answers that are still on their way.
GRACE_SECONDS = 30


class LoadFailedError(Exception):
    """wrk cannot run, or what it measured is no measurement; the message says why."""


@dataclass(frozen=True)
class Loaded:
    """What a load measured; latencies in milliseconds.

    `failed` counts broken connections and time-outs, `refused` answers that are not 2xx or 3xx.
    """

    requests: int
    seconds: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float
    failed: int
    refused: int

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds


def install() -> None:
    """Make sure that wrk is there.

    Raises:
        LoadFailedError: it is not, and cannot be installed by this user.
    """
    if shutil.which("wrk"):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise LoadFailedError("wrk is not installed; on Debian and Ubuntu: apt-get install wrk")
    print("bench: installing wrk", flush=True)
    for command in (["apt-get", "-qq", "update"], ["apt-get", "-qq", "install", "-y", "wrk"]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise LoadFailedError(f"{' '.join(command)} failed: {done.stderr.strip()}")


def run(url: str, request: Request, clients: int, seconds: float, scratch: Path) -> Loaded:
    """Load one address and wait for the end; wrk counts whole seconds.

    Raises:
        LoadFailedError: wrk failed, or a request did.
    """
    body = scratch / "body"
    body.write_bytes(request.body)
    whole = max(1, round(seconds))
    command = ["wrk", "-t1", f"-c{clients}", f"-d{whole}s", f"--timeout={TIMEOUT_SECONDS}s"]
    command += ["-s", str(SCRIPT), url, "--", str(body)]
    command += [f"{name}: {value}" for name, value in request.headers.items()]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=whole + GRACE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise LoadFailedError(f"wrk did not end in time: {error}") from None
    if done.returncode != 0:
        raise LoadFailedError(f"wrk failed: {(done.stderr or done.stdout).strip()}")
    return parse(done.stdout)


def parse(output: str) -> Loaded:
    """Read the report line of post.lua.

    Raises:
        LoadFailedError: there is none, or it tells of failed or refused requests.
    """
    line = next((each for each in output.splitlines() if each.startswith(REPORT)), None)
    if line is None:
        raise LoadFailedError(f"wrk gave no report: {output.strip()}")
    loaded = Loaded(**json.loads(line.removeprefix(REPORT)))
    if loaded.requests == 0 or loaded.refused or loaded.failed:
        raise LoadFailedError(
            f"of {loaded.requests} requests {loaded.failed} failed, {loaded.refused} were refused"
        )
    return loaded
