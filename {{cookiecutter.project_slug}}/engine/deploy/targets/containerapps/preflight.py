"""What only Azure knows about the place of an app, asked before anything is changed."""

from __future__ import annotations

from engine.deploy.az import AzError
from engine.deploy.azure_ids import one_of, plain, same
from engine.deploy.finding import Certainty, Finding
from engine.deploy.targets.base import Places
from engine.deploy.targets.containerapps.client import AppClient, Json
from engine.deploy.targets.containerapps.environment import AppEnvironment
from engine.deploy.targets.containerapps.rules import profile_of

_BOOTSTRAP = "`.venv/bin/python -m engine.deploy bootstrap` makes it, and may be run at any time"


def findings(client: AppClient, environment: AppEnvironment, places: Places) -> list[Finding]:
    """Is the Container Apps environment there, whole, in the region, with the workload profile?"""
    if places.apps_environment is None:
        return [Finding("missing", "there is no Container Apps environment", _BOOTSTRAP)]
    try:
        found = client.environment(places.apps_environment)
    except AzError as error:
        if error.status != 403:
            raise
        cause = f"the Container Apps environment could not be looked at: {error.message}"
        fix = "give the identity the role Container Apps Contributor"
        return [Finding("not-visible", cause, fix, Certainty.POSSIBLE)]
    if found is None:
        return [Finding("missing", f"{places.apps_environment} is not there", _BOOTSTRAP)]
    return _environment_findings(found, environment)


def _environment_findings(found: Json, environment: AppEnvironment) -> list[Finding]:
    properties, name = found["properties"], found["name"]
    listed = []
    state = properties.get("provisioningState")
    if not same(state, "Succeeded"):
        fix = (
            "wait until it is made; if it failed, delete it and run "
            "`.venv/bin/python -m engine.deploy bootstrap`"
        )
        cause = f"the Container Apps environment {name} is in state {state}"
        listed.append(Finding("apps-environment", cause, fix))
    region = plain(found["location"])
    if not same(region, environment.region):
        cause = f"the Container Apps environment {name} is in {region}, not {environment.region}"
        fix = "an app runs where its environment is: change region"
        listed.append(Finding("apps-environment", cause, fix))
    wanted = profile_of(environment)
    profiles = [each["name"] for each in properties.get("workloadProfiles") or []]
    if not one_of(wanted.name, profiles):
        there = ", ".join(sorted(profiles)) or "none"
        cause = f"{name} has no workload profile {wanted.name} ({wanted.type}), only: {there}"
        listed.append(Finding("workload-profile", cause, _BOOTSTRAP))
    return listed
