"""Everything that a deploy would fail on later, found before it changes anything, all at once."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from engine.deploy.az import Az, AzError
from engine.deploy.azure_ids import is_abac, roles_of, same
from engine.deploy.config import names
from engine.deploy.config.environment import Environment
from engine.deploy.config.project import Project
from engine.deploy.config.rules.settings import setting_faults
from engine.deploy.diagnosis.evidence import Evidence, Registry
from engine.deploy.diagnosis.image import absent, role_missing
from engine.deploy.diagnosis.looks import unregistered
from engine.deploy.diagnosis.platform import not_registered
from engine.deploy.finding import Certainty, Finding
from engine.deploy.targets.base import Places
from engine.deploy.targets.kind import kind_of
from engine.deploy.telemetry import workspace_id
from engine.errors import EngineError

_BOOTSTRAP = "`.venv/bin/python -m engine.deploy bootstrap` makes it, and may be run at any time"
# Commands of az that run at the same time: each spends most of its time waiting for Azure.
_AT_ONCE = 4


class NotReadyToDeploy(EngineError):
    """Preflight found faults; each has its own way out."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        if len(findings) == 1:
            super().__init__(findings[0].cause, findings[0].fix)
        else:
            lines = "\n".join(f"  - {each.cause}\n    fix: {each.fix}" for each in findings)
            super().__init__(f"{len(findings)} things prevent it:\n{lines}", "see each line")
        self.findings = tuple(findings)


@dataclass(frozen=True, slots=True)
class Inputs:
    """What was found. ``places`` is None if the findings make a deploy impossible."""

    places: Places | None
    findings: tuple[Finding, ...]


def subscription(az: Az) -> str:
    """The id of the subscription that `az` works on.

    Raises:
        EngineError: `az` is missing or old, nobody is logged in, or it is another subscription
            than the one that AZURE_SUBSCRIPTION_ID names.
    """
    # First, so that without a login `az`, which takes seconds to start, is started once.
    account = az.json("account", "show")
    az.require_version()
    chosen = os.environ.get("AZURE_SUBSCRIPTION_ID")
    if chosen and not same(chosen, account["id"]):
        raise EngineError(
            f"az works on the subscription {account['id']} ({account['name']}), and "
            f"AZURE_SUBSCRIPTION_ID is {chosen}",
            f"az account set --subscription {chosen}",
        )
    return str(account["id"])


def inspect(az: Az, project: Project, environment: Environment, subscription_id: str) -> Inputs:
    """Look at everything that has to be there before the first deploy."""
    kind = kind_of(environment)
    shared = ("--resource-group", project.shared_resource_group)
    registry, identity, group, workspace, missing = at_once(
        lambda: _look(az, "acr", "show", "--name", project.registry, *shared),
        lambda: _look(az, "identity", "show", "--name", names.runtime_identity(project), *shared),
        lambda: _look(az, "group", "show", "--name", environment.resource_group),
        lambda: workspace_id(az, project) if kind.takes_workspace else None,
        partial(unregistered, az, environment),
    )
    findings = [
        *_missing(registry, f"the registry {project.registry} in {project.shared_resource_group}"),
        *_missing(identity, f"the identity {names.runtime_identity(project)}"),
        *_missing(group, f"the resource group {environment.resource_group}"),
        *not_registered(Evidence(unregistered=missing)),
        *_no_workspace(workspace, project, environment),
    ]
    if not isinstance(registry, dict) or not isinstance(identity, dict):
        return Inputs(None, tuple(findings))
    findings += _pull_right(az, registry, identity)
    places = Places(
        subscription=subscription_id,
        registry_server=str(registry["loginServer"]),
        pull_identity=str(identity["id"]),
        workspace=workspace,
    )
    return Inputs(kind.places(project, environment, places), tuple(findings))


def require(findings: Sequence[Finding], warn: Callable[[str], None]) -> None:
    """Speak of what may go well, refuse the rest.

    Raises:
        NotReadyToDeploy: with everything that prevents the deploy.
    """
    for each in findings:
        if not each.fatal:
            warn(f"{each.cause}; {each.fix}")
    if fatal := [each for each in findings if each.fatal]:
        raise NotReadyToDeploy(fatal)


