"""Package every estimator that a program beside this one stored, as joblib and as ONNX.

A program: `python package_sklearn.py SOURCES OUTPUT [as-is|onnx]` writes `OUTPUT/joblib`,
`OUTPUT/onnx`, or one of them, and `OUTPUT/refused.json`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Literal

from engine.packaging.options import Options
from engine.packaging.package import package
from engine.serving.errors import StartupError


def main() -> None:
    """Package all of them."""
    sources, output = Path(sys.argv[1]), Path(sys.argv[2])
    refused: dict[str, str] = {}
    for source in sorted(sources.glob("*.joblib")):
        (samples,) = (each for each in sources.glob(f"{source.stem}.*") if each != source)
        conversions: tuple[Literal["as-is", "onnx"], ...] = ("as-is", "onnx")
        for to in conversions:
            if to not in (sys.argv[3:] or conversions):
                continue
            form = "joblib" if to == "as-is" else to
            options = Options(name=source.stem, samples=samples, to=to, licence="made here")
            try:
                package(str(source), options, output / form)
            except StartupError as error:
                refused[f"{source.stem} as {form}"] = str(error)
    (output / "refused.json").write_text(json.dumps(refused, indent=1))


if __name__ == "__main__":
    main()
