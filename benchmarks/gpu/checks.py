"""What must hold on a real GPU, checked through the service's own code.

`python -m benchmarks.gpu.checks MODELS` in a rendered service's folder and GPU environment, with
the models of models.py. One line for each check; exit code 1 when one of them fails.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from engine.serving.errors import PackageError
from engine.serving.inference.model import Model, load_model
from engine.serving.package.reader import read_package
from engine.serving.settings import Settings

from benchmarks import processes
from benchmarks.gpu.names import BREAKING, FREE, HALF, INPUT, OUTPUT, POISON

Array = npt.NDArray[Any]
ATOL, RTOL = 1e-4, 1e-3
# Sizes that fill a bucket, that are padded, that come again, and that are larger than any.
SIZES = (1, 2, 3, 5, 8, 13, 32, 33, 64, 100, 128, 1, 3, 128, 7, 300)
THREADS = 8
RUNS = 100
START_SECONDS = 60
LOST_SECONDS = 20


def main() -> None:
    """Run all checks."""
    models = Path(sys.argv[1])
    failed = 0
    for check in CHECKS:
        name = check.__name__.replace("_", " ")
        begun = time.perf_counter()
        try:
            remark = check(models)
        except Exception:  # noqa: BLE001 - shown, and the others go on
            failed += 1
            print(f"FAILED  {name}\n{traceback.format_exc()}", flush=True)
        else:
            seconds = time.perf_counter() - begun
            print(f"ok      {name} ({seconds:.1f} s){remark and ': '}{remark}", flush=True)
    sys.exit(1 if failed else 0)


def every_size_answers_as_the_cpu_does(models: Path) -> str:
    """With and without CUDA graphs; fresh numbers each time show a graph that replays old ones."""
    worst = 0.0
    for name in ("dense", "conv", FREE):
        cpu = load(models, name, execution_providers=("cpu",), intra_op_threads=0)
        for graphs in (False, True):
            cuda = load(models, name, gpu_cuda_graphs=graphs)
            assert cuda.provider == "cuda", cuda.provider
            for number, rows in enumerate(SIZES):
                worst = max(worst, difference(cuda, cpu, numbers(cuda, rows, number)))
    return f"largest difference {worst:.1e}"


def rows_together_answer_as_rows_alone(models: Path) -> str:
    """Batched answers equal single ones."""
    cuda = load(models, "dense")
    inputs = numbers(cuda, 40, 7)
    together = cuda.run({INPUT: inputs})[OUTPUT]
    alone = [cuda.run({INPUT: inputs[row : row + 1]})[OUTPUT] for row in range(len(inputs))]
    np.testing.assert_allclose(together, np.concatenate(alone), RTOL, ATOL)
    return ""


def threads_do_not_disturb_each_other(models: Path) -> str:
    """Each answer belongs to its own inputs, however many run at once."""
    for graphs in (False, True):
        cuda = load(models, "dense", gpu_cuda_graphs=graphs)
        cpu = load(models, "dense", execution_providers=("cpu",))

        def ask(number: int, cuda: Model = cuda, cpu: Model = cpu) -> float:
            return difference(cuda, cpu, numbers(cuda, 1 + number % 40, number))

        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(ask, range(RUNS)))
    return f"{THREADS} threads, {RUNS} runs, without and with graphs"


def half_precision_runs_on_the_gpu(models: Path) -> str:
    """A package in FP16 is served, in its own datatype."""
    half, whole = load(models, HALF), load(models, "dense")
    inputs = numbers(whole, 33, 3)
    given = half.run({INPUT: inputs.astype(np.float16)})[OUTPUT]
    assert (half.provider, given.dtype) == ("cuda", np.float16)
    np.testing.assert_allclose(given, whole.run({INPUT: inputs})[OUTPUT], 5e-2, 5e-3)
    return ""


def a_limit_of_memory_is_kept(models: Path) -> str:
    """What does not fit is one clear error, and smaller batches go on."""
    limit = 64 * 1024 * 1024
    cuda = load(models, "conv", gpu_memory_bytes=limit, max_batch_rows=1024)
    profile = cuda.warm_up(1024)
    try:
        cuda.run({INPUT: numbers(cuda, 1024, 1)})
    except Exception as error:  # noqa: BLE001 - of onnxruntime
        reason = " ".join(str(error).split())
    else:
        raise AssertionError(f"1024 images fit into {limit} bytes")
    cpu = load(models, "conv", execution_providers=("cpu",), intra_op_threads=0)
    difference(cuda, cpu, numbers(cuda, profile.batch_rows, 2))
    return f"batches of {profile.batch_rows}; {reason[:160]}"


def a_limit_that_the_model_itself_breaks_is_said_at_start(models: Path) -> str:
    """One clear error instead of a service that fails later."""
    try:
        load(models, "dense", gpu_memory_bytes=1024 * 1024)
    except PackageError as error:
        return str(error)[:160]
    raise AssertionError("the model fits into 1 MB")


def a_lost_device_makes_the_service_not_ready(models: Path) -> str:
    """The service's own process, with a device that is really lost."""
    with serving(models / POISON / "packages") as (port, process):
        fine = [[1.0] * 256]
        status, _ = ask_http(port, "POST", "/predict", {"data": fine})
        assert status == 200, status
        gpu = metric(port, "inference_device_memory_used_bytes")
        assert gpu > 0, gpu
        status, answer = ask_http(port, "POST", "/predict", {"data": [[BREAKING] + [1.0] * 255]})
        assert status == 500, (status, answer)
        deadline = time.monotonic() + LOST_SECONDS
        while (ready := ask_http(port, "GET", "/readyz"))[0] == 200:
            assert time.monotonic() < deadline, "still ready"
            time.sleep(0.05)
        assert "is lost" in ready[1], ready
        status, answer = ask_http(port, "POST", "/predict", {"data": fine})
        assert status == 503, (status, answer)
        live, _ = ask_http(port, "GET", "/healthz")
        assert live == 503, live
        process.terminate()
        code = process.wait(timeout=LOST_SECONDS)
    return f"/readyz {ready[0]}: {ready[1][:200]}; then {status}; /healthz {live}; exit code {code}"


