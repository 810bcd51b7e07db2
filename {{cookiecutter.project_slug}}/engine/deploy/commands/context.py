"""What most commands begin with: the configuration, the login, the target and its journal."""

from __future__ import annotations

import argparse
import getpass
import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from engine.deploy.az import Az
from engine.deploy.config.environment import Environment, Rollout
from engine.deploy.config.project import Project
from engine.deploy.config.read import read_environment
from engine.deploy.diagnose import explain
from engine.deploy.finding import Finding
from engine.deploy.journal import ArmJournal
from engine.deploy.preflight import Inputs, inspect, secret_findings, subscription
from engine.deploy.rollout.checks import ServiceChecks
from engine.deploy.rollout.guard import Guard
from engine.deploy.rollout.inside import InsideChecks
from engine.deploy.rollout.inside import seconds as inside_seconds
from engine.deploy.rollout.signs import this_process
from engine.deploy.rollout.site import Site
from engine.deploy.say import Say
from engine.deploy.targets.base import Inside, Places, Target
from engine.deploy.targets.kind import kind_of, own_names
from engine.deploy.targets.own_names import OwnNames
from engine.deploy.telemetry import TelemetrySecrets, absent, looked_up
from engine.errors import EngineError

_SHORTEST_SECRET = 4
"""Shorter values are not taken out of what is shown: they would take out half the text."""


@dataclass(frozen=True, slots=True)
class Context:
    """One environment and the login that acts on it. ``places`` is what is known of them,
    ``telemetry`` reads the secrets that Azure has.
    """

    root: Path
    project: Project
    environment: Environment
    az: Az
    say: Say
    places: Places
    telemetry: TelemetrySecrets

    @property
    def target(self) -> Target:
        """The environment's target."""
        return kind_of(self.environment).target(self.az, self.environment, self.places)

    @property
    def own_names(self) -> OwnNames | None:
        """What the environment's own names need; None: it has none."""
        kind, found = kind_of(self.environment), self.places
        places = kind.places(self.project, self.environment, found)
        return own_names(self.az, self.project, self.environment, places)

    @property
    def journal(self) -> ArmJournal:
        """The records of the environment's rollouts."""
        return ArmJournal(self.az, self.places.subscription, self.environment)

    def inspect(self) -> tuple[Context, Inputs]:
        """Look at what has to be there; the context with the places that were found."""
        self.say.step(f"looking at the subscription {self.places.subscription}")
        inputs = inspect(self.az, self.project, self.environment, self.places.subscription)
        return replace(self, places=inputs.places or self.places), inputs

    @property
    def inside_checks(self) -> InsideChecks | None:
        """Checks of what only its own network reaches; None: everybody reaches it."""
        inside = self.inside
        if inside is None:
            return None
        return InsideChecks(inside, self.target, self.environment, self.say, self._explain)

    @property
    def inside(self) -> Inside | None:
        """See ``Kind.inside``."""
        kind = kind_of(self.environment)
        return kind.inside(self.az, self.environment, self.places)

    def _limits(self) -> Rollout:
        limits = self.environment.rollout
        if self.inside is None:
            return limits
        return limits.model_copy(update={"verify_seconds": inside_seconds(self.environment)})

    def site(self, secret_names: Iterable[str]) -> Site:
        """Everything for a rollout; ``secret_names`` are those that it may need."""
        return Site(
            service=self.environment.name,
            target=self.target,
            journal=self.journal,
            checks=self.inside_checks
            or ServiceChecks(self.environment, self.root, self.say, self._explain),
            limits=self._limits(),
            say=self.say,
            guard=Guard(self.say),
            by=who(),
            process=this_process(),
            secrets=self.secrets(secret_names),
        )

    def secrets(self, secret_names: Iterable[str]) -> Mapping[str, str]:
        """The values of these secrets, as far as they are given or can be read from Azure."""
        wanted = frozenset(secret_names)
        read = wanted & looked_up(self.environment)
        return {**given_secrets(self.say, wanted - read), **self.telemetry.values(read)}

    def secret_findings(
        self, wanted: Iterable[str], needed: Iterable[str], known: Iterable[str]
    ) -> list[Finding]:
        """What is wrong with the secrets: ``wanted`` are those of the release to deploy,
        ``needed`` also those of the one before, ``known`` those that have a value.
        """
        read, needed = looked_up(self.environment), frozenset(needed)
        given = secret_findings(frozenset(wanted) - read, needed - read, known)
        return [*given, *absent(self.project, needed & read, known)]

    def _explain(self, error: EngineError) -> EngineError:
        return explain(self, error, self.say.detail)


