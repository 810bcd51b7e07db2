"""`python -m engine.scoring FILE`: answer all rows of a file with a model package.

The answers are in FILE's order and kind, beside the columns of FILE; rows without an answer are in
a file of their own, each with column, value and rule. Interrupted, the same command goes on.
Exit code 0: done, also where rows were refused; 1: not done; 130: interrupted.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from engine.serving.installed import locked_packages

with locked_packages(".venv/.train"):
    from engine.scoring.errors import ScoringError
    from engine.scoring.run import Job, run
    from engine.serving.errors import StartupError

STOPPED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; its exit code."""
    parser = argparse.ArgumentParser(prog="python -m engine.scoring", description=__doc__)
    parser.add_argument("file", type=Path, metavar="FILE", help=".csv, .jsonl, .ndjson or .parquet")
    parser.add_argument("--model", help="its name; needed where there are several")
    parser.add_argument("--out", type=Path, help="default: FILE with .scored before its suffix")
    options = parser.parse_args(argv)
    path: Path = options.file
    out = options.out or path.with_name(f"{path.stem}.scored{path.suffix}")
    began = time.monotonic()

    def say(text: str) -> None:
        seconds = int(time.monotonic() - began)
        print(f"{seconds // 60:2d}:{seconds % 60:02d}  {text}", file=sys.stderr, flush=True)

    try:
        done = run(Job(path, out, options.model), say)
    except (ScoringError, StartupError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        told = f"{error.filename or out}: {error.strerror or error}"
        print(
            f"error: {told}; correct that, and run the same command again: it goes on",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print("Interrupted. Run the same command again; it goes on.", file=sys.stderr)
        return STOPPED
    print(f"{out}: {done.rows - done.refused:,} rows answered")
    if done.refused:
        print(f"{done.refused_file}: {done.refused:,} rows refused")
    return 0


if __name__ == "__main__":
    sys.exit(main())
