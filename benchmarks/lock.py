"""Compile the peers' locks: `python -m benchmarks.lock [--upgrade]`.

All get the onnxruntime of the service's own lock, so that only the servers differ.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.environments import ROOT, UV, pinned, render_service
from benchmarks.prepare import RUNTIME
from benchmarks.servers import SERVERS

COMMAND = "python -m benchmarks.lock"


def main() -> None:
    """Compile every peer's requirements.in."""
    compile_ = [str(UV), "pip", "compile", "--quiet", "--universal", "--generate-hashes"]
    compile_ += ["--no-build", "--fork-strategy", "fewest", "--python-version", "3.11"]
    compile_ += ["--no-annotate", *(["--upgrade"] if "--upgrade" in sys.argv[1:] else [])]
    with tempfile.TemporaryDirectory(prefix="lock-") as folder:
        service = render_service(Path(folder) / "service")
        version = pinned(service / "requirements" / "serve-cpu.txt", RUNTIME)
        same = Path(folder) / "same.txt"
        same.write_text(f"{RUNTIME}=={version}\n", encoding="utf-8")
        for lock in sorted({server.lock for server in SERVERS if server.lock}):
            print(f"compiling {lock.relative_to(ROOT)}", flush=True)
            subprocess.run(
                [*compile_, "-c", same, lock.with_suffix(".in"), "-o", lock],
                env={**os.environ, "UV_CUSTOM_COMPILE_COMMAND": COMMAND},
                cwd=ROOT,
                check=True,
            )


if __name__ == "__main__":
    main()