def open_context(stage: str, root: Path, say: Say, *, dry_run: bool = False) -> Context:
    """Read the configuration, then ask who is logged in.

    Raises:
        ConfigError: the configuration has faults.
        EngineError: `az` cannot be used.
    """
    return open_contexts((stage,), root, say, dry_run=dry_run)[stage]


def open_contexts(
    stages: Sequence[str], root: Path, say: Say, *, dry_run: bool = False
) -> dict[str, Context]:
    """Several environments with the same login; see ``open_context``."""
    read = {stage: read_environment(stage, root) for stage in stages}
    names = sorted({name for _, environment in read.values() for name in environment.secrets})
    given_secrets(say, names)
    az = Az(say, dry_run=dry_run, without=names)
    places = Places(subscription=subscription(az), registry_server="", pull_identity="")
    return {
        stage: Context(
            *(root, project, environment, az, say, places),
            azure_secrets(az, project, environment, places.subscription),
        )
        for stage, (project, environment) in read.items()
    }


def azure_secrets(
    az: Az, project: Project, environment: Environment, subscription: str
) -> TelemetrySecrets:
    """Reads the secrets of an environment that Azure has."""
    storage = kind_of(environment).storage(environment, subscription)
    return TelemetrySecrets(az, project, storage)


def without_login(stage: str, root: Path, say: Say) -> Context:
    """The configuration alone, with a placeholder for the subscription: nothing can be asked.

    Raises:
        ConfigError: the configuration has faults.
    """
    project, environment = read_environment(stage, root)
    az, places = Az(say), Places("<subscription>", "", "")
    return Context(root, project, environment, az, say, places, TelemetrySecrets(az, project))


def add_stage(parser: argparse.ArgumentParser, *, optional: bool = False) -> None:
    """The argument that names an environment."""
    text = "an environment: a file in deploy/environments"
    if optional:
        parser.add_argument("environment", nargs="?", metavar="ENV", help=f"{text}; default: all")
    else:
        parser.add_argument("environment", metavar="ENV", help=text)


def add_dry_run(parser: argparse.ArgumentParser) -> None:
    """The option that shows commands instead of running them."""
    parser.add_argument(
        "--dry-run", action="store_true", help="print the commands, and change nothing"
    )


def given_secrets(say: Say, secret_names: Iterable[str]) -> Mapping[str, str]:
    """The secrets of this process's environment; from now on they are never shown."""
    values = {name: os.environ[name] for name in secret_names if os.environ.get(name)}
    for value in values.values():
        # API_KEYS holds several, and each could be shown alone.
        parts = [value, *(part.strip() for part in value.split(","))]
        say.hide(part for part in parts if len(part) >= _SHORTEST_SECRET)
    return values


def who() -> str:
    """Who runs this, for people: a person at a machine, or a run of a workflow."""
    run, repository = os.environ.get("GITHUB_RUN_ID"), os.environ.get("GITHUB_REPOSITORY")
    if run and repository:
        server = os.environ.get("GITHUB_SERVER_URL", "https://github.com")
        actor = os.environ.get("GITHUB_ACTOR", "a workflow")
        return f"{actor} in {server}/{repository}/actions/runs/{run}"
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = "someone"
    return f"{name}@{socket.gethostname()}"
