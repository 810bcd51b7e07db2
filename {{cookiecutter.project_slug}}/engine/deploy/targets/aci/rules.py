"""Rules of Azure Container Instances, and what is allowed and may yet surprise.

Sources in Azure docs: resource availability and quota limits; frequently asked questions;
troubleshooting.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from engine.deploy.config import volumes as shares
from engine.deploy.config.kinds import DNS_LABEL
from engine.deploy.config.project import Project
from engine.deploy.config.rules import domains
from engine.deploy.config.rules.rule import Broken, Rule
from engine.deploy.targets.aci import edge, network
from engine.deploy.targets.aci.environment import GroupEnvironment

MOST_CPU, MOST_MEMORY_GB = 31, 240
RESERVED_PORTS = (
    *(range(22, 23), range(1025, 1028), range(3389, 3400), range(9999, 10000)),
    *(range(19000, 19001), range(19080, 19081), range(19100, 19101), range(19390, 19391)),
    *(range(20000, 30001), range(49152, 65535)),
)

RETIRED_ON = "2025-07-14"
RETIRED_GPUS = ("k80", "p100", "v100")
# Azure docs: deploy container instances that use GPU resources, before their retirement.
RETIRED_COUNTS = (1, 2, 4)


def size(project: Project, environment: GroupEnvironment) -> Iterator[Broken]:
    """Size of a container group."""
    limits = (
        ("cpu", environment.cpu, MOST_CPU),
        ("memory_gb", environment.memory_gb, MOST_MEMORY_GB),
    )
    for field, value, most in limits:
        if not 1 <= value <= most:
            yield Broken(
                (field,),
                f"a container group has from 1 to {most}",
                "take a number in that range; Container Apps and AKS have more",
            )
        elif round(value * 10) != value * 10:
            yield Broken((field,), "Azure keeps one decimal", f"write {round(value, 1):g}")


def port(project: Project, environment: GroupEnvironment) -> Iterator[Broken]:
    """Ports that the platform keeps for itself."""
    if any(environment.port in ports for ports in RESERVED_PORTS):
        yield Broken(
            ("port",),
            "Azure Container Instances reserves this port",
            "take 8000, 8080, 80 or another",
        )


def https(project: Project, environment: GroupEnvironment) -> Iterator[Broken]:
    """What HTTPS leaves to the service, and names that are asked for once."""
    if environment.https is None:
        return
    if environment.port in (edge.HTTP, edge.HTTPS, edge.ASK):
        yield Broken(
            ("port",),
            f"with https the ports {edge.HTTP}, {edge.HTTPS} and {edge.ASK} are taken by what "
            "ends HTTPS in the same group",
            "take 8000; clients use 443",
        )
    yield from domains.broken(environment.https, apex=False)


def volumes(project: Project, environment: GroupEnvironment) -> Iterator[Broken]:
    """File shares that are mounted."""
    yield from shares.broken(environment.volumes)


def label(project: Project, environment: GroupEnvironment) -> Iterator[Broken]:
    """The label of the address is the group's name unless one is given."""
    if environment.network is None and re.fullmatch(DNS_LABEL, environment.dns_label) is None:
        yield Broken(
            ("name",),
            "is the label of the address too: 5 to 63 characters, the first one a letter",
            "take another name, or write dns: {label: ...}",
        )


def retired(project: Project, environment: GroupEnvironment) -> Iterator[Broken]:
    """Container Instances lost their GPUs. Azure docs: their page on GPU resources."""
    if environment.gpu == "none":
        return
    if not environment.allow_retired_gpu:
        yield Broken(
            ("gpu",),
            f"Azure Container Instances has no GPUs: Microsoft retired them on {RETIRED_ON}, and a "
            "container group that asks for one fails to start (ServiceUnavailable)",
            "for a GPU write target: containerapps with gpu: t4 or a100; without one write "
            "gpu: none, and accelerator: cpu in deploy/project.yaml; allow_retired_gpu: true sends "
            "the request nevertheless",
        )
    elif environment.gpu not in RETIRED_GPUS:
        yield Broken(
            ("gpu",),
            "Azure Container Instances knew k80, p100 and v100 only",
            "write gpu: v100, or target: containerapps",
        )


def count(project: Project, environment: GroupEnvironment) -> Iterator[Broken]:
    """How many GPUs a container group could have."""
    if environment.gpu != "none" and environment.gpu_count not in RETIRED_COUNTS:
        yield Broken(("gpu_count",), "must be 1, 2 or 4", "take one of these")


RULES = (
    Rule(("gpu", "allow_retired_gpu"), retired),
    Rule(("gpu", "gpu_count"), count),
    Rule(("cpu", "memory_gb"), size),
    Rule(("port",), port),
    Rule(("port", "https"), https),
    Rule(("volumes",), volumes),
    Rule(("name", "dns", "network"), label),
    Rule(("network", "https", "copies", "switch", "dns", "alerts"), network.rules),
)


# Azure docs: quota limits, and "big containers" for what needs a request to support.
CPU_WITHOUT_REQUEST, MEMORY_WITHOUT_REQUEST = 4, 16
CPU_OF_A_NEW_SUBSCRIPTION = 10


def warnings(environment: GroupEnvironment) -> Iterator[str]:
    """One sentence for each thing to know, with the field it comes from."""
    if environment.cpu > CPU_WITHOUT_REQUEST or environment.memory_gb > MEMORY_WITHOUT_REQUEST:
        yield (
            f"cpu is {environment.cpu:g} and memory_gb {environment.memory_gb:g}: more than "
            f"{CPU_WITHOUT_REQUEST} cpu or {MEMORY_WITHOUT_REQUEST} GB in one container group "
            "needs a support request to Azure first"
        )
    if environment.cpu > CPU_OF_A_NEW_SUBSCRIPTION:
        yield (
            f"cpu is {environment.cpu:g}: a new subscription has {CPU_OF_A_NEW_SUBSCRIPTION} cores "
            "in each region; ask for a higher quota (StandardCores) first"
        )
    if environment.gpu != "none":
        yield (
            f"gpu is {environment.gpu}, retired on Container Instances: the request is sent, for "
            "allow_retired_gpu is true, and Azure is expected to answer ServiceUnavailable"
        )
    if environment.https is None and environment.network is None:
        yield (
            "https is not set: requests, answers and API keys travel readable over http; write "
            "https: {email: you@example.org}, which docs/azure-setup.md explains"
        )
    if environment.volumes:
        yield (
            "volumes are set: Microsoft documents shares for containers that run as root, and the "
            "service does not; a release that cannot read its files is not kept"
        )
    if environment.port < 1024:
        yield (
            f"port is {environment.port}: the image runs without root, and not every platform lets "
            "such a process listen below 1024; 8000 works everywhere"
        )
    if environment.dns.reuse == "Unsecure":
        yield (
            "dns.reuse is Unsecure: when the group is deleted, anyone in Azure can take its "
            "address, and your clients would talk to them"
        )
    if environment.restart_policy == "Never":
        yield "restart_policy is Never: a service that crashed stays down"
    if environment.dns.reuse == "Noreuse":
        yield "dns.reuse is Noreuse: the address is another one after every delete and create"
