"""What is allowed, and may yet surprise: said before a deploy, which goes on."""

from __future__ import annotations

import re
from collections.abc import Iterator

from engine.deploy.config.environment import Environment
from engine.deploy.config.faults import suggestion
from engine.deploy.config.project import Project
from engine.deploy.config.rules.rule import field_name
from engine.deploy.config.rules.settings import KEYS
from engine.deploy.targets.kind import kind_of
from engine.serving.settings import Settings

_OPEN = {
    "CAPTURE": "captured requests in a folder are read with a key only",
    "FEEDBACK": "POST /feedback always asks for one, so no feedback can be given",
}
"""Settings that are of little use without keys."""
_OFF = frozenset({"0", "f", "false", "n", "no", "none", "off"})
_SECRETIVE = re.compile(
    r"(?i).*(password|passwd|secret|token|credential|connection_?string|_key)s?$"
)


def warnings(project: Project, environment: Environment) -> tuple[str, ...]:
    """One sentence for each thing to know, with the field it comes from."""
    found = [*kind_of(environment).warnings(environment), *_gpu(environment)]
    found += [*_settings(environment), *_probes(environment)]
    if environment.region != project.region:
        found.append(
            f"region is {environment.region}, and the registry is in {project.region}: every start "
            "pulls the image across, which takes longer and is billed as traffic"
        )
    return tuple(found)


def _gpu(environment: Environment) -> Iterator[str]:
    if environment.gpu == "none":
        return
    if environment.variables.get("EXECUTION_PROVIDERS", "").lower() == "cpu":
        yield "variables.EXECUTION_PROVIDERS is cpu: the GPU is paid for and stays idle"


def _settings(environment: Environment) -> Iterator[str]:
    if KEYS not in {name.upper() for name in environment.secrets}:
        yield (
            f"secrets has no {KEYS}: everyone who knows the address may ask the model, at your "
            "expense"
        )
        yield from (
            f"variables.{name} is set and secrets has no {KEYS}: {what}"
            for name, what in _OPEN.items()
            if _is_on(environment, name)
        )
    known = [name.upper() for name in Settings.model_fields]
    for name in environment.variables:
        field = field_name(("variables", name))
        if _SECRETIVE.fullmatch(name):
            yield f"{field} looks like a secret, and everyone can read it here: see secrets"
        near = suggestion(name, known)
        if near and near != name.upper():
            yield f"{field} is no setting of the service: did you mean {near}?"


def _is_on(environment: Environment, name: str) -> bool:
    given = {each.upper(): value for each, value in environment.variables.items()}
    value = given.get(name, "off").strip().lower()
    return value not in _OFF and "://" not in value  # a container is read by its own roles


def _probes(environment: Environment) -> Iterator[str]:
    liveness, readiness = environment.probes.liveness, environment.probes.readiness
    if liveness.path == readiness.path:
        yield (
            f"probes.liveness.path is {liveness.path}, as readiness: a service that is warming up "
            "or overloaded would be killed instead of left alone"
        )
