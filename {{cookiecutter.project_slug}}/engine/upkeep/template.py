"""The template that this repository was generated from: what is recorded of it, and renderings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Folders that the template copies without rendering: as good as a version number.
VERBATIM = ("engine", ".github/workflows", "tests", "training")
# git works on its own here: no hooks, signatures or settings of the person, and a name to commit.
IDENTITY = {
    f"GIT_{role}_{part}": value
    for role in ("AUTHOR", "COMMITTER")
    for part, value in (("NAME", "update"), ("EMAIL", "update@example.invalid"))
}

State = dict[str, Any]
"""The content of .cruft.json."""


class Failed(Exception):
    """The update cannot be made; the message is for the owner."""


def run(
    *command: str | Path,
    cwd: Path,
    stdin: str = "",
    env: Mapping[str, str] | None = None,
) -> str:
    """Run a program and return what it printed.

    Args:
        command: the program and its arguments.
        cwd: the folder it runs in.
        stdin: text on its standard input.
        env: variables beside those of this process.

    Raises:
        Failed: its exit code is not 0; the message holds its last words.
    """
    done = subprocess.run(  # noqa: S603 - argument lists of this package only
        command,
        cwd=cwd,
        env={**os.environ, "PYTHONUTF8": "1", **IDENTITY, **(env or {})},
        input=stdin,
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        check=False,
    )
    if done.returncode != 0:
        words = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise Failed(f"{Path(command[0]).name} failed:\n" + "\n".join(words[-15:]))
    return done.stdout


def git(*arguments: str | Path, cwd: Path, **options: Any) -> str:
    """Run git; see `run`."""
    return run("git", "-c", "core.hooksPath=/dev/null", *arguments, cwd=cwd, **options)


def answers(state: State) -> dict[str, str]:
    """The answers to render with, by question."""
    context = state["context"]["cookiecutter"]
    return {name: str(value) for name, value in context.items() if not name.startswith("_")}


def rendered_with(state: State) -> dict[str, str]:
    """The answers that the files were rendered with; `answers` may have been edited since."""
    return dict(state["context"]["cookiecutter"].get("__answers") or answers(state))


def expanded(address: str) -> str:
    """An address that git understands from everywhere: `gh:` written out, paths absolute."""
    if address.startswith("gh:"):
        return f"https://github.com/{address.removeprefix('gh:')}"
    return str(Path(address).resolve()) if Path(address).exists() else address


class Template:
    """A clone of the template's repository."""

    def __init__(self, address: str, folder: Path) -> None:
        """Clone it.

        Args:
            address: what `git clone` takes.
            folder: where to; its parent exists.

        Raises:
            Failed: git cannot read it.
        """
        self.address = address
        self._folder = folder
        options = ("--quiet", "--no-checkout", "--config", "core.autocrlf=false")
        try:
            git("clone", *options, "--", address, folder, cwd=folder.parent)
        except Failed as error:
            raise Failed(
                f"the template {address} cannot be read: {error}\n"
                "If it is somewhere else: make update TEMPLATE=<address of its git repository>"
            ) from None

    def find(self, *names: str) -> str | None:
        """The commit of the first of these names that exists."""
        for name in names:
            try:
                words = (
                    "rev-parse",
                    "--verify",
                    "--quiet",
                    "--end-of-options",
                    f"{name}^{{commit}}",
                )
                return git(*words, cwd=self._folder).strip()
            except Failed:
                continue
        return None

    def name(self, commit: str) -> str:
        """A commit for people: its tag, or the start of its hash."""
        return git("describe", "--tags", "--always", commit, cwd=self._folder).strip()

    def generated(self, project: Path) -> str | None:
        """The commit that a project was generated from, by the folders that are copied as they are.

        Of several the oldest: what the template changed between them then looks like an equal
        change on both sides, and merges.
        """
        first = git("rev-list", "--max-parents=0", "HEAD", cwd=project).split()[-1]
        wanted = _trees(project, [f"{first}:{name}" for name in VERBATIM])
        order = ("--topo-order", "--reverse")
        commits = git("rev-list", *order, "--all", cwd=self._folder).split()
        top = git("ls-tree", "--name-only", "HEAD", cwd=self._folder).splitlines()
        folder = next(name for name in top if name.startswith("{{"))
        names = [f"{commit}:{folder}/{name}" for commit in commits for name in VERBATIM]
        found = _trees(self._folder, names)
        for number, commit in enumerate(commits):
            if found[number * len(VERBATIM) : (number + 1) * len(VERBATIM)] == wanted:
                return commit
        return None

    def check(self, commit: str, choice: Mapping[str, str]) -> None:
        """Refuse a choice that a version does not offer.

        Raises:
            Failed: there is no such question, or no such answer.
        """
        questions = json.loads(git("show", f"{commit}:cookiecutter.json", cwd=self._folder))
        public = [name for name in questions if not name.startswith("_")]
        for name, value in choice.items():
            if name not in public:
                raise Failed(f"the template has no question {name!r}; it has {', '.join(public)}")
            offered = questions[name]
            if isinstance(offered, list) and value not in offered:
                raise Failed(f"{name} is {value!r}; it is one of {', '.join(offered)}")

    def render(self, commit: str, answered: Mapping[str, str], folder: Path) -> Path:
        """Render a version and return the folder of the project.

        Args:
            commit: the version.
            answered: answers by question; other questions get their default.
            folder: a new folder for it.

        Raises:
            Failed: the template refuses the answers, or has no such version.
        """
        for name, value in answered.items():
            if any(mark in value for mark in ("{{", "{%", "{#")):
                raise Failed(f"the answer {name} contains code of Jinja, which is run: {value!r}")
        git("checkout", "--quiet", "--force", "--detach", commit, cwd=self._folder)
        output = folder / "output"
        output.mkdir(parents=True)
        # The person's own defaults and records of cookiecutter have no part in it.
        settings = {"replay_dir": str(folder), "cookiecutters_dir": str(folder)}
        (folder / "settings.yaml").write_text(json.dumps(settings), encoding="utf-8")
        # What the hooks print is about a folder that is gone soon; a refusal is shown.
        run(
            *(sys.executable, "-m", "cookiecutter", "--no-input"),
            *("--config-file", folder / "settings.yaml", "--output-dir", output, self._folder),
            *(f"{name}={value}" for name, value in answered.items()),
            cwd=folder,
        )
        return next(output.iterdir())


def _trees(repository: Path, names: list[str]) -> list[str]:
    """The hashes of folders, each given as commit:path; other things give what tells so."""
    asked = "".join(f"{name}\n" for name in names)
    lines = git("cat-file", "--batch-check=%(objectname)", cwd=repository, stdin=asked)
    return [line.split(" ")[0] for line in lines.splitlines()]
