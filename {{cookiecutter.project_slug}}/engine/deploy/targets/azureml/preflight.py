"""What only Azure knows about the place of an endpoint, asked before anything is changed."""

from __future__ import annotations

from engine.deploy.az import AzError
from engine.deploy.azure_ids import plain, same
from engine.deploy.finding import Certainty, Finding
from engine.deploy.targets.azureml.client import EndpointClient, state_of
from engine.deploy.targets.azureml.environment import EndpointEnvironment

_BOOTSTRAP = "`.venv/bin/python -m engine.deploy bootstrap` makes it, and may be run at any time"


def findings(client: EndpointClient, environment: EndpointEnvironment) -> list[Finding]:
    """Is the workspace there, whole, and in the region?"""
    name = environment.workspace_name
    try:
        found = client.workspace()
    except AzError as error:
        if error.status != 403:
            raise
        cause = f"the workspace {name} could not be looked at: {error.message}"
        fix = "give the identity the role that bootstrap makes for endpoints"
        return [Finding("not-visible", cause, fix, Certainty.POSSIBLE)]
    if found is None:
        cause = f"there is no Azure Machine Learning workspace {name}"
        return [Finding("ml-workspace", cause, _BOOTSTRAP)]
    listed = []
    if state_of(found) != "Succeeded":
        cause = f"the workspace {name} is in state {state_of(found)}"
        listed.append(Finding("ml-workspace", cause, "wait until it is made, or make it again"))
    if not same(plain(found["location"]), environment.region):
        cause = f"the workspace {name} is in {plain(found['location'])}, not {environment.region}"
        fix = "an endpoint runs where its workspace is: change region"
        listed.append(Finding("ml-workspace", cause, fix))
    return listed
