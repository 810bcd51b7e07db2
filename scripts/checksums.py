"""Write the manifest of the engine, engine/CHECKSUMS: `make checksums`."""

from __future__ import annotations

import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent / "{{cookiecutter.project_slug}}"
sys.path.insert(0, str(PROJECT))
sys.dont_write_bytecode = True

from engine.upkeep.checksums import MANIFEST, checksums, written  # noqa: E402

if __name__ == "__main__":
    engine = PROJECT / "engine"
    (engine / MANIFEST).write_text(written(checksums(engine)), encoding="utf-8")
