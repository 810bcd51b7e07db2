"""ONNX models on ONNX Runtime, with CUDA or on the CPU."""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Mapping
from typing import Any

import onnxruntime as ort

from engine.serving.errors import PackageError
from engine.serving.package.reader import Package
from engine.serving.reasons import reason_of
from engine.serving.runtimes.base import DeviceLost
from engine.serving.runtimes.cpu import granted_cpus
from engine.serving.runtimes.graphs import Device, GraphRunner, can_bind
from engine.serving.runtimes.providers import (
    CPU,
    CUDA,
    NAMES,
    choose,
    confirm,
    device_of,
    with_options,
)
from engine.serving.runtimes.streams import CudaStream
from engine.serving.settings import Provider, Settings
from engine.serving.tensors.datatypes import Array, Datatype
from engine.serving.tensors.signature import TensorSpec

DATATYPES: dict[str, Datatype] = {
    "tensor(bool)": "BOOL", "tensor(uint8)": "UINT8", "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32", "tensor(uint64)": "UINT64", "tensor(int8)": "INT8",
    "tensor(int16)": "INT16", "tensor(int32)": "INT32", "tensor(int64)": "INT64",
    "tensor(float16)": "FP16", "tensor(float)": "FP32", "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}  # fmt: skip
FATAL_ONLY = 4
# How CUDA names errors after which a context is unusable, as ONNX Runtime's messages quote them.
LOST_DEVICE = (
    "cudaErrorDevicesUnavailable",
    "cudaErrorECCUncorrectable",
    "cudaErrorHardwareStackError",
    "cudaErrorIllegalAddress",
    "cudaErrorLaunchFailure",
    "device-side assert",
    "an illegal memory access was encountered",
    "uncorrectable ECC error",
    "unspecified launch failure",
    "CUDA-capable device(s) is/are busy or unavailable",
    # The same as the driver calls them.
    "CUDA_ERROR_DEVICE_UNAVAILABLE",
    "CUDA_ERROR_ECC_UNCORRECTABLE",
    "CUDA_ERROR_HARDWARE_STACK_ERROR",
    "CUDA_ERROR_ILLEGAL_ADDRESS",
    "CUDA_ERROR_LAUNCH_FAILED",
    "CUDA_ERROR_ASSERT",
    "GPU has fallen off the bus",
)


log = logging.getLogger(__name__)


class OnnxRuntime:
    """One ``InferenceSession``. ONNX Runtime allows concurrent ``run`` calls on it.

    Args:
        session: the loaded model.
        graphs: replays CUDA graphs instead; None where that is not possible or not wanted.
    """

    def __init__(self, session: ort.InferenceSession, graphs: GraphRunner | None = None) -> None:
        self._session = session
        self._graphs = graphs
        self._outputs = [output.name for output in session.get_outputs()]
        self.provider: Provider = NAMES[session.get_providers()[0]]

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Compute all outputs; see ``Runtime``."""
        try:
            if self._graphs is not None:
                return self._graphs.run(inputs)
            values: list[Any] = self._session.run(self._outputs, dict(inputs))
        except Exception as error:
            if self.provider == "cuda" and any(sign in str(error) for sign in LOST_DEVICE):
                raise DeviceLost(" ".join(str(error).split())) from error
            raise
        return dict(zip(self._outputs, values, strict=True))


def load(package: Package, settings: Settings, worker: int = 0) -> OnnxRuntime:
    """Load the model of a verified package.

    Args:
        package: the package.
        settings: of the service.
        worker: number of this process; each takes a GPU of its own, as far as there are enough.

    Raises:
        PackageError: ONNX Runtime cannot load it, or its signature is not the manifest's.
        ProviderError: CUDA is required and the model would not run there.
    """
    chosen = choose(settings.execution_providers)
    device = device_of(worker) if chosen[0] == CUDA else 0
    if chosen[0] == CUDA:
        # What goes wrong is raised; no second voice on stderr.
        ort.set_default_logger_severity(FATAL_ONLY)
        graphs = _with_graphs(package, settings, device) if settings.gpu_cuda_graphs else None
        if graphs is not None:
            return graphs
    try:
        session = _open(package, settings, with_options(chosen, settings, device))
    except PackageError as error:
        if chosen[0] == CPU or "cpu" not in settings.execution_providers:
            raise
        log.warning("CUDA cannot be used, running on the CPU as allowed: %s", error)
        chosen = [CPU]
        session = _open(package, settings, [CPU])
    confirm(session, chosen, settings.execution_providers)
    # The manifest tells what goes into and comes out of code around the model; whether that fits
    # the file is shown by the golden check.
    if package.manifest.code_file is None:
        _check_signature(session, package)
    return OnnxRuntime(session)


def _with_graphs(package: Package, settings: Settings, device: int) -> OnnxRuntime | None:
    """The model with CUDA graphs; None, and why in the log, where it cannot be captured."""
    signature, name = package.manifest.signature, package.manifest.name
    if package.manifest.code_file is not None:
        log.info("%s: no CUDA graphs, it has code of its own", name)
        return None
    if not can_bind(signature):
        log.info("%s: no CUDA graphs, its shapes do not follow from the rows", name)
        return None
    try:
        stream = CudaStream(device, ctypes.CDLL("libcuda.so.1"))
        options = with_options([CUDA, CPU], settings, device, graph_stream=stream.handle)
        session = _open(package, settings, options)
        if session.get_providers()[0] != CUDA:
            return None
        _check_signature(session, package)
        place = Device("cuda", device, stream)
        runtime = OnnxRuntime(
            session, GraphRunner(session, signature, place, settings.max_batch_rows)
        )
        # The first run is a plain one, the second is captured.
        for _ in range(2):
            runtime.run(package.golden.inputs)
    except Exception as error:  # noqa: BLE001 - onnxruntime's exceptions share no base class
        log.info("%s: no CUDA graphs: %s", name, reason_of(error))
        return None
    return runtime


def _open(
    package: Package, settings: Settings, providers: list[str | tuple[str, dict[str, str]]]
) -> ort.InferenceSession:
    try:
        # Without its own fall-back: what fails on the GPU must fail, and not move to the CPU.
        return ort.InferenceSession(
            str(package.model_path),
            sess_options=_options(settings),
            providers=providers,
            enable_fallback=0,
        )
    except Exception as error:  # noqa: BLE001 - onnxruntime's exceptions share no base class
        raise PackageError(
            f"{package.model_path}: ONNX Runtime {ort.__version__} cannot load it: "
            f"{reason_of(error)}; package the model again in this environment"
        ) from None


def _options(settings: Settings) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = settings.intra_op_threads or granted_cpus()
    options.inter_op_num_threads = 1
    # Idle threads that spin take the CPU time of the threads that decode requests.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # What goes wrong is raised, or told by engine.serving.runtimes.providers; no second voice
    # on stderr.
    options.log_severity_level = FATAL_ONLY
    return options


def _check_signature(session: ort.InferenceSession, package: Package) -> None:
    signature = package.manifest.signature
    for kind, nodes, specs in (
        ("input", session.get_inputs(), signature.inputs),
        ("output", session.get_outputs(), signature.outputs),
    ):
        have = {node.name: node for node in nodes}
        if set(have) != {spec.name for spec in specs}:
            raise PackageError(
                f"{package.model_path}: has {kind}s {sorted(have)} and the manifest says "
                f"{sorted(spec.name for spec in specs)}; package the model again"
            )
        for spec in specs:
            node = have[spec.name]
            if DATATYPES.get(node.type) != spec.datatype or not _fits(node.shape, spec):
                raise PackageError(
                    f"{package.model_path}: {kind} {spec.name!r} is {node.type}{node.shape} and "
                    f"the manifest says {spec}; package the model again"
                )


def _fits(shape: list[int | str | None], spec: TensorSpec) -> bool:
    """A named or unknown dimension of the file fits any size; a fixed one fits only itself."""
    if len(shape) != len(spec.shape):
        # Some converters leave an output's shape out altogether.
        return not shape
    return all(
        not isinstance(have, int) or have == want
        for have, want in zip(shape, spec.shape, strict=True)
    )
