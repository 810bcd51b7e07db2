"""What an environment left on another kind of place when it moved: it serves on, and bills."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from engine.deploy.commands.context import Context, azure_secrets
from engine.deploy.finding import Finding
from engine.deploy.journal import Record
from engine.deploy.rollout.ownership import as_recorded
from engine.deploy.targets import kind_names
from engine.deploy.targets.base import Live
from engine.deploy.targets.kind import kind_named, kind_of


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """One place of before: ``context`` acts on it, as its last rollout knew the environment."""

    context: Context
    live: Live

    def words(self) -> str:
        """For people: "container group iris-staging at http://…"."""
        where = f" at {self.live.address}" if self.live.address else ""
        return f"{self.context.target.what}{where}"


def elsewhere(context: Context) -> tuple[Elsewhere, ...]:
    """What is still there, the latest first."""
    newest: dict[str, Record] = {}
    for record in context.journal.elsewhere():
        newest.setdefault(record.target, record)
    contexts = (_there(context, record) for record in newest.values() if _known(record))
    found = ((each, each.target.read()) for each in contexts)
    return tuple(
        Elsewhere(each, as_recorded(each.target, each.journal, live))
        for each, live in found
        if live is not None
    )


def unfinished_elsewhere(context: Context) -> Iterator[Finding]:
    """Rollouts on other kinds of places that have no end; nothing here sees their releases."""
    for record in context.journal.elsewhere():
        if record.open:
            yield Finding(
                "elsewhere",
                f"a rollout on {record.target} has no end: {record.id}, by {record.by}, since "
                f"{record.started}",
                f"wait for its end; if it was killed, write target: {record.target} again and run "
                f"`.venv/bin/python -m engine.deploy recover {context.environment.stage}`",
            )


def tell(context: Context) -> None:
    """Say what is still there; nothing is removed before somebody asks for it."""
    for each in elsewhere(context):
        context.say.step(
            f"{each.words()} is as before the move, and bills; `.venv/bin/python -m engine.deploy "
            f"move {context.environment.stage} --finish` removes it"
        )


def _known(record: Record) -> bool:
    return record.target in kind_names() and bool(record.environment)


def _there(context: Context, record: Record) -> Context:
    model = kind_named(record.target).environment
    environment = model.model_validate(record.environment, strict=False)
    az, project = context.az, context.project
    there = replace(
        context,
        environment=environment,
        telemetry=azure_secrets(az, project, environment, context.places.subscription),
    )
    places = kind_of(environment).places(project, environment, context.places)
    return replace(there, places=places)
