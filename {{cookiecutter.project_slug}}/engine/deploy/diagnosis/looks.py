"""Single looks at an environment; one that is not possible is noted, and the others go on."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol, TypeVar
from urllib.parse import urlsplit

from engine.client.failures import NotReady, Unreachable
from engine.client.readiness import require_ready
from engine.client.service import Service
from engine.deploy.az import Az
from engine.deploy.az_error import AzError
from engine.deploy.azure_ids import is_registered
from engine.deploy.config.environment import Environment
from engine.deploy.config.project import Project
from engine.deploy.diagnosis.evidence import Group, Problem, Readiness
from engine.deploy.diagnosis.words import complaints
from engine.deploy.finding import Finding
from engine.deploy.journal import Journal
from engine.deploy.targets.base import Live, Target
from engine.deploy.targets.kind import kind_of
from engine.deploy.targets.own_names import OwnNames
from engine.errors import EngineError

LOG_LINES = 200
LOG_TRIES = 4
LOG_PAUSE_SECONDS = 2.0
LOOK_SECONDS = 5.0

T = TypeVar("T")


class Scene(Protocol):
    """What is looked at: an environment, and the login that looks."""

    @property
    def project(self) -> Project:
        """The project."""

    @property
    def environment(self) -> Environment:
        """The environment."""

    @property
    def az(self) -> Az:
        """The Azure CLI."""

    @property
    def target(self) -> Target:
        """The environment's target."""

    @property
    def own_names(self) -> OwnNames | None:
        """What its own names need."""

    @property
    def journal(self) -> Journal:
        """The records of its rollouts."""


def unregistered(az: Az, environment: Environment) -> tuple[str, ...]:
    """The resource providers that an environment needs and the subscription does not use.

    A deploy identity has no role at the subscription and cannot tell: such a provider is left out.

    Raises:
        AzError: Azure cannot be asked.
    """
    found = []
    for namespace in kind_of(environment).providers(environment):
        try:
            shown = az.find("provider", "show", "--namespace", namespace)
        except AzError as error:
            if not error.forbidden:
                raise
            continue
        if not is_registered(shown or {}):
            found.append(namespace)
    return tuple(found)


class Looks:
    """Looks at one scene. That nobody is logged in counts as a problem; a look that the login's
    role does not allow is no fault of what is looked at.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.az = scene.az
        self.problems: list[Problem] = []
        self.unseen: list[str] = []

    def try_to(self, what: str | None, look: Callable[[], T]) -> tuple[T | None, bool]:
        """What was found, and whether the look was possible at all. ``what``: None where nobody
        has to know that it was not.
        """
        try:
            return look(), True
        except AzError as error:
            if error.status == 401:
                self.problems.append(Problem(error.message, error.code))
            reason = error.code
        except EngineError as error:
            reason = error.cause.splitlines()[0]
        if what is not None:
            self.unseen.append(f"{what} ({reason})")
        return None, False

    def group(self) -> Group | None:
        """What runs, with its state and events."""
        group, _ = self.try_to("state and events", self.scene.target.evidence)
        return group

    def logs(self, live: Live | None) -> tuple[str, ...]:
        """The last lines of the service's log.

        After a restart Azure shows the new container's log, which has to come to its end first.
        """
        if live is None:
            return ()
        lines: list[str] = []
        for left in reversed(range(LOG_TRIES if live.failure else 1)):
            found, known = self.try_to("log", lambda: list(self.scene.target.logs(follow=False)))
            lines = found or []
            if not known or left == 0 or complaints(lines):
                break
            time.sleep(LOG_PAUSE_SECONDS)
        return tuple(lines[-LOG_LINES:])

    def unregistered(self) -> tuple[str, ...]:
        """See the function ``unregistered``."""
        found, _ = self.try_to(None, lambda: unregistered(self.az, self.scene.environment))
        return found or ()

    def outside(self, live: Live | None) -> tuple[Finding, ...]:
        """What only a client sees of the address."""
        if live is None or live.address is None or live.stopped:
            return ()
        environment, names = self.scene.environment, self.scene.own_names
        host = urlsplit(live.address).hostname or ""
        own, _ = self.try_to("own names", lambda: tuple(names.findings(host) if names else ()))
        return (*(own or ()), *kind_of(environment).outside(environment, live.address))

    def readiness(self, live: Live | None) -> Readiness | None:
        """One look at the service itself."""
        if live is None or live.address is None or live.stopped or self._private():
            return None
        # Where the release before goes on serving, the one in question has addresses of its own.
        own, _ = self.try_to(None, self.scene.target.candidate_addresses)
        headers, _ = self.try_to(None, self.scene.target.candidate_headers)
        authority, _ = self.try_to(None, self.scene.target.candidate_authority)
        address = (own or (live.address,))[0]
        try:
            with Service(address, None, LOOK_SECONDS, headers, authority) as service:
                require_ready(service)
        except NotReady as error:
            return Readiness("not ready", error.state, error.reason)
        except Unreachable as error:
            return Readiness("unreachable", detail=error.cause)
        return Readiness("ready")

    def _private(self) -> bool:
        """Whether nobody here reaches the service, which is as configured."""
        environment = self.scene.environment
        return kind_of(environment).private(environment)
