"""One stream of a GPU, with its own copies, through NVIDIA's driver.

Work on a stream is done in its order, so a copy in, a run and a copy out need one wait, after the
last of them. Copies are asynchronous only from and to page-locked memory.
Source: NVIDIA, "CUDA Driver API", sections "Stream Management" and "Memory Management".
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from engine.serving.tensors.datatypes import Array

NON_BLOCKING = 1


class Stream(Protocol):
    """Copies between the host and a device, in the order in which they are asked for."""

    handle: int
    """What ONNX Runtime calls ``user_compute_stream``; 0 where there is none."""

    def attach(self) -> None:
        """Make the calling thread one that may use the stream."""

    def host_array(self, shape: Sequence[int], dtype: np.dtype[Any]) -> Array:
        """Zeros on the host, of which copies need not wait; they live as long as the process."""

    def copy_in(self, address: int, source: Array) -> None:
        """Copy a whole array of ``host_array`` to an address of the device."""

    def copy_out(self, target: Array, address: int) -> None:
        """Fill a whole array of ``host_array`` from an address of the device."""

    def wait(self) -> None:
        """Return when everything that was asked for is done."""


class HostStream:
    """The same where the device is the host, and a copy is done when it returns."""

    handle = 0

    def attach(self) -> None:
        """See ``Stream``."""

    def host_array(self, shape: Sequence[int], dtype: np.dtype[Any]) -> Array:
        """See ``Stream``."""
        return np.zeros(shape, dtype)

    def copy_in(self, address: int, source: Array) -> None:
        """See ``Stream``."""
        ctypes.memmove(address, source.ctypes.data, source.nbytes)

    def copy_out(self, target: Array, address: int) -> None:
        """See ``Stream``."""
        ctypes.memmove(target.ctypes.data, address, target.nbytes)

    def wait(self) -> None:
        """See ``Stream``."""


class CudaStream:
    """A stream of a GPU.

    Args:
        device: number of the GPU.
        driver: NVIDIA's library, initialised (``libcuda.so.1``).

    Raises:
        RuntimeError: the driver refuses; so do all methods, with the name of CUDA's error.
    """

    def __init__(self, device: int, driver: Any) -> None:
        self._driver = driver
        number, context, stream = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_void_p()
        self._call("cuDeviceGet", ctypes.byref(number), ctypes.c_int(device))
        # The context that ONNX Runtime uses too.
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), number)
        self._context = context
        self.attach()
        self._call("cuStreamCreate", ctypes.byref(stream), ctypes.c_uint(NON_BLOCKING))
        self._stream = stream
        self.handle = stream.value or 0

    def attach(self) -> None:
        """See ``Stream``."""
        self._call("cuCtxSetCurrent", self._context)

    def host_array(self, shape: Sequence[int], dtype: np.dtype[Any]) -> Array:
        """See ``Stream``."""
        size = math.prod(shape) * dtype.itemsize
        address = ctypes.c_void_p()
        self._call("cuMemHostAlloc", ctypes.byref(address), ctypes.c_size_t(size), ctypes.c_uint(0))
        memory = (ctypes.c_byte * size).from_address(address.value or 0)
        array: Array = np.frombuffer(memoryview(memory), dtype).reshape(shape)
        array.fill(0)
        return array

    def copy_in(self, address: int, source: Array) -> None:
        """See ``Stream``."""
        self._copy("cuMemcpyHtoDAsync_v2", address, source.ctypes.data, source.nbytes)

    def copy_out(self, target: Array, address: int) -> None:
        """See ``Stream``."""
        self._copy("cuMemcpyDtoHAsync_v2", target.ctypes.data, address, target.nbytes)

    def wait(self) -> None:
        """See ``Stream``."""
        self._call("cuStreamSynchronize", self._stream)

    def _copy(self, function: str, target: int, source: int, size: int) -> None:
        where = ctypes.c_uint64(target), ctypes.c_uint64(source)
        self._call(function, *where, ctypes.c_size_t(size), self._stream)

    def _call(self, function: str, *arguments: Any) -> None:
        status = int(getattr(self._driver, function)(*arguments))
        if status:
            name = ctypes.c_char_p()
            self._driver.cuGetErrorName(ctypes.c_int(status), ctypes.byref(name))
            raise RuntimeError(f"{function}: {(name.value or b'').decode() or status}")
