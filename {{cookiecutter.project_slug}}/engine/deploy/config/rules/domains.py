"""Rules for own names."""

from __future__ import annotations

from collections.abc import Iterator

from engine.deploy.config.domains import OwnDomains
from engine.deploy.config.rules.rule import Broken


def broken(given: OwnDomains, *, apex: bool) -> Iterator[Broken]:
    """What is wrong with own names.

    Args:
        apex: the name of a zone itself can be one.
    """
    seen: set[str] = set()
    for position, domain in enumerate(given.domains):
        at = ("https", "domains", position)
        if domain in seen:
            yield Broken(at, "is there twice", "remove one")
        seen.add(domain)
        if given.zone and domain == given.zone.name and not apex:
            yield Broken(
                at,
                "is the zone itself, where DNS allows no CNAME record",
                f"take a name in it, such as www.{domain}",
            )
    if given.zone and not any(map(given.zone.covers, given.domains)):
        yield Broken(
            ("https", "zone", "name"),
            "holds none of https.domains",
            "write the zone that they end with, or remove zone",
        )
