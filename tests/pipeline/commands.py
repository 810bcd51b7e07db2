"""Runs the real `az` and `gh` against the double."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from tests.azure_double.client import AzureDouble

SECONDS = 120


class CommandError(AssertionError):
    """A command that failed; ``str()`` is what it wrote to standard error."""


class Azure:
    """The Azure CLI in one environment, and what tests usually need first.

    Attributes:
        double: what it talks to.
        env: the environment for any other process of the same person.
    """

    def __init__(self, double: AzureDouble, env: dict[str, str]) -> None:
        self.double = double
        self.env = env

    def __call__(self, *arguments: str) -> Any:
        """Run `az` and give its JSON; None when it printed nothing.

        Raises:
            CommandError: it failed.
        """
        text = run(self.env, "az", *arguments, "--output", "json")
        return json.loads(text) if text.strip() else None

    def group(self, name: str) -> str:
        """Create a resource group in westeurope; gives its id."""
        made: dict[str, Any] = self("group", "create", "--name", name, "--location", "westeurope")
        return str(made["id"])

    def identity(self, group: str, name: str) -> dict[str, Any]:
        """Create a user-assigned identity; gives what `az` printed."""
        made: dict[str, Any] = self(
            *("identity", "create", "--resource-group", group, "--name", name),
            *("--location", "westeurope"),
        )
        return made

    def trust(self, group: str, identity: str, subject: str, name: str = "github") -> None:
        """Let a job with this subject log in as the identity."""
        self(
            *("identity", "federated-credential", "create", "--resource-group", group),
            *("--identity-name", identity, "--name", name, "--subject", subject),
            *("--issuer", "https://token.actions.githubusercontent.com"),
            *("--audiences", "api://AzureADTokenExchange"),
        )

    def assign(self, identity: dict[str, Any], role: str, scope: str) -> None:
        """Give a role to an identity."""
        self(
            *("role", "assignment", "create", "--role", role, "--scope", scope),
            *("--assignee-object-id", str(identity["principalId"])),
            *("--assignee-principal-type", "ServicePrincipal"),
        )

    def as_job(self, identity: dict[str, Any], subject: str) -> Azure:
        """The CLI logged in as an identity by the token of a GitHub job, as azure/login does.

        Raises:
            CommandError: Entra refused the token.
        """
        env = self.double.env()
        token = self.double.oidc_token(subject)
        run(
            env,
            *("az", "login", "--service-principal", "--username", str(identity["clientId"])),
            *("--tenant", self.double.tenant, "--federated-token", token, "--output", "none"),
        )
        return Azure(self.double, env)


def run(env: dict[str, str], *command: str, stdin: str = "") -> str:
    """Run a program and give its standard output.

    Raises:
        CommandError: it failed.
    """
    done = subprocess.run(
        command,
        env=env,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    if done.returncode:
        raise CommandError(f"{' '.join(command)}: exit {done.returncode}\n{done.stderr}")
    return done.stdout
