"""What the service uses of uvicorn is there in its newest release as well as in the locked one.

tests/engine/test_uvicorn.py says what that is; the machinery's own tests run it on the locked one.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.once import UV

pytestmark = [pytest.mark.slow, pytest.mark.exhaustive]


def test_the_newest_release_has_what_is_used(tmp_path: Path) -> None:
    venv, checked = tmp_path / "venv", REPOSITORY / "tests" / "engine" / "test_uvicorn.py"
    subprocess.run([UV, "venv", "--quiet", "--python", sys.executable, venv], check=True)
    install = ["pip", "install", "--quiet", "--upgrade", "--python", str(venv)]
    subprocess.run([UV, *install, "uvicorn", "pytest"], check=True)
    options = ["--noconftest", "-p", "no:cacheprovider", "--rootdir", str(REPOSITORY)]
    done = subprocess.run(
        [str(venv / "bin" / "python"), "-m", "pytest", *options, str(checked)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
