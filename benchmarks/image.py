"""The size of the service's container image."""

from __future__ import annotations

import os
import subprocess
import zlib
from pathlib import Path

from benchmarks.environments import CannotInstallError

TAG = "benchmark-of-the-service"
CHUNK = 1024 * 1024
MEGABYTE = 1e6


def image_megabytes(python: Path, service: Path) -> tuple[float, float]:
    """Build the CPU image of a rendered service and save it: its size, and that of it compressed.

    Raises:
        CannotInstallError: there is no Docker here, or the build failed.
    """
    docker = os.environ.get("DOCKER", "docker")
    build = [
        str(python),
        "-m",
        "engine.deploy.image",
        "build",
        "--accelerator",
        "cpu",
        "--tag",
        TAG,
    ]
    for command, folder in (([docker, "info"], None), (build, service)):
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        except OSError as error:
            raise CannotInstallError(f"{docker}: {error.strerror}") from None
        if done.returncode != 0:
            raise CannotInstallError(" ".join(done.stderr.split())[-300:])
    whole = compressed = 0
    squeeze = zlib.compressobj(wbits=31)
    with subprocess.Popen([docker, "save", TAG], stdout=subprocess.PIPE) as saved:
        assert saved.stdout is not None
        while chunk := saved.stdout.read(CHUNK):
            whole += len(chunk)
            compressed += len(squeeze.compress(chunk))
    compressed += len(squeeze.flush())
    return whole / MEGABYTE, compressed / MEGABYTE
