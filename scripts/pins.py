"""Renew the pins of GitHub actions, in the template's own workflows and in those it generates.

`python3 scripts/pins.py [--days 7]` asks GitHub (through `gh api`) for the newest release of each
action that is pinned as `owner/name@<commit> # v1.2.3`, takes the newest one that is at least a
week old, because a compromised release is usually found within days, and writes its commit and
version into every workflow. A release that stands on the same commit changes nothing. Prints what
changed. Standard library and `gh` only.
"""

from __future__ import annotations

import argparse
import datetime
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = (
    ROOT / ".github" / "workflows",
    ROOT / "{{cookiecutter.project_slug}}" / ".github" / "workflows",
    ROOT / "{{cookiecutter.project_slug}}" / "engine" / "actions" / "prepare",
)
PIN = re.compile(
    r"(?P<action>[\w.-]+/[\w.-]+)(?P<path>(?:/[\w.-]+)*)@(?P<commit>[0-9a-f]{40}) # (?P<tag>v\S+)"
)
VERSION = re.compile(r"^v(\d+)\.(\d+)\.(\d+)$")

Api = Callable[[str], Any]


def gh_api(path: str) -> Any:
    """What GitHub answers to a GET.

    Raises:
        subprocess.CalledProcessError: gh failed, and has said why.
    """
    command = ["gh", "api", path]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def newest_release(api: Api, action: str, before: datetime.datetime) -> str | None:
    """The highest release tag vX.Y.Z of an action that was published before a moment."""
    tags = [
        release["tag_name"]
        for release in api(f"repos/{action}/releases?per_page=50")
        if not release["draft"]
        and not release["prerelease"]
        and datetime.datetime.fromisoformat(release["published_at"]) <= before
        and VERSION.match(release["tag_name"])
    ]
    return max(tags, key=_version, default=None)


def commit_of(api: Api, action: str, tag: str) -> str:
    """The commit that a tag stands on; an annotated tag is followed to it."""
    target = api(f"repos/{action}/git/ref/tags/{tag}")["object"]
    while target["type"] == "tag":
        target = api(f"repos/{action}/git/tags/{target['sha']}")["object"]
    return str(target["sha"])


def renewed(text: str, newest: dict[str, tuple[str, str]]) -> str:
    """A workflow with newer pins; versions only go up.

    Args:
        text: the workflow.
        newest: action to (commit, tag).
    """

    def replace(match: re.Match[str]) -> str:
        commit, tag = newest.get(match["action"], (match["commit"], match["tag"]))
        if _version(tag) <= _version(match["tag"]):
            return match[0]
        return f"{match['action']}{match['path']}@{commit} # {tag}"

    return PIN.sub(replace, text)


def _version(tag: str) -> tuple[int, ...]:
    match = VERSION.match(tag)
    return tuple(int(part) for part in match.groups()) if match else (0, 0, 0)


def main(api: Api = gh_api) -> int:
    """Renew every workflow; 0, also when nothing is newer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=7, help="how old a release has to be")
    options = parser.parse_args()
    files = sorted(path for folder in FOLDERS for path in folder.glob("*.yml"))
    texts = {path: path.read_text(encoding="utf-8") for path in files}
    actions = sorted({match["action"] for text in texts.values() for match in PIN.finditer(text)})
    before = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=options.days)
    newest = {}
    for action in actions:
        if tag := newest_release(api, action, before):
            newest[action] = (commit_of(api, action, tag), tag)
    for path, text in texts.items():
        after = renewed(text, newest)
        if after != text:
            path.write_text(after, encoding="utf-8")
            print(f"renewed the pins in {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
