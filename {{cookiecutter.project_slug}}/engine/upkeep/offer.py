"""`python3 -m engine.upkeep.offer locks|template`: offer a change that a workflow made.

A pull request that the workflow's own token opens does not start other workflows; GitHub does so
on purpose. Its text says how to start them. Standard library only: nothing is installed where the
token can write.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from engine.upkeep import github, locks

START_CHECKS = (
    "GitHub starts no workflows for pull requests that a workflow opened: close and reopen this "
    "one to run its checks."
)
FAILED_TITLE = "The newest versions do not pass"
UPDATE_TITLE = "Take over what is new in the template"
WORKFLOW = re.compile(r"^diff --git .* b/(\.github/workflows/.*)$", re.MULTILINE)
WORKFLOWS = (
    "This update changes files that run as workflows. GitHub does not let the token of a workflow "
    "push such files, and without them the rest may not work, so there is no pull request:"
)
BY_HAND = "`make update` in a checkout of yours makes the same update; push it like any change."


def offer_locks(result: str) -> str:
    """Offer the locks in requirements/, or report that they failed.

    Args:
        result: what the tests, the build and the scan with these locks gave: "success" or not.
    """
    changed = locks.changes(github.read_at_head("requirements"), github.read_here("requirements"))
    run = github.run_url()
    if result != "success":
        table = locks.table(changed) if changed else "No version changed: the scan found something."
        body = f"Tests, build or scan failed with what the locks allow today: {run}\n\n{table}\n"
        github.open_issue(FAILED_TITLE, body)
        return "they do not pass: reported as an issue"
    if not changed:
        return "nothing is newer; the image built on today's base passed its scan"
    body = f"{locks.table(changed)}\n\nTested, built and scanned: {run}\n\n{START_CHECKS}\n"
    title = f"Renew the locks: {len(changed)} package(s)"
    github.push_branch("rebuild/locks", title)
    github.open_pull_request("rebuild/locks", title, body)
    return f"offered {len(changed)} changed version(s)"


def offer_template(patch: Path) -> str:
    """Offer what the template changed.

    Args:
        patch: what `make update PATCH=…` wrote: an explanation, and below it the change, if it can
            be made without a person. An empty file means nothing is new.
    """
    text = patch.read_text(encoding="utf-8", errors="replace")
    if not text.strip():
        patch.unlink()
        return "the template has nothing new"
    explanation, diff, _ = text.partition("diff --git ")
    workflows = WORKFLOW.findall(text)
    if not diff:
        github.open_issue(UPDATE_TITLE, f"{explanation}\n{BY_HAND}\n")
        return "the update needs a person: reported as an issue"
    if workflows:
        files = "".join(f"- `{name}`\n" for name in dict.fromkeys(workflows))
        body = f"{explanation}\n{WORKFLOWS}\n\n{files}\n{BY_HAND}\n"
        # An issue holds 65,536 characters; the artifact of the run holds the patch of any length.
        if len(body) + len(text) < 60_000:
            fence = "`" * 8
            block = f"{fence}diff\n{text}{fence}"
            body += f"\n<details><summary>The patch</summary>\n\n{block}\n\n</details>\n"
        else:
            body += f"\nThe artifact `template-patch` is the patch: {github.run_url()}\n"
        github.open_issue(UPDATE_TITLE, body)
        return "the update changes workflows: reported as an issue"
    github.run("git", "apply", "--index", str(patch))
    patch.unlink()
    github.push_branch("template/update", UPDATE_TITLE)
    github.open_pull_request("template/update", UPDATE_TITLE, f"{explanation}\n{START_CHECKS}\n")
    return "offered what is new in the template"


def main(argv: list[str] | None = None) -> int:
    """The command line; 0, or 1 with one line on stderr."""
    parser = argparse.ArgumentParser(prog="python3 -m engine.upkeep.offer", description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    of_locks = actions.add_parser("locks")
    of_locks.add_argument("--result", required=True, help="success, or what else the job gave")
    of_template = actions.add_parser("template")
    of_template.add_argument("--patch", type=Path, required=True)
    options = parser.parse_args(argv)
    try:
        if options.action == "locks":
            print(offer_locks(options.result))
        else:
            print(offer_template(options.patch))
    except (github.Refused, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
