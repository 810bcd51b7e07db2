"""A real Prometheus as a process, and its HTTP API."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.service.running import free_port

READY_SECONDS = 30
STOP_SECONDS = 15
SCRAPE = "1s"
MINUTE = 2
"""Seconds that stand for a minute of the rules."""
OUR_JOBS = 'job=~"inference.*"'
MINUTES = re.compile(r"\b(\d+)m\b")


class Prometheus:
    """What a running Prometheus answers."""

    def __init__(self, url: str, log: Path) -> None:
        self.url = url
        self.log = log
        # The environment may name a proxy, which knows nothing of this machine.
        self._client = httpx.Client(base_url=url, timeout=10, trust_env=False)

    def get(self, path: str, **parameters: str) -> Any:
        """The data of an answer that must be a success."""
        answer = self._client.get(f"/api/v1/{path}", params=parameters)
        body = answer.json()
        assert body["status"] == "success", body
        assert not body.get("warnings"), body
        return body["data"]

    def now(self, query: str) -> list[dict[str, Any]]:
        """The series of an instant query."""
        found: list[dict[str, Any]] = self.get("query", query=query)["result"]
        return found

    def over(self, query: str, start: float, end: float) -> list[dict[str, Any]]:
        """The series of a query between two moments, a value for each second."""
        data = self.get("query_range", query=query, start=f"{start}", end=f"{end}", step="1")
        found: list[dict[str, Any]] = data["result"]
        return found

    def alerts(self, job: str, *states: str) -> set[str]:
        """The names of a job's alerts that stand now; of these states where some are given."""
        return {
            alert["labels"]["alertname"]
            for alert in self.get("alerts")["alerts"]
            if alert["labels"].get("job") == job and (not states or alert["state"] in states)
        }

    def firing(self, job: str) -> set[str]:
        """The alerts of a job that fire now."""
        return self.alerts(job, "firing")

    def wait(self, what: str, condition: Callable[[], bool], seconds: float) -> None:
        """Wait until something is so."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
            time.sleep(0.2)

    def close(self) -> None:
        """Give up the connection."""
        self._client.close()


def configure(monitoring: Path, folder: Path, jobs: Mapping[str, Sequence[str]]) -> None:
    """Write the service's own configuration and rules for several jobs, in a hurry; see ``MINUTE``.

    Args:
        monitoring: the engine's folder.
        folder: where to write.
        jobs: the addresses (host:port) of each job. The rules watch them all.
    """
    folder.mkdir()
    config = yaml.safe_load((monitoring / "prometheus.yml").read_text(encoding="utf-8"))
    [scrape] = config["scrape_configs"]
    config["global"] = {"scrape_interval": SCRAPE, "evaluation_interval": SCRAPE}
    config["scrape_configs"] = [
        {**scrape, "job_name": job, "static_configs": [{"targets": list(addresses)}]}
        for job, addresses in jobs.items()
    ]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    rules = yaml.safe_load((monitoring / "alerts.yml").read_text(encoding="utf-8"))
    [group] = rules["groups"]
    group["rules"] = [faster(rule) for rule in group["rules"]]
    (folder / "alerts.yml").write_text(yaml.safe_dump(rules), encoding="utf-8")


def faster(rule: dict[str, Any]) -> dict[str, Any]:
    """The rule for all jobs, with seconds where it has minutes: tests cannot wait for those."""

    def hurried(text: str) -> str:
        return MINUTES.sub(lambda found: f"{int(found[1]) * MINUTE}s", text)

    changed = {**rule, "expr": hurried(rule["expr"].replace(OUR_JOBS, 'job=~".+"'))}
    if "for" in rule:
        changed["for"] = hurried(rule["for"])
    return changed


@contextmanager
def running(program: str, folder: Path) -> Iterator[Prometheus]:
    """Prometheus with the configuration of a folder, on a port of 127.0.0.1."""
    port = free_port()
    command = [program, f"--config.file={folder}/prometheus.yml"]
    command += [f"--storage.tsdb.path={folder}/data", f"--web.listen-address=127.0.0.1:{port}"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    prometheus = Prometheus(f"http://127.0.0.1:{port}", folder / "log")
    try:
        wait_until_ready(prometheus, process)
        yield prometheus
        process.terminate()
        assert process.wait(timeout=STOP_SECONDS) == 0
    finally:
        prometheus.close()
        if process.poll() is None:
            process.kill()
            process.wait()


def wait_until_ready(prometheus: Prometheus, process: subprocess.Popen[bytes]) -> None:
    """Wait until it answers queries."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{prometheus.url}/-/ready", trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"Prometheus is not ready: {prometheus.log.read_text()[-2000:]}")
