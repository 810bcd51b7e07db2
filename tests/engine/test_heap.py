"""What loading needed is given back to the system."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from tests.engine.project import ROOT

pytestmark = pytest.mark.slow

# Blocks too large for Python's own allocator; the last one keeps the heap from shrinking by itself.
PROGRAM = """
import os

from engine.serving import heap

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 2**20

blocks = [bytes(2000) for _ in range(50_000)]
del blocks[:-1]
before = resident()
heap.settle()
print(before - resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps it")
def test_free_memory_in_the_middle_of_the_heap_is_given_back() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert int(done.stdout) > 50
