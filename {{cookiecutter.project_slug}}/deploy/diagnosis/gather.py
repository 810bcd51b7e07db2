"""Look at everything that a diagnosis may need; what may not be looked at is left out.

Nothing is changed. Looks run beside each other, for each spends its time waiting for Azure.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar

from deploy.az import Az
from deploy.az_error import AzError
from deploy.config import names
from deploy.config.environment import Environment
from deploy.config.project import Project
from deploy.diagnosis.azure_shape import read_group
from deploy.diagnosis.evidence import Evidence, Group, Problem, Readiness, Registry, Unfinished
from deploy.diagnosis.words import complaints
from deploy.errors import DeployError
from deploy.rollout import marks
from deploy.targets.base import Live, Target
from deploy.verification.failures import NotReady, Unreachable
from deploy.verification.readiness import require_ready
from deploy.verification.service import Service

AT_ONCE = 4
LOG_LINES = 200
LOG_TRIES = 4
LOG_PAUSE_SECONDS = 2.0
LOOK_SECONDS = 5.0
PROVIDERS = {"aci": "Microsoft.ContainerInstance", "containerapps": "Microsoft.App"}
_ABSENT = re.compile(r"not found|manifest unknown|does not exist", re.IGNORECASE)

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


def gather(scene: Scene, error: DeployError | None = None) -> Evidence:
    """All evidence about an environment, and about a failure that was just met."""
    looks = _Looks(scene)
    live, known = looks.try_to(scene.target.what, scene.target.read)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        group = pool.submit(looks.group)
        logs = pool.submit(looks.logs, live)
        registry = pool.submit(looks.registry, live)
        unregistered = pool.submit(looks.unregistered)
        readiness = pool.submit(looks.readiness, live)
    found_group = group.result()
    return Evidence(
        target=scene.environment.target,
        stage=scene.environment.stage,
        deployed=(live is not None) if known else None,
        group=found_group,
        logs=logs.result(),
        problems=(*_problems(error, live), *looks.problems),
        registry=registry.result(),
        readiness=readiness.result(),
        unfinished=_unfinished(live),
        missing_secrets=_missing_secrets(scene.environment, found_group),
        gpu=scene.environment.gpu,
        unregistered=unregistered.result(),
        stopped=live is not None and live.stopped,
        unseen=tuple(looks.unseen),
    )


class _Looks:
    """Single looks. What this login is refused because it is not logged in counts as a problem;
    a look that its role does not allow is no fault of what is looked at.
    """

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._az = scene.az
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
        except DeployError as error:
            reason = error.cause.splitlines()[0]
        if what is not None:
            self.unseen.append(f"{what} ({reason})")
        return None, False

    def group(self) -> Group | None:
        """The container group with its instance view."""
        environment = self._scene.environment
        if environment.target != "aci":
            return None
        place = ("--resource-group", environment.resource_group, "--name", environment.name)
        look = ("container", "show", *place)
        shown, _ = self.try_to("state and events", lambda: self._az.find(*look))
        return read_group(shown) if shown else None

    def logs(self, live: Live | None) -> tuple[str, ...]:
        """The last lines of the service's log.

        After a restart Azure shows the new container's log, which has to come to its end first.
        """
        if live is None:
            return ()
        lines: list[str] = []
        for left in reversed(range(LOG_TRIES if live.failure else 1)):
            found, known = self.try_to("log", lambda: list(self._scene.target.logs(follow=False)))
            lines = found or []
            if not known or left == 0 or complaints(lines):
                break
            time.sleep(LOG_PAUSE_SECONDS)
        return tuple(lines[-LOG_LINES:])

    def unregistered(self) -> tuple[str, ...]:
        """The resource provider, if the subscription does not use it."""
        namespace = PROVIDERS[self._scene.environment.target]
        look = ("provider", "show", "--namespace", namespace)
        # A deploy identity has no role at the subscription, and cannot tell.
        shown, _ = self.try_to(None, lambda: self._az.find(*look))
        state = (shown or {}).get("registrationState", "Registered")
        return () if state in ("Registered", "Registering") else (namespace,)

    def readiness(self, live: Live | None) -> Readiness | None:
        """One look at the service itself."""
        if live is None or live.address is None or live.stopped:
            return None
        try:
            with Service(live.address, None, LOOK_SECONDS) as service:
                require_ready(service)
        except NotReady as error:
            return Readiness("not ready", error.state, error.reason)
        except Unreachable as error:
            return Readiness("unreachable", detail=error.cause)
        return Readiness("ready")

    def registry(self, live: Live | None) -> Registry | None:
        """The registry, the roles of the identity that pulls from it, and the image in it."""
        project = self._scene.project
        place = ("--resource-group", project.shared_resource_group, "--name")
        look = ("acr", "show", *place, project.registry)
        registry, _ = self.try_to("registry", lambda: self._az.find(*look))
        if not registry:
            return None
        who = names.runtime_identity(project)
        identity, _ = self.try_to(
            "identity", lambda: self._az.find("identity", "show", *place, who)
        )
        has, size = self._image(live)
        return Registry(
            name=project.registry,
            abac=str(registry.get("roleAssignmentMode", "")).lower().startswith("abac"),
            roles=self._roles(str(registry["id"]), identity),
            has_image=has,
            image_bytes=size,
        )

    def _roles(self, scope: str, identity: Any) -> frozenset[str] | None:
        if not identity:
            return None
        # Names of principals would be asked from Microsoft Graph, where a login may have no rights.
        plain = ("--fill-principal-name", "false", "--fill-role-definition-name", "false")
        look = ("role", "assignment", "list", "--scope", scope, "--include-inherited", *plain)
        found, known = self.try_to("roles on the registry", lambda: self._az.json(*look))
        if not known:
            return None
        return frozenset(
            str(each["roleDefinitionId"]).rpartition("/")[2].lower()
            for each in found or []
            if each["principalId"] == identity["principalId"]
        )

    def _image(self, live: Live | None) -> tuple[bool | None, int | None]:
        digest = live.tags.get(names.TAG_IMAGE) if live else None
        if not digest:
            return None, None
        project = self._scene.project
        image = f"{names.image_repository(project)}@{digest}"
        try:
            shown = self._az.json(
                "acr", "repository", "show", "--name", project.registry, "--image", image
            )
        except DeployError as error:
            absent = _ABSENT.search(error.cause) and "unauthorized" not in error.cause.lower()
            return (False if absent else None), None
        size = (shown or {}).get("imageSize")
        return True, int(size) if size else None


def _problems(error: DeployError | None, live: Live | None) -> tuple[Problem, ...]:
    found = []
    if isinstance(error, AzError):
        found.append(Problem(error.message, error.code))
    elif error is not None:
        found.append(Problem(error.cause))
    if live is not None and live.failure:
        found.append(Problem(live.failure))
    return tuple(found)


def _unfinished(live: Live | None) -> Unfinished | None:
    if live is None or marks.state(live.tags) == marks.KEPT:
        return None
    try:
        beat = datetime.fromisoformat(live.tags.get(names.TAG_HEARTBEAT, ""))
        silent = (datetime.now(UTC) - beat).total_seconds()
    except (TypeError, ValueError):
        silent = None
    return Unfinished(marks.rollout(live.tags) or "?", silent_seconds=silent)


def _missing_secrets(environment: Environment, group: Group | None) -> tuple[str, ...]:
    if group is None or not group.containers:
        return ()
    given = {name for container in group.containers for name in container.names}
    return tuple(name for name in environment.secrets if name not in given)
