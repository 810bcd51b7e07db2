"""Make the new project a git repository with one commit and say what to type next.

A project that was written is never thrown away because of git: what git could not do is told,
with git's own words, and the exit code stays 0.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

FALLBACK_NAME = "aci-ml-template"
FALLBACK_EMAIL = "aci-ml-template@example.invalid"


def git(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run git in the project folder.

    The project is a repository of its own wherever it is written, also inside another one.
    Variables that a calling git hook sets would make git work on that other repository.
    """
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")
    }
    return subprocess.run(
        ["git", *arguments],
        env=inherited,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )


def identity() -> list[str]:
    """Return the options that let git commit on a machine where nobody has told it a name."""
    if git("var", "GIT_COMMITTER_IDENT").returncode == 0:
        return []
    print(
        f"git knows no name and address for you: the first commit is by {FALLBACK_NAME}."
        " Set user.name and user.email, then: git commit --amend --reset-author --no-edit"
    )
    return ["-c", f"user.name={FALLBACK_NAME}", "-c", f"user.email={FALLBACK_EMAIL}"]


def succeeds(*arguments: str) -> bool:
    """Run git; where it fails, say how, and what the person can do about it."""
    done = git(*arguments)
    if done.returncode != 0:
        print(
            f"The files are written, but `git {shlex.join(arguments)}` failed:"
            f"\n{done.stdout}{done.stderr}\nRepeat it in {Path.cwd()} once that is mended.",
            file=sys.stderr,
        )
    return done.returncode == 0


def commit_everything() -> None:
    """Create the repository, unless there is one already, and commit all files to `main`."""
    if shutil.which("git") is None:
        print("git is not installed: the project is written, but it is no repository yet.")
    elif Path(".git").exists():
        print("This folder already was a git repository: review and commit the changes yourself.")
    elif succeeds("init", "--quiet", "--initial-branch=main") and succeeds("add", "--all"):
        succeeds(*identity(), "commit", "--quiet", "--message", "Generate the project")


def main() -> None:
    """Commit where git is installed, then print the next commands."""
    commit_everything()
    print(f"\nNext:\n  cd {shlex.quote(str(Path.cwd()))}\n  make serve\n  make test")


if __name__ == "__main__":
    main()
