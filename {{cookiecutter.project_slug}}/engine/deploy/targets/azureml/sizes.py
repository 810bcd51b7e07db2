"""The sizes that an instance may have, what is in them, and what they cost.

Microsoft's page "Managed online endpoints SKU list" has the families; cores and memory are those
of the pages on the sizes.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from engine.deploy.bootstrap.price import Price
from engine.deploy.targets.azureml.environment import EndpointEnvironment

HOUR = Price(
    0.0425,
    "core and hour of an Fs_v2 size",
    "published comparison of Azure's VM families, region eastus",
    "2026-06",
)
_NAME = re.compile(r"Standard_([A-Z]+)(\d+)([a-z]*)(?:_v(\d))?")
_DS = {1: 1, 2: 2, 3: 4, 4: 8, 5: 16}
# Family: GB of memory for each core, and the cores of its sizes.
_FAMILIES = {
    "Fs_v2": (2.0, (2, 4, 8, 16, 32, 48, 64, 72)),
    "Es_v3": (8.0, (2, 4, 8, 16, 32, 48)),
    "Das_v4": (4.0, (2, 4, 8, 16, 32, 48, 64, 96)),
    "DS_v2": (3.5, (1, 2, 4, 8, 16)),
}
KNOWN = "Standard_FNs_v2, Standard_ENs_v3, Standard_DNas_v4 and Standard_DSN_v2"
_CHOSEN = ("Fs_v2", "Es_v3")
RESERVE = 1.2
"""Azure reserves a fifth more instances than are asked for, to renew them; nobody pays for those,
and the quota has to have room for them."""


@dataclass(frozen=True, slots=True)
class Size:
    """One size: its name, its family, and what an instance has."""

    name: str
    family: str
    cores: int
    memory_gb: float


def size_named(name: str) -> Size | None:
    """The size of this name; None: an endpoint has none such, or none that is known here."""
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    letters, number, more, version = found[1], int(found[2]), found[3], found[4]
    family = f"{letters}{more}_v{version}"
    if family not in _FAMILIES:
        return None
    memory, there = _FAMILIES[family]
    cores = _DS.get(number, 0) if family == "DS_v2" else number
    return Size(name, family, cores, cores * memory) if cores in there else None


def size_of(environment: EndpointEnvironment) -> Size | None:
    """The size that an environment names, or the smallest that has what it needs; None: none."""
    if environment.instance_type is not None:
        return size_named(environment.instance_type)
    fitting = [
        Size(f"Standard_{family[0]}{cores}{family[1:]}", family, cores, cores * memory)
        for family in _CHOSEN
        for memory, there in (_FAMILIES[family],)
        for cores in there
        if cores >= environment.cpu and cores * memory >= environment.memory_gb
    ]
    return min(fitting, key=lambda each: each.cores, default=None)


def quota_cores(environment: EndpointEnvironment) -> int:
    """Cores of quota that a rollout needs: two releases, each with Azure's reserve."""
    size = size_of(environment)
    return 2 * math.ceil(RESERVE * environment.instances) * size.cores if size else 0
