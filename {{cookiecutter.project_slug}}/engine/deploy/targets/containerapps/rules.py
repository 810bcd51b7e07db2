"""The rules of Azure Container Apps that an environment file must keep.

Graphics processors exist here only: Microsoft retired those of Azure Container Instances on
2025-07-14. The limits are those of Microsoft's pages on Container Apps (containers, workload
profiles, serverless GPUs, health probes) and of its resource provider's own messages.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from engine.deploy.config import volumes as shares
from engine.deploy.config.project import Project
from engine.deploy.config.rules import domains
from engine.deploy.config.rules.rule import Broken, Rule
from engine.deploy.targets.containerapps.environment import AppEnvironment

NAME_LENGTH = 32
_NAME = re.compile(r"[a-z](-?[a-z0-9])+")
# 0.25, 0.5 … 4 vCPU, each with twice as many GiB.
_CPU_STEP = 0.25
_CPU_MOST = 4.0
_GIB_PER_CPU = 2.0


@dataclass(frozen=True, slots=True)
class WorkloadProfile:
    """Where an app runs: the name in the Container Apps environment, Azure's type, and what one
    replica may have at most (vCPU, GiB).
    """

    name: str
    type: str
    cpu: float
    memory_gb: float


CONSUMPTION = WorkloadProfile("Consumption", "Consumption", _CPU_MOST, _CPU_MOST * _GIB_PER_CPU)
GPU_PROFILES: Mapping[str, WorkloadProfile] = {
    "t4": WorkloadProfile("gpu-t4", "Consumption-GPU-NC8as-T4", 8.0, 56.0),
    "a100": WorkloadProfile("gpu-a100", "Consumption-GPU-NC24-A100", 24.0, 220.0),
}
# Microsoft's page on serverless GPUs, June 2025. The list grows, so it warns and does not refuse.
GPU_REGIONS: Mapping[str, frozenset[str]] = {
    "t4": frozenset({"westus3", "australiaeast", "swedencentral", "westeurope"}),
    "a100": frozenset({"westus3", "australiaeast", "swedencentral", "westus"}),
}
_PROBE_MOST: Mapping[str, int] = {
    "initial_delay_seconds": 60,
    "period_seconds": 240,
    "timeout_seconds": 240,
    "failure_threshold": 10,
}


def profile_of(environment: AppEnvironment) -> WorkloadProfile:
    """The workload profile that an environment's app needs; Consumption without a GPU."""
    return GPU_PROFILES.get(environment.gpu, CONSUMPTION)


def secret_name(variable: str) -> str:
    """A setting's name as a name of a secret: Azure allows lower case, digits and hyphens."""
    return variable.lower().replace("_", "-")


def warnings(environment: AppEnvironment) -> Iterator[str]:
    """What Azure may refuse, or bill, without this being a fault of the file."""
    regions = GPU_REGIONS.get(environment.gpu)
    if regions is not None and environment.region not in regions:
        yield (
            f"region {environment.region} was not on Microsoft's list for GPU {environment.gpu} "
            f"({', '.join(sorted(regions))}); ask Azure: az containerapp env workload-profile "
            f"list-supported --location {environment.region}"
        )
    if regions is not None and environment.replicas.min > 0:
        yield (
            f"replicas.min is {environment.replicas.min}: each replica holds a GPU and bills day "
            "and night, and for the time of a rollout there are twice as many; 0 bills only while "
            "requests are answered"
        )


def name(project: Project, environment: AppEnvironment) -> Iterator[Broken]:
    """The name of an app."""
    given = environment.name
    if not 2 <= len(given) <= NAME_LENGTH or _NAME.fullmatch(given) is None:
        yield Broken(
            ("name",),
            f"the name of an app has 2 to {NAME_LENGTH} lower-case letters, digits and single "
            "hyphens inside, and begins with a letter",
            "choose a shorter or simpler name",
        )


def gpu(project: Project, environment: AppEnvironment) -> Iterator[Broken]:
    """The GPUs that there are."""
    if environment.gpu != "none" and environment.gpu not in GPU_PROFILES:
        yield Broken(
            ("gpu",),
            "Container Apps has T4 and A100; other GPUs were those of Container Instances",
            "write t4, a100 or none",
        )


