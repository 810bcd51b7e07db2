"""Who may do what: built-in roles by their ids, which never change as their names may.

The rule is the least that works. What builds may not deploy, what deploys may not push, and only
one identity may delete images, which can do nothing else. None has a role at the subscription.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from engine.deploy.bootstrap import storage
from engine.deploy.bootstrap.github import GATED
from engine.deploy.bootstrap.inputs import Inputs
from engine.deploy.bootstrap.role import CustomRole, Role
from engine.deploy.bootstrap.step import (
    Among,
    Command,
    Found,
    Output,
    Rule,
    Step,
    az,
    value_at,
)
from engine.deploy.config import names
from engine.deploy.config.domains import Zone
from engine.deploy.config.environment import Environment
from engine.deploy.targets import kind_names
from engine.deploy.targets.kind import kind_named, kind_of

ACR_PULL = Role("AcrPull", "7f951dda-4ed3-4680-a7ca-43fe172d538d")
ACR_DELETE = Role("AcrDelete", "c2f4ef07-c644-48eb-af81-4b1b4947fb11")
ACR_PUSH = Role("AcrPush", "8311e382-0749-4cb8-b61a-304f252e45ec")
BLOB_CONTRIBUTOR = Role("Storage Blob Data Contributor", "ba92f5b4-2d11-453d-a403-e96b0029c9fe")
READER = Role("Reader", "acdd72a7-3385-48ef-bd42-f606fba81ae7")
IDENTITY_OPERATOR = Role("Managed Identity Operator", "f1a07417-d97a-45cb-824c-7a7467783830")

RECORDS_ACTIONS = (
    "Microsoft.Resources/deployments/read",
    "Microsoft.Resources/deployments/write",
    "Microsoft.Resources/deployments/delete",
    "Microsoft.Resources/deployments/operations/read",
    "Microsoft.Resources/deployments/operationStatuses/read",
    "Microsoft.Resources/subscriptions/resourceGroups/read",
)
"""A record of a rollout is a deployment of Resource Manager with an empty template. Writing one
gives no right to anything that a template could name: that needs the roles for it."""

LOGS_ACTIONS = (
    "Microsoft.OperationalInsights/workspaces/read",
    "Microsoft.OperationalInsights/workspaces/sharedKeys/action",
)
"""The key lets its holder write into the workspace, and read nothing. Of the built-in roles only
Log Analytics Contributor has it, which may also delete the workspace."""

RECORDS = CustomRole(
    "role records",
    names.records_role,
    RECORDS_ACTIONS,
    "lets a workflow record what it deployed, so that it can go back",
)
LOGS = CustomRole(
    "role logs",
    names.logs_role,
    LOGS_ACTIONS,
    "lets a workflow send the log of a container group to the workspace",
)
DNS = CustomRole(
    "role dns",
    names.dns_role,
    tuple(
        f"Microsoft.Network/dnsZones/{kind}/{action}"
        for kind in ("A", "CNAME", "TXT")
        for action in ("read", "write", "delete")
    ),
    "lets a workflow make the records of own names in a DNS zone",
)
"""DNS Zone Contributor may also delete the zone, and change the records of its mail."""


def own_roles() -> tuple[CustomRole, ...]:
    """All roles that a project may have made, for whichever places."""
    kinds = [kind_named(name) for name in kind_names()]
    given = [role for kind in kinds for role in (kind.deploy_role, *kind.own_roles)]
    own = dict.fromkeys(each for each in given if isinstance(each, CustomRole))
    return (RECORDS, *own, LOGS, DNS)


def custom_roles(inputs: Inputs) -> tuple[Step, ...]:
    """The roles that Azure does not have ready."""
    used = inputs.environments.values()
    running = dict.fromkeys(kind_of(each).deploy_role for each in used)
    logs = any(kind_of(each).sends_log(each) for each in used)
    more = dict.fromkeys(role for each in used for role in kind_of(each).roles(each))
    more |= dict.fromkeys(role for each in used for role in kind_of(each).roles_elsewhere(each))
    zones = any(_zone(each) for each in used)
    wanted = (RECORDS, *running, *more, *((LOGS,) if logs else ()), *((DNS,) if zones else ()))
    return tuple(_custom(inputs, each) for each in wanted if isinstance(each, CustomRole))


def _custom(inputs: Inputs, role: CustomRole) -> Step:
    """A role of this project. It may be given anywhere in the subscription, so that it can still
    be found and deleted when the groups are gone; it is given on the groups only.
    """
    name, scopes = role.name(inputs.project), (f"/subscriptions/{inputs.account.subscription}",)
    definition = {
        "Name": name,
        "Description": f"{inputs.project.name}: {role.purpose}",
        "Actions": role.actions,
        "AssignableScopes": scopes,
    }

    def update(found: Found) -> tuple[Command, ...]:
        # The update wants the id, and calls the name by another name than the creation does.
        known = {**definition, "id": value_at(found, "id"), "roleName": name}
        return (az("role", "definition", "update", "--role-definition", json.dumps(known)),)

    return Step(
        key=role.key,
        what=f'role "{name}"',
        purpose=role.purpose,
        look=az("role", "definition", "list", "--name", name, "--custom-role-only", "true"),
        make=(az("role", "definition", "create", "--role-definition", json.dumps(definition)),),
        among=Among({"roleName": name}),
        grants=True,
        rules=(
            Rule("permissions.0.actions", role.actions, "allows something else", update),
            Rule("assignableScopes", scopes, "is not for this subscription", update),
        ),
    )


def assignments(inputs: Inputs) -> tuple[Step, ...]:
    """All roles of all identities."""
    registry = _registry(inputs)
    runtime, build, prune = "identity runtime", "identity build", "identity prune"
    steps = [
        assignment(inputs, runtime, ACR_PULL, registry, "lets Azure pull the image"),
        assignment(inputs, build, ACR_PUSH, registry, "lets the build push images"),
        assignment(inputs, build, READER, registry, "lets the build read its address"),
        assignment(inputs, prune, ACR_DELETE, registry, "lets the clean-up delete images"),
        assignment(inputs, prune, ACR_PULL, registry, "lets the clean-up list images"),
        assignment(inputs, prune, READER, registry, "lets the clean-up read its address"),
    ]
    for account, name in storage.captured(inputs):
        place = RoleScope(
            f"container {account}/{name}", storage.container_id(inputs, account, name)
        )
        keeps = "lets the service keep captured requests, and remove old ones"
        steps.append(assignment(inputs, runtime, BLOB_CONTRIBUTOR, place, keeps))
    for stage, environment in inputs.environments.items():
        group = _group(inputs, environment)
        steps += _deploy_assignments(inputs, stage, environment)
        steps.append(
            assignment(inputs, prune, READER, group, f"lets the clean-up see what {stage} runs")
        )
        if stage == GATED:
            seen = f"lets the build fetch what {stage} serves, to compare models with it"
            steps.append(assignment(inputs, build, READER, group, seen))
    return tuple(steps)


def _deploy_assignments(inputs: Inputs, stage: str, environment: Environment) -> list[Step]:
    who = f"identity deploy {stage}"
    registry, group = _registry(inputs), _group(inputs, environment)
    runtime_name = names.runtime_identity(inputs.project)
    runtime = RoleScope(f"identity {runtime_name}", inputs.identity_id(runtime_name))
    runs = f"lets the deploy run containers in {stage}"
    running = kind_of(environment).deploy_role
    more = kind_of(environment).roles(environment)
    leads = f"lets the deploy lead the shared name to containers of {stage}"
    return [
        *([assignment(inputs, who, running, group, runs)] if running else []),
        *(
            assignment(
                *(inputs, who, role, group),
                role.purpose if isinstance(role, CustomRole) else leads,
            )
            for role in more
        ),
        assignment(inputs, who, RECORDS, group, "lets the deploy keep its records"),
        assignment(
            *(inputs, who, IDENTITY_OPERATOR, runtime),
            "lets the deploy hand the runtime identity to a container",
        ),
        assignment(inputs, who, READER, registry, "lets the deploy read its address"),
        assignment(inputs, who, ACR_PULL, registry, "lets the deploy see whether an image exists"),
        *_sight_assignments(inputs, who, environment),
        *_zone_assignments(inputs, who, environment),
    ]


def _zone(environment: Environment) -> Zone | None:
    return environment.own_domains.zone if environment.own_domains else None


def _zone_assignments(inputs: Inputs, who: str, environment: Environment) -> list[Step]:
    zone = _zone(environment)
    if zone is None:
        return []
    group = inputs.group_id(zone.resource_group)
    place = RoleScope(
        f"DNS zone {zone.name}", f"{group}/providers/Microsoft.Network/dnsZones/{zone.name}"
    )
    return [assignment(inputs, who, DNS, place, "lets the deploy make records of own names")]


def _sight_assignments(inputs: Inputs, who: str, environment: Environment) -> list[Step]:
    """What the deploy reads so that the service can be seen; see ``engine.deploy.telemetry``."""
    steps = []
    if environment.telemetry:
        insights = RoleScope(names.insights(inputs.project), inputs.insights_id())
        purpose = "lets the deploy read where telemetry goes"
        steps.append(assignment(inputs, who, READER, insights, purpose))
    if kind_of(environment).sends_log(environment):
        workspace = RoleScope(names.workspace(inputs.project), inputs.workspace_id())
        purpose = "lets the deploy send the container's log there"
        steps.append(assignment(inputs, who, LOGS, workspace, purpose))
    return steps


@dataclass(frozen=True, slots=True)
class RoleScope:
    """Where a role holds: for people, and Azure's id."""

    name: str
    id: str


