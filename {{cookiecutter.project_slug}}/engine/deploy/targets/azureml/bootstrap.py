"""An endpoint needs a workspace, and a workspace a storage account, a key vault and insights."""

from __future__ import annotations

import hashlib
import json

from engine.deploy.bootstrap.inputs import Inputs
from engine.deploy.bootstrap.price import Cost
from engine.deploy.bootstrap.resources import tags
from engine.deploy.bootstrap.role import CustomRole, Role
from engine.deploy.bootstrap.roles import RoleScope, assignment
from engine.deploy.bootstrap.step import Command, Found, Guard, Step, az
from engine.deploy.bootstrap.storage import Account, account_step
from engine.deploy.config.project import Project
from engine.deploy.targets.azureml.document import API_VERSION
from engine.deploy.targets.azureml.environment import EndpointEnvironment

_ML = "Microsoft.MachineLearningServices/workspaces"
PROVIDERS = ("Microsoft.Storage", "Microsoft.KeyVault")


def endpoints_role(project: Project) -> str:
    """The custom role that lets a deploy identity run online endpoints."""
    return f"{project.name} online endpoints"


ROLE = CustomRole(
    "role endpoints",
    endpoints_role,
    (
        f"{_ML}/read",
        f"{_ML}/environments/read",
        f"{_ML}/environments/write",
        f"{_ML}/environments/versions/read",
        f"{_ML}/environments/versions/write",
        f"{_ML}/onlineEndpoints/*",
    ),
    "lets a workflow run online endpoints in a workspace that exists",
)
"""The built-in AzureML Data Scientist may also run jobs on machines, and read all data."""
BLOB_READER = Role("Storage Blob Data Reader", "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1")
_CENTS = Cost(0.0, "some cents a month for what the workspace keeps there")


def steps(inputs: Inputs, stage: str, environment: EndpointEnvironment) -> tuple[Step, ...]:
    """The workspace of an environment with what it needs; a named one has to be there."""
    if environment.workspace is not None:
        return (_taken(stage, environment),)
    group = environment.resource_group
    account = Account(_unique(inputs, group), group, environment.region)
    account_id = f"{inputs.group_id(group)}/providers/Microsoft.Storage/storageAccounts"
    where = RoleScope(f"storage account {account.name}", f"{account_id}/{account.name}")
    reads = "lets the endpoint read what the workspace keeps, as Azure Machine Learning asks for"
    return (
        account_step(
            *(inputs, account, f"ml storage {stage}"),
            f"keeps what the workspace of {stage} writes down",
            _CENTS,
        ),
        _vault(inputs, stage, environment),
        _workspace(inputs, stage, environment),
        assignment(inputs, "identity runtime", BLOB_READER, where, reads),
    )


def _vault(inputs: Inputs, stage: str, environment: EndpointEnvironment) -> Step:
    name = _unique(inputs, environment.resource_group)
    group = ("--resource-group", environment.resource_group)
    return Step(
        key=f"ml vault {stage}",
        what=f"key vault {name}",
        purpose=f"keeps what the workspace of {stage} has to keep secret",
        look=az("keyvault", "show", "--name", name, *group),
        make=(
            az(
                *("keyvault", "create", "--name", name, *group),
                *("--location", environment.region, *tags(inputs)),
            ),
        ),
        state="properties.provisioningState",
        cost=_CENTS,
    )


def _workspace(inputs: Inputs, stage: str, environment: EndpointEnvironment) -> Step:
    providers = f"{inputs.group_id(environment.resource_group)}/providers"
    name = _unique(inputs, environment.resource_group)
    whole = {
        "location": environment.region,
        "identity": {"type": "SystemAssigned"},
        "tags": {"project": inputs.project.name},
        "properties": {
            "friendlyName": environment.workspace_name,
            "storageAccount": f"{providers}/Microsoft.Storage/storageAccounts/{name}",
            "keyVault": f"{providers}/Microsoft.KeyVault/vaults/{name}",
            "applicationInsights": inputs.insights_id(),
        },
    }
    return Step(
        key=f"ml workspace {stage}",
        what=f"Azure Machine Learning workspace {environment.workspace_name}",
        purpose=f"is where the endpoint of {stage} is",
        look=_look(environment),
        make=(
            az(
                *("resource", "create", *_place(environment), "--is-full-object"),
                *("--properties", json.dumps(whole)),
            ),
        ),
        state="properties.provisioningState",
        cost=Cost(0.0, "free; the instances of its endpoint are billed while they are there"),
    )


def _taken(stage: str, environment: EndpointEnvironment) -> Step:
    """A workspace that others made: `bootstrap` looks at it and changes nothing of it."""
    name = environment.workspace_name
    return Step(
        key=f"ml workspace {stage}",
        what=f"Azure Machine Learning workspace {name}",
        purpose=f"is where the endpoint of {stage} is",
        look=_look(environment),
        make=(),
        guard=Guard(_look(environment), lambda found: _missing(environment, found)),
        state="properties.provisioningState",
    )


def _missing(environment: EndpointEnvironment, found: Found) -> tuple[str, str] | None:
    if found is not None:
        return None
    return (
        f"there is no workspace {environment.workspace_name} in {environment.resource_group}, "
        f"which deploy/environments/{environment.stage}.yaml names",
        "correct the name, or remove the line: then a workspace is made",
    )


def _look(environment: EndpointEnvironment) -> Command:
    return az("resource", "show", *_place(environment))


def _place(environment: EndpointEnvironment) -> tuple[str, ...]:
    return (
        *("--resource-group", environment.resource_group, "--resource-type", _ML),
        *("--name", environment.workspace_name, "--api-version", API_VERSION),
    )


def _unique(inputs: Inputs, group: str) -> str:
    """A name that is unique in all of Azure, for a storage account and for a key vault."""
    text = f"{inputs.account.subscription}/{group}".lower()
    return "ml" + hashlib.sha256(text.encode()).hexdigest()[:20]
