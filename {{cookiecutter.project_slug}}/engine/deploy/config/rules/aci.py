"""Rules of Azure Container Instances.

Sources in Azure docs: resource availability and quota limits; frequently asked questions;
troubleshooting.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from engine.deploy.config.environment import Environment
from engine.deploy.config.kinds import DNS_LABEL
from engine.deploy.config.project import Project
from engine.deploy.config.rules.rule import Broken, Rule

MOST_CPU, MOST_MEMORY_GB = 31, 240
RESERVED_PORTS = (
    *(range(22, 23), range(1025, 1028), range(3389, 3400), range(9999, 10000)),
    *(range(19000, 19001), range(19080, 19081), range(19100, 19101), range(19390, 19391)),
    *(range(20000, 30001), range(49152, 65535)),
)


def size(project: Project, environment: Environment) -> Iterator[Broken]:
    """Size of a container group."""
    if environment.target != "aci":
        return
    limits = (
        ("cpu", environment.cpu, MOST_CPU),
        ("memory_gb", environment.memory_gb, MOST_MEMORY_GB),
    )
    for field, value, most in limits:
        if not 1 <= value <= most:
            yield Broken(
                (field,),
                f"a container group has from 1 to {most}",
                "take a number in that range; more is to be had on Container Apps or AKS",
            )
        elif round(value * 10) != value * 10:
            yield Broken((field,), "Azure keeps one decimal", f"write {round(value, 1):g}")


def port(project: Project, environment: Environment) -> Iterator[Broken]:
    """Ports that the platform keeps for itself."""
    if environment.target == "aci" and any(environment.port in ports for ports in RESERVED_PORTS):
        yield Broken(
            ("port",),
            "Azure Container Instances reserves this port",
            "take 8000, 8080, 80 or another",
        )


def replicas(project: Project, environment: Environment) -> Iterator[Broken]:
    """A container group does not scale."""
    if environment.target != "aci":
        return
    for field, value in (("min", environment.replicas.min), ("max", environment.replicas.max)):
        if value != 1:
            yield Broken(
                ("replicas", field),
                "a container group is one container and does not scale",
                "write 1, or target: containerapps, which scales with the load and to zero",
            )


def label(project: Project, environment: Environment) -> Iterator[Broken]:
    """The label of the address is the group's name unless one is given."""
    if environment.target == "aci" and re.fullmatch(DNS_LABEL, environment.dns_label) is None:
        yield Broken(
            ("name",),
            "is the label of the address too: 5 to 63 characters, the first one a letter",
            "take another name, or write dns: {label: ...}",
        )


RULES = (
    Rule(("target", "cpu", "memory_gb"), size),
    Rule(("target", "port"), port),
    Rule(("target", "replicas"), replicas),
    Rule(("target", "name", "dns"), label),
)
