"""What Azure refuses in a container app, besides what its schema says.

From Microsoft's pages on Container Apps (containers, workload profiles, revisions, traffic
splitting, secrets, health probes) and the service's own messages where they are public.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from ..arm.azure import Azure
from ..arm.errors import ArmError, not_modelled
from ..arm.store import Resource

NAME = re.compile(r"(?=.{2,32}$)[a-z]([a-z0-9]|-(?!-))*[a-z0-9]")
SECRET_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
SUFFIX = re.compile(r"[a-z]([a-z0-9]|-(?!-))*[a-z0-9]|[a-z]")
REVISION_NAME_LENGTH = 54
PAIRS = tuple((quarters / 4, quarters / 2) for quarters in range(1, 17))
GPU_CAPS = {
    "CONSUMPTION-GPU-NC8AS-T4": (8.0, 56.0),
    "CONSUMPTION-GPU-NC24-A100": (24.0, 220.0),
}
PROBE_RANGES = {
    "initialDelaySeconds": (1, 60),
    "periodSeconds": (1, 240),
    "timeoutSeconds": (1, 240),
    "failureThreshold": (1, 10),
    "successThreshold": (1, 10),
}


def refuse(code: str, message: str) -> ArmError:
    """The 400 of a rule."""
    return ArmError(400, code, message)


def check_name(name: str) -> None:
    """The name of an app.

    Raises:
        ArmError: 400.
    """
    if not NAME.fullmatch(name):
        raise refuse(
            "ContainerAppInvalidName",
            f"Invalid ContainerApp name '{name}'. A name must consist of lower case alphanumeric "
            "characters or '-', start with a letter, end with an alphanumeric character, cannot "
            "have '--', and must be between 2 and 32 characters.",
        )


def check(name: str, app: dict[str, Any], profile_type: str) -> None:
    """A whole app, as it would be after the request.

    Args:
        profile_type: the type of the workload profile that it names, or "".

    Raises:
        ArmError: 400 with the first rule that it breaks.
    """
    configuration = app["properties"].get("configuration") or {}
    template = app["properties"].get("template") or {}
    _check_ingress(configuration.get("ingress"))
    _check_secrets(configuration.get("secrets") or [], template)
    _check_suffix(name, template.get("revisionSuffix"))
    containers = template.get("containers") or []
    if len(containers) != 1:
        raise not_modelled("an app without a container or with several")
    _check_resources(containers[0], profile_type)
    _check_probes(containers[0])
    _check_scale(template.get("scale") or {})


def check_volumes(environment: Resource, azure: Azure, app: dict[str, Any]) -> None:
    """What a template mounts is a storage of its environment.

    Raises:
        ArmError: 400.
    """
    template = app["properties"].get("template") or {}
    volumes = template.get("volumes") or []
    for volume in volumes:
        if volume.get("storageType") != "AzureFile":
            raise not_modelled("a volume that is no AzureFile")
        if azure.store.get(f"{environment.id}/storages/{volume.get('storageName')}") is None:
            raise refuse(
                "ManagedEnvironmentStorageNotFound",
                f"The environment '{environment.name}' has no storage of the name "
                f"'{volume.get('storageName')}'.",
            )
    names = {each["name"] for each in volumes}
    for mount in template["containers"][0].get("volumeMounts") or []:
        if mount["volumeName"] not in names:
            raise refuse(
                "ContainerAppVolumeMountNotFound",
                f"The volume mount '{mount['volumeName']}' has no volume of that name.",
            )


def check_traffic(ingress: dict[str, Any] | None, revisions: Iterable[str]) -> None:
    """The shares of traffic: of revisions that exist, and 100 together.

    Raises:
        ArmError: 400.
    """
    shares = (ingress or {}).get("traffic") or []
    there = set(revisions)
    for share in shares:
        if not share.get("latestRevision") and share.get("revisionName") not in there:
            raise refuse(
                "ContainerAppInvalidTraffic",
                f"Traffic is assigned to the revision '{share.get('revisionName')}', which does "
                "not exist.",
            )
    total = sum(share.get("weight") or 0 for share in shares)
    if shares and total != 100:
        raise refuse(
            "ContainerAppInvalidTraffic",
            f"The traffic weights of all revisions add up to {total}; they must add up to 100.",
        )


def _check_ingress(ingress: dict[str, Any] | None) -> None:
    if not ingress:
        return
    if not ingress.get("external"):
        raise not_modelled("an ingress that is not external")
    if str(ingress.get("transport") or "auto").lower() not in ("auto", "http"):
        raise not_modelled(f"the transport {ingress['transport']} of an ingress")
    if not 1 <= (ingress.get("targetPort") or 0) <= 65535:
        raise refuse(
            "ContainerAppInvalidIngressTargetPort",
            "The targetPort of the ingress must be a number from 1 to 65535.",
        )


def _check_secrets(secrets: list[dict[str, Any]], template: dict[str, Any]) -> None:
    for secret in secrets:
        name = secret.get("name") or ""
        if not SECRET_NAME.fullmatch(name):
            raise refuse(
                "ContainerAppInvalidSecretName",
                f"Secret name has an invalid value '{name}'. A value must consist of lower case "
                "alphanumeric characters, '-', and must start and end with an alphanumeric "
                "character. The length must not be more than 253 characters.",
            )
        if secret.get("keyVaultUrl"):
            raise not_modelled("secrets from a key vault")
    invalid = [secret["name"] for secret in secrets if not secret.get("value")]
    if invalid:
        raise refuse(
            "ContainerAppSecretInvalid",
            f"Invalid Request: Container app secret(s) with name(s) '{', '.join(invalid)}' are "
            "invalid: value or keyVaultUrl and identity should be provided.",
        )
    known = {secret["name"] for secret in secrets}
    for container, reference in references(template):
        if reference not in known:
            raise refuse(
                "ContainerAppSecretRefNotFound",
                f"SecretRef '{reference}' defined for container '{container}' not found.",
            )


def references(template: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The secrets that a template names, each after the container that names it."""
    for container in template.get("containers") or []:
        for variable in container.get("env") or []:
            if variable.get("secretRef"):
                yield container["name"], variable["secretRef"]


