"""What a deploy would fail on because of the release itself: its image and its secrets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from engine.deploy.az import Az, AzError
from engine.deploy.config.environment import Environment
from engine.deploy.config.project import Project
from engine.deploy.config.rules.settings import setting_faults
from engine.deploy.diagnosis.image import absent
from engine.deploy.finding import Certainty, Finding

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
