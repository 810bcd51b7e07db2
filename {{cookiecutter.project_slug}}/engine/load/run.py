"""Run Locust as a process of its own, for it replaces parts of the standard library."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from engine.errors import EngineError
from engine.load.measured import Recording, read_recording
from engine.load.slo import Slo

ROOT = Path(__file__).resolve().parents[2]
FINISH_SECONDS = 2


def run_locust(url: str, slo: Slo, html: Path | None) -> Recording:
    """Put the load on a service; progress goes to stderr.

    Args:
        url: of the service, without a slash at its end.
        slo: how many users, for how long.
        html: where Locust's own report is written; None: nowhere.

    Raises:
        EngineError: Locust could not run to its end.
    """
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / "record.json"
        command = [sys.executable, "-m", "locust", "--headless", "--only-summary"]
        # Relative to ROOT: Locust takes a comma in a path for the beginning of another one.
        command += ["--locustfile", "engine/load/locustfile.py", "--host", url]
        command += _load(slo)
        command += ["--record", str(record)]
        # Statistics into a file, or they would be printed beside our own.
        command += ["--json-file", str(Path(folder) / "statistics.json")]
        command += ["--loglevel", "WARNING", "--exit-code-on-error", "0"]
        command += ["--html", str(html)] if html else []
        code = subprocess.run(command, cwd=ROOT, check=False).returncode  # noqa: S603
        if not record.exists():
            raise EngineError(
                f"Locust ended with exit code {code} and without a result",
                "its own message is above",
            )
        return read_recording(record)


def _load(slo: Slo) -> list[str]:
    spawn_rate = slo.users / slo.ramp_seconds if slo.ramp_seconds else slo.users
    load = ["--users", str(slo.users), "--spawn-rate", f"{spawn_rate:g}"]
    load += ["--measure-after", f"{slo.before_seconds:g}", "--measure-for", f"{slo.run_seconds:g}"]
    return [*load, "--stop-timeout", str(FINISH_SECONDS)]
