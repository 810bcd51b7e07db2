"""The rules of Kubernetes on Azure that an environment file must keep."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from engine.deploy.config.project import Project
from engine.deploy.config.rules.rule import Broken, Rule
from engine.deploy.targets.aks.environment import AksEnvironment

# A Service is a label of DNS of 63 characters (RFC 1035), and a release adds 14 to the name.
NAME_LENGTH: Final = 49
_NAME = re.compile(r"[a-z](-?[a-z0-9])*")
_TAG = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
# Machines with one GPU: what is left for a pod of their vCPU and GB, beside the system's own.
# (Microsoft's pages on sizes, and on resource reservations of AKS.)
GPUS: Final[Mapping[str, tuple[str, float, float]]] = {
    "t4": ("Standard_NC4as_T4_v3", 3.5, 24.0),
    "a100": ("Standard_NC24ads_A100_v4", 23.5, 200.0),
}


def name(project: Project, environment: AksEnvironment) -> Iterator[Broken]:
    """The name of a Service."""
    given = environment.name
    if len(given) > NAME_LENGTH or _NAME.fullmatch(given) is None:
        yield Broken(
            ("name",),
            f"the name of a service has up to {NAME_LENGTH} lower-case letters, digits and single "
            "hyphens inside, and begins with a letter",
            "choose a shorter or simpler name",
        )


def tags(project: Project, environment: AksEnvironment) -> Iterator[Broken]:
    """They are annotations."""
    for given in environment.tags:
        if _TAG.fullmatch(given) is None:
            yield Broken(
                ("tags", given),
                "on Kubernetes the name of a tag has up to 63 letters, digits, dots, hyphens and "
                "underscores",
                "choose a simpler name",
            )


def gpu(project: Project, environment: AksEnvironment) -> Iterator[Broken]:
    """The GPUs whose driver fits the image's CUDA."""
    if environment.gpu != "none" and environment.gpu not in GPUS:
        known = ", ".join(GPUS)
        yield Broken(
            ("gpu",),
            f"{environment.gpu} is no GPU of a cluster that this image can use",
            f"write one of {known}, or none",
        )


def size(project: Project, environment: AksEnvironment) -> Iterator[Broken]:
    """A pod fits on a machine of the pool that bootstrap makes."""
    if environment.gpu not in GPUS:
        return
    machine, cpu, memory = GPUS[environment.gpu]
    for field, given, most in (
        ("cpu", environment.cpu, cpu),
        ("memory_gb", environment.memory_gb, memory),
    ):
        if given > most * environment.gpu_count:
            yield Broken(
                (field,),
                f"on {machine} at most {most:g} are left for a pod",
                f"write {most:g} or less",
            )


def replicas(project: Project, environment: AksEnvironment) -> Iterator[Broken]:
    """Fewest and most."""
    if environment.replicas.min > environment.replicas.max:
        yield Broken(
            ("replicas", "min"),
            f"must not be more than max, which is {environment.replicas.max}",
            "raise max or lower min",
        )


def replace(project: Project, environment: AksEnvironment) -> Iterator[Broken]:
    """A gap is for a GPU that there is only once."""
    if environment.replace and environment.gpu == "none":
        yield Broken(
            ("replace",),
            "without a GPU a release always starts beside the one before, without a gap",
            "remove the line",
        )


def warnings(environment: AksEnvironment) -> Iterator[str]:
    """What is allowed and may surprise."""
    if environment.replicas.max == 1:
        yield (
            "replicas.max is 1: while a machine of the cluster is replaced, as happens, "
            "nothing answers; with replicas: {min: 2, max: 2} one pod goes on"
        )
    if environment.replace:
        yield (
            "replace is true: at each deploy the release before ends first, and nothing answers "
            "until the new one is ready"
        )


RULES = (
    Rule(("name",), name),
    Rule(("tags",), tags),
    Rule(("gpu",), gpu),
    Rule(("gpu", "gpu_count", "cpu", "memory_gb"), size),
    Rule(("replicas",), replicas),
    Rule(("replace", "gpu"), replace),
)
