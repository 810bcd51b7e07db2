"""Execution providers: what was asked for, what is there, and why CUDA is not.

ONNX Runtime falls back to the CPU quietly when CUDA cannot be loaded, and lists CUDA as
available on any host. So the driver is asked first, and the session is asked afterwards.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import logging
from typing import Any

import onnxruntime as ort

from engine.serving.errors import ProviderError
from engine.serving.settings import Provider, Settings

CUDA = "CUDAExecutionProvider"
CPU = "CPUExecutionProvider"
NAMES: dict[str, Provider] = {CUDA: "cuda", CPU: "cpu"}

log = logging.getLogger(__name__)


def choose(wanted: tuple[Provider, ...]) -> list[str]:
    """ONNX Runtime's provider list for what was asked.

    Raises:
        ProviderError: CUDA is required and cannot be used here; the message says why.
    """
    if wanted[0] == "cpu":
        return [CPU]
    obstacle = cuda_obstacle()
    if obstacle is None:
        return [CUDA, CPU]
    if "cpu" in wanted:
        log.warning("CUDA cannot be used, running on the CPU as allowed: %s", obstacle)
        return [CPU]
    raise ProviderError(f"EXECUTION_PROVIDERS=cuda, but CUDA cannot be used: {obstacle}")


def device_of(worker: int) -> int:
    """The GPU of a worker process: one each, and in turn where there are more workers than GPUs."""
    driver: Any = ctypes.CDLL("libcuda.so.1")
    return worker % _gpus(driver)


def with_options(
    chosen: list[str], settings: Settings, device: int, *, graph_stream: int = 0
) -> list[str | tuple[str, dict[str, str]]]:
    """The provider list with CUDA's options. ONNX Runtime accepts misspelt ones silently, so they
    are made here, from validated settings, and nowhere else. ``graph_stream`` is a stream on which
    graphs are captured and replayed; 0: there are no graphs.
    """
    options = {
        "device_id": str(device),
        # Grow by what is asked for, not by doubling: the memory is shared with other models.
        "arena_extend_strategy": "kSameAsRequested",
        # The exhaustive search costs seconds for every new shape.
        "cudnn_conv_algo_search": "HEURISTIC",
        "use_tf32": "1" if settings.gpu_tf32 else "0",
        "enable_cuda_graph": "1" if graph_stream else "0",
    }
    if graph_stream:
        options["user_compute_stream"] = str(graph_stream)
    if settings.gpu_memory_bytes:
        options["gpu_mem_limit"] = str(settings.gpu_memory_bytes)
    return [(name, options) if name == CUDA else name for name in chosen]


def confirm(session: ort.InferenceSession, chosen: list[str], wanted: tuple[Provider, ...]) -> None:
    """Make sure that the session runs where it was put.

    Raises:
        ProviderError: the session fell back to the CPU and that is not allowed.
    """
    first = session.get_providers()[0]
    if first == chosen[0]:
        return
    if "cpu" in wanted:
        log.warning("ONNX Runtime put the model on %s instead of %s, as allowed", first, chosen[0])
        return
    raise ProviderError(
        f"EXECUTION_PROVIDERS=cuda, but ONNX Runtime put the model on {first}: the CUDA or cuDNN "
        "libraries of this environment do not fit; use the GPU image, or allow cuda,cpu"
    )


def cuda_obstacle() -> str | None:
    """Why CUDA cannot be used here, in one sentence; None when it can be used."""
    if CUDA not in ort.get_available_providers():
        return (
            "this environment has the CPU build of ONNX Runtime; use the image built with "
            "ACCELERATOR=gpu"
        )
    obstacle = _driver_obstacle()
    if obstacle is None:
        _preload()
    return obstacle


def _driver_obstacle() -> str | None:
    try:
        driver: Any = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return (
            "no NVIDIA driver in this container (libcuda.so.1); Azure Container Instances has had "
            "no GPUs since 2025-07-14: run the GPU image on Azure Container Apps"
        )
    status = int(driver.cuInit(0))
    if status != 0:
        return f"the NVIDIA driver does not start (cuInit returned {status})"
    return None if _gpus(driver) else "the NVIDIA driver sees no GPU"


def _gpus(driver: Any) -> int:
    count = ctypes.c_int()
    return count.value if driver.cuDeviceGetCount(ctypes.byref(count)) == 0 else 0


def _preload() -> None:
    """Load the CUDA libraries that were installed as wheels; the function prints its failures."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        ort.preload_dlls()
    for line in printed.getvalue().splitlines():
        log.warning("onnxruntime.preload_dlls: %s", line)
