"""The sample that a new project is generated with, and when it steps aside."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from engine.serving.errors import PackageError
from engine.serving.package.digest import MANIFEST, file_sha256
from engine.serving.package.manifest import GOLDEN

NAME = "iris"
# Of the golden record as it is generated, and as `make train` makes it again.
GOLDEN_SHA256 = "d822c8a3d076ae0278a39fc1b98145d7829d8453f23c45c4c8c5864e2426e93c"


def is_alone(models_dir: Path) -> bool:
    """Whether the sample, as it was generated, is the only package of a folder."""
    if [path.parent.name for path in models_dir.glob(f"*/{MANIFEST}")] != [NAME]:
        return False
    try:
        return file_sha256(models_dir / NAME / GOLDEN) == GOLDEN_SHA256
    except (OSError, PackageError):
        return False


def step_aside(models_dir: Path) -> str:
    """Remove the sample where git has it, for a model of the owner's; what was done, or how to."""
    sample = models_dir / NAME
    if not _is_in_git(sample):
        return f"the sample {sample} is served as well; `rm -r {sample}` removes it"
    shutil.rmtree(sample)
    return f"the sample {sample} is removed; `git checkout HEAD -- {sample}` brings it back"


def _is_in_git(folder: Path) -> bool:
    """Whether the last commit has the folder exactly as it is."""

    def git(*arguments: str) -> str | None:
        command = ["git", "-C", str(folder), *arguments, "--", "."]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
        except (OSError, subprocess.CalledProcessError):
            return None
        return done.stdout

    changed = git("status", "--porcelain", "--ignored")
    return bool(git("ls-files")) and changed == ""
