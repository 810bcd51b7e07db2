"""`python -m engine.deploy down ENV`: remove an environment (--all: everything) and its bill."""

from __future__ import annotations

import argparse
import time
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from engine.deploy.az import Az, AzError
from engine.deploy.bootstrap.roles import own_roles
from engine.deploy.commands.context import Context, add_dry_run, open_contexts
from engine.deploy.config.project import Project
from engine.deploy.config.read import environment_names, read_project
from engine.deploy.monitoring.documents import Resource
from engine.deploy.monitoring.place import Place
from engine.deploy.monitoring.plan import budget_of, remove, saved_queries
from engine.deploy.say import Say
from engine.deploy.targets.kind import kind_of
from engine.deploy.targets.own_names import OwnNames
from engine.errors import EngineError

_DELETE_SECONDS = 3600.0
_LOOK_AGAIN_SECONDS = (0.0, 10.0, 30.0, 60.0)
_SHARED = "by the day, little: the registry; by what is sent: the workspace of the logs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("environment", nargs="?", metavar="ENV", help="the environment to remove")
    what.add_argument(
        "--all", action="store_true", help="all environments, the registry and the identities"
    )
    parser.add_argument("--yes", action="store_true", help="do it; without it, say what would go")
    add_dry_run(parser)


def run(options: argparse.Namespace, root: Path, say: Say) -> int:
    """Remove whole resource groups; 0.

    Raises:
        EngineError: --yes is missing, or Azure refused.
    """
    stages = environment_names(root) if options.all else (options.environment,)
    contexts = open_contexts(stages, root, say, dry_run=options.dry_run)
    groups = {each.environment.resource_group: _bill(each) for each in contexts.values()}
    if options.all:
        groups[read_project(root).shared_resource_group] = _SHARED
    az = Az(say, dry_run=options.dry_run)
    left = _left_behind(contexts.values(), queries=not options.all)
    there = {name: resources for name in groups if (resources := _resources(az, name)) is not None}
    for name, resources in there.items():
        say.step(f"resource group {name}; billed: {groups[name]}")
        for resource in resources:
            say.detail(f"{resource['type']} {resource['name']}")
    for each in left:
        say.step(f"{each.what}, outside of the group; costs nothing")
    named = _own_names(contexts.values(), say)
    for _, names in named:
        say.step(f"own names {', '.join(names)}, with their records that `up` made in a zone")
    apart = [each for each in contexts.values() if _apart(each)]
    for held in apart:
        say.step(f"{held.target.what}, outside of the group")
    if not there and not left and not named and not apart:
        _prove_gone(az, groups)
        say.step("nothing is there")
        return 0
    if not options.yes and not options.dry_run:
        raise EngineError(
            f"{len(there)} resource group(s) with all that is listed above would be removed, for "
            "good",
            "repeat the command with --yes",
        )
    for each in left:
        remove(az, each)
    for own, names in named:
        say.step(f"giving up {', '.join(names)}")
        try:
            own.remove()
        except EngineError as error:
            say.warning(f"records of own names may be left: {error.cause}; {error.fix}")
    for held in apart:
        say.step(f"removing {held.target.what}")
        if not options.dry_run:
            held.target.delete()
    for name in there:
        say.step(f"removing {name}; this takes some minutes")
        az.change("group", "delete", "--name", name, "--yes", limit=_DELETE_SECONDS)
    if options.all:
        _remove_roles(az, say, read_project(root))
    if options.dry_run:
        say.step("a dry run: nothing was removed")
    else:
        _prove_gone(az, groups)
        say.step(
            f"removed; Azure shows no resource group {', '.join(groups)}, and no resource in one: "
            "nothing of it bills any more. GitHub's environments are left"
        )
    return 0


def _prove_gone(az: Az, groups: Collection[str]) -> None:
    """Ask for the groups, and the whole subscription for what is in one of them.

    Raises:
        EngineError: something is there.
    """
    names = {name.lower() for name in groups}
    for pause in _LOOK_AGAIN_SECONDS:
        time.sleep(pause)
        left = [name for name in groups if az.find("group", "show", "--name", name) is not None]
        left += [
            f"{each['type']} {each['name']}"
            for each in az.json("resource", "list") or []
            if str(each.get("resourceGroup", "")).lower() in names
        ]
        if not left:
            return
    raise EngineError(
        f"it was removed, and Azure still shows: {', '.join(left)}",
        "run the same command again in some minutes; what remains then bills: delete it in the "
        "portal",
    )


def _left_behind(contexts: Iterable[Context], *, queries: bool) -> list[Resource]:
    """What `monitoring` made outside of the groups; the queries go with the shared group."""
    found = []
    for each in contexts:
        place = Place(each.project, each.environment, each.places.subscription)
        found += [budget] if (budget := budget_of(each.az, place)) else []
        found += saved_queries(each.az, place) if queries else []
    return found


def _own_names(contexts: Iterable[Context], say: Say) -> list[tuple[OwnNames, tuple[str, ...]]]:
    """What `up` bound or made in a zone, which may be in another group: it outlives this one."""
    found = []
    for own in (each.own_names for each in contexts):
        try:
            if own is not None and (made := own.made()):
                found.append((own, made))
        except EngineError as error:
            say.warning(f"records of own names may be left: {error.cause}; {error.fix}")
    return found


def _apart(context: Context) -> bool:
    """What runs is somewhere else than in the resource group."""
    kind = kind_of(context.environment)
    return kind.apart(context.environment) and context.target.read() is not None


def _bill(context: Context) -> str:
    return context.target.billing() if context.target.read() is not None else "nothing runs"


def _remove_roles(az: Az, say: Say, project: Project) -> None:
    """The project's own roles live outside of the groups; their assignments went with these."""
    for role in (each.name(project) for each in own_roles()):
        if not az.json("role", "definition", "list", "--name", role, "--custom-role-only", "true"):
            continue
        say.step(f'removing the role "{role}"')
        try:
            az.change("role", "definition", "delete", "--name", role)
        except AzError as error:
            say.warning(f"the role is left, it costs nothing: {error.message}")


def _resources(az: Az, group: str) -> list[dict[str, Any]] | None:
    """What is in a resource group; None: there is no such group."""
    if az.find("group", "show", "--name", group) is None:
        return None
    found: list[dict[str, Any]] = az.json("resource", "list", "--resource-group", group)
    return found
