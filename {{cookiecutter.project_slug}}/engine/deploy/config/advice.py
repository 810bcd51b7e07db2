"""What is allowed, and may yet surprise: said before a deploy, which goes on."""

from __future__ import annotations

import re
from collections.abc import Iterator

from engine.deploy.config import containerapps_rules
from engine.deploy.config.environment import Environment
from engine.deploy.config.faults import suggestion
from engine.deploy.config.project import Project
from engine.deploy.config.rules.rule import field_name
from engine.deploy.config.rules.settings import KEYS
from engine.serving.settings import Settings

# Azure docs: quota limits, and "big containers" for what needs a request to support.
CPU_WITHOUT_REQUEST, MEMORY_WITHOUT_REQUEST = 4, 16
CPU_OF_A_NEW_SUBSCRIPTION = 10
_SECRETIVE = re.compile(
    r"(?i).*(password|passwd|secret|token|credential|connection_?string|_key)s?$"
)


def warnings(project: Project, environment: Environment) -> tuple[str, ...]:
    """One sentence for each thing to know, with the field it comes from."""
    found = [*_size(environment), *_gpu(environment), *_address(environment)]
    found += [*_settings(environment), *_probes(environment)]
    if environment.target == "containerapps":
        found += containerapps_rules.warnings(environment)
    if environment.region != project.region:
        found.append(
            f"region is {environment.region}, and the registry is in {project.region}: every start "
            "pulls the image across, which takes longer and is billed as traffic"
        )
    return tuple(found)


def _size(environment: Environment) -> Iterator[str]:
    if environment.target != "aci":
        return
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


def _gpu(environment: Environment) -> Iterator[str]:
    if environment.gpu == "none":
        return
    if environment.target == "aci":
        yield (
            f"gpu is {environment.gpu}, retired on Container Instances: the request is sent, for "
            "allow_retired_gpu is true, and Azure is expected to answer ServiceUnavailable"
        )
    if environment.variables.get("EXECUTION_PROVIDERS", "").lower() == "cpu":
        yield "variables.EXECUTION_PROVIDERS is cpu: the GPU is paid for and stays idle"


def _address(environment: Environment) -> Iterator[str]:
    if environment.target != "aci":
        return
    yield (
        "Container Instances have no TLS: requests, answers and API keys travel readable over "
        "http; target: containerapps has https, or put a gateway in front"
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
    if environment.dns.reuse == "Noreuse":
        yield "dns.reuse is Noreuse: the address is another one after every delete and create"


def _settings(environment: Environment) -> Iterator[str]:
    if KEYS not in {name.upper() for name in environment.secrets}:
        yield (
            f"secrets has no {KEYS}: everyone who knows the address may ask the model, at your "
            "expense"
        )
    known = [name.upper() for name in Settings.model_fields]
    for name in environment.variables:
        field = field_name(("variables", name))
        if _SECRETIVE.fullmatch(name):
            yield f"{field} looks like a secret, and everyone can read it here: see secrets"
        near = suggestion(name, known)
        if near and near != name.upper():
            yield f"{field} is no setting of the service: did you mean {near}?"


def _probes(environment: Environment) -> Iterator[str]:
    liveness, readiness = environment.probes.liveness, environment.probes.readiness
    if liveness.path == readiness.path:
        yield (
            f"probes.liveness.path is {liveness.path}, as readiness: a service that is warming up "
            "or overloaded would be killed instead of left alone"
        )
    if environment.restart_policy == "Never":
        yield "restart_policy is Never: a service that crashed stays down"
