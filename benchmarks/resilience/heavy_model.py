"""A model that is slow enough to be overloaded by a client on the same two CPUs.

`python -m benchmarks.resilience.heavy_model OUT` runs in the rendered service's folder and training
environment. A request is small, so that sending three times what the service can compute does not
keep the machine busy with sending.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from benchmarks.make_models import dense, package, samples

NAME = "heavy"
SIZES = (64, 2048, 2048, 2048, 2048, 16)


def main() -> None:
    """Write the package into the folder that the command line names."""
    out = Path(sys.argv[1])
    shutil.rmtree(out, ignore_errors=True)
    inputs = SIZES[:1]
    package(NAME, dense(NAME, SIZES), out, samples(inputs, 2), inputs)


if __name__ == "__main__":
    main()
