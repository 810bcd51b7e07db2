"""Azure's answer about a container group, brought to the shape of the document that made it.

The answer differs from what was sent: defaults are filled in, state is reported, secrets are left
out, ids change their case, 1 comes back as 1.0, lists that say nothing appear, and so do members
that nobody set. Only what can be set is read (``engine.deploy.targets.aci.members``).

Two documents in this shape are compared property by property.
"""

from __future__ import annotations

import re
from typing import Any

from engine.deploy.config import names
from engine.deploy.targets.aci.document import API_VERSION
from engine.deploy.targets.aci.members import PROPERTIES, only
from engine.deploy.targets.base import Document
from engine.deploy.targets.compare import (
    canonical_digest,
    differing_paths,
    whole_numbers,
    without_empty,
)

_Json = dict[str, Any]
_CREDENTIALS = "imageRegistryCredentials"

# A volume of this kind has no settings: it says what it is by being there. A secret has no value.
_SAYS_BY_PRESENCE = frozenset({"emptyDir", "secureValue", "workspaceKey", "storageAccountKey"})
# Azure takes these words in any case, and gives back which one it likes.
_WORDS = {
    word.lower(): word
    for word in (
        *("Linux", "Windows", "Always", "OnFailure", "Never", "Public", "Private"),
        *("Standard", "Dedicated", "Confidential", "Regular", "Spot"),
        *("Unsecure", "TenantReuse", "SubscriptionReuse", "ResourceGroupReuse", "Noreuse"),
        *("ContainerInsights", "ContainerInstanceLogs"),
    )
}
_GROUP_DEFAULTS = {"sku": "Standard", "priority": "Regular", "restartPolicy": "Always"}
_PROBE_DEFAULTS = {
    "initialDelaySeconds": 0,
    "periodSeconds": 10,
    "timeoutSeconds": 1,
    "failureThreshold": 3,
    "successThreshold": 1,
}


def restorable(document: Document) -> Document:
    """A rendered document, or Azure's answer about a group, as a document that Azure takes.

    Secrets are there by name; see ``unrestorable`` for what else cannot be read back. Applied to
    its own result it changes nothing.
    """
    shaped = {
        "apiVersion": API_VERSION,
        "name": document["name"],
        "location": re.sub(r"\s", "", document["location"]).lower(),
        "zones": document.get("zones"),
        "properties": _properties(only(PROPERTIES, document["properties"])),
    }
    whole: Document = whole_numbers(without_empty(shaped, _SAYS_BY_PRESENCE))
    whole["tags"] = dict(sorted((document.get("tags") or {}).items()))
    return whole | _identity(document.get("identity") or {})


def unrestorable(
    live: Document, workspace: str | None, storage: str | None = None
) -> tuple[str, ...]:
    """Properties of a group that ``restorable`` cannot bring back; none in a group made here.

    They hold secrets that Azure does not return, or az drops them from the file that it is given.
    Of one workspace and one storage account the key is known: of those that are given. References
    to secrets in a vault belong to newer versions of the API than the one used here.
    """
    properties = live["properties"]
    found = ["zones"] if live.get("zones") else []
    for item in properties.get("imageRegistryCredentials") or []:
        if not item.get("identity"):
            found.append(f"properties.imageRegistryCredentials[{item.get('server')}].password")
    for item in properties.get("volumes") or []:
        for kind in ("azureFile", "secret", "secretReference"):
            of = str((item.get(kind) or {}).get("storageAccountName") or "").lower()
            if item.get(kind) is not None and (not storage or of != storage):
                found.append(f"properties.volumes[{item.get('name')}].{kind}")
    for item in properties.get("extensions") or []:
        found.append(f"properties.extensions[{item.get('name')}].properties.protectedSettings")
    for kind in ("containers", "initContainers"):
        for container in properties.get(kind) or []:
            for item in container["properties"].get("environmentVariables") or []:
                if item.get("secureValueReference"):
                    found.append(
                        f"properties.{kind}[{container['name']}].properties.environmentVariables"
                        f"[{item['name']}].secureValueReference"
                    )
    logs = (properties.get("diagnostics") or {}).get("logAnalytics") or {}
    if logs.get("workspaceId") and logs["workspaceId"].lower() != (workspace or "").lower():
        found.append("properties.diagnostics.logAnalytics.workspaceKey")
    return tuple(found)


def _identity(identity: _Json) -> _Json:
    kinds = sorted(kind.strip() for kind in (identity.get("type") or "None").split(","))
    if kinds == ["None"]:
        return {}
    users = sorted(name.lower() for name in identity.get("userAssignedIdentities") or {})
    shaped: _Json = {"type": ", ".join(kinds)}
    return {
        "identity": shaped | ({"userAssignedIdentities": {n: {} for n in users}} if users else {})
    }


def _properties(given: _Json) -> _Json:
    shaped: _Json = _GROUP_DEFAULTS | _words(given, "osType", "restartPolicy", "sku", "priority")
    for kind in ("containers", "initContainers"):
        if given.get(kind):
            shaped[kind] = [_container(item) for item in _by_name(given[kind])]
    if given.get("ipAddress"):
        shaped["ipAddress"] = _ip_address(given["ipAddress"])
    if given.get(_CREDENTIALS):
        credentials = [_lower(item, "server", "identity") for item in given[_CREDENTIALS]]
        shaped[_CREDENTIALS] = sorted(credentials, key=lambda item: str(item.get("server")))
    if given.get("subnetIds"):
        shaped["subnetIds"] = [_lower(item, "id") for item in given["subnetIds"]]
    if given.get("diagnostics"):
        shaped["diagnostics"] = _diagnostics(given["diagnostics"])
    if given.get("volumes"):
        shaped["volumes"] = [_volume(item) for item in _by_name(given["volumes"])]
    return shaped


