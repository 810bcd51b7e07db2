"""Container Apps need an environment before an app: the network, the logs, the kinds of machine."""

from __future__ import annotations

from engine.deploy.bootstrap import shares
from engine.deploy.bootstrap.inputs import Inputs
from engine.deploy.bootstrap.price import Cost
from engine.deploy.bootstrap.role import CustomRole
from engine.deploy.bootstrap.step import Among, Output, Rule, Step, az
from engine.deploy.config.project import Project
from engine.deploy.targets.containerapps.environment import AppEnvironment
from engine.deploy.targets.containerapps.rules import profile_of


def apps_role(project: Project) -> str:
    """The custom role that lets a deploy identity run Container Apps."""
    return f"{project.name} container apps"


def apps_environment(project: Project, stage: str) -> str:
    """The Container Apps environment that holds one environment's app."""
    return f"{project.name}-{stage}-apps"


CONSUMPTION = "Consumption"
ROLE = CustomRole(
    "role apps",
    apps_role,
    (
        "Microsoft.App/containerApps/*",
        "Microsoft.App/managedEnvironments/read",
        "Microsoft.App/managedEnvironments/*/read",
        "Microsoft.App/managedEnvironments/join/action",
        "Microsoft.App/managedEnvironments/storages/write",
        "Microsoft.App/managedEnvironments/managedCertificates/write",
        "Microsoft.App/managedEnvironments/managedCertificates/delete",
    ),
    "lets a workflow run Container Apps in environments that exist",
)
"""The built-in Container Apps Contributor names `containerApps/*/write`, which is not the app."""
_NOTHING_WHILE_EMPTY = Cost(0.0, "free; its apps are billed while they run")


def steps(inputs: Inputs, stage: str, environment: AppEnvironment) -> tuple[Step, ...]:
    """The Container Apps environment of one environment, and its machines."""
    where = _environment(inputs, stage, environment)
    mounted = shares.steps(inputs, stage, environment, environment.volumes)
    if profile_of(environment).type == CONSUMPTION:
        return (where, *mounted)
    return (where, _profile(inputs, stage, environment), *mounted)


def _environment(inputs: Inputs, stage: str, environment: AppEnvironment) -> Step:
    name = apps_environment(inputs.project, stage)
    place = ("--name", name, "--resource-group", environment.resource_group)
    return Step(
        key=f"apps {stage}",
        what=f"Container Apps environment {name}",
        purpose=f"is where the app of {stage} runs, with HTTPS in front of it",
        look=az("containerapp", "env", "show", *place),
        make=(
            az(
                *("containerapp", "env", "create", *place, "--location", environment.region),
                # az reads the workspace's key itself, so that it is in no command line.
                *("--logs-destination", "log-analytics", "--logs-workspace-id"),
                *(Output("workspace", "customerId"), "--tags", f"project={inputs.project.name}"),
            ),
        ),
        state="properties.provisioningState",
        rules=(
            Rule(
                path="properties.appLogsConfiguration.logAnalyticsConfiguration.customerId",
                wanted=Output("workspace", "customerId"),
                wrong="sends its logs somewhere else than to the workspace of this project",
                fix=f"az containerapp env update --name {name} --resource-group "
                f"{environment.resource_group} --logs-destination log-analytics "
                "--logs-workspace-id …, if that is not on purpose",
            ),
        ),
        cost=_NOTHING_WHILE_EMPTY,
    )


def _profile(inputs: Inputs, stage: str, environment: AppEnvironment) -> Step:
    name = apps_environment(inputs.project, stage)
    profile = profile_of(environment)
    group = ("--resource-group", environment.resource_group)
    return Step(
        key=f"apps {stage} profile",
        what=f"workload profile {profile.name} of {name}",
        purpose=f"gives the app of {stage} a machine with a GPU while it runs",
        look=az("containerapp", "env", "show", "--name", name, *group),
        make=(
            az(
                *("containerapp", "env", "workload-profile", "add", "--name", name, *group),
                *("--workload-profile-name", profile.name),
                *("--workload-profile-type", profile.type),
            ),
        ),
        among=Among(
            {"name": profile.name, "workloadProfileType": profile.type},
            path="properties.workloadProfiles",
        ),
        cost=_NOTHING_WHILE_EMPTY,
    )
