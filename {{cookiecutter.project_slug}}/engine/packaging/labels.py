"""Names of classes: on an integer output that counts them, or on one with a column for each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from engine.packaging.options import Options
from engine.packaging.write import Source
from engine.serving.errors import PackageError


def labelled(source: Source, options: Options) -> Source:
    """The source with the names that were given.

    Raises:
        PackageError: no output counts so many classes or has so many columns.
    """
    if not options.labels or any(each.get("labels") for each in source.outputs):
        return source
    names = list(options.labels)
    fitting = [each for each in source.outputs if _counts(source, each, len(names))]
    fitting = fitting[:1] or [each for each in source.outputs if each["shape"][1:] == [len(names)]]
    if not fitting:
        described = ", ".join(f"{e['name']} {e['datatype']}{e['shape']}" for e in source.outputs)
        raise PackageError(
            f"--labels names {len(names)} classes, and no output counts them from 0 or has a "
            f"column for each: {described}"
        )
    chosen = fitting[0]
    outputs = [{**each, "labels": names} if each is chosen else each for each in source.outputs]
    return replace(source, outputs=outputs)


def _counts(source: Source, output: dict[str, Any], classes: int) -> bool:
    values = source.golden_outputs[output["name"]]
    whole = values.dtype.kind in "iu" and values.size > 0
    return bool(whole and values.min() >= 0 and values.max() < classes)
