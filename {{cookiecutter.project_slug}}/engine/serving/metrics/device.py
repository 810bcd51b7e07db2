"""Figures of the GPUs, from NVIDIA's management library. Never a reason to fail."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client.metrics_core import Metric

from engine.serving.metrics.families import gauge

log = logging.getLogger(__name__)

Series = list[tuple[tuple[str, ...], float]]


class DeviceMetrics:
    """Reads all GPUs that this container sees, once ``use`` was called."""

    def __init__(self) -> None:
        self._library: Any = None

    def use(self) -> None:
        """A model computes on a GPU: publish its figures, where the library can be loaded."""
        if self._library is not None:
            return
        try:
            # Only the GPU image has it.
            import pynvml

            pynvml.nvmlInit()
        except Exception as error:  # noqa: BLE001 - figures are no reason to stop serving
            log.warning("no metrics of the GPU: %s: %s", type(error).__name__, error)
            return
        self._library = pynvml

    def names(self) -> list[str]:
        """What the GPUs are called; empty where none is used."""
        if self._library is None:
            return []
        handles = (handle for _, handle in self._handles(self._library))
        names = (_or_none(self._library.nvmlDeviceGetName, handle) for handle in handles)
        return [name for name in names if name is not None]

    def collect(self) -> Iterator[Metric]:
        """The families of all GPUs."""
        if self._library is None:
            return
        used, total, busy = self._read(self._library)
        label = ("device",)
        yield gauge("inference_device_memory_used_bytes", "Memory of the GPU in use.", label, used)
        yield gauge("inference_device_memory_total_bytes", "Memory of the GPU.", label, total)
        yield gauge(
            "inference_device_utilization_ratio",
            "Share of the last moments in which the GPU computed.",
            label,
            busy,
        )

    def _read(self, library: Any) -> tuple[Series, Series, Series]:
        used: Series = []
        total: Series = []
        busy: Series = []
        for index, handle in self._handles(library):
            label = (str(index),)
            if (memory := _or_none(library.nvmlDeviceGetMemoryInfo, handle)) is not None:
                used.append((label, float(memory.used)))
                total.append((label, float(memory.total)))
            # A part of a divided GPU has memory of its own, and no utilisation.
            if (rates := _or_none(library.nvmlDeviceGetUtilizationRates, handle)) is not None:
                busy.append((label, rates.gpu / 100))
        return used, total, busy

    def _handles(self, library: Any) -> Iterator[tuple[int, Any]]:
        for index in range(_or_none(library.nvmlDeviceGetCount) or 0):
            handle = _or_none(library.nvmlDeviceGetHandleByIndex, index)
            if handle is not None:
                yield index, handle


def _or_none(call: Callable[..., Any], *arguments: Any) -> Any:
    """What a call of the library gives; None where it raises, as for a GPU that is lost."""
    try:
        return call(*arguments)
    except Exception:  # noqa: BLE001 - the library has an exception for each error code
        return None
