"""Where logs and metrics go: a workspace, and Application Insights, which shows what is in it."""

from __future__ import annotations

import json

from engine.deploy.bootstrap import costs
from engine.deploy.bootstrap.ground import Ground
from engine.deploy.bootstrap.resources import tags
from engine.deploy.bootstrap.step import Rule, Step, always, az
from engine.deploy.config import names
from engine.deploy.telemetry import INSIGHTS

RETENTION_DAYS = "30"
"""The longest time for which a workspace keeps logs without a charge, in whole months."""


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
                *tags(ground),
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
