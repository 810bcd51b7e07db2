"""What every runtime offers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from engine.serving.tensors.datatypes import Array


class DeviceLost(Exception):
    """The device does not compute any more; only a new process can use it again."""


class Runtime(Protocol):
    """A loaded model. ``run`` is called from several threads at once."""

    @property
    def provider(self) -> str:
        """The execution provider in use: ``cpu`` or ``cuda``."""
        ...

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Compute all outputs for inputs that passed the signature check.

        Raises:
            DeviceLost: the device failed, not the request.
        """
        ...