def _check_suffix(name: str, suffix: str | None) -> None:
    if not suffix:
        return
    if not SUFFIX.fullmatch(suffix) or len(f"{name}--{suffix}") > REVISION_NAME_LENGTH:
        raise refuse(
            "ContainerAppInvalidRevisionName",
            f"Revision name has an invalid value '{suffix}'. A revision name must consist of lower "
            "case alphanumeric characters or '-', start with an alphabetic character, and end with "
            "an alphanumeric character. The length of the revision name must not be more than a "
            f"combined {REVISION_NAME_LENGTH} characters with the container app name.",
        )


def _check_resources(container: dict[str, Any], profile_type: str) -> None:
    resources = container.get("resources") or {"cpu": 0.5, "memory": "1Gi"}
    cpu, memory = float(resources.get("cpu") or 0), str(resources.get("memory") or "")
    if not re.fullmatch(r"\d+(\.\d{1,2})?Gi", memory):
        raise refuse(
            "ContainerAppInvalidMemory",
            f"Container with name '{container['name']}' has an invalid memory resource request: "
            f"'{memory}'. The 'memory' field for each container, if provided, must contain a "
            "decimal value to no more than 2 decimal places followed by 'Gi' to denote the unit "
            "(Gibibytes). Example: '1.25Gi' or '2Gi'.",
        )
    gib = float(memory[:-2])
    if caps := GPU_CAPS.get(profile_type.upper()):
        if not 0 < cpu <= caps[0] or not 0 < gib <= caps[1]:
            raise _invalid_total(cpu, gib, f"at most cpu: {caps[0]}, memory: {caps[1]}Gi")
    elif (cpu, gib) not in PAIRS:
        listed = "; ".join(f"[cpu: {cpus}, memory: {gibs}Gi]" for cpus, gibs in PAIRS)
        raise _invalid_total(cpu, gib, listed)


def _invalid_total(cpu: float, gib: float, listed: str) -> ArmError:
    return refuse(
        "ContainerAppInvalidResourceTotal",
        f"The total requested CPU and memory resources for this application (CPU: {cpu:g}, "
        f"memory: {gib:g}) is invalid. Total CPU and memory for all containers defined in a "
        f"Container App must add up to one of the following CPU - Memory combinations: {listed}",
    )


def _check_probes(container: dict[str, Any]) -> None:
    kinds = [probe.get("type") for probe in container.get("probes") or []]
    if len(kinds) != len(set(kinds)):
        raise refuse("ContainerAppProbeDuplicate", "A container has one probe of each type.")
    for probe in container.get("probes") or []:
        if not probe.get("httpGet"):
            raise not_modelled("a probe that is not an httpGet")
        for member, (low, high) in PROBE_RANGES.items():
            value = probe.get(member)
            if value is not None and not low <= value <= high:
                raise refuse(
                    "ContainerAppProbeInvalid",
                    f"The {member} of the {probe['type']} probe is {value}; it must be from {low} "
                    f"to {high}.",
                )
        if probe["type"] != "Readiness" and probe.get("successThreshold") not in (None, 1):
            raise refuse(
                "ContainerAppProbeInvalid",
                f"The successThreshold of a {probe['type']} probe must be 1.",
            )


def _check_scale(scale: dict[str, Any]) -> None:
    low, high = scale.get("minReplicas") or 0, scale.get("maxReplicas", 10)
    if not 0 <= low <= 1000 or not 1 <= high <= 1000 or low > high:
        raise refuse(
            "ContainerAppInvalidScale",
            f"The scale from {low} to {high} replicas is invalid: 0 <= minReplicas <= maxReplicas, "
            "1 <= maxReplicas <= 1000.",
        )
    for rule in scale.get("rules") or []:
        if not rule.get("http"):
            raise not_modelled("a scale rule that is not for http")
        requests = (rule["http"].get("metadata") or {}).get("concurrentRequests") or ""
        if not requests.isdecimal() or int(requests) < 1:
            raise refuse(
                "ContainerAppInvalidScaleRule",
                f"The scale rule '{rule.get('name')}' needs concurrentRequests of 1 or more.",
            )
