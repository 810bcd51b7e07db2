"""`python -m engine.deploy bootstrap`: once per project, and again when something is missing."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from engine.deploy.az import Az
from engine.deploy.bootstrap import facts, report, unasked
from engine.deploy.bootstrap.inputs import Account, Inputs, Repository
from engine.deploy.bootstrap.looks import Tool
from engine.deploy.bootstrap.plan import plan
from engine.deploy.bootstrap.runner import MADE, REPAIRED, Result, Runner
from engine.deploy.bootstrap.unasked import Lenient
from engine.deploy.commands.context import add_dry_run
from engine.deploy.config.environment import Environment
from engine.deploy.config.project import Project
from engine.deploy.config.read import environment_names, read_environment, read_project
from engine.deploy.gh import Gh
from engine.deploy.say import Say
from engine.deploy.targets.kind import kind_named
from engine.errors import EngineError, NoAccess


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    add_dry_run(parser)
    parser.add_argument(
        "--without-github",
        action="store_true",
        help="do nothing on GitHub, and print what to set there by hand",
    )
    parser.add_argument(
        "--reviewer",
        metavar="LOGIN",
        help="who approves deployments to production (default: the owner, or you; none: nobody)",
    )
    parser.add_argument(
        "--only", metavar="ENV", help="only this environment and what it shares, without GitHub"
    )
    parser.add_argument(
        "--subject-prefix",
        metavar="PREFIX",
        help="how GitHub's tokens name the repository; only with --without-github",
    )


def run(options: argparse.Namespace, root: Path, say: Say) -> int:
    """Set up Azure and GitHub, or show what would be done; 0, or 1 if a person has to act.

    Raises:
        EngineError: it cannot go on; running it again goes on from there.
    """
    if options.subject_prefix and not options.without_github:
        raise EngineError(
            "--subject-prefix was given, and GitHub is asked for it anyway",
            "leave it out, or add --without-github",
        )
    project, environments = _configuration(root, options.only)
    options.without_github = options.without_github or options.only is not None
    az, gh = Az(say, dry_run=options.dry_run), Gh(say, dry_run=options.dry_run)
    if options.dry_run:
        return _dry_run(options, root, az, gh, project, environments)
    account = _account(az)
    repository = _repository(options, root, gh, project, account)
    inputs = _ground(options, project, environments, account, repository)
    _introduce(say, inputs)
    runner = Runner({"az": az, "gh": gh, **_tools(az, environments)}, say)
    results = runner.run(plan(inputs))
    return _end(inputs, gh, runner, results, say, only=options.only is not None)


def _dry_run(
    options: argparse.Namespace,
    root: Path,
    az: Az,
    gh: Gh,
    project: Project,
    environments: dict[str, Environment],
) -> int:
    """Print what would be done; where Azure or GitHub cannot be asked, what would be at most."""
    tools = {"az": Lenient(az, "Azure"), "gh": Lenient(gh, "GitHub")}
    account = repository = None
    try:
        account = _account(az)
    except NoAccess as error:
        tools["az"].give_up(error.cause)
    try:
        repository = _repository(options, root, gh, project, account)
    except NoAccess as error:
        tools["gh"].give_up(error.cause)
        repository = unasked.repository(project, root, options.reviewer)
    inputs = _ground(options, project, environments, account or unasked.ACCOUNT, repository)
    if tools["az"].asks and tools["gh"].asks:
        _introduce(az.say, inputs)
    for program, tool in _tools(az, environments).items():
        tools[program] = Lenient(tool, "Azure", asks=tools["az"].asks)
    results = Runner(tools, az.say, dry_run=True).run(plan(inputs))
    changes = sum(each.outcome in (MADE, REPAIRED) for each in results)
    print(f"\n# {changes} of {len(results)} steps would change something; nothing was changed")
    return 0


def _tools(az: Az, environments: Mapping[str, Environment]) -> dict[str, Tool]:
    """What the kinds of places that are used call besides `az` and `gh`."""
    by_kind: dict[str, list[Environment]] = {}
    for environment in environments.values():
        by_kind.setdefault(environment.target, []).append(environment)
    used = (kind_named(name).tools(az, each) for name, each in by_kind.items())
    return {program: tool for tools in used for program, tool in tools.items()}


def for_one(stage: str, root: Path, say: Say) -> None:
    """Make what an environment needs on Azure for deploys from this machine; all else stays away.

    Raises:
        EngineError: it cannot go on, or an administrator has to run what was printed.
    """
    asked = argparse.Namespace(
        only=stage, dry_run=False, without_github=True, reviewer=None, subject_prefix=None
    )
    if run(asked, root, say):
        raise EngineError(
            f"what {stage} needs on Azure is not complete",
            "do what is printed above, then run the same command again",
        )


def _configuration(root: Path, only: str | None) -> tuple[Project, dict[str, Environment]]:
    """The project, and its environments in the order of promotion, or one of them."""
    if only is not None:
        project, environment = read_environment(only, root)
        return project, {only: environment}
    stages = sorted(environment_names(root), key=lambda stage: (stage == "production", stage))
    return read_project(root), {stage: read_environment(stage, root)[1] for stage in stages}


def _account(az: Az) -> Account:
    # First, so that without a login `az`, which takes seconds to start, is started once.
    account = facts.read_account(az)
    az.require_version()
    return account


def _repository(
    options: argparse.Namespace, root: Path, gh: Gh, project: Project, account: Account | None
) -> Repository | None:
    if options.without_github:
        return None
    gh.require_version()
    return facts.read_repository(gh, project, root, account, options.reviewer)


def _ground(
    options: argparse.Namespace,
    project: Project,
    environments: dict[str, Environment],
    account: Account,
    repository: Repository | None,
) -> Inputs:
    subject = repository.subject if repository else options.subject_prefix
    return Inputs(project, environments, account, subject, repository)


def _introduce(say: Say, inputs: Inputs) -> None:
    account = inputs.account
    say.step(
        f'subscription "{account.subscription_name}" ({account.subscription}), as {account.user}'
    )
    if inputs.repository is not None:
        say.step(f"repository {inputs.repository.name}, in tokens {inputs.repository.subject}")


def _clients(inputs: Inputs, runner: Runner) -> dict[str, str]:
    """What GitHub's variables would be told: the ids of the identities."""
    steps = (
        "identity build",
        "identity prune",
        *(f"identity deploy {s}" for s in inputs.environments),
    )
    return {step: runner.known(step, "clientId") or "" for step in steps}


def _end(
    inputs: Inputs, gh: Gh, runner: Runner, results: Sequence[Result], say: Say, *, only: bool
) -> int:
    lines = report.existing(inputs, results)
    if inputs.repository is None and not only:
        lines += report.by_hand(inputs, _clients(inputs, runner))
    elif inputs.repository is not None:
        absent = facts.absent_secrets(gh, inputs.repository, inputs.environments)
        lines += report.remaining(inputs, absent)
    if not runner.refused:
        lines.append(report.next_step(inputs.repository, next(iter(inputs.environments))))
    print("\n".join(lines))
    changed = sum(each.outcome in (MADE, REPAIRED) for each in results)
    say.step(f"done: {changed} of {len(results)} steps changed something")
    if runner.refused:
        print("\n".join(report.for_an_administrator(inputs, runner.refused)))
    if changed:
        say.detail("new roles and credentials may take some minutes until they work everywhere")
    for each in results:
        for rule in each.wrong:
            cause = f"is not there, GitHub: {each.why}" if each.why else rule.wrong
            say.warning(f"{each.step.what} {cause}; {rule.fix}")
    faults = [each for each in results if each.wrong and not each.why]
    return 1 if faults or runner.refused else 0