def at_once(*looks: Callable[[], Any]) -> list[Any]:
    """Look at several things at the same time; what each found, in their order."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return [future.result() for future in [pool.submit(look) for look in looks]]


def _look(az: Az, *arguments: str) -> dict[str, Any] | AzError | None:
    """What is there; None: nothing; an error where this login may not look."""
    try:
        found: dict[str, Any] | None = az.find(*arguments)
    except AzError as error:
        if error.status == 403:
            return error
        raise
    return found


def _missing(found: dict[str, Any] | AzError | None, what: str) -> list[Finding]:
    if found is None:
        return [Finding("missing", f"{what} is not there", _BOOTSTRAP)]
    if isinstance(found, AzError):
        return [Finding("not-visible", f"this login may not look at {what}", found.fix)]
    return []


def _no_workspace(
    workspace: str | None, project: Project, environment: Environment
) -> list[Finding]:
    if workspace is not None or not kind_of(environment).sends_log(environment):
        return []
    return [
        Finding(
            "missing",
            f"the workspace {names.workspace(project)} is not there, or this login may not look "
            "at it",
            f"{_BOOTSTRAP}; or write container_logs: false",
        )
    ]


def _pull_right(az: Az, registry: dict[str, Any], identity: dict[str, Any]) -> list[Finding]:
    try:
        assignments = az.json(
            *("role", "assignment", "list", "--scope", registry["id"], "--include-inherited"),
            *("--fill-principal-name", "false", "--fill-role-definition-name", "false"),
        )
    except AzError as error:
        if error.status != 403:
            raise
        cause = f"it cannot be seen whether {identity['name']} may pull from {registry['name']}"
        fix = "give your login Reader on the registry"
        return [Finding("not-visible", cause, fix, Certainty.POSSIBLE)]
    roles = frozenset(roles_of(identity, assignments))
    return role_missing(
        Evidence(registry=Registry(str(registry["name"]), is_abac(registry), roles))
    )


_REFUSED = re.compile(r"(?i)unauthori[sz]ed|does not have authorization|denied|forbidden")


def image_findings(az: Az, project: Project, image: str) -> list[Finding]:
    """Is the image, named by its digest, in the registry?"""
    reference = image.partition("/")[2]
    place = ("--name", project.registry, "--image", reference)
    try:
        az.json("acr", "repository", "show", *place)
    except AzError as error:
        if error.not_in_registry:
            return [absent(reference, project.registry)]
        if _REFUSED.search(error.message):
            cause = f"the registry cannot be asked for {reference}: {error.message}"
            fix = "give your login AcrPull on the registry"
            return [Finding("not-visible", cause, fix, Certainty.POSSIBLE)]
        raise
    return []


def refused_secrets(environment: Environment, values: Mapping[str, str]) -> list[Finding]:
    """Would the service refuse to start with one of these secrets? The values are not shown."""
    given = {**environment.variables, **values}
    return [
        Finding("secret", f"the secret {name} is not usable: {rule}", "set a proper value")
        for name, rule in setting_faults(given)
        if name in values
    ]


def secret_findings(
    wanted: Iterable[str], previous: Iterable[str], known: Iterable[str]
) -> list[Finding]:
    """Has this command the value of every secret, those of the release that serves included?"""
    known = frozenset(known)
    wanted = frozenset(wanted)
    found = [
        Finding(
            "secret",
            f"the secret {name} has no value",
            f"set the environment variable {name} of this command; in GitHub, a secret of that "
            "name in the environment, which the workflow passes: "
            "`.venv/bin/python -m engine.upkeep.workflow_secrets`",
        )
        for name in sorted(wanted - known)
    ]
    found += [
        Finding(
            "secret",
            f"the release that serves has a secret {name}, and it has no value here",
            f"set the environment variable {name} of this command: without it that release could "
            "not be restored",
        )
        for name in sorted(frozenset(previous) - known - wanted)
    ]
    return found
