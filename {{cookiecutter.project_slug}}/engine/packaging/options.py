"""What the person who packages a model says about it, beside the model itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from engine.serving.errors import PackageError
from engine.serving.package.manifest import Batching

Conversion = Literal["onnx", "as-is"]
CODE_FILE = "model_code.py"


@dataclass(frozen=True, slots=True)
class Options:
    """Choices of one packaging; empty and None mean that the source decides.

    ``tolerance`` is the absolute one, and the relative one too unless ``relative`` is given.
    ``types`` are those of columns of a CSV file, and ``columns`` is the order that the model was
    fitted on, where it does not record it. ``modules`` are files and folders that a pickle imports,
    and ``files`` those that ``code`` reads.
    """

    name: str = ""
    version: str = "1.0.0"
    description: str = ""
    to: Conversion = "as-is"
    samples: Path | None = None
    types: Mapping[str, str] = field(default_factory=dict)
    columns: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    tolerance: float | None = None
    relative: float | None = None
    tolerance_reason: str = ""
    licence: str = ""
    data: str = ""
    code: Path | None = None
    modules: tuple[Path, ...] = ()
    files: tuple[Path, ...] = ()
    environment: Path | None = None
    batching: Batching = "auto"


def package_name(options: Options, stem: str) -> str:
    """The name that was given, or one made from the source's own.

    Raises:
        PackageError: nothing of the source's name can be used.
    """
    if options.name:
        return options.name
    # A version at the end is one of the library or of the model, and no part of its name.
    named = re.sub(r"[-_.]?(v\d+(\.\d+)*|\d+(\.\d+)+)$", "", stem) or stem
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", named).strip("-._")
    if not plain:
        raise PackageError(f"{stem!r} cannot be the name of a package; say --name NAME")
    return plain