def _registry(inputs: Inputs) -> RoleScope:
    return RoleScope(f"registry {inputs.project.registry}", inputs.registry_id())


def _group(inputs: Inputs, environment: Environment) -> RoleScope:
    group = environment.resource_group
    return RoleScope(f"group {group}", inputs.group_id(group))


def assignment(
    inputs: Inputs,
    who: str,
    role: Role | CustomRole,
    place: RoleScope,
    purpose: str,
    *,
    principal: str = "principalId",
    kind: tuple[str, ...] = ("--assignee-principal-type", "ServicePrincipal"),
) -> Step:
    """A role of somebody, whom a step shows; ``principal`` leads to the id there."""
    name, role_id = (
        (role.name(inputs.project), Output(role.key, "id"))
        if isinstance(role, CustomRole)
        else (role.name, inputs.role_id(role.id))
    )
    principal_id = Output(who, principal)
    return Step(
        key=f"{who}: {name} on {place.name}",
        grants=True,
        what=f"role {name} of {who} on {place.name}",
        purpose=purpose,
        # Names of principals would be asked from Microsoft Graph, where a login may have no rights.
        look=az(
            *("role", "assignment", "list", "--scope", place.id),
            *("--fill-principal-name", "false", "--fill-role-definition-name", "false"),
        ),
        make=(
            az(
                *("role", "assignment", "create", "--assignee-object-id", principal_id),
                *(*kind, "--role", role_id, "--scope", place.id),
            ),
        ),
        among=Among({"principalId": principal_id, "roleDefinitionId": role_id}),
    )
