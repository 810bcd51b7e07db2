"""The exit code of `make test FAST=1` is that of its two runs of pytest."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("template", "machinery", "expected"), [(0, 0, 0), (1, 0, 1), (0, 1, 1), (1, 1, 1)]
)
def test_the_fast_tier_fails_when_one_of_its_runs_does(
    tmp_path: Path, template: int, machinery: int, expected: int
) -> None:
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "test.sh", tmp_path / "scripts")
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(
        f'#!/bin/sh\ncase "$2" in pytest) exit {template};; *) exit {machinery};; esac\n',
        encoding="utf-8",
    )
    python.chmod(0o755)
    done = subprocess.run([tmp_path / "scripts" / "test.sh", "fast"], check=False)
    assert done.returncode == expected
