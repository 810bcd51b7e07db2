"""`python -m engine.drift record FILE` and `compare FILE`: are rows like those of the training?

`record` writes into the package of a model how the columns of the training data are distributed,
and the model's answers to them; FILE has the columns that the model takes. `compare` says how far
the rows of another FILE are from that, and draws both distributions of each column. Exit code of
`compare`: 0 when no column has drifted, 3 when one has; 1: FILE cannot be read, or the package has
no reference.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from engine.serving.installed import locked_packages

with locked_packages(".venv/.train"):
    from engine.drift.compare import compare
    from engine.drift.picture import draw
    from engine.drift.record import record
    from engine.scoring.errors import ScoringError
    from engine.serving.errors import StartupError

DRIFTED = 3
PICTURE = Path("build/drift.svg")


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; its exit code."""
    parser = argparse.ArgumentParser(prog="python -m engine.drift", description=__doc__)
    parser.add_argument("action", choices=("record", "compare"))
    parser.add_argument("file", type=Path, metavar="FILE", help=".csv, .jsonl, .ndjson or .parquet")
    parser.add_argument("--model", help="its name; needed where there are several")
    parser.add_argument(
        "--picture",
        type=Path,
        default=PICTURE,
        help=f"an SVG file for `compare`; default: {PICTURE}",
    )
    options = parser.parse_args(argv)
    try:
        if options.action == "record":
            print(record(options.file, options.model))
            return 0
        report = compare(options.file, options.model)
        draw(report, options.picture)
    except (ScoringError, StartupError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        told = f"{error.filename or options.file}: {error.strerror or error}"
        print(f"error: {told}", file=sys.stderr)
        return 1
    print(f"{report.text}\n\nas a picture: {options.picture}")
    return DRIFTED if report.drifted else 0


if __name__ == "__main__":
    sys.exit(main())
