"""`python3 scripts/offer.py PATCH`: offer a refreshed template as a pull request.

The ways to git and GitHub are those of the generated repositories (`engine/upkeep/`), so that they
are written and tested once.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "{{cookiecutter.project_slug}}"))

from engine.upkeep import github  # noqa: E402
from engine.upkeep.offer import START_CHECKS  # noqa: E402

BRANCH = "refresh"
TITLE = "Renew locks and pins of actions"


def main(patch: Path) -> int:
    """Open the pull request; nothing where the patch is empty."""
    if not patch.read_text(encoding="utf-8").strip():
        print("nothing is newer")
        return 0
    github.run("git", "apply", "--index", str(patch))
    patch.unlink()
    github.push_branch(BRANCH, TITLE)
    github.open_pull_request(BRANCH, TITLE, f"Tested: {github.run_url()}\n\n{START_CHECKS}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
