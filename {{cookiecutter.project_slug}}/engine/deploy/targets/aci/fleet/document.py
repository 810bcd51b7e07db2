"""The document of a fleet: that of one container group, and of how many there are.

Records, secrets, tags and images are read from it as from a group's own; the groups are made from
it, and a group is read back into it. They differ in name and label only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.deploy.config import names
from engine.deploy.targets.aci import shape
from engine.deploy.targets.aci.document import API_VERSION
from engine.deploy.targets.aci.environment import GroupEnvironment
from engine.deploy.targets.aci.shape import restorable
from engine.deploy.targets.base import Document
from engine.deploy.targets.compare import canonical_digest, differing_paths

FLEET = "fleet"
"""The key of a document that says how many groups there are; a single group's has none."""
SINGLE, BLUE, GREEN = "single", "blue", "green"
COLOURS = (BLUE, GREEN)


def member_names(environment: GroupEnvironment, slot: str, copies: int) -> tuple[str, ...]:
    """The names of the groups of a colour; of SINGLE, the environment's own name."""
    if slot == SINGLE:
        return (environment.name,)
    return tuple(f"{environment.name}-{slot}-{number}" for number in range(1, copies + 1))


def copies_of(document: Document) -> int:
    """How many groups a document asks for."""
    return int((document.get(FLEET) or {"copies": 1})["copies"])


def member(environment: GroupEnvironment, document: Document, name: str) -> Document:
    """The document of one group of a fleet."""
    shaped: dict[str, Any] = restorable(document)
    tags = {key: value for key, value in shaped["tags"].items() if key != names.TAG_STATE}
    address = {**shaped["properties"]["ipAddress"], "dnsNameLabel": _label(environment, name)}
    return {
        **shaped,
        "name": name,
        "tags": tags,
        "properties": {**shaped["properties"], "ipAddress": address},
    }


def of_members(
    environment: GroupEnvironment, groups: list[Document], slot: str, tags: Mapping[str, str]
) -> Document:
    """The document that made these groups, with these tags. ``copies`` counts those that are as
    the first one is.
    """
    shaped = [_without_name(environment, each) for each in groups]
    first: Document = shaped[0] if shaped else _empty(environment)
    whole = {**first, "tags": dict(tags)}
    if slot == SINGLE:
        return whole
    alike = [each for each in shaped if _untagged(each) == _untagged(first)]
    return {**whole, FLEET: {"copies": len(alike)}}


def comparable(document: Document) -> Document:
    """What two documents of equal fleets have in common; see ``aci.shape.comparable``."""
    return {**shape.comparable(document), FLEET: document.get(FLEET)}


def differences(live: Document, wanted: Document) -> tuple[str, ...]:
    """The properties that differ."""
    return tuple(differing_paths(comparable(live), comparable(wanted)))


def config_digest(document: Document) -> str:
    """The digest of what was asked for, secrets and the tags of the rollout aside."""
    return canonical_digest(comparable(document))


def equal(environment: GroupEnvironment, groups: list[Document], document: Document) -> bool:
    """Whether the groups, tags and secrets aside, are what a document asks for."""
    wanted = _untagged(restorable(document))
    shaped = [_untagged(_without_name(environment, each)) for each in groups]
    return len(shaped) == copies_of(document) and all(each == wanted for each in shaped)


def _without_name(environment: GroupEnvironment, group: Document) -> Document:
    shaped: dict[str, Any] = restorable(group)
    address = shaped["properties"].get("ipAddress") or {}
    if address.get("dnsNameLabel") == _label(environment, str(group["name"])):
        address["dnsNameLabel"] = environment.dns_label
    return {**shaped, "name": environment.name}


def _label(environment: GroupEnvironment, name: str) -> str:
    return environment.dns_label + name.removeprefix(environment.name)


def _untagged(document: Document) -> Document:
    return {key: value for key, value in document.items() if key not in ("tags", FLEET)}


def _empty(environment: GroupEnvironment) -> Document:
    return {
        "apiVersion": API_VERSION,
        "name": environment.name,
        "location": environment.region,
        "properties": {"containers": []},
    }