def _diagnostics(diagnostics: _Json) -> _Json:
    given = _words(diagnostics.get("logAnalytics") or {}, "logType")
    if not given.get("workspaceId"):
        return {}
    # Azure gives back the id only. This kind of log is the default, and may be named or not.
    others = {k: v for k, v in given.items() if (k, v) != ("logType", "ContainerInstanceLogs")}
    workspace = {"workspaceId": given["workspaceId"].lower(), "workspaceKey": None}
    return {"logAnalytics": others | workspace}


def _volume(volume: _Json) -> _Json:
    if not volume.get("azureFile"):
        return volume
    share = _without_false(_lower(volume["azureFile"], "storageAccountName"), "readOnly")
    # Azure gives back no key.
    return {**volume, "azureFile": {**share, "storageAccountKey": None}}


def _container(container: _Json) -> _Json:
    properties = dict(container["properties"])
    variables = properties.get("environmentVariables") or []
    properties["environmentVariables"] = [_variable(item) for item in _by_name(variables)]
    properties["ports"] = _ports(properties.get("ports"))
    properties["resources"] = _resources(properties.get("resources") or {})
    for kind in ("livenessProbe", "readinessProbe"):
        if properties.get(kind):
            properties[kind] = _probe(properties[kind])
    mounts = _by_name(properties.get("volumeMounts") or [])
    properties["volumeMounts"] = [_without_false(item, "readOnly") for item in mounts]
    properties["securityContext"] = _without_false(
        properties.get("securityContext") or {}, "privileged"
    )
    return {"name": container["name"], "properties": properties}


def _variable(variable: _Json) -> _Json:
    if variable.get("value"):
        return {"name": variable["name"], "value": variable["value"]}
    # Azure gives back the name of a secret and nothing else. A plain variable is never empty here:
    # the configuration refuses that.
    return {"name": variable["name"], "secureValue": None}


def _resources(resources: _Json) -> _Json:
    requests = _size(resources.get("requests") or {})
    # A limit that is not given equals the request.
    limits = requests | _size(resources.get("limits") or {})
    return {"requests": requests, "limits": limits} if requests else {}


def _size(size: _Json) -> _Json:
    shaped: _Json = without_empty(size)
    if (gpu := shaped.get("gpu")) and gpu.get("sku"):
        shaped["gpu"] = gpu | {"sku": gpu["sku"].upper()}
    return shaped


def _probe(probe: _Json) -> _Json:
    shaped: _Json = _PROBE_DEFAULTS | without_empty(probe)
    if "httpGet" in shaped:
        scheme = str(shaped["httpGet"].get("scheme") or "http").lower()
        shaped["httpGet"] = shaped["httpGet"] | {"scheme": scheme}
    return shaped


def _ip_address(address: _Json) -> _Json:
    shaped = _words(address, "type", "autoGeneratedDomainNameLabelScope")
    shaped["ports"] = _ports(address.get("ports"))
    if shaped.get("dnsNameLabel"):
        scope = shaped.get("autoGeneratedDomainNameLabelScope") or "Unsecure"
        shaped["autoGeneratedDomainNameLabelScope"] = scope
    return shaped


def _ports(ports: list[_Json] | None) -> list[_Json]:
    shaped = [
        {"port": int(item["port"]), "protocol": str(item.get("protocol") or "TCP").upper()}
        for item in ports or []
    ]
    return sorted(shaped, key=lambda item: (item["port"], item["protocol"]))


def _by_name(items: list[_Json]) -> list[_Json]:
    return sorted(items, key=lambda item: str(item["name"]))


def _lower(item: _Json, *keys: str) -> _Json:
    # Azure compares ids and host names without regard to case, and does not keep it either.
    return {**item} | {key: item[key].lower() for key in keys if item.get(key)}


def _words(item: _Json, *keys: str) -> _Json:
    return {**item} | {
        key: _WORDS.get(str(item[key]).lower(), item[key]) for key in keys if item.get(key)
    }


def _without_false(item: _Json, key: str) -> _Json:
    # What is not said is false.
    return {name: value for name, value in item.items() if name != key or value}


# What Azure refuses to change in place ("you must delete it first"), and the set of containers,
# for the size of the group follows from it. Azure docs: updating container groups.
_FIXED = re.compile(
    r"location|zones.*|properties\.(osType|restartPolicy|sku|priority|subnetIds.*|networkProfile.*"
    r"|ipAddress\.type|volumes.*|diagnostics.*|containers\[[^]]*\](\.properties\.resources.*)?)"
)


def comparable(document: Document) -> Document:
    """``restorable`` without the tags of a rollout, which differ between equal groups."""
    shaped = restorable(document)
    tags = {name: value for name, value in shaped["tags"].items() if name not in names.ROLLOUT_TAGS}
    return shaped | {"tags": tags}


def differences(live: Document, wanted: Document) -> tuple[str, ...]:
    """The properties that differ; those under ``tags.`` can be changed without a restart.

    Either side is a rendered document or Azure's answer.
    """
    return tuple(differing_paths(comparable(live), comparable(wanted)))


def blockers(live: Document, wanted: Document) -> tuple[str, ...]:
    """The differing properties that Azure cannot change in place: delete and create instead."""
    return tuple(path for path in differences(live, wanted) if _FIXED.fullmatch(path))


def config_digest(document: Document) -> str:
    """The digest of what was asked for, secrets and the tags of the rollout aside."""
    return canonical_digest(comparable(document))
