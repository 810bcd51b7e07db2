"""The versions of the interface between `service.py` and the engine. Standard library only.

`service.py` says `API = 1`. The number is read without running the file, so that an update can ask
before it replaces anything.
"""

from __future__ import annotations

import ast
from pathlib import Path

SUPPORTED = (1,)


def api_fault(path: Path) -> str | None:
    """Why this engine cannot run a `service.py`, in one sentence; None if it can.

    Args:
        path: of the file. A file that does not exist uses nothing, and every engine fits.
    """
    try:
        tree = ast.parse(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, SyntaxError, ValueError) as error:
        return f"{path}: cannot be read as Python: {error}"
    known = ", ".join(map(str, SUPPORTED))
    version = _version(tree)
    if version is None:
        return f"{path}: does not name the API version it uses; write for example API = {known}"
    if version in SUPPORTED and type(version) is int:
        return None
    return (
        f"{path}: uses API {version!r}, and this engine supports {known}; "
        "adapt the file as docs/service.md says, or keep the engine that fits"
    )


def _version(tree: ast.Module) -> object:
    """The literal that the module assigns to API at last; None where there is none."""
    for statement in reversed(tree.body):
        targets: list[ast.expr] = []
        if isinstance(statement, ast.Assign):
            targets = statement.targets
        elif isinstance(statement, ast.AnnAssign):
            targets = [statement.target]
        else:
            continue
        named = any(isinstance(each, ast.Name) and each.id == "API" for each in targets)
        if named and isinstance(statement.value, ast.Constant):
            return statement.value.value
    return None
