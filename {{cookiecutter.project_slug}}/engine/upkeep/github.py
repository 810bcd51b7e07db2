"""git and gh, as far as offering a change needs them. Standard library only."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

AUTHOR = ("github-actions[bot]", "41898282+github-actions[bot]@users.noreply.github.com")


class Refused(Exception):
    """git or gh failed; the message holds its last words."""


def run(*command: str, stdin: str | None = None) -> str:
    """Run a program and return what it printed.

    Raises:
        Refused: it failed.
    """
    print(f"+ {' '.join(command)}", file=sys.stderr, flush=True)
    done = subprocess.run(  # noqa: S603 - argument lists of this module only
        command, input=stdin, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        words = (done.stderr or done.stdout).strip().splitlines()
        raise Refused(f"{command[0]} {command[1]}: {words[-1] if words else 'failed'}")
    return done.stdout


def run_url() -> str:
    """The address of this workflow run; "" outside a workflow."""
    run_id = os.environ.get("GITHUB_RUN_ID")
    if not run_id:
        return ""
    server = os.environ.get("GITHUB_SERVER_URL", "https://github.com")
    return f"{server}/{os.environ.get('GITHUB_REPOSITORY', '')}/actions/runs/{run_id}"


def push_branch(branch: str, message: str) -> None:
    """Commit everything that changed to a branch of its own and push it.

    An older offer of the same name is replaced: nobody is meant to work on these branches. The
    token is given to this one push, and is neither an argument nor kept in the checkout.
    """
    name, mail = AUTHOR
    run("git", "switch", "--force-create", branch)
    run("git", "add", "--all")
    author = ("-c", f"user.name={name}", "-c", f"user.email={mail}")
    run("git", *author, "commit", "--message", message)
    # git asks gh, which takes the token from GH_TOKEN.
    helper = "credential.helper=!gh auth git-credential"
    run("git", "-c", helper, "push", "--force", "origin", f"HEAD:refs/heads/{branch}")


def open_pull_request(branch: str, title: str, body: str) -> None:
    """Open one, or renew the text of the one that is open.

    Raises:
        Refused: gh failed; where the repository forbids it, the message says how to allow it.
    """
    is_open = run("gh", "pr", "list", "--head", branch, "--state", "open", "--json", "number")
    verb = "edit" if is_open.strip() not in ("", "[]") else "create"
    target = [branch] if verb == "edit" else ["--head", branch]
    try:
        run("gh", "pr", verb, *target, "--title", title, "--body-file", "-", stdin=body)
    except Refused as error:
        if "not permitted to create" not in str(error):
            raise
        raise Refused(
            f"the branch {branch} is pushed, but this repository does not let workflows open pull "
            "requests; `.venv/bin/python -m engine.deploy bootstrap` allows it, and so does "
            "Settings, Actions, General, Allow GitHub Actions to create and approve pull requests"
        ) from None


def open_issue(title: str, body: str) -> None:
    """Open an issue, or add to the open one of the same title."""
    search = ("gh", "issue", "list", "--state", "open", "--search", f'in:title "{title}"')
    number = run(*search, "--json", "number", "--jq", ".[0].number // empty").strip()
    if number:
        run("gh", "issue", "comment", number, "--body-file", "-", stdin=body)
    else:
        run("gh", "issue", "create", "--title", title, "--body-file", "-", stdin=body)


def read_at_head(folder: str) -> dict[str, str]:
    """The files of a folder as the last commit has them: name to text."""
    names = run("git", "ls-tree", "--name-only", "HEAD", f"{folder}/").split()
    return {name: run("git", "show", f"HEAD:{name}") for name in names if name.endswith(".txt")}


def read_here(folder: str) -> dict[str, str]:
    """The files of a folder as they are now: name to text."""
    paths = sorted(Path(folder).glob("*.txt"))
    return {path.as_posix(): path.read_text(encoding="utf-8") for path in paths}
