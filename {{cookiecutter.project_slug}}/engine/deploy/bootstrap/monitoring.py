"""Where logs and metrics go: a workspace, and Application Insights, which shows what is in it."""

from __future__ import annotations

import json

from engine.deploy.bootstrap import costs
from engine.deploy.bootstrap.inputs import Inputs
from engine.deploy.bootstrap.resources import tags
from engine.deploy.bootstrap.step import Rule, Step, always, az
from engine.deploy.config import names
from engine.deploy.telemetry import INSIGHTS

RETENTION_DAYS = "30"
"""The longest time for which a workspace keeps logs without a charge, in whole months."""


def monitoring(inputs: Inputs) -> tuple[Step, ...]:
    """Where logs and metrics go; Application Insights shows what the workspace keeps."""
    name = names.workspace(inputs.project)
    place = ("--resource-group", inputs.shared, "--workspace-name", name)
    workspace = Step(
        key="workspace",
        what=f"Log Analytics workspace {name}",
        purpose="keeps logs, and can be asked about them",
        look=az("monitor", "log-analytics", "workspace", "show", *place),
        make=(
            az(
                *("monitor", "log-analytics", "workspace", "create", *place),
                *("--location", inputs.project.region, "--retention-time", RETENTION_DAYS),
                *tags(inputs),
            ),
        ),
        state="provisioningState",
        cost=costs.logs(),
    )
    return (workspace, _insights(inputs))


def _insights(inputs: Inputs) -> Step:
    name = names.insights(inputs.project)
    place = ("--resource-group", inputs.shared, "--name", name, *INSIGHTS)
    # `az monitor app-insights` is an extension; this is a command of az itself.
    document = {
        "location": inputs.project.region,
        "kind": "web",
        "properties": {
            "Application_Type": "web",
            "IngestionMode": "LogAnalytics",
            "WorkspaceResourceId": inputs.workspace_id(),
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
                wanted=inputs.workspace_id(),
                wrong="keeps its data somewhere else than in the workspace of this project",
                repair=always(make),
            ),
        ),
    )
