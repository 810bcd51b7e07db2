"""Reused buffers and device loss: the GPU's logic, run on the CPU, which binds the same way."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from app.inference.host import ModelHost
from app.inference.timeline import Timeline
from app.lifecycle import Lifecycle
from app.metrics.service import Metrics
from app.package.reader import read_package
from app.runtimes import onnx_runtime
from app.runtimes.base import DeviceLost
from app.runtimes.buckets import BucketRunner, Device, bucket_of, can_bind
from app.runtimes.providers import CPU, CUDA, with_options
from app.service import make_slab
from app.settings import Settings
from app.tensors.datatypes import Array


@pytest.fixture(params=[False, True], ids=["free", "one-at-a-time"])
def runner(toy_dir: Path, request: pytest.FixtureRequest) -> BucketRunner:
    """Buckets up to 8 rows for `scale`."""
    package = read_package(toy_dir / "scale")
    session = ort.InferenceSession(str(package.model_path), providers=[CPU])
    signature = package.manifest.signature
    return BucketRunner(session, signature, Device("cpu"), 8, graphs=request.param)


def test_buckets_are_powers_of_two() -> None:
    assert [bucket_of(rows) for rows in (1, 2, 3, 4, 5, 8, 9)] == [1, 2, 4, 4, 8, 8, 16]


def test_padding_changes_no_answer_and_is_cut_off(runner: BucketRunner) -> None:
    generator = np.random.default_rng(1)
    for rows in [1, 2, 3, 5, 7, 8, 1, 3]:
        x = generator.random((rows, 3), np.float32)
        np.testing.assert_array_equal(runner.run({"x": x})["y"], x * 2)
    assert runner.fits(8)
    assert not runner.fits(9)


def test_an_answer_stays_as_it_was_when_its_buffer_is_used_again(runner: BucketRunner) -> None:
    first = runner.run({"x": np.ones((2, 3), np.float32)})["y"]
    runner.run({"x": np.zeros((2, 3), np.float32)})
    np.testing.assert_array_equal(first, np.full((2, 3), 2, np.float32))


def test_runs_at_the_same_time_do_not_share_buffers(runner: BucketRunner) -> None:
    inputs = [np.full((5, 3), value, np.float32) for value in range(200)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda x: runner.run({"x": x})["y"], inputs))
    for x, y in zip(inputs, answers, strict=True):
        np.testing.assert_array_equal(y, x * 2)


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
    assert with_options([CPU], settings, device=0) == [CPU]


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
        metrics = Metrics(make_slab(settings))
        host = ModelHost(settings, lifecycle, metrics, lambda error: None, lambda: 2)
        await host.load()
        assert lifecycle.ready
        served = host.get("scale")

        def lose(inputs: Mapping[str, Array]) -> dict[str, Array]:
            raise DeviceLost("CUDA failure 700")

        monkeypatch.setattr(served.model, "run", lose)
        with pytest.raises(Exception, match="the model failed"):
            outputs = served.submit({"x": np.ones((1, 3), np.float32)}, Timeline("lost"))
            assert isinstance(outputs, asyncio.Future)
            await outputs
        await asyncio.sleep(0)
        assert (
            lifecycle.report()["reason"] == "the device of model 'scale' is lost: CUDA failure 700"
        )
        host.close()

    asyncio.run(main())
