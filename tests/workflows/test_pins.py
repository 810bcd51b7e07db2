"""Renewing the pins of actions, against a GitHub that is a dictionary."""

from __future__ import annotations

import datetime
from typing import Any

from scripts import pins

OLD = "a" * 40
NEW = "b" * 40
WORKFLOW = f"""\
      - uses: octo/tool@{OLD} # v1.2.0
      - uses: octo/tool/part@{OLD} # v1.2.0
      - uses: octo/other@{OLD} # v3.0.0
"""
NOW = datetime.datetime(2026, 11, 20, tzinfo=datetime.UTC)


def release(tag: str, published: str, **extra: Any) -> dict[str, Any]:
    return {"tag_name": tag, "published_at": published, "draft": False, "prerelease": False} | extra


def api(answers: dict[str, Any]) -> pins.Api:
    return lambda path: answers[path]


def test_the_newest_release_that_is_old_enough_is_taken() -> None:
    releases = [
        release("v1.4.0", "2026-11-19T00:00:00Z"),
        release("v1.3.0", "2026-11-01T00:00:00Z"),
        release("v1.10.0", "2026-10-01T00:00:00Z"),
        release("v2.0.0", "2026-10-01T00:00:00Z", prerelease=True),
        release("nightly", "2026-10-01T00:00:00Z"),
    ]
    github = api({"repos/octo/tool/releases?per_page=50": releases})
    before = NOW - datetime.timedelta(days=7)
    assert pins.newest_release(github, "octo/tool", before) == "v1.10.0"


def test_an_annotated_tag_is_followed_to_its_commit() -> None:
    github = api(
        {
            "repos/octo/tool/git/ref/tags/v1.3.0": {"object": {"type": "tag", "sha": "t"}},
            "repos/octo/tool/git/tags/t": {"object": {"type": "commit", "sha": NEW}},
        }
    )
    assert pins.commit_of(github, "octo/tool", "v1.3.0") == NEW


def test_pins_are_renewed_with_their_version_and_never_go_back() -> None:
    newest = {"octo/tool": (NEW, "v1.3.0"), "octo/other": (NEW, "v2.9.9")}
    assert (
        pins.renewed(WORKFLOW, newest)
        == f"""\
      - uses: octo/tool@{NEW} # v1.3.0
      - uses: octo/tool/part@{NEW} # v1.3.0
      - uses: octo/other@{OLD} # v3.0.0
"""
    )


def test_every_pin_of_the_repository_is_understood() -> None:
    files = [path for folder in pins.FOLDERS for path in folder.glob("*.yml")]
    text = "".join(path.read_text(encoding="utf-8") for path in files)
    assert len(files) == 12
    assert len(pins.PIN.findall(text)) == text.count("uses: ") - text.count("uses: ./engine/")
