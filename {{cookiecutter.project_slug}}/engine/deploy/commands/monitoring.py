"""`python -m engine.deploy monitoring [ENV]`: alerts, a workbook, saved queries and a budget.

Like a bootstrap, every step looks, makes what is missing and repairs what differs; a second run
changes nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from engine.deploy.az import AzError
from engine.deploy.bootstrap.runner import MADE, REPAIRED, Result, Runner
from engine.deploy.bootstrap.step import Step
from engine.deploy.commands.context import Context, add_dry_run, add_stage, open_contexts
from engine.deploy.config.read import environment_names
from engine.deploy.gh import GhError
from engine.deploy.monitoring.place import Place
from engine.deploy.monitoring.plan import plan
from engine.deploy.say import Say
from engine.deploy.targets.kind import kind_of
from engine.errors import EngineError
from engine.load.slo import read_slo

PORTAL = "https://portal.azure.com/#resource{workbook}/workbook"
_ROLES = (
    "this needs Owner or Contributor on both resource groups, as the bootstrap does; or Monitoring "
    "Contributor and Cost Management Contributor on the environment's group, and Log Analytics "
    "Contributor on the workspace. A workflow's identity has none of them: who deploys cannot "
    "silence an alert"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    add_stage(parser, optional=True)
    add_dry_run(parser)


def run(options: argparse.Namespace, root: Path, say: Say) -> int:
    """Set it up, or show what would be done; 0.

    Raises:
        EngineError: nothing is deployed yet, or Azure refused; running it again goes on from there.
    """
    stages = (options.environment,) if options.environment else environment_names(root)
    contexts = open_contexts(stages, root, say, dry_run=options.dry_run)
    objective = read_slo(root / "load" / "slo.yaml").p95_ms
    month = datetime.now(UTC).strftime("%Y-%m-01")
    done = 0
    for stage, context in contexts.items():
        live = context.target.read()
        if live is None or live.address is None:
            _not_deployed(stage, context, one=len(contexts) == 1)
            continue
        place = Place(context.project, context.environment, context.places.subscription)
        _advise(context)
        say.step(f"{stage}: {context.target.what}")
        steps = plan(place, live.address, objective, month)
        runner = Runner({"az": context.az}, say, dry_run=options.dry_run, explain=_explained)
        _end(stage, place, runner.run(steps), say, dry_run=options.dry_run)
        done += 1
    if not done:
        raise EngineError("nothing is deployed, so there is nothing to watch", _FIRST)
    return 0


_FIRST = "deploy first: `make up ENV=staging`; rules on a resource need the resource"


def _not_deployed(stage: str, context: Context, *, one: bool) -> None:
    if one:
        raise EngineError(f"there is no {context.target.what} in {stage} to be watched", _FIRST)
    context.say.warning(f"{stage}: nothing is deployed there, so nothing is set up; {_FIRST}")


def _advise(context: Context) -> None:
    environment, say = context.environment, context.say
    if not environment.alerts.email:
        say.warning(
            f"alerts.email in deploy/environments/{environment.stage}.yaml is empty: alerts show "
            "in the portal, and nobody gets a mail"
        )
    kind = kind_of(environment)
    if kind.takes_workspace and not kind.sends_log(environment):
        say.warning(
            "container_logs is false: rules on the log see nothing but what telemetry sends"
        )


def _explained(step: Step, error: AzError | GhError) -> EngineError:
    fix = _ROLES if getattr(error, "status", None) == 403 else error.fix
    return EngineError(f"{step.what}: {error.cause}", f"{fix}. Then run the same command again")


def _end(stage: str, place: Place, results: Sequence[Result], say: Say, *, dry_run: bool) -> None:
    changed = sum(each.outcome in (MADE, REPAIRED) for each in results)
    if dry_run:
        print(f"\n# {stage}: {changed} of {len(results)} would change; nothing was changed")
        return
    say.step(f"{stage}: {changed} of {len(results)} changed something")
    print(f"{stage}: {PORTAL.format(workbook=place.workbook)}")
