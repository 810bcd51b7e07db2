"""What a bootstrap is made of: steps that are data, so that they can be read, shown and tested.

A step says what it is for, how to see whether it is done, and what does it. Nothing here runs
anything; that is ``engine.deploy.bootstrap.runner``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from engine.deploy.azure_ids import member
from engine.deploy.bootstrap.price import FREE, Cost

Found = Any
"""What a look shows, as JSON."""


@dataclass(frozen=True, slots=True)
class Output:
    """A value that Azure or GitHub makes up when a step is done, such as the id of an identity.

    ``path`` leads to it in what the step's look shows; ``prefix`` stands before it.
    """

    step: str
    path: str
    prefix: str = ""


Argument = str | Output


@dataclass(frozen=True, slots=True)
class Command:
    """One call of `az`, `gh` or a tool of a kind; ``body`` is for its standard input."""

    program: str
    arguments: tuple[Argument, ...]
    body: str | None = None


Repair = Callable[[Found], tuple[Command, ...]]


@dataclass(frozen=True, slots=True)
class Rule:
    """What has to be so in what a step finds.

    Args:
        path: leads to the value, ``a.b``; or gives it.
        wanted: the value; lists are compared without order.
        wrong: what is wrong otherwise, as the end of a sentence about the thing.
        repair: what puts it right, given what was found; None: only a person should.
        fix: what that person does.
        refused: the rule is turned round: any value but this one.
        exact: the case of a text matters; names and ids of Azure's have no case.
    """

    path: str | Callable[[Found], Any]
    wanted: Argument | bool | tuple[str, ...]
    wrong: str
    repair: Repair | None = None
    fix: str = ""
    refused: bool = False
    exact: bool = False


@dataclass(frozen=True, slots=True)
class Among:
    """Which element of a list is meant: the first one with these values.

    ``path`` leads to the list; empty: the look shows a list itself. ``exact`` is that of ``Rule``.
    """

    where: Mapping[str, Argument]
    path: str = ""
    exact: bool = False


@dataclass(frozen=True, slots=True)
class Guard:
    """A look that is taken before something is made, and what it must not show.

    ``refuse`` gives cause and fix, or None when the way is free.
    """

    look: Command
    refuse: Callable[[Found], tuple[str, str] | None]


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that has to exist.

    Args:
        key: names the step; ``Output.step`` refers to it.
        what: the thing, for people: "container registry irisservice".
        purpose: what it is for, as one sentence without a full stop.
        look: shows it, or that it is not there; changes nothing.
        make: makes it; may be run again without harm.
        among: picks it from the list that the look shows.
        state: path to its state, or what gives it, where making it takes Azure some time.
        cost: what it costs by being there.
        grants: it gives rights, which Contributor alone may not.
        optional: an organisation may forbid it (409), or its plan not have it (403 with the word
            "upgrade"); that is reported, and the bootstrap goes on.
    """

    key: str
    what: str
    purpose: str
    look: Command
    make: tuple[Command, ...]
    among: Among | None = None
    state: str | Callable[[Found], str] = ""
    rules: tuple[Rule, ...] = ()
    guard: Guard | None = None
    cost: Cost = FREE
    grants: bool = False
    optional: bool = False


def az(*arguments: Argument) -> Command:
    """A call of the Azure CLI."""
    return Command("az", arguments)


def gh(*arguments: Argument, body: str | None = None) -> Command:
    """A call of the GitHub CLI."""
    return Command("gh", arguments, body)


def always(*commands: Command) -> Repair:
    """A repair that does not depend on what was found."""
    return lambda found: commands


def value_at(document: Found, path: str | Callable[[Found], Any]) -> Any:
    """The value at a path of field names and positions in lists; None where there is none."""
    if callable(path):
        return path(document)
    for name in filter(None, path.split(".")):
        if isinstance(document, Mapping):
            document = member(document, name)
        elif isinstance(document, list) and name.isdigit() and int(name) < len(document):
            document = document[int(name)]
        else:
            return None
    return document
