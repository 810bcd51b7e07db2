"""Read the configuration: typed, checked against Azure's rules, every fault reported at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from engine.deploy.config.environment import Environment
from engine.deploy.config.faults import fault_of, fault_of_rule
from engine.deploy.config.kinds import Section
from engine.deploy.config.project import Project
from engine.deploy.config.rules import gpu, places, settings
from engine.deploy.config.rules.rule import Broken
from engine.deploy.config.source import Source, read_source
from engine.deploy.targets import kind_names
from engine.deploy.targets.kind import environment_model, kind_of
from engine.errors import ConfigError, EngineError, Fault

PROJECT_FILE = "deploy/project.yaml"
ENVIRONMENTS = "deploy/environments"
RULES = (*places.RULES, *gpu.RULES, *settings.RULES)
ENTRIES = ("variables", "tags")

_Model = TypeVar("_Model", bound=Section)
# In place of required fields that are faulty, so that the rules on the others can be judged.
_PROJECT_STAND_INS: Mapping[str, object] = {
    "name": "stand-in",
    "title": "stand-in",
    "owner": "stand-in",
    "accelerator": "cpu",
    "registry": "standin",
    "region": "region",
    "shared_resource_group": "stand-in-shared",
}
_ENVIRONMENT_STAND_INS: Mapping[str, object] = {
    "region": "region",
    "resource_group": "stand-in",
    "name": "stand-in",
}


@dataclass(frozen=True, slots=True)
class _Checked(Generic[_Model]):
    """One file: its content, with defaults or stand-ins for the fields in ``faulty``."""

    source: Source
    content: _Model
    faults: tuple[Fault, ...]
    faulty: frozenset[str]


def read_project(root: Path) -> Project:
    """Read deploy/project.yaml below the repository's root.

    Raises:
        ConfigError: the file has faults; it lists them all.
    """
    checked = _project(root)
    _raise_for(checked.faults)
    return checked.content


def read_environment(stage: str, root: Path) -> tuple[Project, Environment]:
    """Read deploy/project.yaml and the file of one environment.

    Raises:
        ConfigError: the files have faults; it lists those of both.
        EngineError: there is no such environment.
    """
    stages = environment_names(root)
    if stage not in stages:
        raise EngineError(
            f"there is no environment {stage!r}",
            f"name one of: {', '.join(stages)} (the files in {ENVIRONMENTS}); or make it: "
            f"sed 's/staging/{stage}/g' {environment_file('staging')} > {environment_file(stage)}",
        )
    project = _project(root)
    environment = _environment(stage, root)
    broken = _broken(project, environment)
    if "resource_group" not in environment.faulty:
        others = {other: environment_file(other) for other in stages if other != stage}
        contents = {other: read_source(root, file).data for other, file in others.items()}
        broken += places.neighbours(environment.content, contents)
    across = [fault_of_rule(item, environment.source, environment.content) for item in broken]
    _raise_for((*project.faults, *_missing_lock(project, root), *environment.faults, *across))
    return project.content, environment.content


def read_section(model: type[_Model], root: Path, file: str) -> _Model:
    """A file of its own, below the repository's root; the model needs no field.

    Raises:
        ConfigError: it has faults; all of them are listed.
    """
    checked = _checked(model, read_source(root, file), {})
    _raise_for(checked.faults)
    return checked.content


def environment_names(root: Path) -> tuple[str, ...]:
    """The environments that have a file, production last."""
    stages = (path.stem for path in (root / ENVIRONMENTS).glob("*.yaml"))
    return tuple(sorted(stages, key=lambda stage: (stage == "production", stage)))


def environment_file(stage: str) -> str:
    """The file of an environment, below the repository's root."""
    return f"{ENVIRONMENTS}/{stage}.yaml"


def _project(root: Path) -> _Checked[Project]:
    return _checked(Project, read_source(root, PROJECT_FILE), _PROJECT_STAND_INS)


def _environment(stage: str, root: Path) -> _Checked[Environment]:
    source = read_source(root, environment_file(stage))
    stand_ins = {**_ENVIRONMENT_STAND_INS, "target": kind_names()[0], "stage": stage}
    return _checked(environment_model(source.data), source, stand_ins)


def _checked(
    model: type[_Model], source: Source, stand_ins: Mapping[str, object]
) -> _Checked[_Model]:
    """Validate a file; where that fails, once more without the fields that are to blame."""
    if source.node is None:
        content = model.model_validate(dict(stand_ins))
        return _Checked(source, content, source.faults, frozenset(model.model_fields))
    given = {key: value for key, value in stand_ins.items() if key == "stage"}
    errors = _errors(model, source.data | given)
    if "stage" in source.data:
        errors.append(ErrorDetails(type="extra_forbidden", loc=("stage",), msg="", input=None))
    faults = [fault_of(error, source, model) for error in errors]
    sound, faulty = _sound(source.data, errors)
    content = model.model_validate({**stand_ins, **sound, **given})
    return _Checked(source, content, (*source.faults, *faults), faulty)


def _missing_lock(project: _Checked[Project], root: Path) -> Iterator[Fault]:
    """A project that was generated for the CPU has no lock of the GPU image."""
    if {"accelerator"} & project.faulty or project.content.accelerator != "gpu":
        return
    source = "requirements/serve-gpu.in"
    if not (root / source).with_suffix(".txt").exists():
        rule = "needs requirements/serve-gpu.txt, which does not exist"
        fix = f"write `-r ../engine/{source}` into {source}, run `make lock` and commit both"
        yield fault_of_rule(Broken(("accelerator",), rule, fix), project.source, project.content)


def _sound(
    data: Mapping[str, object], errors: list[ErrorDetails]
) -> tuple[dict[str, object], frozenset[str]]:
    """The fields without fault, and the names of the others. Of a mapping that people fill with
    names of their own only the faulty entries are left out, so that the rest is judged.
    """
    sound = dict(data)
    faulty = set()
    for error in errors:
        field, *rest = (str(step) for step in error["loc"])
        entries = sound.get(field)
        if field in ENTRIES and rest and isinstance(entries, dict):
            sound[field] = {key: value for key, value in entries.items() if key != rest[0]}
        else:
            sound.pop(field, None)
            faulty.add(field)
    return sound, frozenset(faulty)


def _errors(model: type[Section], data: Mapping[str, object]) -> list[ErrorDetails]:
    try:
        model.model_validate(data)
    except ValidationError as error:
        return error.errors()
    return []


def _broken(project: _Checked[Project], environment: _Checked[Environment]) -> list[Broken]:
    """What breaks the rules, as far as the fields that a rule needs are sound."""
    unknown = {*environment.faulty, *(f"project.{field}" for field in project.faulty)}
    # Those of the place come first: they say what a value may be there.
    special = () if "target" in unknown else kind_of(environment.content).rules
    return [
        broken
        for rule in (*special, *RULES)
        if unknown.isdisjoint(rule.needs)
        for broken in rule.check(project.content, environment.content)
    ]


def _raise_for(faults: tuple[Fault, ...]) -> None:
    if faults:
        raise ConfigError(faults)
