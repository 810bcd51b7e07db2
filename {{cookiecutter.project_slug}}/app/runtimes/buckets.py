"""Runs with reused buffers: inputs and outputs stay on the device, in sizes made beforehand.

A GPU's memory is slow to allocate, and cuDNN and CUDA graphs prefer shapes they have seen. So a
batch is padded to the next power of two and runs in the buffers of that size: rows are copied to
host memory that the device can read directly, from there to the device, and only outputs come back.
Nothing here is particular to CUDA but the name of the device, so all of it is tested on the CPU.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime as ort

from app.tensors.datatypes import NUMPY, Array
from app.tensors.signature import Signature, TensorSpec


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
    """Device and host buffers for one number of rows; used by one run at a time."""

    def __init__(
        self, session: ort.InferenceSession, signature: Signature, rows: int, device: Device
    ) -> None:
        self._rows = rows
        self._binding = session.io_binding()
        self._staging = {spec.name: device.host_array(spec, rows) for spec in signature.inputs}
        self._inputs = {spec.name: device.allocate(spec, rows) for spec in signature.inputs}
        self._outputs = {spec.name: device.allocate(spec, rows) for spec in signature.outputs}
        for name, value in self._inputs.items():
            self._binding.bind_ortvalue_input(name, value)
        for name, value in self._outputs.items():
            self._binding.bind_ortvalue_output(name, value)

    def run(
        self, session: ort.InferenceSession, inputs: Mapping[str, Array], options: ort.RunOptions
    ) -> dict[str, Array]:
        """Copy in, compute, copy out; the rows beyond the request's repeat its last one."""
        rows = len(next(iter(inputs.values())))
        for name, value in inputs.items():
            staging = self._staging[name]
            staging[:rows] = value
            staging[rows:] = value[-1]
            self._inputs[name].update_inplace(staging)
        session.run_with_iobinding(self._binding, options)
        # A copy, because the buffer is used again while the answer is still being written.
        return {name: np.array(value.numpy()[:rows]) for name, value in self._outputs.items()}


class Device:
    """Where buffers live: ``cuda`` or ``cpu``, and which one of them."""

    def __init__(self, kind: str, number: int = 0) -> None:
        self.kind = kind
        self.number = number
        self._pinned = _pinned_memory(kind, number)

    def allocate(self, spec: TensorSpec, rows: int) -> Any:
        """A buffer on the device."""
        return ort.OrtValue.ortvalue_from_shape_and_type(
            (rows, *spec.shape[1:]), NUMPY[spec.datatype], self.kind, self.number
        )

    def host_array(self, spec: TensorSpec, rows: int) -> Array:
        """Host memory, page-locked where the device offers it, so that copies need no detour."""
        shape = (rows, *spec.shape[1:])
        if self._pinned is None:
            return np.empty(shape, NUMPY[spec.datatype])
        value = ort.OrtValue.ortvalue_from_shape_and_type(
            shape, NUMPY[spec.datatype], memory_info=self._pinned
        )
        array: Array = value.numpy()
        return array


def _pinned_memory(kind: str, number: int) -> Any:
    if kind == "cpu":
        return None
    devices: Sequence[Any] = [
        each for each in ort.get_ep_devices() if each.ep_name == "CUDAExecutionProvider"
    ]
    if number >= len(devices):
        return None
    return devices[number].memory_info(ort.OrtDeviceMemoryType.HOST_ACCESSIBLE)


class BucketRunner:
    """Runs batches in the buffers of their bucket; a second run of a size gets buffers of its own.

    Args:
        session: the model on the device.
        largest: rows of the largest bucket; more rows run without buffers.
        graphs: replay a CUDA graph for each bucket; then one run at a time.
    """

    def __init__(
        self,
        session: ort.InferenceSession,
        signature: Signature,
        device: Device,
        largest: int,
        *,
        graphs: bool = False,
    ) -> None:
        self._session = session
        self._signature = signature
        self._device = device
        self._largest = bucket_of(largest)
        self._graphs = graphs
        self._free: dict[int, list[Buffers]] = {}
        self._lock = threading.Lock()
        # A graph is captured in certain buffers and replayed in them, never beside another.
        self._one_at_a_time = threading.Lock() if graphs else None

    def fits(self, rows: int) -> bool:
        """Whether a batch of so many rows has a bucket."""
        return rows <= self._largest

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Compute all outputs for inputs that passed the signature check."""
        bucket = bucket_of(len(next(iter(inputs.values()))))
        if self._one_at_a_time is None:
            return self._run_in(bucket, inputs)
        with self._one_at_a_time:
            return self._run_in(bucket, inputs)

    def _run_in(self, bucket: int, inputs: Mapping[str, Array]) -> dict[str, Array]:
        buffers = self._borrow(bucket)
        try:
            return buffers.run(self._session, inputs, self._options(bucket))
        finally:
            with self._lock:
                self._free.setdefault(bucket, []).append(buffers)

    def _borrow(self, bucket: int) -> Buffers:
        with self._lock:
            waiting = self._free.get(bucket)
            if waiting:
                return waiting.pop()
        return Buffers(self._session, self._signature, bucket, self._device)

    def _options(self, bucket: int) -> ort.RunOptions:
        options = ort.RunOptions()
        if self._graphs:
            options.add_run_config_entry("gpu_graph_id", str(bucket))
        return options
