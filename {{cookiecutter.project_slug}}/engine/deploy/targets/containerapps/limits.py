"""The rules of Azure Container Apps that an environment file must keep.

Graphics processors exist here only: Microsoft retired those of Azure Container Instances on
2025-07-14. The limits are those of Microsoft's pages on Container Apps (containers, workload
profiles, serverless GPUs, health probes) and of its resource provider's own messages.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from engine.deploy.config.environment import Probe
from engine.deploy.targets.containerapps.environment import AppEnvironment
from engine.errors import Fault

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


def faults(environment: AppEnvironment, file: str) -> Iterator[Fault]:
    """Everything in an environment with the target ``containerapps`` that Azure would refuse."""
    yield from _name_faults(environment, file)
    yield from _size_faults(environment, file)
    yield from _secret_faults(environment, file)
    yield from _probe_faults(environment.probes.liveness, "probes.liveness", file)
    yield from _probe_faults(environment.probes.readiness, "probes.readiness", file)


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


def _name_faults(environment: AppEnvironment, file: str) -> Iterator[Fault]:
    name = environment.name
    if not 2 <= len(name) <= NAME_LENGTH or _NAME.fullmatch(name) is None:
        rule = (
            f"the name of an app has 2 to {NAME_LENGTH} lower-case letters, digits and single "
            "hyphens inside, and begins with a letter"
        )
        yield Fault(file, "name", name, rule, "choose a shorter or simpler name")


def _size_faults(environment: AppEnvironment, file: str) -> Iterator[Fault]:
    if environment.gpu == "none":
        yield from _consumption_faults(environment, file)
        return
    profile = GPU_PROFILES.get(environment.gpu)
    if profile is None:
        rule = "Container Apps has T4 and A100; other GPUs were those of Container Instances"
        yield Fault(file, "gpu", environment.gpu, rule, "write t4, a100 or none")
        return
    if environment.gpu_count != 1:
        rule = "a replica has exactly one GPU"
        yield Fault(file, "gpu_count", environment.gpu_count, rule, "remove the line")
    if environment.cpu > profile.cpu:
        rule = f"a replica with a {environment.gpu} has at most {profile.cpu:g} vCPU"
        yield Fault(file, "cpu", environment.cpu, rule, f"write {profile.cpu:g} or less")
    if environment.memory_gb > profile.memory_gb:
        rule = f"a replica with a {environment.gpu} has at most {profile.memory_gb:g} GB"
        fix = f"write {profile.memory_gb:g} or less"
        yield Fault(file, "memory_gb", environment.memory_gb, rule, fix)


def _consumption_faults(environment: AppEnvironment, file: str) -> Iterator[Fault]:
    cpu, memory = environment.cpu, environment.memory_gb
    if cpu > _CPU_MOST or (cpu / _CPU_STEP) % 1:
        rule = f"a replica has {_CPU_STEP:g} to {_CPU_MOST:g} vCPU, in steps of {_CPU_STEP:g}"
        nearest = min(max(round(cpu / _CPU_STEP), 1) * _CPU_STEP, _CPU_MOST)
        fix = f"write {nearest:g}, with memory_gb: {nearest * _GIB_PER_CPU:g}"
        yield Fault(file, "cpu", cpu, rule, fix)
    elif memory != cpu * _GIB_PER_CPU:
        rule = f"memory is {_GIB_PER_CPU:g} GB for each vCPU, and cpu is {cpu:g}"
        yield Fault(file, "memory_gb", memory, rule, f"write {cpu * _GIB_PER_CPU:g}, or change cpu")


def _secret_faults(environment: AppEnvironment, file: str) -> Iterator[Fault]:
    first: dict[str, str] = {}
    for name in environment.secrets:
        other = first.setdefault(secret_name(name), name)
        if other != name:
            rule = f'as the name of a secret it is "{secret_name(name)}", like {other}'
            yield Fault(file, "secrets", name, rule, "rename one of the two")


def _probe_faults(probe: Probe, where: str, file: str) -> Iterator[Fault]:
    for field, most in _PROBE_MOST.items():
        value = getattr(probe, field)
        if value > most:
            rule = f"Container Apps allows at most {most}"
            yield Fault(file, f"{where}.{field}", value, rule, f"write {most} or less")
