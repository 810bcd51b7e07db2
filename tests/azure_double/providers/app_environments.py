"""Container Apps environments: the places of apps, with their workload profiles and domain."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable
from typing import Any

from ..arm import ids
from ..arm.azure import Azure
from ..arm.call import Answer, Call, lister, show
from ..arm.errors import ArmError, not_modelled
from ..arm.routes import ResourceType, Route
from ..arm.store import Resource
from ..settings import MANAGEMENT_HOST
from . import app_schema

NAMESPACE = "Microsoft.App"
VERSIONS = frozenset({"2024-03-01", "2025-01-01", "2025-07-01"})
APPS = f"{NAMESPACE}/containerApps"
CONSUMPTION = "Consumption"
# Name: category, cores, GiB, GPUs, and where it is had; no regions: everywhere.
PROFILE_TYPES: dict[str, tuple[str, int, int, int, frozenset[str]]] = {
    "Consumption": ("Consumption", 4, 8, 0, frozenset()),
    "D4": ("GeneralPurpose", 4, 16, 0, frozenset()),
    "E4": ("MemoryOptimized", 4, 32, 0, frozenset()),
    "Consumption-GPU-NC8as-T4": (
        *("GPU-NC8as-T4", 8, 56, 1),
        frozenset({"westus3", "swedencentral", "westeurope"}),
    ),
    "Consumption-GPU-NC24-A100": (
        *("GPU-NC24-A100", 24, 220, 1),
        frozenset({"westus3", "swedencentral"}),
    ),
}
OPERATIONS = "managedEnvironmentOperationStatuses"
PROFILE_MEMBERS = ("name", "workloadProfileType", "minimumCount", "maximumCount")


class Environments:
    """The calls on environments."""

    def __init__(self, azure: Azure) -> None:
        self.azure = azure
        self.type = ResourceType(NAMESPACE, "managedEnvironments", VERSIONS)
        self.storages = ResourceType(NAMESPACE, "managedEnvironments/storages", VERSIONS)

    def routes(self) -> Iterable[Route]:
        """What `az containerapp env` calls."""
        yield self.type.put(self.put)
        yield self.type.patch(self.patch)
        yield self.type.get(show)
        yield self.type.delete(self.delete)
        yield self.type.list(lister(self.type.name))
        yield self.type.list_all(lister(self.type.name))
        yield self.storages.put(self.put_storage)
        yield self.storages.get(show)
        yield self.type.below(
            "GET", "workloadProfileStates", self.states, "workloadProfileStates/read"
        )
        yield self.type.in_subscription(
            "GET",
            "locations/{location}/availableManagedEnvironmentsWorkloadProfileTypes",
            self.profile_types,
            "locations/availableManagedEnvironmentsWorkloadProfileTypes/read",
        )
        yield self.type.in_subscription(
            "GET", f"locations/{{location}}/{OPERATIONS}/{{operation}}", self.operation, ""
        )

    async def put(self, call: Call) -> Answer:
        """Make an environment, or replace its settings."""
        app_schema.check(call.body, "ManagedEnvironment")
        existing = self.azure.store.get(call.id)
        sent = call.body.get("properties") or {}
        if sent.get("vnetConfiguration") or sent.get("customDomainConfiguration"):
            raise not_modelled("a network or a domain of one's own for an environment")
        region = _region(call.body["location"])
        properties: dict[str, Any] = {
            "appLogsConfiguration": _logs(sent.get("appLogsConfiguration") or {}),
            "zoneRedundant": bool(sent.get("zoneRedundant")),
            "defaultDomain": existing.properties["defaultDomain"]
            if existing
            else default_domain(call.id, region),
            "staticIp": "20.1.2.3",
            "eventStreamEndpoint": f"https://{region}.azurecontainerapps.dev{call.id}/eventstream",
            "provisioningState": "Waiting",
        }
        if sent.get("workloadProfiles") is not None:
            properties["workloadProfiles"] = _profiles(sent["workloadProfiles"], region)
        body = {
            "location": display_name(region),
            "tags": call.body.get("tags") or {},
            "properties": properties,
        }
        made = self.azure.store.put(call.id, body)
        return call.long_running(
            _succeed(made), status=200 if existing else 201, body=made.shown(), location=region
        )

    async def patch(self, call: Call) -> Answer:
        """Change workload profiles or tags."""
        app_schema.check(call.body, "ManagedEnvironment", partial=True)
        environment = call.resource()
        sent = call.body.get("properties") or {}
        if unknown := set(sent) - {"workloadProfiles"}:
            raise not_modelled(f"a PATCH of {sorted(unknown)} of an environment")
        if profiles := sent.get("workloadProfiles"):
            self._change_profiles(environment, profiles)
        if "tags" in call.body:
            environment.body["tags"] = call.body["tags"] or {}
        environment.properties["provisioningState"] = "InProgress"
        region = _region(environment.body["location"])
        answer = call.long_running(_succeed(environment), status=202, location=region)
        # az tells by the address how to poll it.
        operation = answer.headers["Azure-AsyncOperation"].partition("?")[0].rpartition("/")[2]
        answer.headers["Location"] = (
            f"https://{MANAGEMENT_HOST}{self.azure.settings.subscription_id}/providers/{NAMESPACE}"
            f"/locations/{region}/{OPERATIONS}/{operation}?api-version={call.api_version}"
        )
        return answer

    async def delete(self, call: Call) -> Answer:
        """Only an empty environment goes."""
        if self.azure.store.get(call.id) is None:
            return Answer(204)
        if any(environment_of(app) == ids.key(call.id) for app in self.azure.store.list(APPS)):
            raise ArmError(
                409,
                "ManagedEnvironmentNotEmpty",
                "The environment has container apps; delete them first.",
            )

        async def work() -> None:
            await self.azure.remove(call.id)

        return call.long_running(work, status=202)

    async def put_storage(self, call: Call) -> Answer:
        """What apps of the environment may mount; the key is never shown."""
        app_schema.check(call.body, "ManagedEnvironmentStorage")
        self.azure.store.require(call.id.rpartition("/storages/")[0])
        file = dict((call.body.get("properties") or {}).get("azureFile") or {})
        if not file.get("accountKey") or not file.get("accountName") or not file.get("shareName"):
            raise not_modelled("a storage that is no Azure Files share with a key")
        key = {"accountKey": file.pop("accountKey")}
        made = self.azure.store.put(call.id, {"properties": {"azureFile": file}}, key)
        return Answer(200, made.shown())

    async def states(self, call: Call) -> Answer:
        """The profiles of one environment and how many nodes each has."""
        environment = call.resource()
        listed = [
            {
                "id": f"{environment.id}/workloadProfileStates/{profile['name']}",
                "name": profile["name"],
                "type": f"{NAMESPACE}/managedEnvironments/workloadProfileStates",
                "properties": {"currentCount": 0},
            }
            for profile in environment.properties.get("workloadProfiles") or []
        ]
        return Answer(200, {"value": listed})

    async def profile_types(self, call: Call) -> Answer:
        """What `az containerapp env workload-profile list-supported` asks."""
        region = _region(call.values["location"])
        listed = [
            {
                "name": name,
                "id": f"{call.id}/{name}",
                "properties": {
                    "category": category,
                    "applicability": "LocationDefault",
                    "cores": cores,
                    "memoryGiB": memory,
                    "gpus": gpus,
                    "displayName": name,
                },
            }
            for name, (category, cores, memory, gpus, regions) in PROFILE_TYPES.items()
            if not regions or region in regions
        ]
        return Answer(200, {"value": listed})

    async def operation(self, call: Call) -> Answer:
        """How a change goes on, under the name that az looks for."""
        found = self.azure.operations.require(call.values["operation"])
        seconds = str(self.azure.settings.retry_after_seconds)
        return Answer(200, found.body(call.id), {"Retry-After": seconds})

    def _change_profiles(self, environment: Resource, wanted: list[dict[str, Any]]) -> None:
        if environment.properties.get("workloadProfiles") is None:
            raise ArmError(
                400,
                "WorkloadProfilesNotEnabled",
                f"The environment '{environment.name}' was made without workload profiles.",
            )
        region = _region(environment.body["location"])
        profiles = _profiles(wanted, region)
        gone = {each["name"] for each in environment.properties["workloadProfiles"]} - {
            each["name"] for each in profiles
        }
        for app in self.azure.store.list(APPS):
            used = app.properties.get("workloadProfileName")
            if environment_of(app) == ids.key(environment.id) and used in gone:
                raise ArmError(
                    400, "WorkloadProfileInUse", f"The app '{app.name}' uses the profile '{used}'."
                )
        environment.properties["workloadProfiles"] = profiles


def profile_type(environment: Resource, name: str | None) -> str:
    """The type of the workload profile of that name; "" in an environment without profiles.

    Raises:
        ArmError: 400, the environment has no such profile.
    """
    profiles = environment.properties.get("workloadProfiles")
    if profiles is None and not name:
        return ""
    wanted = name or CONSUMPTION
    for profile in profiles or []:
        if profile["name"].lower() == wanted.lower():
            return str(profile["workloadProfileType"])
    raise ArmError(
        400,
        "WorkloadProfileNameInvalid",
        f"The workload profile name '{wanted}' is invalid: the environment "
        f"'{environment.name}' has "
        f"{', '.join(each['name'] for each in profiles or []) or 'no workload profiles'}.",
    )


def environment_of(app: Resource) -> str:
    """The key of the environment that an app is in."""
    return ids.key(app.properties.get("environmentId") or "")


def storage_id(app: Resource, name: str) -> str:
    """The identifier of a storage of the environment that an app is in."""
    return f"{app.properties['environmentId']}/storages/{name}"


def default_domain(identifier: str, region: str) -> str:
    """The domain of an environment's apps: unlike any other's, and the same at every run."""
    digest = hashlib.sha256(ids.key(identifier).encode()).hexdigest()[:8]
    return f"calmsea-{digest}.{region}.azurecontainerapps.io"


def display_name(region: str) -> str:
    """How this provider writes a region: "swedencentral" becomes "Sweden Central"."""
    name = region
    for part in ("central", "europe", "us", "north", "west", "east", "sweden"):
        name = name.replace(part, f" {part} ")
    return " ".join(name.split()).title().replace("Us", "US")


def _region(location: str) -> str:
    return location.replace(" ", "").lower()


def _profiles(sent: list[dict[str, Any]], region: str) -> list[dict[str, Any]]:
    types = {name.lower(): name for name in PROFILE_TYPES}
    made = []
    for profile in copy.deepcopy(sent):
        profile.setdefault("name", profile.pop("Name", None))
        spelled = types.get(str(profile.get("workloadProfileType")).lower())
        regions = PROFILE_TYPES[spelled][4] if spelled else frozenset()
        if spelled is None or (regions and region not in regions):
            raise ArmError(
                400,
                "WorkloadProfileTypeNotSupported",
                f"The workload profile type '{profile.get('workloadProfileType')}' is not "
                f"supported in the region '{region}'.",
            )
        counts = {"minimumCount", "maximumCount"} & {k for k, v in profile.items() if v is not None}
        if counts and spelled.startswith(CONSUMPTION):
            raise ArmError(
                400,
                "WorkloadProfileCountsInvalid",
                f"A profile of the type '{spelled}' takes no minimum and maximum count.",
            )
        profile["workloadProfileType"] = spelled
        made.append({key: profile[key] for key in PROFILE_MEMBERS if profile.get(key) is not None})
    return made


def _logs(sent: dict[str, Any]) -> dict[str, Any]:
    destination = sent.get("destination")
    if destination not in (None, "", "azure-monitor", "log-analytics"):
        raise ArmError(
            400, "InvalidLogsDestination", f"The logs destination '{destination}' is not known."
        )
    made: dict[str, Any] = {"destination": destination, "logAnalyticsConfiguration": None}
    if destination == "log-analytics":
        workspace = sent.get("logAnalyticsConfiguration") or {}
        if not workspace.get("customerId") or not workspace.get("sharedKey"):
            raise ArmError(
                400, "InvalidLogAnalytics", "A workspace needs its customerId and sharedKey."
            )
        made["logAnalyticsConfiguration"] = {"customerId": workspace["customerId"]}
    return made


def _succeed(environment: Resource) -> Any:
    async def work() -> None:
        environment.properties["provisioningState"] = "Succeeded"

    return work
