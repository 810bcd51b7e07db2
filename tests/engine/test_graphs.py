"""CUDA graphs and device loss: the GPU's logic, run on the CPU, which binds the same way."""

from __future__ import annotations

import asyncio
import ctypes
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from engine.serving.errors import NotReady
from engine.serving.inference.host import ModelHost
from engine.serving.inference.model import load_model
from engine.serving.lifecycle import Lifecycle
from engine.serving.metrics.service import Metrics
from engine.serving.package.reader import read_package
from engine.serving.runtimes import onnx_runtime
from engine.serving.runtimes.base import DeviceLost
from engine.serving.runtimes.graphs import Buffers, Device, GraphRunner, bucket_of, can_bind
from engine.serving.runtimes.providers import CPU, CUDA, device_of, with_options
from engine.serving.runtimes.streams import CudaStream, HostStream
from engine.serving.service import make_shared_table
from engine.serving.settings import Settings
from engine.serving.tensors.datatypes import Array

from tests.engine.asked import outcome_of, requested


@pytest.fixture
def runner(toy_dir: Path) -> GraphRunner:
    """Buckets up to 8 rows for `scale`."""
    package = read_package(toy_dir / "scale")
    session = ort.InferenceSession(str(package.model_path), providers=[CPU])
    signature = package.manifest.signature
    return GraphRunner(session, signature, Device("cpu"), 8)


def test_buckets_are_powers_of_two() -> None:
    assert [bucket_of(rows) for rows in (1, 2, 3, 4, 5, 8, 9)] == [1, 2, 4, 4, 8, 8, 16]


def test_neither_padding_nor_size_changes_an_answer(runner: GraphRunner) -> None:
    generator = np.random.default_rng(1)
    for rows in [1, 2, 3, 5, 7, 8, 1, 3, 9, 40]:
        x = generator.random((rows, 3), np.float32)
        np.testing.assert_array_equal(runner.run({"x": x})["y"], x * 2)


def test_an_answer_stays_as_it_was_when_its_buffer_is_used_again(runner: GraphRunner) -> None:
    first = runner.run({"x": np.ones((2, 3), np.float32)})["y"]
    runner.run({"x": np.zeros((2, 3), np.float32)})
    np.testing.assert_array_equal(first, np.full((2, 3), 2, np.float32))


def test_runs_at_the_same_time_do_not_share_buffers(runner: GraphRunner) -> None:
    inputs = [np.full((5, 3), value, np.float32) for value in range(200)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda x: runner.run({"x": x})["y"], inputs))
    for x, y in zip(inputs, answers, strict=True):
        np.testing.assert_array_equal(y, x * 2)


