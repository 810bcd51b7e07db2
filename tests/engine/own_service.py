"""A project of its own with another `service.py`."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.engine.project import ROOT

BEGIN = "from engine.serving.extension import Extension\nAPI = 1\nservice = Extension()\n"


def project(folder: Path, code: str) -> Path:
    """What the image holds, models apart, with this code behind `service = Extension()`."""
    folder.mkdir(exist_ok=True)
    (folder / "engine").mkdir()
    shutil.copy(ROOT / "engine" / "__init__.py", folder / "engine")
    shutil.copytree(ROOT / "engine" / "serving", folder / "engine" / "serving")
    shutil.copy(ROOT / "pyproject.toml", folder)
    (folder / "service.py").write_text(BEGIN + code)
    return folder
