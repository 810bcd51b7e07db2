"""Model packages with deliberate faults, made from the sample of a rendered service."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import yaml

SLOW_SECONDS = 0.4
SLOW = f"""
import time


def preprocess(inputs):
    time.sleep({SLOW_SECONDS})
    return inputs
"""
FAILS = 8.0
FAILING = f"""
def preprocess(inputs):
    if (inputs["features"][:, 0] == {FAILS}).any():
        raise ArithmeticError("a fault on purpose")
    return inputs
"""


def slow(service: Path, folder: Path) -> Path:
    """The sample with code of its own that takes its time, in warm-up as later."""
    return _with_code(SLOW, service, folder)


def failing(service: Path, folder: Path) -> Path:
    """The sample with code of its own that fails for rows that begin with FAILS."""
    return _with_code(FAILING, service, folder)


def wrong(service: Path, folder: Path) -> Path:
    """The sample with a golden record of another training: every label is another one."""
    package = _copy(service, folder)
    with np.load(package / "golden.npz") as archive:
        arrays = dict(archive)
    arrays["output/label"] = (arrays["output/label"] + 1) % 3
    # What a mapping may hold is more than the types of savez allow.
    content: Any = arrays
    np.savez(package / "golden.npz", **content)
    _seal(package)
    return folder


def without_reference(service: Path, folder: Path) -> Path:
    """The sample, as it would be packaged without its training data."""
    _seal(_copy(service, folder))
    return folder


def with_reference(service: Path, folder: Path) -> Path:
    """The sample with a reference in which the first column is far from what the tests ask."""
    package = _copy(service, folder)
    column = {"name": "first", "side": "input", "tensor": "features", "place": 0}
    bins = {"edges": [4, 5, 6, 8], "counts": [10, 10, 130]}
    reference = {"rows": 150, "columns": [column | bins]}
    (package / "reference.json").write_text(json.dumps(reference), encoding="utf-8")
    _seal(package, "reference.json")
    return folder


def _with_code(code: str, service: Path, folder: Path) -> Path:
    package = _copy(service, folder)
    (package / "model_code.py").write_text(code, encoding="utf-8")
    _seal(package, "model_code.py", code_file="model_code.py")
    return folder


def _copy(service: Path, folder: Path) -> Path:
    """The sample without its reference: tests ask for one row again and again."""
    without = shutil.ignore_patterns("reference.json")
    return Path(shutil.copytree(service / "models" / "iris", folder / "iris", ignore=without))


def _seal(package: Path, *more: str, **changes: str) -> None:
    """Write sizes and checksums again, as packaging does; of more files, too."""
    manifest = package / "model.yaml"
    content = yaml.safe_load(manifest.read_text(encoding="utf-8")) | changes
    names = [content["model_file"], "golden.npz", *more]
    content["files"] = {
        name: {
            "sha256": hashlib.sha256((package / name).read_bytes()).hexdigest(),
            "bytes": (package / name).stat().st_size,
        }
        for name in names
    }
    manifest.write_text(yaml.safe_dump(content), encoding="utf-8")
