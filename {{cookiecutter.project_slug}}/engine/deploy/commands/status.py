"""`python -m engine.deploy status [ENV]`: what runs where, since when, whether a rollout is open;
and how it goes: the figures that the workbook and the alerts are about.
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from engine.client.service import front_door
from engine.deploy.az import AzError
from engine.deploy.commands.context import Context, add_stage, open_contexts
from engine.deploy.commands.elsewhere import Elsewhere, elsewhere
from engine.deploy.config import names
from engine.deploy.config.read import environment_names
from engine.deploy.figures.platform import HEAD, cells, usage
from engine.deploy.figures.service import Figures, ask
from engine.deploy.journal import NewerRecord
from engine.deploy.monitoring.place import Place
from engine.deploy.preflight import at_once
from engine.deploy.rollout import marks
from engine.deploy.rollout.ownership import as_recorded
from engine.deploy.say import Say
from engine.deploy.targets.base import Live
from engine.deploy.targets.kind import kind_of

_HEAD = ("environment", "revision", "image", "state", "restarts", "up for", "rollout", "address")
_SHORT = 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    add_stage(parser, optional=True)


def run(options: argparse.Namespace, root: Path, say: Say) -> int:
    """Print what runs, and below it how it goes; 0.

    Raises:
        EngineError: Azure cannot be asked.
    """
    stages = (options.environment,) if options.environment else environment_names(root)
    contexts = open_contexts(stages, root, say)
    looks = (partial(_look_everywhere, *each) for each in contexts.items())
    seen = [row for rows in at_once(*looks) for row in rows]
    _print([_HEAD, *(row for row, _ in seen)])
    figures = [(row[0], *cells) for row, cells in seen if cells]
    if figures:
        print("\nrequests/s of this moment; errors, p95 and refused since the start")
        _print([("environment", *HEAD), *figures])
    return 0


def _print(rows: list[tuple[str, ...]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())


def age(since: str | None, now: datetime) -> str:
    """How long ago, in the largest unit that fits; "-" where it is unknown."""
    try:
        seconds = (now - datetime.fromisoformat(str(since))).total_seconds()
    except (TypeError, ValueError):
        return "-"
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def _look_everywhere(stage: str, context: Context) -> list[tuple[tuple[str, ...], ...]]:
    """What runs, and below it what is left where the environment was before a move."""
    here, others = at_once(partial(_look, stage, context), partial(_others, context))
    places = ((f"{stage} ({each.context.environment.target})", each) for each in others)
    return [
        here,
        *((_row(name, each.live), _figures(each.context, each.live)) for name, each in places),
    ]


def _others(context: Context) -> tuple[Elsewhere, ...]:
    try:
        return elsewhere(context)
    except (AzError, NewerRecord):
        # The row of the environment says it.
        return ()


def _look(stage: str, context: Context) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Two rows: what runs, and its figures, which are empty where nothing runs."""
    try:
        live, newer = at_once(context.target.read, partial(_newer_record, context))
        if live is not None and newer is None:
            live = as_recorded(context.target, context.journal, live)
    except AzError as error:
        if error.status != 403:
            raise
        return (stage, "-", "-", "this login may not look at it", "-", "-", "-", "-"), ()
    if newer is not None:
        context.say.warning(f"{stage}: {newer.cause}; {newer.fix}")
    return _row(stage, live), _figures(context, live)


def _newer_record(context: Context) -> NewerRecord | None:
    """Why every command that changes something refuses; None where nothing is known."""
    try:
        context.journal.records()
    except NewerRecord as error:
        return error
    except AzError as error:
        context.say.detail(f"the records of rollouts cannot be read: {error.cause}")
    return None


def _figures(context: Context, live: Live | None) -> tuple[str, ...]:
    if live is None or live.stopped or live.address is None:
        return ()
    environment = context.environment
    # A service that scales to zero is not started, and billed, for a look at it; nobody here
    # reaches a private address.
    asleep = live.since is None or context.inside is not None
    place = Place(context.project, environment, context.places.subscription)
    resources = [place.copy(name) for name in live.copies or (environment.name,)]
    readiness = environment.probes.readiness.path
    own, azure = at_once(
        partial(Figures) if asleep else partial(_asked, context, live.address, readiness),
        partial(usage, context.az, kind_of(environment).measured(environment), resources),
    )
    return cells(own, azure, environment.memory_gb)


def _asked(context: Context, address: str, readiness: str) -> Figures:
    gateway = front_door(context.environment.variables)
    return ask(address, readiness, {**gateway, **context.target.client_headers()})


def _row(stage: str, live: Live | None) -> tuple[str, ...]:
    if live is None:
        return (stage, "-", "-", "nothing deployed", "-", "-", "-", "-")
    digest = live.tags.get(names.TAG_IMAGE, "-").removeprefix("sha256:")
    rollout = marks.state(live.tags)
    if rollout != marks.KEPT:
        rollout = f"{rollout} {marks.rollout(live.tags)}"
    return (
        stage,
        live.tags.get(names.TAG_REVISION, "-")[:_SHORT],
        digest[:_SHORT],
        live.failure or live.state,
        str(live.restarts),
        age(live.since, datetime.now(UTC)) if live.running else "-",
        rollout,
        live.address or "-",
    )
