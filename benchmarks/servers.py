"""What is measured: each server with the configurations of which its best one counts.

To add a configuration, add a line to its table. Words in braces are filled in when it starts:
`{bin}` the environment's programs, `{port}` and `{port2}`, `{port3}` free ports, `{model}` the
model's name, `{model_file}` its ONNX file, `{packages}` its folder of model packages, `{rows}` the
rows of a request, `{answers}` the constant answers, `{scratch}` a folder of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from benchmarks.wires import Wire

HERE = Path(__file__).resolve().parent
Kind = Literal["ours", "ours binary", "tutorial app", "async app", "model server", "limit"]
UVICORN = ("{bin}/uvicorn", "--host", "127.0.0.1", "--port", "{port}", "--no-access-log")


@dataclass(frozen=True)
class Configuration:
    """One way to run a server. `needs` names a setting of ours that must exist for it."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    path: str = "/predict"
    wire: Wire = "rows"
    quick: bool = False
    needs: str = ""


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


def _ours(name: str, *, quick: bool = False, needs: str = "", **settings: str) -> Configuration:
    return Configuration(
        name,
        ("{bin}/python", "-m", "app"),
        {
            "HOST": "127.0.0.1",
            "PORT": "{port}",
            "MODELS_DIR": "{packages}",
            "LOG_LEVEL": "warning",
            **settings,
        },
        quick=quick,
        needs=needs,
    )


def _binary(configuration: Configuration) -> Configuration:
    return Configuration(
        configuration.name,
        configuration.command,
        configuration.environment,
        path="/v2/models/{model}/infer",
        wire="binary",
        quick=configuration.quick,
        needs=configuration.needs,
    )


OURS = (
    _ours("default", quick=True),
    _ours("2 workers", quick=True, needs="WORKERS", WORKERS="2"),
)


def _fastapi(
    workers: int, threads: int, path: str = "/predict", *, quick: bool = False
) -> Configuration:
    return Configuration(
        f"{_workers(workers)}, {_threads(threads)}",
        (*UVICORN, "--workers", str(workers), "--log-level", "warning", "app:app"),
        {"INTRA_OP_THREADS": str(threads)},
        path=path,
        quick=quick,
    )


def _gunicorn(arguments: str, threads: int, *, quick: bool = False) -> Configuration:
    return Configuration(
        f"{arguments}, {_threads(threads)}",
        ("{bin}/gunicorn", "--bind", "127.0.0.1:{port}", *arguments.split(), "app:app"),
        {"INTRA_OP_THREADS": str(threads)},
        quick=quick,
    )


def _bentoml(workers: int, batching: str, threads: int, *, quick: bool = False) -> Configuration:
    command = "{bin}/bentoml serve service:Net --host 127.0.0.1 --port {port}"
    return Configuration(
        f"{_workers(workers)}, batching {batching}, {_threads(threads)}",
        tuple(command.split()),
        {
            "WORKERS": str(workers),
            "BATCHING": batching,
            "INTRA_OP_THREADS": str(threads),
            "BENTOML_HOME": "{scratch}",
            "BENTOML_DO_NOT_TRACK": "True",
        },
        quick=quick,
    )


def _litserve(
    workers: int, batch: int, wait: str, threads: int, *, quick: bool = False
) -> Configuration:
    return Configuration(
        f"{_workers(workers)}, batches of {batch}, {_threads(threads)}",
        ("{bin}/python", "server.py"),
        {
            "PORT": "{port}",
            "WORKERS": str(workers),
            "MAX_BATCH_SIZE": str(batch),
            "BATCH_TIMEOUT": wait,
            "INTRA_OP_THREADS": str(threads),
        },
        quick=quick,
    )


