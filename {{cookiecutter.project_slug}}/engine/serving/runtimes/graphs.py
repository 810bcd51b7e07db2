"""Runs replayed as CUDA graphs, one for each of a few batch sizes that are made beforehand.

Launched one by one, the kernels of a small model take longer to start than to compute, and cuDNN
plans each convolution anew whenever a batch has another size than the last one. A graph is planned
once and started at once. It holds the addresses of the run it was captured in, so inputs and
outputs have buffers of their own on the device, and a batch is padded to the next power of two.
Copies and replay follow each other on one stream, with one wait at the end.
Only the stream is particular to CUDA, so all of the rest is tested on the CPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnxruntime as ort

from engine.serving.runtimes.streams import HostStream, Stream
from engine.serving.tensors.datatypes import NUMPY, Array
from engine.serving.tensors.signature import Signature, TensorSpec

# A number of a graph that means: neither capture nor replay.
NO_GRAPH = -1


@dataclass(frozen=True, slots=True)
class Device:
    """Where buffers live: ``cuda`` or ``cpu``, which one of them, and how data gets there."""

    kind: str
    number: int = 0
    stream: Stream = field(default_factory=HostStream)

    def allocate(self, spec: TensorSpec, rows: int) -> Any:
        """A buffer for that many rows of a tensor, an ``OrtValue``."""
        return ort.OrtValue.ortvalue_from_shape_and_type(
            (rows, *spec.shape[1:]), NUMPY[spec.datatype], self.kind, self.number
        )


def can_bind(signature: Signature) -> bool:
    """Whether every shape follows from the number of rows, and no tensor holds text."""
    return signature.batched and all(
        -1 not in spec.shape[1:] and spec.datatype != "BYTES"
        for spec in (*signature.inputs, *signature.outputs)
    )


def bucket_of(rows: int) -> int:
    """The next power of two."""
    return 1 << (rows - 1).bit_length()


class Buffers:
    """Buffers on the device for one number of rows; used by one run at a time."""

    def __init__(
        self, session: ort.InferenceSession, signature: Signature, rows: int, device: Device
    ) -> None:
        self._session = session
        self._stream = device.stream
        self._binding = session.io_binding()
        self._options = _options(rows)
        self._inputs = {spec.name: self._pair(spec, rows, device) for spec in signature.inputs}
        self._outputs = {spec.name: self._pair(spec, rows, device) for spec in signature.outputs}
        for name, (_, there) in self._inputs.items():
            self._binding.bind_ortvalue_input(name, there)
        for name, (_, there) in self._outputs.items():
            self._binding.bind_ortvalue_output(name, there)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Copy in, compute, copy out; what is in the rows beyond the request's is ignored."""
        rows = len(next(iter(inputs.values())))
        for name, value in inputs.items():
            here, there = self._inputs[name]
            here[:rows] = value
            self._stream.copy_in(there.data_ptr(), here)
        self._session.run_with_iobinding(self._binding, self._options)
        for here, there in self._outputs.values():
            self._stream.copy_out(here, there.data_ptr())
        self._stream.wait()
        # A copy, because the buffer is used again while the answer is still being written.
        return {name: np.array(here[:rows]) for name, (here, _) in self._outputs.items()}

    def _pair(self, spec: TensorSpec, rows: int, device: Device) -> tuple[Array, Any]:
        """A buffer on the host, and the same on the device."""
        shape = (rows, *spec.shape[1:])
        return device.stream.host_array(shape, NUMPY[spec.datatype]), device.allocate(spec, rows)


class GraphRunner:
    """Runs a model, replaying a graph for each bucket.

    ONNX Runtime keeps graphs by thread, and a graph computes in memory that another run of the same
    session may be given: so all runs are made by one thread.

    Args:
        session: the model on the device, with graphs enabled.
        largest: rows of the largest bucket; more rows run without a graph.
    """

    def __init__(
        self, session: ort.InferenceSession, signature: Signature, device: Device, largest: int
    ) -> None:
        self._session = session
        self._signature = signature
        self._device = device
        self._largest = bucket_of(largest)
        self._buffers: dict[int, Buffers] = {}
        self._outputs = [spec.name for spec in signature.outputs]
        self._without = _options(NO_GRAPH)
        attach = device.stream.attach
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="graphs", initializer=attach)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Compute all outputs for inputs that passed the signature check."""
        return self._thread.submit(self._run, inputs).result()

    def _run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        bucket = bucket_of(len(next(iter(inputs.values()))))
        if bucket > self._largest:
            values = self._session.run(self._outputs, dict(inputs), self._without)
            return dict(zip(self._outputs, values, strict=True))
        if bucket not in self._buffers:
            self._buffers[bucket] = Buffers(self._session, self._signature, bucket, self._device)
        return self._buffers[bucket].run(inputs)


def _options(graph: int) -> ort.RunOptions:
    options = ort.RunOptions()
    options.add_run_config_entry("gpu_graph_id", str(graph))
    if graph != NO_GRAPH:
        # The wait for the copy of the outputs is one for the run too.
        options.add_run_config_entry("disable_synchronize_execution_providers", "1")
    return options
