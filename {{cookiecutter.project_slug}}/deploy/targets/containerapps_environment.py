"""Make the place in which apps run: a Container Apps environment with its workload profile.

Bootstrap calls this once for each environment whose target is ``containerapps``. Without an app
the environment bills nothing, with a GPU profile neither: such a profile is a permission to start
replicas with a GPU, and those bill.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from deploy.az import Az
from deploy.config.containerapps_rules import CONSUMPTION, WorkloadProfile
from deploy.errors import DeployError

NAMESPACE = "Microsoft.App"
"""The resource provider to be registered first, beside those of every target."""

DEPLOY_ACTIONS = (
    f"{NAMESPACE}/containerApps/*",
    f"{NAMESPACE}/managedEnvironments/read",
    f"{NAMESPACE}/managedEnvironments/join/action",
)
"""What a deploy identity needs on the environment's resource group, for a role of our own.

The built-in role Container Apps Contributor says ``containerApps/*/write``; whether that covers an
app itself, and not only what is below one, is reported both ways.
"""

CREATE_SECONDS = 1800.0
LOG_CATEGORIES = ("ContainerAppConsoleLogs", "ContainerAppSystemLogs")
_LOG_SETTING = "service-logs"


@dataclass(frozen=True, slots=True)
class AppsEnvironment:
    """What has to be there. ``workspace`` is the id of the Log Analytics workspace for the logs."""

    name: str
    resource_group: str
    region: str
    profile: WorkloadProfile
    workspace: str


def ensure(az: Az, wanted: AppsEnvironment) -> str | None:
    """Make what is missing; what is there stays. The environment's id; None in a dry run.

    Logs go to the workspace by a diagnostic setting: the other way, ``--logs-workspace-key``,
    would put a key into an argument list.

    Raises:
        DeployError: an environment of that name exists and cannot take the profile or the region.
    """
    place = ("--name", wanted.name, "--resource-group", wanted.resource_group)
    found = az.find("containerapp", "env", "show", *place)
    if found is None:
        found = az.change(
            *("containerapp", "env", "create", *place, "--location", wanted.region),
            *("--logs-destination", "azure-monitor"),
            limit=CREATE_SECONDS,
        )
    else:
        _check(found, wanted)
    _ensure_profile(az, found, wanted)
    identifier: str | None = found["id"] if found else None
    _ensure_logs(az, identifier, wanted)
    return identifier


def _check(found: dict[str, Any], wanted: AppsEnvironment) -> None:
    region = str(found["location"]).replace(" ", "").lower()
    if region != wanted.region:
        raise DeployError(
            f"the Container Apps environment {wanted.name} is in {region}, not {wanted.region}",
            "keep that region in deploy/environments, or delete the environment first",
        )
    if not found["properties"].get("workloadProfiles"):
        raise DeployError(
            f"the Container Apps environment {wanted.name} is of the old kind without workload "
            "profiles, which cannot be added",
            "delete it, or give the environment another name, and run bootstrap again",
        )


def _ensure_profile(az: Az, found: dict[str, Any] | None, wanted: AppsEnvironment) -> None:
    profiles = found["properties"].get("workloadProfiles") or [] if found else []
    names = {each["name"] for each in profiles}
    # Consumption comes with every environment.
    if wanted.profile == CONSUMPTION or wanted.profile.name in names:
        return
    az.change(
        *("containerapp", "env", "workload-profile", "add"),
        *("--name", wanted.name, "--resource-group", wanted.resource_group),
        *("--workload-profile-name", wanted.profile.name),
        *("--workload-profile-type", wanted.profile.type),
        limit=CREATE_SECONDS,
    )


def _ensure_logs(az: Az, identifier: str | None, wanted: AppsEnvironment) -> None:
    setting = ("--name", _LOG_SETTING, "--resource", identifier or f"<id of {wanted.name}>")
    if identifier and az.find("monitor", "diagnostic-settings", "show", *setting):
        return
    logs = [{"category": category, "enabled": True} for category in LOG_CATEGORIES]
    az.change(
        *("monitor", "diagnostic-settings", "create", *setting),
        *("--workspace", wanted.workspace, "--logs", json.dumps(logs)),
    )
