"""Azure's rules for one container of a group: its name, image, variables and probes.

Sources: Azure docs, "Troubleshoot common issues in Azure Container Instances" for names; sentences
as users report them.
"""

from __future__ import annotations

import re
from typing import Any

from ..arm.errors import ArmError

NAME = re.compile(r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
VARIABLE = re.compile(r"^[A-Za-z0-9]([A-Za-z0-9_]{0,61}[A-Za-z0-9])?$")
IMAGE = re.compile(r"^[a-z0-9.:/_-]+(:[\w.-]+)?(@sha256:[0-9a-f]{64})?$")


def check(group: str, name: str, properties: dict[str, Any]) -> None:
    """Refuse a container at its first fault.

    Raises:
        ArmError: 400 with Azure's code and sentence.
    """
    if not NAME.match(name):
        raise _invalid(
            "InvalidContainerName",
            f"The container name '{name}' in container group '{group}' is invalid. It can contain "
            "only lowercase letters, numbers and hyphens, and must be between 1 and 63 characters "
            "long.",
        )
    image = properties.get("image")
    if not image or not IMAGE.match(image):
        raise _invalid(
            "InvalidImageName",
            f"The image name '{image}' in container '{name}' of container group '{group}' is "
            "invalid: it must be a lower-case reference.",
        )
    for variable in properties.get("environmentVariables") or []:
        _check_variable(group, name, variable)
    for kind in ("livenessProbe", "readinessProbe"):
        if properties.get(kind):
            _check_probe(group, name, kind, properties[kind])


def _check_variable(group: str, container: str, variable: dict[str, Any]) -> None:
    where = f"in container '{container}' of container group '{group}'"
    if not VARIABLE.match(variable["name"]):
        raise _invalid(
            "InvalidEnvironmentVariableName",
            f"The environment variable name '{variable['name']}' {where} is invalid. It must be "
            "1 to 63 characters long, letters, numbers and, except as the first or last "
            "character, underscores.",
        )
    given = [key for key in ("value", "secureValue") if variable.get(key) is not None]
    if len(given) != 1:
        raise _invalid(
            "InvalidEnvironmentVariable",
            f"The environment variable '{variable['name']}' {where} must have one of 'value' and "
            f"'secureValue', and has {' and '.join(given) or 'neither'}.",
        )


def _check_probe(group: str, container: str, kind: str, probe: dict[str, Any]) -> None:
    where = f"The {kind} of container '{container}' in container group '{group}'"
    if bool(probe.get("exec")) == bool(probe.get("httpGet")):
        raise _invalid("InvalidProbe", f"{where} must have one of 'exec' and 'httpGet'.")
    http = probe.get("httpGet") or {}
    if http and http.get("scheme", "http").lower() not in ("http", "https"):
        raise _invalid("InvalidProbe", f"{where} has the scheme '{http['scheme']}'.")
    for name in ("periodSeconds", "failureThreshold", "successThreshold", "timeoutSeconds"):
        if probe.get(name) is not None and probe[name] < 1:
            raise _invalid("InvalidProbe", f"{where} has {name} {probe[name]}; at least 1.")
    if (probe.get("initialDelaySeconds") or 0) < 0:
        raise _invalid("InvalidProbe", f"{where} has a negative initialDelaySeconds.")


def _invalid(code: str, message: str) -> ArmError:
    return ArmError(400, code, message)
