"""The only place that runs `gh`: argument lists in, JSON out, typed errors.

`gh` holds the login to GitHub; nothing here sees a token. The environment variable GH names the
program (default: gh).
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import time
from typing import Any

from engine.deploy.processes import Finished, finish
from engine.deploy.say import Say
from engine.errors import EngineError, NoAccess

OLDEST = (2, 23, 0)
SECONDS = 60.0
TRIES = 4

_INSTALL = "install it: https://cli.github.com"
_SETTINGS = {"GH_PROMPT_DISABLED": "1", "GH_NO_UPDATE_NOTIFIER": "1", "NO_COLOR": "1"}
_NOT_LOGGED_IN = 4
_CONNECTION = re.compile(
    r"proxyconnect|dial tcp|connection (refused|reset)|i/o timeout|unexpected EOF|read timed out"
    r"|error connecting to"
)


class GhError(EngineError):
    """A command of `gh` failed. ``status`` is HTTP's, where GitHub answered."""

    def __init__(self, status: int | None, message: str, command: str, fix: str) -> None:
        super().__init__(f"`{command}` failed: {message}", fix)
        self.status = status
        self.message = message
        self.command = command

    @property
    def missing(self) -> bool:
        """GitHub does not have what was asked for, or does not show it to this login."""
        return self.status == 404

    @property
    def transient(self) -> bool:
        """The same request may well succeed in a moment."""
        return self.status is None or self.status == 429 or self.status >= 500


class NotLoggedIn(GhError, NoAccess):
    """Nobody is logged in to GitHub."""


class Gh:
    """The GitHub CLI. ``dry_run`` shows the commands of ``change`` instead of running them."""

    def __init__(self, say: Say, *, dry_run: bool = False) -> None:
        self.say = say
        self.dry_run = dry_run

    def json(self, *arguments: str, stdin: str | None = None) -> Any:
        """Run a command that changes nothing; what it prints as JSON, None if nothing.

        Args:
            arguments: without the leading "gh".
            stdin: what the command reads on standard input.

        Raises:
            GhError: GitHub or `gh` refused, or could not be reached.
            NoAccess: there is no `gh`, or nobody is logged in.
        """
        tries = 1
        while True:
            try:
                return self._once(arguments, stdin)
            except GhError as error:
                if not error.transient or tries == TRIES:
                    raise
                self.say.detail(f"{error.message}; trying again in {2**tries} s")
                time.sleep(2.0**tries)
                tries += 1

    def find(self, *arguments: str) -> Any:
        """Like ``json``, and None where GitHub does not have what was asked for."""
        try:
            return self.json(*arguments)
        except GhError as error:
            if error.missing:
                return None
            raise

    def change(self, *arguments: str, stdin: str | None = None) -> Any:
        """Run a command that changes something; a dry run shows it and gives None."""
        if self.dry_run:
            self.say.planned(["gh", *arguments], stdin=stdin is not None)
            return None
        return self.json(*arguments, stdin=stdin)

    def require_version(self) -> None:
        """Raise EngineError if `gh` is missing, or older than what is used of it here."""
        printed = self._run(("--version",)).stdout
        found = re.search(r"(\d+)\.(\d+)\.(\d+)", printed)
        if found is None or tuple(int(part) for part in found.groups()) < OLDEST:
            oldest = ".".join(str(part) for part in OLDEST)
            raise EngineError(
                f"gh is version {found[0] if found else 'unknown'}; this needs {oldest} or newer",
                _INSTALL,
            )

    def _once(self, arguments: tuple[str, ...], stdin: str | None) -> Any:
        done = self._run(arguments, stdin)
        if done.code != 0:
            raise _error(done, self.say.redact(shlex.join(["gh", *arguments])))
        return json.loads(done.stdout) if done.stdout.strip() else None

    def _run(self, arguments: tuple[str, ...], stdin: str | None = None) -> Finished:
        self.say.command(["gh", *arguments])
        return finish([_program(), *arguments], {**os.environ, **_SETTINGS}, stdin, SECONDS)


def _program() -> str:
    name = os.environ.get("GH") or "gh"
    path = shutil.which(name)
    if path is None:
        raise NoAccess(
            f'there is no program "{name}"',
            f"{_INSTALL}; or run `.venv/bin/python -m engine.deploy bootstrap --without-github`, "
            "which says what to set by hand",
        )
    return path


def _error(done: Finished, command: str) -> GhError:
    text = " ".join(done.stderr.split())
    if done.code == _NOT_LOGGED_IN:
        return NotLoggedIn(401, "nobody is logged in to GitHub", command, "run `gh auth login`")
    if found := re.search(r"\(HTTP (\d{3})\)", text):
        status = int(found[1])
        return GhError(status, _message(done) or text, command, _fix(status))
    if _CONNECTION.search(text):
        return GhError(None, text, command, "check the network and the proxy, and run it again")
    return GhError(0, text or f"exit code {done.code}, no message", command, "the message is gh's")


def _message(done: Finished) -> str:
    """What GitHub says: gh prints the body of a refusal, too."""
    try:
        content = json.loads(done.stdout)
    except ValueError:
        return ""
    return str(content.get("message", "")) if isinstance(content, dict) else ""


def _fix(status: int) -> str:
    if status == 401:
        return "the login has ended: run `gh auth login`"
    if status in (403, 404):
        return (
            "log in as an administrator of the repository (`gh auth status` shows who you are), "
            "with a token that may administer it: `gh auth refresh --scopes repo`"
        )
    if status >= 500:
        return "GitHub had a fault of its own; run the same command again, see githubstatus.com"
    return "the message is GitHub's; `--verbose` shows each command"
