"""What a package keeps of the one that it replaces: what a person said, and does not say again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.packaging.write import Source
from engine.serving.errors import PackageError
from engine.serving.package.manifest import InputTensor, Manifest, read_manifest

SAID = ("data", "licence")


def keep(source: Source, folder: Path) -> tuple[Source, list[str]]:
    """The source with what the package in ``folder`` has beyond it, and a remark on that.

    Args:
        source: the new package.
        folder: where it will be; nothing is there for a new name.
    """
    if not folder.exists():
        return source, []
    try:
        old = read_manifest(folder)
    except PackageError:
        return source, [f"replaced {folder}, whose manifest could not be read"]
    kept = []
    if old.description and not source.description:
        source = replace(source, description=old.description)
        kept.append("description")
    inputs = [_with_columns(each, old) for each in source.inputs]
    if inputs != source.inputs:
        source = replace(source, inputs=inputs)
        kept.append("names of the columns")
    said = {name: getattr(old.training, name) for name in SAID}
    missing = {name: text for name, text in said.items() if text and not source.training.get(name)}
    if missing:
        source = replace(source, training={**source.training, **missing})
        kept += list(missing)
    words = f"replaced {folder}, version {old.version}"
    return source, [f"{words}; kept its {', '.join(kept)}" if kept else words]


def _with_columns(tensor: dict[str, Any], old: Manifest) -> dict[str, Any]:
    before: InputTensor | None = next((e for e in old.inputs if e.name == tensor["name"]), None)
    if before is None or not before.features or tensor.get("features"):
        return tensor
    fits = tensor["shape"][-1:] == [len(before.features)]
    return {**tensor, "features": list(before.features)} if fits else tensor
