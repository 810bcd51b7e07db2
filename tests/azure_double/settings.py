"""What is fixed for one run of the double: who the subscription is, and where things are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

TENANT = "72f988bf-0000-4000-8000-000000000001"
SUBSCRIPTION = "5c0ffee0-0000-4000-8000-000000000002"
SUBSCRIPTION_NAME = "Double"
MANAGEMENT_HOST = "management.azure.com"
LOGIN_HOST = "login.microsoftonline.com"
GRAPH_HOST = "graph.microsoft.com"
GITHUB_HOST = "api.github.com"
OIDC_HOST = "token.actions.githubusercontent.com"
REGIONS = ("westeurope", "northeurope", "swedencentral", "eastus", "westus3")


@dataclass(frozen=True)
class Settings:
    """One run.

    Attributes:
        folder: everything that the run writes lies below it; the caller removes it.
        run_id: unique; containers carry it in a label, so that they can be found and removed.
        retry_after_seconds: what pollers of long-running operations are told to wait.
        tenant, subscription: GUIDs.
    """

    folder: Path
    run_id: str
    retry_after_seconds: int = 1
    tenant: str = TENANT
    subscription: str = SUBSCRIPTION

    @property
    def subscription_id(self) -> str:
        """The subscription's resource identifier."""
        return f"/subscriptions/{self.subscription}"
