"""What `service.py` imports and its image does not have: found before the image is built."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

EXTENSION = "engine.serving.extension"


def import_faults(path: Path, locked: Iterable[str]) -> list[str]:
    """A sentence for each module that is not there where the service runs.

    Args:
        path: Of the file; one that does not exist imports nothing.
        locked: The packages of the lock of what is served, in lower case with hyphens.
    """
    if not path.exists():
        return []
    there = set(locked)
    distributions = metadata.packages_distributions()
    faults = []
    for line, module in sorted(set(_imported(ast.parse(path.read_bytes())))):
        name = module.partition(".")[0]
        if name in sys.stdlib_module_names or module == EXTENSION:
            continue
        if name == "engine":
            why = f"of the engine it may import {EXTENSION} only"
        elif found := distributions.get(name):
            if there & {each.lower().replace("_", "-") for each in found}:
                continue
            why = (
                f"the image has no {found[0]}: add it to requirements/serve-cpu.in, run `make lock`"
            )
        else:
            why = f"the image has no such module: put the code into {path.name}"
        faults.append(f"{path.name}, line {line}: imports {module}; {why}")
    return faults


def _imported(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, each.name) for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            dots = "." * node.level
            module = f"{dots}{node.module or ''}"
            # `from engine.serving import extension` is the same module.
            whole = {f"{module}.{each.name}" for each in node.names}
            yield node.lineno, EXTENSION if whole == {EXTENSION} else module
