"""One Prometheus and the services it scrapes: a healthy one under load, and some with faults."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.service.running import free_port

from . import packages, prometheus
from .prometheus import Prometheus

HEALTHY = "iris-service"
KEY = "a-key-of-the-tests-1"
START_SECONDS = 240
STOP_SECONDS = 15
ANSWER_SECONDS = 30
# One kind of fault each. All but `wrong` become ready; `gone` never answers.
FAULTY: dict[str, dict[str, str]] = {
    "wrong": {},
    "slow": {},
    "failing": {},
    "crowded": {"MAX_QUEUE_ROWS": "1", "COMPUTE_LANES": "1"},
    "fallback": {"EXECUTION_PROVIDERS": "cuda,cpu"},
    "halting": {},
    "restarting": {},
    "drifting": {"FEEDBACK": "1000", "API_KEYS": KEY},
}
GONE = "gone"


@dataclass
class World:
    """What runs. ``ports`` and ``models`` are those of the services, by job; logs in ``folder``."""

    python: Path
    service: Path
    models: dict[str, Path]
    ports: dict[str, int]
    prometheus: Prometheus
    folder: Path
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def url(self, job: str) -> str:
        """The address of a service."""
        return f"http://127.0.0.1:{self.ports[job]}"

    def start(self, job: str, **settings: str) -> None:
        """Start a service; it may never become ready."""
        environment = {
            **os.environ,
            "HOST": "127.0.0.1",
            "PORT": str(self.ports[job]),
            "LOG_LEVEL": "error",
            "MODELS_DIR": str(self.models.get(job, self.service / "models")),
            **settings,
        }
        # What fails on purpose would fill the output of the tests with traces.
        with (self.folder / f"{job}.log").open("a") as log:
            self.processes[job] = subprocess.Popen(
                [str(self.python), "-m", "engine.serving"],
                cwd=self.service,
                env=environment,
                stderr=log,
            )

    def stop(self, job: str) -> None:
        """Stop a service as a platform does."""
        process = self.processes.pop(job)
        process.terminate()
        process.wait(timeout=STOP_SECONDS)

    def kill_all(self) -> None:
        """End what still runs, whatever has happened."""
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(timeout=STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def predict(self, job: str, first: float, key: str = "") -> httpx.Response:
        """Ask for one row that begins with this number."""
        headers = {"X-API-Key": key} if key else {}
        with httpx.Client(trust_env=False, timeout=ANSWER_SECONDS) as client:
            body = {"data": [[first, 3.0, 5.1, 1.8]]}
            return client.post(f"{self.url(job)}/predict", json=body, headers=headers)

    def load(self, seconds: int) -> None:
        """The service's own load test, with Locust; it must find every answer right."""
        command = [str(self.python), "-m", "engine.load", "--url", self.url(HEALTHY)]
        done = subprocess.run(
            [*command, "--users", "6", "--seconds", str(seconds)],
            cwd=self.service,
            env={**os.environ, "LOAD_API_KEY": KEY},
            capture_output=True,
            text=True,
            timeout=seconds + 60,
            check=False,
        )
        words = done.stdout + done.stderr
        assert "(0 of " in words, words


@contextmanager
def running(program: str, python: Path, service: Path, folder: Path) -> Iterator[World]:
    """Everything but the load and the requests, scraped by a Prometheus of its own."""
    models = {
        "wrong": packages.wrong(service, folder / "wrong"),
        "failing": packages.failing(service, folder / "failing"),
        "drifting": packages.with_reference(service, folder / "drifting"),
        **dict.fromkeys(("slow", "crowded"), packages.slow(service, folder / "slow")),
    }
    ports = {job: free_port() for job in (HEALTHY, *FAULTY, GONE)}
    jobs = {job: (f"127.0.0.1:{port}",) for job, port in ports.items()}
    prometheus.configure(service / "engine" / "monitoring", folder / "prometheus", jobs)
    with ExitStack() as stack:
        asked = stack.enter_context(prometheus.running(program, folder / "prometheus"))
        world = World(python, service, models, ports, asked, folder)
        stack.callback(world.kill_all)
        world.start(HEALTHY, WORKERS="2", API_KEYS=KEY)
        for job, settings in FAULTY.items():
            world.start(job, **settings)
        count = len(world.processes) - 1
        asked.wait(
            "all but one are ready",
            lambda: len(asked.now("inference_ready == 1")) == count,
            START_SECONDS,
        )
        yield world


@contextmanager
def repeated(action: Callable[[], object], threads: int = 1) -> Iterator[None]:
    """Do something again and again, in the background, until the block ends."""
    ended = threading.Event()
    faults: list[Exception] = []

    def work() -> None:
        while not ended.is_set():
            try:
                action()
            except (AssertionError, OSError, httpx.HTTPError) as error:
                faults.append(error)
                return

    workers = [threading.Thread(target=work, daemon=True) for _ in range(threads)]
    for each in workers:
        each.start()
    try:
        yield
    finally:
        ended.set()
        deadline = time.monotonic() + ANSWER_SECONDS
        for each in workers:
            each.join(max(0.0, deadline - time.monotonic()))
    assert not faults, faults[0]
