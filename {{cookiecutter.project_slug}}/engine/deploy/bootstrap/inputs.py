"""What all steps are made from: configuration, account, repository; and the ids that follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from engine.deploy.config import names
from engine.deploy.config.environment import Environment
from engine.deploy.config.project import Project


@dataclass(frozen=True, slots=True)
class Account:
    """Who is logged in to Azure, and which subscription is the current one."""

    subscription: str
    subscription_name: str
    tenant: str
    user: str


@dataclass(frozen=True, slots=True)
class Reviewer:
    """Who must say yes before a job may use the environment production.

    ``asked``: named on the command line, and not only the one who is at hand. ``id`` is GitHub's
    number, or a placeholder in a dry run that cannot ask for it.
    """

    login: str
    id: int | str
    asked: bool = False


@dataclass(frozen=True, slots=True)
class Repository:
    """The repository on GitHub. ``subject`` is how its tokens begin: what Azure must trust."""

    name: str
    subject: str
    default_branch: str
    reviewer: Reviewer | None


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything that the plan follows from.

    Args:
        environments: by stage, in the order of promotion.
        subject: beginning of the subject of GitHub's tokens; None: not known.
        repository: None: nothing is done on GitHub.
    """

    project: Project
    environments: Mapping[str, Environment]
    account: Account
    subject: str | None
    repository: Repository | None

    @property
    def shared(self) -> str:
        """The resource group of what the environments share."""
        return self.project.shared_resource_group

    def group_id(self, group: str) -> str:
        """Azure's id of a resource group."""
        return f"/subscriptions/{self.account.subscription}/resourceGroups/{group}"

    def registry_id(self) -> str:
        """Azure's id of the registry."""
        return self._shared_id("Microsoft.ContainerRegistry/registries", self.project.registry)

    def identity_id(self, name: str) -> str:
        """Azure's id of a managed identity."""
        return self._shared_id("Microsoft.ManagedIdentity/userAssignedIdentities", name)

    def workspace_id(self) -> str:
        """Azure's id of the Log Analytics workspace."""
        name = names.workspace(self.project)
        return self._shared_id("Microsoft.OperationalInsights/workspaces", name)

    def insights_id(self) -> str:
        """Azure's id of the Application Insights component."""
        return self._shared_id("Microsoft.Insights/components", names.insights(self.project))

    def _shared_id(self, kind: str, name: str) -> str:
        return f"{self.group_id(self.shared)}/providers/{kind}/{name}"

    def role_id(self, role: str) -> str:
        """Azure's id of a role in this subscription, from the role's own id."""
        return (
            f"/subscriptions/{self.account.subscription}/providers/Microsoft.Authorization/"
            f"roleDefinitions/{role}"
        )
