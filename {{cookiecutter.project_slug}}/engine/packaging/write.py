"""Write a model package: model file, manifest, golden record; checked before it is in place."""

from __future__ import annotations

import platform
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import yaml

from engine.packaging import serving_set
from engine.packaging.contract import Pickled, read_pickled
from engine.packaging.rows import Claim, Verdict, judge
from engine.packaging.system import system_of
from engine.serving.errors import PackageError
from engine.serving.inference.model import Model, load_model
from engine.serving.package.digest import MANIFEST, file_sha256
from engine.serving.package.drift import differences
from engine.serving.package.golden import write_golden
from engine.serving.package.lock import serving_lock
from engine.serving.package.manifest import GOLDEN, Batching
from engine.serving.package.reader import read_package
from engine.serving.settings import Settings
from engine.serving.tensors.datatypes import Array

OWN_CODE = "the package has code of its own, and no graph shows what that does to rows"
OWN_STEPS = "the estimator holds code of which no known API says how it treats rows"
SETTINGS = Settings(execution_providers=("cpu",))
Format = Literal["onnx", "joblib"]
# GitHub warns above 50 MB and refuses above 100 MB.
LARGE_BYTES = 50_000_000
LFS_LINE = "{} filter=lfs diff=lfs merge=lfs -text\n"
HEADER = """\
# Manifest of a model package. Written by engine/packaging; sizes and checksums must match the
# files beside it, so make the package again instead of editing it.
"""


@dataclass(frozen=True, slots=True)
class Source:
    """What a package is made of.

    ``inputs`` and ``outputs`` are the manifest's tensors as plain mappings; ``golden_inputs`` and
    ``golden_outputs`` are arrays by tensor name, the outputs computed by the training framework.
    ``training`` is the manifest's section of that name, without versions; ``libraries`` names the
    installed ones whose versions belong there, ``packages`` holds versions that are known from
    elsewhere and win. ``files`` are further files by their name in the package, each a path or
    its content; ``manifest`` holds further keys of the manifest. ``verdict`` says whether requests
    may share runs, None where that was not judged yet; ``batching`` is what the person says about
    it. ``pickled`` is what writing finds in a joblib model. ``check`` is called with the model as
    it is served, and raises what refuses it.
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
    packages: Mapping[str, str] = field(default_factory=dict)
    python: str = field(default_factory=platform.python_version)
    files: Mapping[str, Path | bytes] = field(default_factory=dict)
    manifest: Mapping[str, Any] = field(default_factory=dict)
    verdict: Verdict | None = None
    batching: Batching = "auto"
    pickled: Pickled | None = None
    check: Callable[[Model], None] | None = None


def write_package(models_dir: Path, source: Source) -> Path:
    """Write the package, serve its golden inputs once, and only then replace the old package.

    Returns:
        The package's folder.

    Raises:
        StartupError: the package would not be served, or answers differently from training;
            whatever stood in its place before is untouched.
    """
    try:
        return _write_package(models_dir, source)
    except OSError as error:  # a full disk, a folder without rights
        raise PackageError(f"{models_dir}: cannot be written: {error.strerror or error}") from None


def _write_package(models_dir: Path, source: Source) -> Path:
    models_dir.mkdir(parents=True, exist_ok=True)
    target = models_dir / source.name
    with tempfile.TemporaryDirectory(dir=models_dir, prefix=".new-") as scratch:
        fresh = Path(scratch) / source.name
        fresh.mkdir()
        if source.format == "joblib":
            table = source.manifest.get("table") == "dataframe"
            source = replace(source, pickled=read_pickled(source.model, table))
        if source.verdict is None:
            source = replace(source, verdict=_judged(fresh, source))
        _write_files(fresh, source)
        _try(fresh, source.check)
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


def _try(folder: Path, check: Callable[[Model], None] | None) -> None:
    """Answer the golden requests here, and where Python code is loaded as in the image, too.

    A lock that lacks packages which the manifest names is another matter: ``package`` says so.
    """
    model = load_model(read_package(folder), SETTINGS)
    if check is not None:
        check(model)
    manifest = model.manifest
    lock = serving_lock()
    if lock is None or (manifest.format == "onnx" and manifest.code_file is None):
        return
    found = differences(manifest, lock.one_each())
    if not any(each.severity == "refused" for each in found):
        serving_set.check(folder, lock)


def _judged(directory: Path, source: Source) -> Verdict:
    """Whether requests may share runs of the package that is written and loaded for that."""
    _write_files(directory, replace(source, verdict=Verdict(False, "not judged yet")))
    model = load_model(read_package(directory), SETTINGS)
    inner = {name: value.shape[1:] for name, value in source.golden_inputs.items()}
    if source.manifest.get("code_file"):
        claim = Claim(OWN_CODE, source.batching)
    elif source.pickled is not None:
        claim = Claim(OWN_STEPS, source.batching, source.pickled.promised)
    else:
        from engine.packaging.graph import unproven_of

        claim = Claim(unproven_of(source.model, inner), source.batching)
    return judge(model.run, source.golden_inputs, source.inputs, source.outputs, claim)


def _write_files(directory: Path, source: Source) -> None:
    model_file = f"model.{source.format}"
    (directory / model_file).write_bytes(source.model)
    write_golden(directory / GOLDEN, source.golden_inputs, source.golden_outputs)
    names = [model_file, GOLDEN, *source.files]
    for name, path in source.files.items():
        if isinstance(path, bytes):
            (directory / name).write_bytes(path)
            continue
        try:
            shutil.copyfile(path, directory / name)
        except OSError as error:
            raise PackageError(f"{path}: cannot be read: {error.strerror}") from None
    pickled = source.pickled
    needs = sorted(pickled.needs if pickled else ())
    manifest: dict[str, Any] = {
        "manifest_version": 1,
        "name": source.name,
        "version": source.version,
        "description": source.description,
        "format": source.format,
        "model_file": model_file,
        "files": {name: file_entry(directory / name) for name in names},
        "inputs": source.inputs,
        "outputs": source.outputs,
        **source.manifest,
        **({"system": list(system)} if (system := system_of(needs)) else {}),
        **(source.verdict.entries() if source.verdict else {}),
        "training": {
            "python": source.python,
            "packages": {
                **{name: metadata.version(name) for name in (*source.libraries, *needs)},
                **source.packages,
            },
            **{key: value for key, value in source.training.items() if value},
            **({"batching": source.verdict.reason} if source.verdict else {}),
            **({"needs": needs, "holds_code": pickled.holds_code} if pickled else {}),
        },
    }
    text = yaml.safe_dump(manifest, sort_keys=False, allow_unicode=True, width=100)
    (directory / MANIFEST).write_text(HEADER + text, encoding="utf-8")
    large = [name for name in names if (directory / name).stat().st_size > LARGE_BYTES]
    if large:
        lines = "".join(LFS_LINE.format(name) for name in large)
        (directory / ".gitattributes").write_text(lines, encoding="utf-8")


def file_entry(path: Path) -> dict[str, str | int]:
    """The manifest's entry for a file: checksum and size."""
    return {"sha256": file_sha256(path), "bytes": path.stat().st_size}