def _mlserver(workers: int, batch: int, threads: int, *, quick: bool = False) -> Configuration:
    batching = {
        "MLSERVER_MODEL_MAX_BATCH_SIZE": str(batch),
        "MLSERVER_MODEL_MAX_BATCH_TIME": "0.01",
    }
    return Configuration(
        f"{workers} parallel workers, batches of {batch}, {_threads(threads)}",
        ("{bin}/mlserver", "start", "."),
        {
            "MLSERVER_HOST": "127.0.0.1",
            "MLSERVER_HTTP_PORT": "{port}",
            "MLSERVER_GRPC_PORT": "{port2}",
            "MLSERVER_METRICS_PORT": "{port3}",
            "MLSERVER_METRICS_DIR": "{scratch}",
            "MLSERVER_ENVIRONMENTS_DIR": "{scratch}",
            "MLSERVER_DEBUG": "false",
            "MLSERVER_PARALLEL_WORKERS": str(workers),
            "INTRA_OP_THREADS": str(threads),
            **(batching if batch > 1 else {}),
        },
        path="/v2/models/net/infer",
        wire="v2",
        quick=quick,
    )


def _constant(workers: int) -> Configuration:
    return Configuration(
        _workers(workers),
        (
            *UVICORN,
            *("--http", "httptools", "--loop", "uvloop", "--log-level", "warning"),
            *("--workers", str(workers), "constant_app:app"),
        ),
        {"CONSTANT_ANSWERS": "{answers}"},
        path="/{rows}.json",
        quick=True,
    )


def _workers(workers: int) -> str:
    return "1 worker" if workers == 1 else f"{workers} workers"


def _threads(threads: int) -> str:
    return f"{threads} thread a run" if threads else "default threads"


SERVERS = (
    Server("ours", "this template", "ours", OURS),
    Server(
        "ours-binary",
        "this template, binary tensors",
        "ours binary",
        tuple(_binary(each) for each in OURS),
        models=("conv",),
    ),
    Server(
        "fastapi",
        "FastAPI tutorial app, uvicorn",
        "tutorial app",
        (_fastapi(2, 1, quick=True), _fastapi(1, 0, quick=True), _fastapi(2, 0)),
        HERE / "peers" / "fastapi",
    ),
    # Faster for a tiny model, and against the documentation's advice: while one request computes,
    # its worker answers no other, not even a health check. So it is shown beside the tutorial app.
    Server(
        "fastapi-async",
        "FastAPI, computing on the event loop",
        "async app",
        (_fastapi(2, 1, "/predict-async", quick=True), _fastapi(1, 0, "/predict-async")),
        HERE / "peers" / "fastapi",
    ),
    Server(
        "flask",
        "Flask, gunicorn",
        "tutorial app",
        (
            _gunicorn("--workers 2", 1, quick=True),
            _gunicorn("--workers 5", 1),
            _gunicorn("--workers 2 --threads 4", 1),
            _gunicorn("--workers 2", 0),
        ),
        HERE / "peers" / "flask",
    ),
    Server(
        "bentoml",
        "BentoML",
        "model server",
        (
            _bentoml(2, "on", 1, quick=True),
            _bentoml(2, "off", 1),
            _bentoml(1, "on", 0),
            _bentoml(1, "off", 0),
        ),
        HERE / "peers" / "bentoml",
    ),
    Server(
        "litserve",
        "LitServe",
        "model server",
        (
            _litserve(2, 1, "0", 1, quick=True),
            _litserve(1, 1, "0", 0),
            _litserve(2, 32, "0.005", 1),
            _litserve(1, 32, "0.005", 0),
        ),
        HERE / "peers" / "litserve",
    ),
    Server(
        "mlserver",
        "MLServer",
        "model server",
        (
            _mlserver(0, 1, 1, quick=True),
            _mlserver(0, 1, 0),
            _mlserver(1, 1, 0),
            _mlserver(2, 1, 1),
            _mlserver(0, 32, 0),
            _mlserver(2, 32, 1),
        ),
        HERE / "peers" / "mlserver",
    ),
    Server(
        "constant",
        "constant ASGI answer, uvicorn",
        "limit",
        (_constant(1), _constant(2)),
        HERE,
    ),
)
