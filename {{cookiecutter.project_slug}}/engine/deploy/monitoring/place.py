"""Where things are, and how they are called: all of it follows from the configuration."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from engine.deploy.config import names
from engine.deploy.config.environment import Environment
from engine.deploy.config.project import Project
from engine.deploy.targets.kind import kind_of


@dataclass(frozen=True, slots=True)
class Place:
    """One environment of a project in a subscription."""

    project: Project
    environment: Environment
    subscription: str

    @property
    def name(self) -> str:
        """The service's name on Azure, by which its log lines are known."""
        return self.environment.name

    @property
    def group(self) -> str:
        """The environment's resource group, in which all but the saved queries is made."""
        return self._group(self.environment.resource_group)

    @property
    def service(self) -> str:
        """The container group or app."""
        return self.copy(self.name)

    def copy(self, name: str) -> str:
        """One container group or app of the environment, by its name."""
        end = kind_of(self.environment).resource(self.environment, name)
        return f"{self.group}/providers/{end}"

    @property
    def resource_type(self) -> str:
        """Its type."""
        return kind_of(self.environment).resource_type

    @property
    def workspace(self) -> str:
        """The Log Analytics workspace."""
        name = names.workspace(self.project)
        return self._shared("Microsoft.OperationalInsights/workspaces", name)

    @property
    def insights(self) -> str:
        """The Application Insights component."""
        return self._shared("Microsoft.Insights/components", names.insights(self.project))

    def monitor(self, kind: str, name: str) -> str:
        """Something of Azure Monitor in the environment's group, such as ``metricAlerts``."""
        return f"{self.group}/providers/Microsoft.Insights/{kind}/{name}"

    @property
    def action_group(self) -> str:
        """The addresses that are notified."""
        return self.monitor("actionGroups", f"{self.name}-alerts")

    @property
    def outside_check(self) -> str:
        """What asks the address from outside."""
        return self.monitor("webtests", f"{self.name}-readyz")

    @property
    def workbook(self) -> str:
        """The workbook; its name is a GUID, the same whenever it is made."""
        guid = uuid.uuid5(uuid.NAMESPACE_URL, f"{self.group}/{self.name}/workbook".lower())
        return self.monitor("workbooks", str(guid))

    @property
    def budget(self) -> str:
        """The budget of the environment's group."""
        return f"{self.group}/providers/Microsoft.Consumption/budgets/{self.name}"

    def rule(self, kind: str, alert: str) -> str:
        """An alert rule."""
        return self.monitor(kind, f"{self.name}-{alert}")

    def saved_query(self, name: str) -> str:
        """A query in the workspace, which the environments share."""
        return f"{self.workspace}/savedSearches/{self.name}-{name.replace('_', '-')}"

    def _shared(self, kind: str, name: str) -> str:
        return f"{self._group(self.project.shared_resource_group)}/providers/{kind}/{name}"

    def _group(self, name: str) -> str:
        return f"/subscriptions/{self.subscription}/resourceGroups/{name}"
