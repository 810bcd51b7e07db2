"""The rendered project whose machinery is tested: these tests run in its folder."""

from __future__ import annotations

from pathlib import Path

import engine

ROOT = Path(engine.__file__).resolve().parents[1]