def more_workers_than_gpus_share_them(models: Path) -> str:
    """Each has a context and a copy of the models."""
    with serving(models / "dense" / "packages", WORKERS="3") as (port, _):
        answers = [ask_http(port, "POST", "/predict", {"data": [[1.0] * 256]}) for _ in range(12)]
        assert {status for status, _ in answers} == {200}, answers
        used = metric(port, "inference_device_memory_used_bytes")
    return f"{used / 1e6:.0f} MB of the GPU's memory"


def without_a_gpu_the_process_ends_with_one_line(models: Path) -> str:
    """Whether one process serves or several."""
    said = []
    for workers in ("1", "2"):
        try:
            with serving(models / "dense" / "packages", WORKERS=workers, CUDA_VISIBLE_DEVICES=""):
                raise RuntimeError("it serves")
        except AssertionError as error:
            said.append(str(error).strip().splitlines()[-1])
    assert all("CUDA cannot be used" in line for line in said), said
    return said[-1]


CHECKS: tuple[Callable[[Path], str], ...] = (
    every_size_answers_as_the_cpu_does,
    rows_together_answer_as_rows_alone,
    threads_do_not_disturb_each_other,
    half_precision_runs_on_the_gpu,
    a_limit_of_memory_is_kept,
    a_limit_that_the_model_itself_breaks_is_said_at_start,
    a_lost_device_makes_the_service_not_ready,
    more_workers_than_gpus_share_them,
    without_a_gpu_the_process_ends_with_one_line,
)


def load(models: Path, name: str, **settings: Any) -> Model:
    """A model on CUDA, unless told otherwise; loading compares it with its golden record."""
    chosen = Settings(**{"execution_providers": ("cuda",), **settings})
    return load_model(read_package(models / name / "packages" / name), chosen)


def numbers(model: Model, rows: int, seed: int) -> Array:
    """Inputs that are others for each seed."""
    shape = model.package.golden.inputs[INPUT].shape[1:]
    return np.random.default_rng(seed).normal(1, 1, (rows, *shape)).astype(np.float32)


def difference(cuda: Model, cpu: Model, inputs: Array) -> float:
    """The largest difference of two models' answers; more than the tolerance raises."""
    given, expected = cuda.run({INPUT: inputs})[OUTPUT], cpu.run({INPUT: inputs})[OUTPUT]
    np.testing.assert_allclose(given, expected, RTOL, ATOL)
    return float(np.abs(given - expected).max())


@contextmanager
def serving(models: Path, **settings: str) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """The service on CUDA, from ready on, until the block ends."""
    (port,) = processes.free_ports(1)
    variables = {
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "MODELS_DIR": str(models),
        "EXECUTION_PROVIDERS": "cuda",
        "LOG_FORMAT": "text",
        **settings,
    }
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        command = [sys.executable, "-m", "engine.serving"]
        with processes.running(command, Path.cwd(), variables, log) as process:
            deadline = time.monotonic() + START_SECONDS
            while ask_http(port, "GET", "/readyz")[0] != 200:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(f"not ready:\n{log.read_text()[-3000:]}")
                time.sleep(0.05)
            yield port, process


def ask_http(port: int, method: str, path: str, body: Any = None) -> tuple[int, str]:
    """Status and text of an answer; status 0 where nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        text = None if body is None else json.dumps(body)
        connection.request(method, path, text, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except OSError:
        return 0, ""
    finally:
        connection.close()


def metric(port: int, name: str) -> float:
    """The first value of a metric."""
    _, text = ask_http(port, "GET", "/metrics")
    values = [line.split()[-1] for line in text.splitlines() if line.startswith(name)]
    return float(values[0]) if values else 0.0


if __name__ == "__main__":
    main()
