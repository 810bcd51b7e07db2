"""The process's memory, once all that lives as long as it does has been loaded."""

from __future__ import annotations

import ctypes
import gc
import sys
from contextlib import suppress


def settle() -> None:
    """Never look through what is loaded again, and give back what loading needed.

    Loading leaves some megabytes free in the middle of the heap, which glibc keeps until it is
    asked; other C libraries cannot be asked.
    """
    gc.collect()
    gc.freeze()
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
