"""The only place that runs `az`: argument lists in, JSON out, typed errors, patient retries.

Nothing secret belongs in an argument: other users of a machine can read them. Documents with
secrets go through standard input, and the values that ``Say.hide`` was told are taken out of
whatever `az` prints. The service's secrets are not passed on in `az`'s environment either.

The environment variable AZ names the program (default: az).
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from engine.deploy.az_error import AzError, NotLoggedIn, read_problem
from engine.deploy.job_login import job_token
from engine.deploy.processes import Finished, finish, follow
from engine.deploy.say import Say
from engine.errors import EngineError, NoAccess

__all__ = ["Az", "AzError"]

OLDEST = (2, 60, 0)
READ_SECONDS = 120.0
CHANGE_SECONDS = 600.0
TRANSITION_SECONDS = 300.0
TRIES = 4

_INSTALL = "install it: https://learn.microsoft.com/cli/azure/install-azure-cli"
_SETTINGS = {
    "AZURE_CORE_ONLY_SHOW_ERRORS": "true",
    "AZURE_CORE_NO_COLOR": "true",
    "AZURE_CORE_COLLECT_TELEMETRY": "false",
    # A command that is not built in fails; it must not install something in passing.
    "AZURE_EXTENSION_USE_DYNAMIC_INSTALL": "no",
    # With this on, az would write requests, and so the secrets in them, to a file.
    "AZURE_LOGGING_ENABLE_LOG_FILE": "false",
}


Kept = TypeVar("Kept")


class Az:
    """The Azure CLI. ``without`` names environment variables that `az` has no business to see;
    ``dry_run`` shows the commands of ``change`` on stdout instead of running them.
    """

    def __init__(self, say: Say, *, dry_run: bool = False, without: Iterable[str] = ()) -> None:
        self.say = say
        self.dry_run = dry_run
        self._without = frozenset(without)
        self._logins = 0
        self._kept: dict[tuple[str, ...], Any] = {}
        self._logging_in = threading.Lock()

    def json(self, *arguments: str, stdin: str | None = None, limit: float = READ_SECONDS) -> Any:
        """Run a command that changes nothing; what it prints as JSON, None if nothing.

        Args:
            arguments: without the leading "az" and without an output format.
            stdin: what the command reads on standard input.
            limit: seconds.

        Raises:
            AzError: Azure or `az` refused, or did not answer in time.
            NoAccess: there is no `az`, or nobody is logged in.
        """
        return _parsed(self._patiently([*arguments, "--output", "json"], stdin, limit, None))

    def find(self, *arguments: str, limit: float = READ_SECONDS) -> Any:
        """Like ``json``, and None where Azure does not have what was asked for."""
        try:
            return self.json(*arguments, limit=limit)
        except AzError as error:
            if error.missing:
                return None
            raise

    def visible(self, *arguments: str) -> Any:
        """Like ``find``, and None also where this login may not look."""
        try:
            return self.find(*arguments)
        except AzError as error:
            if error.forbidden:
                return None
            raise

    def text(self, *arguments: str, limit: float = READ_SECONDS) -> str:
        """Run a command that changes nothing; what it prints."""
        return self._patiently(list(arguments), None, limit, None).stdout

    def change(
        self,
        *arguments: str,
        stdin: str | None = None,
        limit: float = CHANGE_SECONDS,
        before_retry: Callable[[], object] | None = None,
        patience: float = TRANSITION_SECONDS,
    ) -> Any:
        """Run a command that changes something; like ``json`` otherwise.

        A dry run shows the command and gives None. ``before_retry`` is called before each further
        try and may raise to give up: what is in Azure may have changed in the meantime.
        ``patience`` is how many seconds Azure may be busy with an earlier change.
        """
        command = [*arguments, "--output", "json"]
        if self.dry_run:
            self.say.planned(["az", *arguments], stdin=stdin is not None)
            return None
        return _parsed(self._patiently(command, stdin, limit, before_retry, patience))

    def lines(self, *arguments: str) -> Iterator[str]:
        """Run a command that goes on by itself; its lines as they come, without line ends."""
        renewed = False
        while True:
            logins = self._logins
            self.say.command(["az", *arguments])
            done = yield from follow([_program(), *arguments], self._environment())
            if done.code == 0:
                return
            error = self._error(list(arguments), done)
            if renewed or not self._logged_in_again(error, logins):
                raise error
            renewed = True

    def kept(self, key: tuple[str, ...], make: Callable[[], Kept]) -> Kept:
        """What is made once with this login, such as a connection to somewhere else."""
        if key not in self._kept:
            self._kept[key] = make()
        found: Kept = self._kept[key]
        return found

    def require_version(self) -> str:
        """The version of `az`.

        Raises:
            EngineError: it is missing, or older than the commands used here.
        """
        version = str(self.json("version")["azure-cli"])
        if tuple(int(part) for part in re.findall(r"\d+", version)[:3]) < OLDEST:
            oldest = ".".join(str(part) for part in OLDEST)
            raise EngineError(
                f"az is version {version}; this needs {oldest} or newer",
                "run `az upgrade`, or " + _INSTALL,
            )
        return version

    def _patiently(
        self,
        arguments: list[str],
        stdin: str | None,
        limit: float,
        before_retry: Callable[[], object] | None,
        patience: float = TRANSITION_SECONDS,
    ) -> Finished:
        give_up = time.monotonic() + patience
        tries, renewed = 1, False
        while True:
            logins = self._logins
            try:
                return self._once(arguments, stdin, limit)
            except AzError as error:
                if not renewed and self._logged_in_again(error, logins):
                    pause, why, renewed = 0.0, "the job's login had ended and is renewed", True
                elif error.transitioning and time.monotonic() < give_up:
                    pause, why = 5.0, "Azure is still changing it"
                elif error.transient and tries < TRIES:
                    pause, why = 2.0**tries, f"{error.code}: {error.message[:120]}"
                    tries += 1
                else:
                    raise
            self.say.detail(f"{why}; trying again in {pause:.0f} s")
            time.sleep(pause)
            if before_retry is not None:
                before_retry()

    def _once(self, arguments: list[str], stdin: str | None, limit: float) -> Finished:
        self.say.command(["az", *arguments])
        done = finish([_program(), *arguments], self._environment(), stdin, limit)
        if done.code != 0:
            raise self._error(arguments, done)
        return done

    def _logged_in_again(self, error: AzError, logins: int) -> bool:
        """Whether it failed for a login that a job can repeat, and it is repeated.

        ``logins`` is their number when the command began: those that fail together need one only.
        """
        if not error.login_expired:
            return False
        with self._logging_in:
            if self._logins != logins:
                return True
            token = job_token()
            if token is None:
                return False
            self.say.hide([token])
            account = _parsed(
                self._once(["account", "show", "--output", "json"], None, READ_SECONDS)
            )
            who = ("--username", account["user"]["name"], "--tenant", account["tenantId"])
            login = ["login", "--service-principal", *who, "--federated-token", "@-"]
            self._once([*login, "--output", "none"], token, READ_SECONDS)
            chosen = ["account", "set", "--subscription", account["id"]]
            self._once(chosen, None, READ_SECONDS)
            self._logins += 1
            return True

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name not in self._without}
        if docker := kept.get("DOCKER"):
            # `az acr login` starts docker, and knows it by another variable.
            kept["DOCKER_COMMAND"] = docker
        return {**kept, **_SETTINGS}

    def _error(self, arguments: list[str], done: Finished) -> AzError:
        problem = read_problem(self.say.redact(done.stderr), done.code)
        shown = [item for item in arguments if item not in ("--output", "json")]
        kind = NotLoggedIn if problem.not_logged_in else AzError
        return kind(problem, self.say.redact(shlex.join(["az", *shown])))


def _program() -> str:
    name = os.environ.get("AZ") or "az"
    path = shutil.which(name)
    if path is None:
        raise NoAccess(f'there is no program "{name}"', _INSTALL)
    return path


def _parsed(done: Finished) -> Any:
    if not done.stdout.strip():
        return None
    try:
        return json.loads(done.stdout)
    except ValueError:
        raise EngineError(
            f"az printed no JSON: {done.stdout.strip()[:200]!r}",
            "run the command by hand (`--verbose` shows it)",
        ) from None
