"""`python -m engine.upkeep.template`: take over what is new in the template, through cruft.

cruft keeps in .cruft.json which version of the template this repository came from, and applies
the difference to the newest one as a patch; where that meets edits of yours it leaves `.rej` files
to look at. With `--patch FILE` the result is written there instead, and the checkout stays as it
was: so the job that runs the template's code needs no write access to the repository.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

STATE = Path(".cruft.json")


def update() -> None:
    """Let cruft update the checkout.

    Raises:
        subprocess.CalledProcessError: cruft failed; it has said why.
    """
    cruft = Path(sys.executable).parent / "cruft"
    subprocess.run([cruft, "update", "--skip-apply-ask"], check=True)  # noqa: S603


def taken_over() -> str:
    """What the update changed, as a patch against the last commit; the checkout is put back."""
    # cruft stages what it applies; new files, `.rej` ones among them, belong to it as well.
    _git("add", "--all")
    patch = _git("diff", "--binary", "--cached", "HEAD")
    _git("reset", "--quiet", "--hard", "HEAD")
    return patch


def main(argv: list[str] | None = None) -> int:
    """The command line; 0, or 1 with one line on stderr."""
    parser = argparse.ArgumentParser(prog="python -m engine.upkeep.template", description=__doc__)
    parser.add_argument("--patch", type=Path, help="write the change here instead of making it")
    options = parser.parse_args(argv)
    if not STATE.exists():
        print(
            f"no {STATE}: this repository does not know its template; "
            "`cruft link <address of the template>` tells it",
            file=sys.stderr,
        )
        if options.patch:
            options.patch.write_text("", encoding="utf-8")
        return 0 if options.patch else 1
    if _git("status", "--porcelain"):
        print("error: commit or stash your changes first: the update is a patch", file=sys.stderr)
        return 1
    try:
        update()
    except subprocess.CalledProcessError as error:
        print(f"error: cruft update failed (exit code {error.returncode})", file=sys.stderr)
        return 1
    if options.patch:
        options.patch.write_text(taken_over(), encoding="utf-8")
    return 0


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True)  # noqa: S603, S607
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
