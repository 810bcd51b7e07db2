"""The owner's own steps around a deploy: executables in deploy/hooks/, run where the deploy runs.

A hook gets the facts of the release in its environment and of the deploy's own environment only
what a program needs to run: no secret, and no token of a workflow.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from engine.deploy.processes import TIMED_OUT, ended_in, finish
from engine.deploy.say import Say
from engine.deploy.targets.base import Release
from engine.errors import EngineError

BEFORE_PUSH, BEFORE_DEPLOY = "before-push", "before-deploy"
AFTER_DEPLOY, AFTER_ROLLBACK = "after-deploy", "after-rollback"
HOOK_SECONDS = 300.0
FOLDER = Path("deploy") / "hooks"

_PASSED = (
    *("PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "SYSTEMROOT", "NO_PROXY"),
    *("SSL_CERT_FILE", "GITHUB_ACTIONS", "GITHUB_ACTOR", "GITHUB_REPOSITORY", "GITHUB_RUN_ID"),
    *("GITHUB_SERVER_URL", "GITHUB_SHA"),
)
_SHOWN_LINES = 50
_LONGEST_FACT = 4000


def facts(release: Release, **more: str | None) -> dict[str, str]:
    """What a hook is given in its environment: the release, and more facts by name, one line each.

    A cause may quote a log: only printable characters of it, and not too many, can be passed.
    """
    known = {**asdict(release), **more}
    return {f"DEPLOY_{name.upper()}": _line(text or "") for name, text in known.items()}


def _line(text: str) -> str:
    printable = "".join(each if each.isprintable() else " " for each in text)
    return " ".join(printable.split())[:_LONGEST_FACT]


def before(name: str, root: Path, say: Say, known: Mapping[str, str]) -> None:
    """Run the hook, if there is one.

    Raises:
        EngineError: it failed, so the deploy must not begin.
    """
    path = root / FOLDER / name
    if not os.path.lexists(path):
        return
    say.step(f"running {FOLDER / name}")
    passed = {each: os.environ[each] for each in _PASSED if each in os.environ}
    # Facts are redacted: a cause may quote a value that must not be shown.
    given = {each: say.redact(value) for each, value in known.items()}
    try:
        done = finish([str(path)], {**passed, **given, "DEPLOY_HOOK": name}, None, HOOK_SECONDS)
    except OSError as error:
        raise EngineError(
            f"{FOLDER / name} cannot be run: {error.strerror}",
            f"`chmod +x {FOLDER / name}`, and begin it with a line such as #!/bin/sh; or delete it",
        ) from None
    lines = f"{done.stdout}\n{done.stderr}".strip().splitlines()
    say.detail("\n".join(lines[-_SHOWN_LINES:]))
    if (done.code, done.stderr) == (TIMED_OUT, ended_in(HOOK_SECONDS)):
        raise EngineError(
            f"{FOLDER / name} was ended after {HOOK_SECONDS:.0f} s", "make it faster, or delete it"
        )
    if done.code != 0:
        raise EngineError(
            f"{FOLDER / name} ended with exit code {done.code}",
            "its output is above: correct what it says, or delete the file",
        )


def after(name: str, root: Path, say: Say, known: Mapping[str, str]) -> None:
    """Run the hook, if there is one. Its failure is reported and changes nothing else."""
    try:
        before(name, root, say, known)
    except EngineError as error:
        say.warning(f"{error.cause}; the deploy stays as it is. {error.fix}")
        say.summary(f"**{error.cause}**; the deploy stays as it is.")
