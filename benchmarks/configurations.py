"""The ways to run each kind of server.

Words in braces are filled in when a server starts: `{bin}` the environment's programs, `{port}`,
`{port2}` and `{port3}` free ports, `{model}` the model's name, `{model_file}` its ONNX file,
`{packages}` its folder of model packages, `{rows}` the rows of a request, `{answers}` the constant
answers, `{scratch}` a folder to write to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from benchmarks.wires import Wire

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


def ours(name: str, *, quick: bool = False, needs: str = "", **settings: str) -> Configuration:
    """The rendered service; settings are its environment variables."""
    return Configuration(
        name,
        ("{bin}/python", "-m", "engine.serving"),
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


def binary(configuration: Configuration) -> Configuration:
    """The same, asked with the protocol's binary tensors."""
    return replace(configuration, path="/v2/models/{model}/infer", wire="binary")


def fastapi(
    workers: int, threads: int, path: str = "/predict", *, quick: bool = False
) -> Configuration:
    """The FastAPI app; the path chooses the route."""
    return Configuration(
        f"{_workers(workers)}, {_threads(threads)}",
        (*UVICORN, "--workers", str(workers), "--log-level", "warning", "app:app"),
        {"INTRA_OP_THREADS": str(threads)},
        path=path,
        quick=quick,
    )


def gunicorn(arguments: str, threads: int, *, quick: bool = False) -> Configuration:
    """Flask behind gunicorn; threads inside a run of the model, 0: the runtime's default."""
    return Configuration(
        f"{arguments}, {_threads(threads)}",
        ("{bin}/gunicorn", "--bind", "127.0.0.1:{port}", *arguments.split(), "app:app"),
        {"INTRA_OP_THREADS": str(threads)},
        quick=quick,
    )


def bentoml(workers: int, batching: str, threads: int, *, quick: bool = False) -> Configuration:
    """BentoML, adaptive batching on or off."""
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


def litserve(
    workers: int, batch: int, wait: str, threads: int, *, quick: bool = False
) -> Configuration:
    """LitServe; batches of 1: batching off, otherwise it waits that long (seconds) to fill one."""
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


def mlserver(workers: int, batch: int, threads: int, *, quick: bool = False) -> Configuration:
    """MLServer; 0 workers: it computes in the server's process."""
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


def constant(workers: int) -> Configuration:
    """The constant answer, on the fastest parser and loop that uvicorn has."""
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
