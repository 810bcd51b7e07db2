"""Documents of apps: how a PATCH changes one, and what Azure shows of it."""

from __future__ import annotations

import copy
from typing import Any

from ..arm.azure import Azure

Json = dict[str, Any]
MOST_INACTIVE = 100


def merged(old: Any, patch: Any) -> Any:
    """A JSON merge patch (RFC 7396): objects are merged, null removes, all else is replaced."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(old) if isinstance(old, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def identities(document: Json) -> list[str]:
    """The user-assigned identities of an app."""
    return list((document.get("identity") or {}).get("userAssignedIdentities") or {})


def shown_identity(document: Json, azure: Azure) -> Json:
    """The identity as a GET shows it, with the ids of the principals."""
    shown: Json = {}
    for identifier in identities(document):
        principal = azure.principals.by_resource(identifier)
        if principal:
            ids = {"principalId": principal.object_id, "clientId": principal.client_id}
            shown[identifier] = ids
    if not shown:
        return {"type": "None"}
    return {"type": "UserAssigned", "userAssignedIdentities": shown}


def shown_configuration(sent: Json, fqdn: str) -> Json:
    """The configuration as a GET shows it: no value of a secret, and Azure's own defaults."""
    made = copy.deepcopy(sent)
    made["activeRevisionsMode"] = str(sent.get("activeRevisionsMode") or "Single").capitalize()
    made["maxInactiveRevisions"] = sent.get("maxInactiveRevisions") or MOST_INACTIVE
    made["secrets"] = [{"name": each["name"]} for each in sent.get("secrets") or []] or None
    made["registries"] = [
        {"username": "", "passwordSecretRef": "", "identity": "", **each}
        for each in sent.get("registries") or []
    ] or None
    made.setdefault("dapr", None)
    made.setdefault("identitySettings", [])
    if ingress := made.get("ingress"):
        ingress["transport"] = str(ingress.get("transport") or "auto").capitalize()
        ingress["fqdn"] = fqdn
        ingress.setdefault("allowInsecure", False)
        ingress.setdefault("exposedPort", 0)
        ingress.setdefault("customDomains", None)
        ingress.setdefault("traffic", [{"latestRevision": True, "weight": 100}])
    return made


def shown_template(sent: Json) -> Json:
    """A template as Azure keeps it in a revision, with the defaults of the day."""
    made = copy.deepcopy(sent)
    made.setdefault("revisionSuffix", "")
    for container in made["containers"]:
        resources = container.setdefault("resources", {"cpu": 0.5, "memory": "1Gi"})
        resources["ephemeralStorage"] = "2Gi" if resources["cpu"] < 1 else "4Gi"
        container["imageType"] = "ContainerImage"
    scale = made.setdefault("scale", {})
    scale.setdefault("minReplicas", None)
    scale.setdefault("maxReplicas", 10)
    scale.setdefault("cooldownPeriod", 300)
    scale.setdefault("pollingInterval", 30)
    made.setdefault("volumes", None)
    made.setdefault("initContainers", None)
    return made


def same_template(old: Json, new: Json) -> bool:
    """Whether Azure sees no change in a template, and so starts no revision."""
    return _plain(shown_template(old)) == _plain(shown_template(new))


def environment_of(template: Json, secrets: list[Json]) -> dict[str, str]:
    """The variables of a container, the values of secrets in place."""
    values = {each["name"]: each["value"] for each in secrets}
    return {
        variable["name"]: values[variable["secretRef"]]
        if variable.get("secretRef")
        else str(variable.get("value") or "")
        for variable in template["containers"][0].get("env") or []
    }


def _plain(template: Json) -> Json:
    return {key: value for key, value in template.items() if value not in (None, [], "")}
