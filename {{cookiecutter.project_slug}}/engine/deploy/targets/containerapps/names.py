"""Names that only Container Apps need; the others are in ``engine.deploy.config.names``."""

from __future__ import annotations

from engine.deploy.config.project import Project


def apps_role(project: Project) -> str:
    """The custom role that lets a deploy identity run Container Apps."""
    return f"{project.name} container apps"


def apps_environment(project: Project, stage: str) -> str:
    """The Container Apps environment that holds one environment's app."""
    return f"{project.name}-{stage}-apps"
