"""Write a model package: model file, manifest, golden record; checked before it is in place."""

from __future__ import annotations

import hashlib
import platform
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import yaml

from app.inference.model import load_model
from app.package.digest import MANIFEST
from app.package.golden import write_golden
from app.package.manifest import GOLDEN
from app.package.reader import read_package
from app.settings import Settings
from app.tensors.datatypes import Array

Format = Literal["onnx", "joblib"]
HEADER = """\
# Manifest of a model package. Written by training/package.py; sizes and checksums must match the
# files beside it, so make the package again instead of editing it.
"""


@dataclass(frozen=True, slots=True)
class Source:
    """What a package is made of.

    ``inputs`` and ``outputs`` are the manifest's tensors as plain mappings; ``golden_inputs`` and
    ``golden_outputs`` are arrays by tensor name, the outputs computed by the training framework.
    ``training`` is the manifest's section of that name, without versions.
    """

    name: str
    version: str
    description: str
    format: Format
    model: bytes
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    golden_inputs: Mapping[str, Array]
    golden_outputs: Mapping[str, Array]
    training: Mapping[str, str]
    libraries: tuple[str, ...]


def write_package(models_dir: Path, source: Source) -> Path:
    """Write the package, serve its golden inputs once, and only then replace the old package.

    Returns:
        The package's folder.

    Raises:
        StartupError: the package would not be served, or answers differently from training;
            whatever stood in its place before is untouched.
    """
    models_dir.mkdir(parents=True, exist_ok=True)
    target = models_dir / source.name
    with tempfile.TemporaryDirectory(dir=models_dir, prefix=".new-") as scratch:
        fresh = Path(scratch) / source.name
        fresh.mkdir()
        _write_files(fresh, source)
        load_model(read_package(fresh), Settings(execution_providers=("cpu",)))
        old = Path(scratch) / "old"
        if target.exists():
            target.rename(old)
        try:
            fresh.rename(target)
        except OSError:
            if old.exists():
                old.rename(target)
            raise
    return target


def _write_files(directory: Path, source: Source) -> None:
    model_file = f"model.{source.format}"
    (directory / model_file).write_bytes(source.model)
    write_golden(directory / GOLDEN, source.golden_inputs, source.golden_outputs)
    manifest: dict[str, Any] = {
        "manifest_version": 1,
        "name": source.name,
        "version": source.version,
        "description": source.description,
        "format": source.format,
        "model_file": model_file,
        "files": {name: _entry(directory / name) for name in (model_file, GOLDEN)},
        "inputs": source.inputs,
        "outputs": source.outputs,
        "training": {
            "python": platform.python_version(),
            "packages": {name: metadata.version(name) for name in source.libraries},
            **source.training,
        },
    }
    text = yaml.safe_dump(manifest, sort_keys=False, allow_unicode=True, width=100)
    (directory / MANIFEST).write_text(HEADER + text, encoding="utf-8")


def _entry(path: Path) -> dict[str, str | int]:
    content = path.read_bytes()
    return {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
