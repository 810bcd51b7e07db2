"""What this process runs in: `python -m engine.serving.environment` prints it as JSON.

The drift report asks for it here and inside the image.
"""

from __future__ import annotations

import ctypes
import json
import platform
from dataclasses import asdict, dataclass, field
from importlib import metadata
from typing import Any


@dataclass(frozen=True, slots=True)
class Environment:
    """Python, installed distributions, and the CUDA that the driver offers ("" without one)."""

    python: str
    packages: dict[str, str] = field(default_factory=dict)
    cuda_driver: str = ""


def this_environment() -> Environment:
    """The environment of this process."""
    packages = {
        each.metadata["Name"].lower().replace("_", "-"): each.version
        for each in metadata.distributions()
        if each.metadata["Name"]
    }
    return Environment(platform.python_version(), packages, _cuda_driver())


def _cuda_driver() -> str:
    """The newest CUDA version that the NVIDIA driver supports."""
    try:
        driver: Any = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return ""
    version = ctypes.c_int()
    if driver.cuDriverGetVersion(ctypes.byref(version)) != 0:
        return ""
    return f"{version.value // 1000}.{version.value % 1000 // 10}"


if __name__ == "__main__":
    print(json.dumps(asdict(this_environment())))
