"""Does a `service.py` fit this engine? `python -m engine.upkeep.api [FILE]`; standard library only.

An update runs it with the new engine before it replaces the old one. Exit code 0 if the file fits
or does not exist, else 1 and one sentence on stderr.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from engine.serving.api_version import api_fault


def main(arguments: Sequence[str]) -> int:
    """Check one file, by default service.py of the current folder."""
    fault = api_fault(Path(arguments[0] if arguments else "service.py"))
    if fault is not None:
        print(f"error: {fault}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
