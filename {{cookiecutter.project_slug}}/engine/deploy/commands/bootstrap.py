"""`python -m engine.deploy bootstrap`: once per project, and again when something is missing."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from engine.deploy.az import Az
from engine.deploy.bootstrap import facts, report
from engine.deploy.bootstrap.ground import Ground
from engine.deploy.bootstrap.plan import plan
from engine.deploy.bootstrap.runner import MADE, REPAIRED, Result, Runner
from engine.deploy.config.environment import Environment
from engine.deploy.config.project import Project
from engine.deploy.config.read import environment_names, read_environment, read_project
from engine.deploy.errors import DeployError
from engine.deploy.gh import Gh
from engine.deploy.say import Say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument(
        "--dry-run", action="store_true", help="print every command that would change something"
    )
    parser.add_argument(
        "--without-github",
        action="store_true",
        help="do nothing on GitHub, and print what to set there by hand",
    )
    parser.add_argument(
        "--reviewer",
        metavar="LOGIN",
        help="who consents to production (default: the owner, or you; none: nobody)",
    )
    parser.add_argument(
        "--subject-prefix",
        metavar="PREFIX",
        help="how GitHub's tokens name the repository; only with --without-github",
    )


def run(options: argparse.Namespace, root: Path, say: Say) -> int:
    """Set up Azure and GitHub, or show what would be done; 0, or 1 if a person has to mend it.

    Raises:
        DeployError: it cannot go on; running it again goes on from there.
    """
    if options.subject_prefix and not options.without_github:
        raise DeployError(
            "--subject-prefix was given, and GitHub is asked for it anyway",
            "leave it out, or add --without-github",
        )
    project, environments = _configuration(root)
    az, gh = Az(say, dry_run=options.dry_run), Gh(say, dry_run=options.dry_run)
    ground = _ground(options, root, az, gh, project, environments)
    _introduce(say, ground)
    runner = Runner({"az": az, "gh": gh}, say, dry_run=options.dry_run)
    results = runner.run(plan(ground))
    if options.dry_run:
        return _end_of_dry_run(results)
    return _end(ground, gh, runner, results, say)


def _configuration(root: Path) -> tuple[Project, dict[str, Environment]]:
    """The project, and its environments in the order of promotion."""
    stages = sorted(environment_names(root), key=lambda stage: (stage == "production", stage))
    return read_project(root), {stage: read_environment(stage, root)[1] for stage in stages}


def _ground(
    options: argparse.Namespace,
    root: Path,
    az: Az,
    gh: Gh,
    project: Project,
    environments: dict[str, Environment],
) -> Ground:
    az.require_version()
    account = facts.read_account(az)
    repository = None
    if not options.without_github:
        gh.require_version()
        repository = facts.read_repository(gh, project, root, account, options.reviewer)
    subject = repository.subject if repository else options.subject_prefix
    return Ground(project, environments, account, subject, repository)


def _introduce(say: Say, ground: Ground) -> None:
    account = ground.account
    say.step(
        f'subscription "{account.subscription_name}" ({account.subscription}), as {account.user}'
    )
    if ground.repository is not None:
        say.step(f"repository {ground.repository.name}, in tokens {ground.repository.subject}")


def _end_of_dry_run(results: Sequence[Result]) -> int:
    changes = sum(each.outcome in (MADE, REPAIRED) for each in results)
    print(f"\n# {changes} of {len(results)} steps would change something; nothing was changed")
    return 0


def _clients(ground: Ground, runner: Runner) -> dict[str, str]:
    """What GitHub's variables would be told: the ids of the identities."""
    steps = (
        "identity build",
        "identity prune",
        *(f"identity deploy {s}" for s in ground.environments),
    )
    return {step: runner.known(step, "clientId") or "" for step in steps}


def _end(ground: Ground, gh: Gh, runner: Runner, results: Sequence[Result], say: Say) -> int:
    lines = report.existing(ground, results)
    if ground.repository is None:
        lines += report.by_hand(ground, _clients(ground, runner))
    else:
        absent = facts.absent_secrets(gh, ground.repository, ground.environments)
        lines += report.remaining(ground, absent)
    lines.append(report.next_step(ground.repository))
    print("\n".join(lines))
    changed = sum(each.outcome in (MADE, REPAIRED) for each in results)
    say.step(f"done: {changed} of {len(results)} steps changed something")
    if changed:
        say.detail("new roles and credentials may take some minutes until they work everywhere")
    faults = [(each.step, rule) for each in results for rule in each.wrong]
    for step, rule in faults:
        say.warning(f"{step.what} {rule.wrong}; {rule.fix}")
    return 1 if faults else 0