def test_one_thread_makes_all_runs(runner: GraphRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs are kept by thread, and their memory is their own only while nothing else runs."""
    threads: set[int] = set()
    real = Buffers.run

    def run(self: Buffers, inputs: Mapping[str, Array]) -> dict[str, Array]:
        threads.add(threading.get_ident())
        return real(self, inputs)

    monkeypatch.setattr(Buffers, "run", run)
    x = {"x": np.ones((2, 3), np.float32)}
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: runner.run(x), range(20)))
    runner.run(x)
    assert len(threads) == 1
    assert threading.get_ident() not in threads


class LazyDriver:
    """Looks like NVIDIA's driver, and does copies as late as a stream allows."""

    def __init__(self) -> None:
        self.queue: list[tuple[int, int, int]] = []
        self.memory: list[Any] = []
        self.attached: set[int] = set()
        self.waits = 0
        self.status = 0

    def cuDeviceGet(self, device: Any, number: Any) -> int:
        device._obj.value = number.value
        return 0

    def cuDevicePrimaryCtxRetain(self, context: Any, device: Any) -> int:
        context._obj.value = 1 + device.value
        return 0

    def cuCtxSetCurrent(self, context: Any) -> int:
        self.attached.add(threading.get_ident())
        return 0 if context.value else 201

    def cuStreamCreate(self, stream: Any, flags: Any) -> int:
        stream._obj.value = 4711
        return 0

    def cuMemHostAlloc(self, address: Any, size: Any, flags: Any) -> int:
        self.memory.append(ctypes.create_string_buffer(b"\xff" * size.value, size.value))
        address._obj.value = ctypes.addressof(self.memory[-1])
        return 0

    def cuMemcpyHtoDAsync_v2(self, target: Any, source: Any, size: Any, stream: Any) -> int:
        if threading.get_ident() not in self.attached or stream.value != 4711:
            return 201
        self.queue.append((target.value, source.value, size.value))
        return 0

    cuMemcpyDtoHAsync_v2 = cuMemcpyHtoDAsync_v2

    def cuStreamSynchronize(self, stream: Any) -> int:
        self.waits += 1
        self.work()
        return self.status

    def cuGetErrorName(self, status: Any, name: Any) -> int:
        name._obj.value = {700: b"CUDA_ERROR_ILLEGAL_ADDRESS"}.get(status.value)
        return 0

    def work(self) -> None:
        """What is in the queue, in its order."""
        for each in self.queue:
            ctypes.memmove(*each)
        self.queue.clear()


class QueueingSession:
    """A session whose runs are on the stream of that driver, after the copies before them."""

    def __init__(self, session: ort.InferenceSession, driver: LazyDriver) -> None:
        self._session = session
        self._driver = driver
        self.io_binding = session.io_binding

    def run_with_iobinding(self, binding: Any, options: Any) -> None:
        self._driver.work()
        self._session.run_with_iobinding(binding, options)


@pytest.fixture
def streamed(toy_dir: Path) -> tuple[LazyDriver, GraphRunner]:
    """`scale` with the copies of a GPU."""
    package = read_package(toy_dir / "scale")
    driver = LazyDriver()
    session = ort.InferenceSession(str(package.model_path), providers=[CPU])
    device = Device("cpu", stream=CudaStream(1, driver))
    queueing: Any = QueueingSession(session, driver)
    return driver, GraphRunner(queueing, package.manifest.signature, device, 8)


def test_copies_and_runs_follow_each_other_with_one_wait(
    streamed: tuple[LazyDriver, GraphRunner],
) -> None:
    driver, runner = streamed
    generator = np.random.default_rng(2)
    for count, rows in enumerate([1, 2, 3, 8, 5, 1, 3], start=1):
        x = generator.random((rows, 3), np.float32)
        np.testing.assert_array_equal(runner.run({"x": x})["y"], x * 2)
        assert driver.waits == count
    assert driver.queue == []


def test_an_error_of_the_stream_is_named_and_tells_that_the_device_is_lost(
    streamed: tuple[LazyDriver, GraphRunner],
) -> None:
    driver, runner = streamed
    driver.status = 700
    model = onnx_runtime.OnnxRuntime(FailingSession(""), runner)
    with pytest.raises(DeviceLost, match="cuStreamSynchronize: CUDA_ERROR_ILLEGAL_ADDRESS"):
        model.run({"x": np.ones((1, 3), np.float32)})


@pytest.mark.parametrize(
    ("model", "expected"),
    [("scale", True), ("add", True), ("echo", False), ("wide", False), ("fixed", False)],
)
def test_only_models_whose_shapes_follow_from_the_rows_are_bound(
    toy_dir: Path, model: str, expected: bool
) -> None:
    assert can_bind(read_package(toy_dir / model).manifest.signature) is expected


def test_cuda_options_come_from_settings_and_the_worker() -> None:
    settings = Settings(gpu_memory_bytes=5_000_000, gpu_tf32=True)
    first, second = with_options([CUDA, CPU], settings, device=3)
    assert isinstance(first, tuple)
    name, options = first
    assert (name, second) == (CUDA, CPU)
    assert options["device_id"] == "3"
    assert options["gpu_mem_limit"] == "5000000"
    assert options["use_tf32"] == "1"
    assert options["enable_cuda_graph"] == "0"
    assert "user_compute_stream" not in options
    first, _ = with_options([CUDA, CPU], settings, device=0, graph_stream=4711)
    assert isinstance(first, tuple)
    assert first[1]["enable_cuda_graph"] == "1"
    assert first[1]["user_compute_stream"] == "4711"
    assert with_options([CPU], settings, device=0) == [CPU]


class Driver:
    """Looks like NVIDIA's driver with two GPUs."""

    def cuDeviceGetCount(self, count: Any) -> int:
        count._obj.value = 2
        return 0


def test_workers_take_a_gpu_each_and_share_them_when_there_are_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Driver())
    assert [device_of(worker) for worker in range(5)] == [0, 1, 0, 1, 0]


