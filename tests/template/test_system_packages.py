"""The Dockerfile's step that installs Debian packages, with a stand-in for apt-get."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from .conftest import Render

APT_GET = '#!/bin/sh\nfor each in "$@"; do printf "%s|" "$each"; done >>"$CALLS"; echo >>"$CALLS"\n'
INSTALL = "install|--yes|--no-install-recommends|"


def calls(dockerfile: str, listed: Path, folder: Path) -> list[str]:
    """How the step calls apt-get for that list of packages."""
    [step] = re.findall(r"^RUN --mount=type=bind,from=system.*?[^\\]$", dockerfile, re.M | re.S)
    _, _, command = step.replace("\\\n", "").partition("target=/tmp/system.txt")
    command = command.replace("/tmp/system.txt", str(listed)).replace("/var/lib/apt", str(folder))
    program = folder / "apt-get"
    program.write_text(APT_GET, encoding="utf-8")
    program.chmod(0o755)
    made = folder / "calls"
    made.touch()
    environment = {"PATH": f"{folder}:{os.environ['PATH']}", "CALLS": str(made)}
    subprocess.run(["/bin/sh", "-c", command], env=environment, check=True)
    return made.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize(
    ("added", "expected"),
    [
        ("", []),
        ("  \n# libpq5\n", []),
        ("libgomp1\nlibgdal32 # raster files\n", ["update|", f"{INSTALL}libgomp1|libgdal32|"]),
        ("libc6=2.41-12", ["update|", f"{INSTALL}libc6=2.41-12|"]),
    ],
)
def test_the_listed_packages_are_installed_and_nothing_else_is_done(
    added: str, expected: list[str], render: Render, tmp_path: Path
) -> None:
    project = render()
    listed = tmp_path / "system.txt"
    empty = (project / "requirements" / "system.txt").read_text(encoding="utf-8")
    listed.write_text(empty + added, encoding="utf-8")
    dockerfile = (project / "Dockerfile").read_text(encoding="utf-8")
    assert calls(dockerfile, listed, tmp_path) == expected