def gpu_count(project: Project, environment: AppEnvironment) -> Iterator[Broken]:
    """How many of them."""
    if environment.gpu in GPU_PROFILES and environment.gpu_count != 1:
        yield Broken(("gpu_count",), "a replica has exactly one GPU", "remove the line")


def cpu(project: Project, environment: AppEnvironment) -> Iterator[Broken]:
    """The cores of a replica."""
    given = environment.cpu
    if profile := GPU_PROFILES.get(environment.gpu):
        if given > profile.cpu:
            rule = f"a replica with a {environment.gpu} has at most {profile.cpu:g} vCPU"
            yield Broken(("cpu",), rule, f"write {profile.cpu:g} or less")
    elif environment.gpu == "none" and (given > _CPU_MOST or (given / _CPU_STEP) % 1):
        nearest = min(max(round(given / _CPU_STEP), 1) * _CPU_STEP, _CPU_MOST)
        yield Broken(
            ("cpu",),
            f"a replica has {_CPU_STEP:g} to {_CPU_MOST:g} vCPU, in steps of {_CPU_STEP:g}",
            f"write {nearest:g}, with memory_gb: {nearest * _GIB_PER_CPU:g}",
        )


def memory(project: Project, environment: AppEnvironment) -> Iterator[Broken]:
    """The memory of a replica; without a GPU it follows from the cores, if those are right."""
    given, at = environment.memory_gb, ("memory_gb",)
    if profile := GPU_PROFILES.get(environment.gpu):
        if given > profile.memory_gb:
            rule = f"a replica with a {environment.gpu} has at most {profile.memory_gb:g} GB"
            yield Broken(at, rule, f"write {profile.memory_gb:g} or less")
    elif environment.gpu == "none" and not any(cpu(project, environment)):
        wanted = environment.cpu * _GIB_PER_CPU
        if given != wanted:
            rule = f"memory is {_GIB_PER_CPU:g} GB for each vCPU, and cpu is {environment.cpu:g}"
            yield Broken(at, rule, f"write {wanted:g}, or change cpu")


def secrets(project: Project, environment: AppEnvironment) -> Iterator[Broken]:
    """Names that differ as names of settings only."""
    first: dict[str, str] = {}
    for given in environment.secrets:
        other = first.setdefault(secret_name(given), given)
        if other != given:
            yield Broken(
                ("secrets",),
                f'as the name of a secret it is "{secret_name(given)}", like {other}',
                "rename one of the two",
            )


def probes(project: Project, environment: AppEnvironment) -> Iterator[Broken]:
    """What Azure takes of a probe."""
    both = {"liveness": environment.probes.liveness, "readiness": environment.probes.readiness}
    for kind, probe in both.items():
        for field, most in _PROBE_MOST.items():
            if getattr(probe, field) > most:
                at = ("probes", kind, field)
                yield Broken(at, f"Container Apps allows at most {most}", f"write {most} or less")


def replicas(project: Project, environment: AppEnvironment) -> Iterator[Broken]:
    """Fewest and most."""
    if environment.replicas.min > environment.replicas.max:
        yield Broken(
            ("replicas", "min"),
            f"must not be more than max, which is {environment.replicas.max}",
            "raise max or lower min",
        )


def outside(project: Project, environment: AppEnvironment) -> Iterator[Broken]:
    """Who is asked never sleeps."""
    if environment.replicas.min == 0 and environment.alerts.outside_check_minutes:
        yield Broken(
            ("alerts", "outside_check_minutes"),
            "each check would start a copy of an app that scales to zero, and bill it",
            "write 0, or replicas: {min: 1}",
        )


def https(project: Project, environment: AppEnvironment) -> Iterator[Broken]:
    """Own names."""
    if environment.https is not None:
        yield from domains.broken(environment.https, apex=True)


def volumes(project: Project, environment: AppEnvironment) -> Iterator[Broken]:
    """File shares that are mounted."""
    yield from shares.broken(environment.volumes)


RULES = (
    Rule(("name",), name),
    Rule(("gpu",), gpu),
    Rule(("gpu_count", "gpu"), gpu_count),
    Rule(("cpu", "gpu"), cpu),
    Rule(("memory_gb", "gpu", "cpu"), memory),
    Rule(("secrets",), secrets),
    Rule(("probes",), probes),
    Rule(("replicas",), replicas),
    Rule(("replicas", "alerts"), outside),
    Rule(("https",), https),
    Rule(("volumes",), volumes),
)
