"""What is measured: each server with the configurations of which its best one counts.

To add a configuration, add a line to its server's table; to add a server, add an entry and, in
configurations.py, how it is started.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.configurations import (
    Configuration,
    bentoml,
    binary,
    constant,
    fastapi,
    gunicorn,
    litserve,
    mlserver,
    ours,
)

HERE = Path(__file__).resolve().parent
Kind = Literal["ours", "ours binary", "tutorial app", "async app", "model server", "limit"]


@dataclass(frozen=True)
class Server:
    """A server: where it runs, what is installed for it, how it may be configured.

    `folder` and `lock` are empty for what lives in the rendered service.
    """

    name: str
    title: str
    kind: Kind
    configurations: tuple[Configuration, ...]
    folder: Path | None = None
    models: tuple[str, ...] = ("iris", "dense", "conv")

    @property
    def lock(self) -> Path | None:
        """What is installed for it; None: the service's own serving lock."""
        if self.folder is None or self.folder == HERE:
            return None
        return self.folder / "requirements.txt"


OURS = (
    ours("default", quick=True),
    # More runs at a time than CPUs would take the CPUs from each other.
    ours("2 workers, 1 lane", quick=True, needs="WORKERS", WORKERS="2", COMPUTE_LANES="1"),
)


SERVERS = (
    Server("ours", "this template", "ours", OURS),
    Server(
        "ours-binary",
        "this template, binary tensors",
        "ours binary",
        tuple(binary(each) for each in OURS),
        models=("conv",),
    ),
    Server(
        "fastapi",
        "FastAPI tutorial app, uvicorn",
        "tutorial app",
        (fastapi(2, 1, quick=True), fastapi(1, 0, quick=True), fastapi(2, 0)),
        HERE / "peers" / "fastapi",
    ),
    # Faster for a tiny model, and against the documentation's advice: while one request computes,
    # its worker answers no other, not even a health check. So it is shown beside the tutorial app.
    Server(
        "fastapi-async",
        "FastAPI, computing on the event loop",
        "async app",
        (fastapi(2, 1, "/predict-async", quick=True), fastapi(1, 0, "/predict-async")),
        HERE / "peers" / "fastapi",
    ),
    Server(
        "flask",
        "Flask, gunicorn",
        "tutorial app",
        (
            gunicorn("--workers 2", 1, quick=True),
            gunicorn("--workers 5", 1),
            gunicorn("--workers 2 --threads 4", 1),
            gunicorn("--workers 2", 0),
        ),
        HERE / "peers" / "flask",
    ),
    Server(
        "bentoml",
        "BentoML",
        "model server",
        (
            bentoml(2, "on", 1, quick=True),
            bentoml(2, "off", 1),
            bentoml(1, "on", 0),
            bentoml(1, "off", 0),
        ),
        HERE / "peers" / "bentoml",
    ),
    Server(
        "litserve",
        "LitServe",
        "model server",
        (
            litserve(2, 1, "0", 1, quick=True),
            litserve(1, 1, "0", 0),
            litserve(2, 32, "0.005", 1),
            litserve(1, 32, "0.005", 0),
        ),
        HERE / "peers" / "litserve",
    ),
    Server(
        "mlserver",
        "MLServer",
        "model server",
        (
            mlserver(0, 1, 1, quick=True),
            mlserver(0, 1, 0),
            mlserver(1, 1, 0),
            mlserver(2, 1, 1),
            mlserver(0, 32, 0),
            mlserver(2, 32, 1),
        ),
        HERE / "peers" / "mlserver",
    ),
    Server(
        "constant",
        "constant ASGI answer, uvicorn",
        "limit",
        (constant(1), constant(2)),
        HERE,
    ),
)
