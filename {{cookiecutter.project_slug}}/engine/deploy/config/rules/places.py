"""Rules on where an environment is: apart from what it shares, and from its neighbours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from engine.deploy.config.environment import Environment
from engine.deploy.config.names import JOBS
from engine.deploy.config.project import Project
from engine.deploy.config.rules.rule import Broken, Rule


def shared(project: Project, environment: Environment) -> Iterator[Broken]:
    """Removing an environment removes its resource group, so nothing else may be in it."""
    if environment.resource_group.lower() == project.shared_resource_group.lower():
        yield Broken(
            ("resource_group",),
            "holds the registry and the identities that all environments share, and roles and "
            "`down` reach over a whole group",
            f"write for example {project.name}-{environment.stage}",
        )


def neighbours(
    environment: Environment, others: Mapping[str, Mapping[str, object]]
) -> list[Broken]:
    """Another environment in the same group could overwrite this one.

    Args:
        others: the content of the other environments' files by stage, unchecked.
    """
    return [
        Broken(
            ("resource_group",),
            f"is that of {stage} too, whose deploys could then reach this environment",
            f"give each its own, for example {environment.name}",
        )
        for stage, other in others.items()
        if str(other.get("resource_group", "")).lower() == environment.resource_group.lower()
    ]


def reserved(project: Project, environment: Environment) -> Iterator[Broken]:
    """GitHub's environments of these names have identities of their own."""
    if environment.stage.lower() in JOBS:
        yield Broken(
            ("stage",),
            "is the name of GitHub's environment for the job that pushes or deletes images",
            "give the file another name, for example test.yaml",
        )


RULES = (
    Rule(("resource_group", "project.shared_resource_group"), shared),
    Rule(("stage",), reserved),
)
