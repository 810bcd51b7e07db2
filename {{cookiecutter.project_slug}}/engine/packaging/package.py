"""Make a model package of what you have: `python -m engine.packaging SOURCE`, `make model FROM=…`.

SOURCE is an .onnx file, a .joblib or .pkl file of scikit-learn, a .keras file, a folder that MLflow
wrote, or an address in MLflow (runs:/…, models:/…). A pickle runs code when it is read: package
only files that you trust.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import get_args

from engine.packaging import shipped
from engine.packaging.all_answers import check_all
from engine.packaging.labels import labelled
from engine.packaging.options import Options
from engine.packaging.replaced import keep
from engine.packaging.write import Format, Source, write_package
from engine.serving.errors import PackageError, StartupError
from engine.serving.package.drift import differences
from engine.serving.package.lock import serving_lock
from engine.serving.package.manifest import Batching, Manifest, read_manifest

__all__ = ["Format", "Source", "add_package", "package"]

KINDS = ".onnx, .joblib, .pkl, .pickle, .keras, a folder of MLflow, runs:/… or models:/…"


def package(source: str, options: Options, models_dir: Path) -> tuple[Path, list[str]]:
    """Make the package.

    Returns:
        Its folder, and remarks that the person should read.

    Raises:
        StartupError: it is refused; whatever stood in its place before is untouched.
    """
    if options.files and not options.code:
        raise PackageError(
            f"--file {options.files[0]}: only code of the model's own reads files; give that as "
            "well, with --code model_code.py"
        )
    made, remarks = _with_code(source, options) if options.code else _read(source, options)
    if options.modules and not made.manifest.get("modules"):
        remarks.append("an ONNX file computes without Python, so --module is not in the package")
    made = replace(labelled(made, options), check=partial(check_all, options=options))
    folder, kept = add_package(models_dir, made)
    manifest = read_manifest(folder)
    remarks += kept
    if not manifest.signature.batched:
        remarks.append(f"each request runs alone: {manifest.training.batching}")
    remarks += [
        f"{each.severity}: {each}" for each in differences(manifest) if each.severity == "risky"
    ]
    lock = serving_lock()
    if manifest.format == "joblib" and lock is not None:
        remarks += [
            f"{each.reason}; {each.fix}"
            for each in differences(manifest, lock.one_each(), where=lock.path.name)
            if each.severity == "refused"
        ]
    if manifest.system:
        remarks.append(
            f"the image gets the Debian packages {', '.join(manifest.system)}; this machine needs "
            "them as well"
        )
    if not manifest.training.licence:
        remarks.append(
            "the manifest names no licence; say with --licence under which the model may be used"
        )
    return folder, remarks


def add_package(models_dir: Path, source: Source) -> tuple[Path, list[str]]:
    """Write a package among those that are served; `training/train.py` ends with it.

    It keeps the description, the names of the columns and the like of the one that it replaces, and
    the sample of a new project is removed for the first other model.

    Returns:
        Its folder, and what was kept or removed, a sentence each.

    Raises:
        StartupError: it is refused; whatever was in its place before is untouched.
    """
    source, remarks = keep(source, models_dir / source.name)
    sample_is_alone = shipped.is_alone(models_dir)
    folder = write_package(models_dir, source)
    if sample_is_alone and source.name != shipped.NAME:
        remarks.append(shipped.step_aside(models_dir))
    return folder, remarks


def _with_code(source: str, options: Options) -> tuple[Source, list[str]]:
    """The samples are what clients send, so the model itself is read with made-up ones."""
    from engine.packaging.code import with_code

    made, _ = _read(source, replace(options, samples=None, code=None))
    return with_code(made, options)


def _read(source: str, options: Options) -> tuple[Source, list[str]]:
    # Each kind needs its own libraries, and only those are imported.
    from engine.packaging import mlflow_source

    if mlflow_source.is_address(source):
        folder = mlflow_source.download(source)
        return mlflow_source.mlflow_source(folder, options, source)
    path = Path(source)
    if not path.exists():
        raise PackageError(f"{source}: there is no such file or folder")
    if path.is_dir():
        return mlflow_source.mlflow_source(path, options)
    if path.suffix == ".onnx":
        from engine.packaging.onnx_source import onnx_source

        return onnx_source(path, options)
    if path.suffix in (".joblib", ".pkl", ".pickle"):
        from engine.packaging.sklearn_source import sklearn_source

        return sklearn_source(path, options)
    if path.suffix == ".keras":
        from engine.packaging.keras_source import keras_source
        from engine.packaging.provenance import Environment
        from engine.packaging.samples import Samples, read_samples

        given = read_samples(options.samples, options.types) if options.samples else Samples()
        return keras_source(path, options, given, Environment())
    raise PackageError(f"{source}: this kind of file cannot be packaged; these can: {KINDS}")


def describe(manifest: Manifest) -> str:
    """What was packaged, in some lines."""
    signature = manifest.signature
    inputs = ", ".join(f"{each.name} {each}" for each in signature.inputs)
    outputs = ", ".join(f"{each.name} {each}" for each in signature.outputs)
    lines = [
        f"{manifest.name} {manifest.version} ({manifest.format})",
        f"  takes   {inputs}",
        f"  gives   {outputs}",
        f"  golden  {manifest.training.golden or 'by the training framework'}, answered alike",
    ]
    if signature.batched:
        lines.append(f"  rows    are batched: {manifest.training.batching}")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Package one model.

    Returns:
        0 when the package is in place, 1 when it was refused; then nothing has changed.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    parser = _parser()
    asked = parser.parse_args(arguments)
    batching: Batching = "never" if asked.rows_together else asked.batching
    options = Options(
        name=asked.name,
        version=asked.version,
        description=asked.description,
        to="onnx" if asked.to == "onnx" else "as-is",
        samples=asked.samples,
        labels=_listed(asked.labels),
        columns=_listed(asked.columns),
        tolerance=asked.tolerance,
        relative=asked.relative,
        tolerance_reason=asked.reason,
        licence=asked.licence,
        data=asked.data,
        code=asked.code,
        modules=tuple(asked.module),
        files=tuple(asked.file),
        environment=asked.environment,
        batching=batching,
    )
    try:
        options = replace(options, types=_types(asked.types))
        folder, remarks = package(asked.source, options, asked.models_dir)
    except StartupError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (OSError, MemoryError) as error:  # a full disk, here or where temporary files go
        print(f"error: {_of_machine(error)}", file=sys.stderr)
        return 1
    print(describe(read_manifest(folder)))
    for remark in remarks:
        print(f"  note    {remark}")
    print(f"wrote {folder}")
    return 0


def _of_machine(error: OSError | MemoryError) -> str:
    if isinstance(error, MemoryError):
        return "the memory of this machine is not enough for the model and its samples; give fewer"
    where = error.filename or tempfile.gettempdir()
    return (
        f"{where}: {error.strerror or error}; nothing was changed: free some space, or set TMPDIR"
    )


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _types(text: str) -> dict[str, str]:
    parts = _listed(text)
    for part in parts:
        if "=" not in part:
            raise PackageError(f"--types {part}: write COLUMN=TYPE, as in zip=string")
    return {name: kind for name, _, kind in (part.rpartition("=") for part in parts)}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m engine.packaging",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("source", metavar="SOURCE")
    add("--name", default="", help="of the package; default: the source's own")
    add("--version", default=Options().version)
    add("--description", default="")
    add("--to", choices=("onnx",), help="convert a scikit-learn model")
    add(
        "--samples",
        type=Path,
        help=".npz (input/<name>, output/<name>), .npy, .csv, .json or .parquet",
    )
    add("--types", default="", help="of CSV columns, where open: zip=string,age=number,day=date")
    add("--columns", default="", help="in the order of training, where it is not recorded: a,b,c")
    add("--labels", default="", help="names of the classes, in the order of the model: a,b,c")
    add("--tolerance", type=float, help="absolute and relative, for floating-point outputs")
    add("--relative", type=float, help="relative tolerance, where it is another one")
    add("--reason", default="", help="why that tolerance")
    add("--licence", default="", help="under which the model may be used")
    add("--data", default="", help="what it was trained on")
    add("--code", type=Path, help="Python file with preprocess() and/or postprocess()")
    add(
        "--module",
        type=Path,
        action="append",
        default=[],
        help="Python file, or folder of them, that the pickle imports; may be given several times",
    )
    add(
        "--file",
        type=Path,
        action="append",
        default=[],
        help="file that the code reads with package_file(), such as tokenizer.json; may be given "
        "several times",
    )
    add("--environment", type=Path, help="requirements.txt or conda.yaml of the training")
    add(
        "--batching",
        choices=get_args(Batching),
        default="auto",
        help="declared: each row is answered by itself, though no graph shows it; never: requests "
        "must not share a run",
    )
    add("--rows-together", action="store_true", help="the same as --batching never")
    add("--models-dir", type=Path, default=Path("models"))
    return parser
