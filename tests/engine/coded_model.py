"""A model with code of its own that does whatever a test asks: fail, or take its time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from engine.packaging.options import Options
from engine.packaging.package import package

from tests.engine import toy_models

CODE = """
import os
import time

import numpy as np

from engine.serving.runtimes.base import DeviceLost

{first}


def preprocess(inputs):
    x = inputs["x"]
    {statement}
    return {{"x": np.repeat(x, 3, axis=1)}}
"""


def write_coded(folder: Path, statement: str, first: str = "") -> Path:
    """A models folder with `coded`: FP32[-1, 1]; each run executes the statement, in which `x` is
    the input, and the model's code begins with ``first``.
    """
    source = toy_models.write_scale(folder) / "model.onnx"
    (folder / "code.py").write_text(CODE.format(statement=statement, first=first))
    np.savez(folder / "samples.npz", x=np.array([[1], [2]], np.float32))
    options = Options(name="coded", code=folder / "code.py", samples=folder / "samples.npz")
    package(str(source), options, folder / "models")
    return folder / "models"


def write_failing(folder: Path, error: str) -> Path:
    """The same; an input over 1000 raises the expression."""
    return write_coded(folder, f"if x.max() > 1000: raise {error}")


def write_sleeping(folder: Path, seconds: float) -> Path:
    """The same; each run takes that long, without using a CPU."""
    return write_coded(folder, f"time.sleep({seconds})")
