"""Record the answers, make the new project a git repository and say what to type next.

.cruft.json records the template's address, its commit and the answers, in the form of `cruft`:
`make update` renders the project again from them. It is part of the first commit.

A project that was written is never thrown away because of git: what git could not do is told,
with git's own words, and the exit code stays 0.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

# The answers arrive as data, in their order: no answer can end this raw literal and become code.
PAIRS = r'[{% for name, value in cookiecutter.items() %}{{ "," if not loop.first }}[{{ name | tojson }}, {{ value | tojson }}]{% endfor %}]'  # fmt: skip  # noqa: E501

# {% raw %} From here on braces are Python's.
FALLBACK_NAME = "aci-ml-template"
FALLBACK_EMAIL = "aci-ml-template@example.invalid"


def git(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run git in the project folder, or in another one.

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
        cwd=cwd,
        env=inherited,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )


def source(context: dict[str, Any]) -> tuple[str | None, str | None]:
    """Return the template's address and commit; None for what cannot be known.

    cruft gives both. cookiecutter gives the folder it rendered: a clone knows its address and its
    commit, unless it has changes that no commit holds; a folder without git, such as an unpacked
    zip, knows neither.
    """
    if "_commit" in context:
        return without_password(context["_template"]), context["_commit"]
    # A relative folder is one of the shell that cookiecutter was started in.
    folder = Path(os.environ.get("PWD", ""), context.get("_repo_dir", "")).resolve()
    if not (folder / "cookiecutter.json").is_file() or shutil.which("git") is None:
        return None, None
    top = git("rev-parse", "--show-prefix", "HEAD", cwd=folder)
    prefix, _, commit = top.stdout.partition("\n")
    if top.returncode != 0 or prefix:
        return None, None
    origin = git("remote", "get-url", "origin", cwd=folder)
    address = origin.stdout.strip() if origin.returncode == 0 else str(folder)
    clean = git("status", "--porcelain", cwd=folder).stdout == ""
    return without_password(address), commit.strip() if clean else None


def without_password(address: str) -> str:
    """Return the address without what stands before the host: it may be a password."""
    return re.sub(r"^(https?://)[^/@]*@", r"\1", address)


def record_answers(context: dict[str, Any]) -> None:
    """Write .cruft.json, byte for byte as `cruft create` writes it afterwards."""
    template, commit = source(context)
    state: dict[str, Any] = {"template": template, "commit": commit}
    state["checkout"] = context.get("_checkout")
    # The folders of this machine say nothing on another one.
    local = ("_template", "_output_dir", "_repo_dir", "_checkout", "_commit")
    answers = {name: value for name, value in context.items() if name not in local}
    state["context"] = {"cookiecutter": {**answers, "_template": template, "_commit": commit}}
    state["directory"] = None
    text = json.dumps(state, ensure_ascii=False, indent=2, separators=(",", ": "))
    Path(".cruft.json").write_text(f"{text}\n", encoding="utf-8")


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
            f"\n{done.stdout}{done.stderr}\nCorrect that, and repeat it in {Path.cwd()}.",
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
    """Record the answers, commit where git is installed, then print the next commands."""
    record_answers(dict(json.loads(PAIRS)))
    commit_everything()
    print(f"\nNext:\n  cd {shlex.quote(str(Path.cwd()))}\n  make serve\n  make test")


if __name__ == "__main__":
    main()
# {% endraw %}
