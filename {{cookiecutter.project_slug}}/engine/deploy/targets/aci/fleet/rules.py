"""What an environment file must keep for a fleet, and what it may yet surprise with."""

from __future__ import annotations

import re
from collections.abc import Iterator

from engine.deploy.config.project import Project
from engine.deploy.config.rules.rule import Broken, Rule
from engine.deploy.targets.aci.environment import GroupEnvironment
from engine.deploy.targets.aci.fleet.profile import DOMAIN, GRACE

LONGEST = 63 - len("-green-10")
"""Of a name or label to which a colour and a number are added; Azure docs: 63 characters."""
# Azure docs: use tags to organize your resources, limitations of Traffic Manager.
_TAG = re.compile(r"[^ #:0-9][^ #:]*")


def lengths(project: Project, environment: GroupEnvironment) -> Iterator[Broken]:
    """Names and labels of the groups."""
    if not environment.beside:
        return
    for at, value in ((("name",), environment.name), (("dns", "label"), environment.dns_label)):
        if len(value) > LONGEST:
            yield Broken(
                at,
                f"has {len(value)} characters, and groups are called after it: -green-10 is added",
                f"take at most {LONGEST} characters, or write switch: in_place with copies: 1",
            )
            return


def tags(project: Project, environment: GroupEnvironment) -> Iterator[Broken]:
    """The tags are those of the Traffic Manager profile too."""
    for name in environment.tags if environment.beside else ():
        if not _TAG.fullmatch(name):
            yield Broken(
                ("tags", name),
                "Traffic Manager takes no space, # or : in a tag's name, and no number as its "
                "first character",
                "write it with - instead",
            )


def warnings(environment: GroupEnvironment) -> Iterator[str]:
    """One sentence for each thing to know."""
    if not environment.beside:
        return
    cores = environment.copies * environment.cpu
    yield (
        f"copies is {environment.copies} and cpu {environment.cpu:g}: during a deploy two colours "
        f"run, which is {2 * cores:g} of the region's cores, for the deploy and "
        f"{GRACE.total_seconds():.0f} s after it"
    )
    if not environment.telemetry:
        yield (
            "with telemetry: false there is no alert on the memory of a fleet: Azure binds its own "
            "to a container group, and the groups change with each deploy"
        )
    yield (
        f"clients ask {environment.dns_label}.{DOMAIN}; one that keeps an answer of DNS for longer "
        f"than {GRACE.total_seconds():.0f} s fails after a deploy until it asks again"
    )


RULES = (
    Rule(("name", "dns", "copies", "switch"), lengths),
    Rule(("tags", "copies", "switch"), tags),
)
