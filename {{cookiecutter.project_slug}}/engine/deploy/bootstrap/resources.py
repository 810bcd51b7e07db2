"""The resources that everything else belongs to: groups, the registry, the identities."""

from __future__ import annotations

from collections.abc import Callable

from engine.deploy.bootstrap import costs
from engine.deploy.bootstrap.inputs import Inputs
from engine.deploy.bootstrap.step import Found, Guard, Rule, Step, always, az, value_at
from engine.deploy.config import names


def groups(inputs: Inputs) -> tuple[Step, ...]:
    """One resource group for what is shared, one per environment: roles are given per group."""
    shared = _group(inputs, inputs.shared, inputs.project.region, "what all environments share")
    own = (
        _group(inputs, each.resource_group, each.region, f"what runs in {stage}")
        for stage, each in inputs.environments.items()
    )
    return (shared, *own)


def registry(inputs: Inputs) -> Step:
    """The registry: Basic, without the admin user, whose password would open it to anyone."""
    name = inputs.project.registry
    place = ("--name", name, "--resource-group", inputs.shared)
    return Step(
        key="registry",
        what=f"container registry {name}",
        purpose="keeps the images; one is built per commit, and all environments run the same",
        look=az("acr", "show", *place),
        make=(
            az(
                *("acr", "create", *place, "--location", inputs.project.region),
                *("--sku", "Basic", "--admin-enabled", "false", *tags(inputs)),
            ),
        ),
        state="provisioningState",
        rules=(
            Rule(
                path="adminUserEnabled",
                wanted=False,
                wrong="lets its admin user in, with a password that never ends",
                repair=always(az("acr", "update", *place, "--admin-enabled", "false")),
            ),
            Rule(
                path="roleAssignmentMode",
                wanted="AbacRepositoryPermissions",
                refused=True,
                wrong="decides by repository (ABAC), where the roles AcrPull and AcrPush count "
                "for nothing",
                fix=f"az acr update --name {name} --role-assignment-mode rbac, if nobody else "
                "relies on it; or another registry in deploy/project.yaml",
            ),
        ),
        guard=Guard(az("acr", "check-name", "--name", name), _taken(name)),
        cost=costs.registry(),
    )


def identity(inputs: Inputs, key: str, name: str, purpose: str) -> Step:
    """A managed identity: a login that has no password, only roles."""
    place = ("--name", name, "--resource-group", inputs.shared)
    return Step(
        key=key,
        what=f"managed identity {name}",
        purpose=purpose,
        look=az("identity", "show", *place),
        make=(az("identity", "create", *place, "--location", inputs.project.region),),
    )


def identities(inputs: Inputs) -> tuple[Step, ...]:
    """One identity for each thing that acts, so that none may do what another one does."""
    project = inputs.project
    return (
        identity(
            *(inputs, "identity runtime", names.runtime_identity(project)),
            "pulls the image when a container starts, and keeps requests where CAPTURE says so",
        ),
        identity(
            *(inputs, "identity build", names.build_identity(project)),
            "pushes images from the workflow on the main branch",
        ),
        identity(
            *(inputs, "identity prune", names.prune_identity(project)),
            "deletes old images from the registry once a week",
        ),
        *(
            identity(
                *(inputs, f"identity deploy {stage}", names.deploy_identity(project, stage)),
                f"deploys from the workflow to {stage}, and nowhere else",
            )
            for stage in inputs.environments
        ),
    )


def _group(inputs: Inputs, name: str, region: str, content: str) -> Step:
    return Step(
        key=f"group {name}",
        what=f"resource group {name}",
        purpose=f"holds {content}; deleting it deletes all of that",
        look=az("group", "show", "--name", name),
        make=(az("group", "create", "--name", name, "--location", region, *tags(inputs)),),
        state="properties.provisioningState",
    )


def tags(inputs: Inputs) -> tuple[str, ...]:
    """What marks a resource as one of this project, as options of a command."""
    return ("--tags", f"project={inputs.project.name}")


def _taken(name: str) -> Callable[[Found], tuple[str, str] | None]:
    def refuse(found: Found) -> tuple[str, str] | None:
        if value_at(found, "nameAvailable") is not False:
            return None
        return (
            f"the registry name {name} cannot be used: {value_at(found, 'message')}",
            "names of registries are unique in all of Azure: write another one to `registry` in "
            "deploy/project.yaml. If the registry is yours, set `shared_resource_group` to the "
            f"group it is in: az resource list --name {name} --resource-type "
            'Microsoft.ContainerRegistry/registries --query "[].resourceGroup"',
        )

    return refuse