def on_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a session of the CPU pass for one on CUDA."""
    real = ort.InferenceSession

    def session(path: str, **arguments: Any) -> Any:
        made = real(path, sess_options=arguments["sess_options"], providers=[CPU])
        monkeypatch.setattr(made, "get_providers", lambda: [CUDA, CPU])
        return made

    monkeypatch.setattr(ort, "InferenceSession", session)
    monkeypatch.setattr(onnx_runtime, "choose", lambda wanted: [CUDA, CPU])
    monkeypatch.setattr(onnx_runtime, "device_of", lambda worker: 0)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: None)
    monkeypatch.setattr(onnx_runtime, "CudaStream", lambda device, driver: HostStream())
    monkeypatch.setattr(onnx_runtime, "Device", lambda kind, number, stream: Device("cpu"))


@pytest.mark.parametrize(
    ("model", "graphs"), [("scale", True), ("add", True), ("wide", False), ("fixed", False)]
)
def test_graphs_are_used_where_the_shapes_allow_them(
    toy_dir: Path, monkeypatch: pytest.MonkeyPatch, model: str, graphs: bool
) -> None:
    made: list[GraphRunner] = []

    def runner(*arguments: Any) -> GraphRunner:
        made.append(GraphRunner(*arguments))
        return made[-1]

    on_cuda(monkeypatch)
    monkeypatch.setattr(onnx_runtime, "GraphRunner", runner)
    settings = Settings(execution_providers=("cuda",), gpu_cuda_graphs=True)
    load_model(read_package(toy_dir / model), settings)
    assert bool(made) is graphs


def test_a_model_that_cannot_be_captured_runs_without_graphs(
    toy_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Refusing(GraphRunner):
        def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
            raise RuntimeError("operation not permitted when stream is capturing")

    on_cuda(monkeypatch)
    monkeypatch.setattr(onnx_runtime, "GraphRunner", Refusing)
    settings = Settings(execution_providers=("cuda",), gpu_cuda_graphs=True)
    with caplog.at_level("INFO"):
        load_model(read_package(toy_dir / "scale"), settings).verify()
    assert "scale: no CUDA graphs: operation not permitted" in caplog.text


class FailingSession:
    """Looks like a session on CUDA whose device fails."""

    def __init__(self, message: str) -> None:
        self.message = message

    def get_outputs(self) -> list[Any]:
        return []

    def get_providers(self) -> list[str]:
        return [CUDA, CPU]

    def run(self, outputs: list[str], inputs: Mapping[str, Array]) -> list[Any]:
        raise RuntimeError(self.message)


def test_a_lost_device_is_told_from_a_bad_request() -> None:
    inputs = {"x": np.ones((1, 3), np.float32)}
    lost = onnx_runtime.OnnxRuntime(
        FailingSession("CUDA failure 700: an illegal memory access was encountered")
    )
    with pytest.raises(DeviceLost):
        lost.run(inputs)
    bad = onnx_runtime.OnnxRuntime(FailingSession("Invalid rank for input: x"))
    with pytest.raises(RuntimeError, match="Invalid rank"):
        bad.run(inputs)


def test_a_lost_device_makes_the_service_not_ready(
    toy_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(models_dir=str(toy_dir), default_model="scale")

    async def main() -> None:
        lifecycle = Lifecycle()
        metrics = Metrics(make_shared_table(settings))
        host = ModelHost(settings, lifecycle, metrics, lambda error: None, lambda: 2)
        await host.load()
        assert lifecycle.ready
        served = host.get("scale")

        def lose(inputs: Mapping[str, Array]) -> dict[str, Array]:
            raise DeviceLost("CUDA failure 700")

        monkeypatch.setattr(served.model, "run", lose)
        with pytest.raises(Exception, match="the model failed"):
            await outcome_of(served.post, requested({"x": np.ones((1, 3), np.float32)}))
        await asyncio.sleep(0)
        reason = "the device of model 'scale' is lost: CUDA failure 700"
        assert lifecycle.report() == {"ready": False, "state": "lost", "reason": reason}
        assert lifecycle.liveness() == {"live": False, "reason": reason}
        with pytest.raises(NotReady, match="is lost"):
            host.get("scale")
        host.close()

    asyncio.run(main())
