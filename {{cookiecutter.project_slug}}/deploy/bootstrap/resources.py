"""The resources: providers, groups, the registry, the identities, the workspace for logs."""

from __future__ import annotations

import json
from collections.abc import Callable

from deploy.bootstrap import costs
from deploy.bootstrap.ground import Ground
from deploy.bootstrap.step import Command, Found, Guard, Rule, Step, always, az, value_at
from deploy.config import names

PROVIDERS = (
    "Microsoft.ContainerInstance",
    "Microsoft.ContainerRegistry",
    "Microsoft.ManagedIdentity",
    "Microsoft.OperationalInsights",
    "Microsoft.Insights",
)
APPS_PROVIDER = "Microsoft.App"
INSIGHTS = ("--resource-type", "Microsoft.Insights/components", "--api-version", "2020-02-02")
RETENTION_DAYS = "30"
"""The longest time for which a workspace keeps logs without a charge, in whole months."""


def providers(ground: Ground) -> Step:
    """A new subscription knows no service before its provider is registered, once and for all.

    Registering takes minutes, so all are asked for before the first one is waited for.
    """
    wanted = list(PROVIDERS)
    if any(each.target == "containerapps" for each in ground.environments.values()):
        wanted.append(APPS_PROVIDER)
    chosen = " || ".join(f"namespace=='{each}'" for each in wanted)
    shown = "{namespace: namespace, registrationState: registrationState}"
    return Step(
        key="providers",
        what="resource providers",
        purpose=f"tells the subscription which services it uses: {', '.join(wanted)}",
        look=az("provider", "list", "--query", f"[?{chosen}].{shown}"),
        make=tuple(map(_register, wanted)),
        state=_slowest,
        rules=tuple(_registered(each) for each in wanted),
    )


def groups(ground: Ground) -> tuple[Step, ...]:
    """One resource group for what is shared, one per environment: roles are given per group."""
    shared = _group(ground, ground.shared, ground.project.region, "what all environments share")
    own = (
        _group(ground, each.resource_group, each.region, f"what runs in {stage}")
        for stage, each in ground.environments.items()
    )
    return (shared, *own)


def registry(ground: Ground) -> Step:
    """The registry: Basic, without the admin user, whose password would open it to anyone."""
    name = ground.project.registry
    place = ("--name", name, "--resource-group", ground.shared)
    return Step(
        key="registry",
        what=f"container registry {name}",
        purpose="keeps the images; one is built per commit, and all environments run the same",
        look=az("acr", "show", *place),
        make=(
            az(
                *("acr", "create", *place, "--location", ground.project.region),
                *("--sku", "Basic", "--admin-enabled", "false", *_tags(ground)),
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


def identity(ground: Ground, key: str, name: str, purpose: str) -> Step:
    """A managed identity: a login that has no password, only roles."""
    place = ("--name", name, "--resource-group", ground.shared)
    return Step(
        key=key,
        what=f"managed identity {name}",
        purpose=purpose,
        look=az("identity", "show", *place),
        make=(az("identity", "create", *place, "--location", ground.project.region),),
    )


def identities(ground: Ground) -> tuple[Step, ...]:
    """One identity for each thing that acts, so that none may do what another one does."""
    project = ground.project
    return (
        identity(
            *(ground, "identity runtime", names.runtime_identity(project)),
            "pulls the image when a container starts; the service itself gets nothing from it",
        ),
        identity(
            *(ground, "identity build", names.build_identity(project)),
            "pushes images from the workflow on the main branch",
        ),
        identity(
            *(ground, "identity prune", names.prune_identity(project)),
            "deletes old images from the registry once a week",
        ),
        *(
            identity(
                *(ground, f"identity deploy {stage}", names.deploy_identity(project, stage)),
                f"deploys from the workflow to {stage}, and nowhere else",
            )
            for stage in ground.environments
        ),
    )


def monitoring(ground: Ground) -> tuple[Step, ...]:
    """Where logs and metrics go; Application Insights shows what the workspace keeps."""
    name = names.workspace(ground.project)
    place = ("--resource-group", ground.shared, "--workspace-name", name)
    workspace = Step(
        key="workspace",
        what=f"Log Analytics workspace {name}",
        purpose="keeps logs, and can be asked about them",
        look=az("monitor", "log-analytics", "workspace", "show", *place),
        make=(
            az(
                *("monitor", "log-analytics", "workspace", "create", *place),
                *("--location", ground.project.region, "--retention-time", RETENTION_DAYS),
                *_tags(ground),
            ),
        ),
        state="provisioningState",
        cost=costs.logs(),
    )
    return (workspace, _insights(ground))


def _insights(ground: Ground) -> Step:
    name = names.insights(ground.project)
    place = ("--resource-group", ground.shared, "--name", name, *INSIGHTS)
    # `az monitor app-insights` is an extension; this is a command of az itself.
    document = {
        "location": ground.project.region,
        "kind": "web",
        "properties": {
            "Application_Type": "web",
            "IngestionMode": "LogAnalytics",
            "WorkspaceResourceId": ground.workspace_id(),
        },
    }
    make = az(
        *("resource", "create", *place, "--is-full-object"),
        *("--properties", json.dumps(document)),
    )
    return Step(
        key="insights",
        what=f"Application Insights {name}",
        purpose="shows requests, failures and latencies from the workspace's data",
        look=az("resource", "show", *place),
        make=(make,),
        rules=(
            Rule(
                path="properties.WorkspaceResourceId",
                wanted=ground.workspace_id(),
                wrong="keeps its data somewhere else than in the workspace of this project",
                repair=always(make),
            ),
        ),
    )


def _register(namespace: str) -> Command:
    return az("provider", "register", "--namespace", namespace)


def _registered(namespace: str) -> Rule:
    return Rule(
        path=lambda found: _registration(found, namespace) in ("Registered", "Registering"),
        wanted=True,
        wrong=f"{namespace} is not registered",
        repair=always(_register(namespace)),
    )


def _registration(found: Found, namespace: str) -> str | None:
    for each in found:
        if each["namespace"].lower() == namespace.lower():
            return str(each["registrationState"])
    return None


def _slowest(found: Found) -> str:
    """Being registered, as long as one of them is."""
    states = {each["registrationState"] for each in found}
    return "Registering" if "Registering" in states else "Registered"


def _group(ground: Ground, name: str, region: str, content: str) -> Step:
    return Step(
        key=f"group {name}",
        what=f"resource group {name}",
        purpose=f"holds {content}; deleting it deletes all of that",
        look=az("group", "show", "--name", name),
        make=(az("group", "create", "--name", name, "--location", region, *_tags(ground)),),
        state="properties.provisioningState",
    )


def _tags(ground: Ground) -> tuple[str, ...]:
    return ("--tags", f"project={ground.project.name}")


def _taken(name: str) -> Callable[[Found], tuple[str, str] | None]:
    def refuse(found: Found) -> tuple[str, str] | None:
        if value_at(found, "nameAvailable") is not False:
            return None
        return (
            f"the registry name {name} is not to be had: {value_at(found, 'message')}",
            "names of registries are unique in all of Azure: write another one to `registry` in "
            "deploy/project.yaml. If the registry is yours, set `shared_resource_group` to the "
            f"group it is in: az acr list --query \"[?name=='{name}'].resourceGroup\"",
        )

    return refuse
