"""A generated repository, its owner's login, and `python -m engine.deploy bootstrap` run in it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.azure_double.client import AzureDouble, Person

SLUG = "iris-service"
REPOSITORY_NAME = f"octo-org/{SLUG}"
REMOTE = f"https://github.com/{REPOSITORY_NAME}.git"
SECONDS = 400
_READS = {"GET", "HEAD", "CONNECT"}
# Asking whether a name is free, logging in, and reading a key are POSTs that change nothing.
_HARMLESS = (
    *("/checknameavailability", "/oauth2/v2.0/token", "/oauth2/exchange", "/oauth2/token"),
    *("/sharedkeys", "/listclusterusercredential"),
)


@dataclass(frozen=True)
class Ran:
    """A command that has ended."""

    code: int
    out: str
    err: str


class Bootstrap:
    """One generated repository beside the double; it has a remote, so GitHub is asked about it."""

    def __init__(self, double: AzureDouble, service: Path, python: Path) -> None:
        self.double = double
        self.service = service
        self.python = python
        subprocess.run(["git", "remote", "add", "origin", REMOTE], cwd=service, check=True)

    def env(self, person: Person | None) -> dict[str, str]:
        """The environment of a person's terminal; None: nobody is logged in to Azure."""
        return self.double.env(person)

    def __call__(self, *options: str, env: dict[str, str] | None = None) -> Ran:
        """Run it to its end, as the owner where no other environment is given."""
        return self.deploy(env or self.env(self.double.owner), "bootstrap", *options)

    def deploy(self, env: dict[str, str], *arguments: str) -> Ran:
        """Run any command of `python -m engine.deploy` to its end."""
        done = subprocess.run(
            [str(self.python), "-m", "engine.deploy", *arguments],
            cwd=self.service,
            env={**env, "ORT_DISABLE_TELEMETRY": "1"},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    def killed_at(self, method: str, path: str) -> str:
        """Start it, and kill it without mercy as soon as such a request has come in.

        Returns:
            What it wrote to standard error.
        """
        before = len(self.double.requests(method, path))
        process = subprocess.Popen(
            [str(self.python), "-m", "engine.deploy", "bootstrap"],
            cwd=self.service,
            env=self.env(self.double.owner),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        deadline = time.monotonic() + SECONDS
        while len(self.double.requests(method, path)) == before:
            assert process.poll() is None, process.stderr and process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
        return process.communicate()[1]

    def script(self, text: str) -> None:
        """Type what a dry run printed into a shell."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-s"],
            cwd=self.service,
            env=self.env(self.double.owner),
            input=text,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr


def copied(service: Path, folder: Path) -> Path:
    """A copy of a rendered repository, with its git."""
    target = folder / SLUG
    shutil.copytree(service, target)
    return target


def changes(double: AzureDouble) -> list[str]:
    """The requests that change something, as "METHOD /path"."""
    return [
        f"{each['method']} {each['path']}"
        for each in double.requests()
        if each["method"] not in _READS and not each["path"].lower().endswith(_HARMLESS)
    ]


def roles(shown: Sequence[dict[str, Any]]) -> set[tuple[str, str]]:
    """Role and the last part of the scope, from what `az role assignment list` shows."""
    return {(each["roleDefinitionName"], each["scope"].rpartition("/")[2]) for each in shown}
