"""Where the log of a container group goes: a workspace, named by its id and opened by its key."""

from __future__ import annotations

from typing import Any

from ..arm.azure import Azure
from ..arm.errors import ArmError, not_modelled

WORKSPACES = "Microsoft.OperationalInsights/workspaces"
KNOWN = {"workspaceId", "workspaceKey"}


def check(azure: Azure, name: str, properties: dict[str, Any]) -> None:
    """Refuse a workspace that is not there, or a key that does not open it.

    Azure takes both and then keeps no log, which nobody would notice here.

    Raises:
        ArmError: 400 InvalidLogAnalyticsWorkspace; 501 for kinds of logs that are not modelled.
    """
    logs = (properties.get("diagnostics") or {}).get("logAnalytics")
    if not logs:
        return
    if others := sorted(logs.keys() - KNOWN):
        raise not_modelled(f"diagnostics.logAnalytics.{others[0]} of a container group")
    for workspace in azure.store.list(WORKSPACES):
        if workspace.properties["customerId"].lower() == str(logs["workspaceId"]).lower():
            if logs["workspaceKey"] in workspace.hidden.values():
                return
            raise _refused(name, "the key is not one of the workspace's")
    raise _refused(name, f"there is no workspace '{logs['workspaceId']}'")


def _refused(name: str, why: str) -> ArmError:
    return ArmError(
        400,
        "InvalidLogAnalyticsWorkspace",
        f"The log analytics settings of container group '{name}' are invalid: {why}.",
    )
