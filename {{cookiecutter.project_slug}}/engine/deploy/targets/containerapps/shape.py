"""Azure's answer about an app and one of its revisions, brought to the shape of our document.

Only what the document says is read back. Azure's answers hold much more, defaults that change with
the months among it; and what somebody else has set beside us, such as a custom domain, is theirs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from engine.deploy.config import names
from engine.deploy.targets.base import Document
from engine.deploy.targets.compare import canonical_digest, differing_paths, whole_numbers

REVISION_TAG = "revision"
"""The tag by which an app knows the revision that was applied last; no rollout sees it."""

_Json = Mapping[str, Any]
_INGRESS = ("external", "targetPort", "transport", "allowInsecure")
_VOLUME = ("name", "storageName", "storageType")
_MOUNT = ("volumeName", "mountPath")
_PROBE = (
    "type",
    "initialDelaySeconds",
    "periodSeconds",
    "timeoutSeconds",
    "failureThreshold",
    "successThreshold",
)
# What holds for the whole app and what a revision that serves would notice at once: such a change
# cannot be tried beside it. The first two cannot be changed at all.
_FIXED = re.compile(
    r"location|properties\.(environmentId|workloadProfileName"
    r"|configuration\.ingress\.targetPort)"
)


def document_of(app: _Json, revision: str, template: _Json) -> Document:
    """The document that a revision was made from, with the app's present configuration.

    Args:
        revision: its full name, ``<app>--<suffix>``; secrets end with the suffix too.
    """
    properties = app["properties"]
    ending = "-" + suffix_of(revision)
    return {
        "location": _region(app["location"]),
        "tags": {k: v for k, v in (app.get("tags") or {}).items() if v and k != REVISION_TAG},
        "identity": _identity(app.get("identity") or {}),
        "properties": {
            "environmentId": properties.get("environmentId")
            or properties.get("managedEnvironmentId"),
            "workloadProfileName": properties.get("workloadProfileName"),
            "configuration": _configuration(properties["configuration"], template, ending),
            "template": _template(template, ending),
        },
    }


def suffix_of(revision: str) -> str:
    """The part of a revision's name after the app's."""
    return revision.rpartition("--")[2]


def comparable(document: Document) -> Document:
    """A document, rendered or read, in the one form that equal documents share.

    Azure compares ids and regions without regard to case and spaces, and gives 1.0 back as 1. The
    tags of a rollout differ between equal documents and are left out.
    """
    properties = document["properties"]
    configuration = properties["configuration"]
    shaped = {
        "location": _region(document["location"]),
        "tags": {k: v for k, v in document["tags"].items() if v and k not in names.ROLLOUT_TAGS},
        "identity": sorted(_lower(document["identity"].get("userAssignedIdentities") or {})),
        "properties": {
            "environmentId": str(properties["environmentId"]).lower(),
            "workloadProfileName": properties["workloadProfileName"],
            "configuration": {
                **configuration,
                "registries": [_lower_values(each) for each in configuration["registries"]],
                "identitySettings": [
                    each | {"identity": each["identity"].lower()}
                    for each in configuration["identitySettings"]
                ],
            },
            "template": properties["template"],
        },
    }
    whole: Document = whole_numbers(shaped)
    return whole


def differences(live: Document, wanted: Document) -> tuple[str, ...]:
    """The properties that differ, apart from the tags of a rollout."""
    return tuple(differing_paths(comparable(live), comparable(wanted)))


def blockers(live: Document, wanted: Document) -> tuple[str, ...]:
    """The differing properties that cannot change while a revision serves: delete and create."""
    return tuple(path for path in differences(live, wanted) if _FIXED.fullmatch(path))


def config_digest(document: Document) -> str:
    """The digest of what was asked for, the tags of the rollout aside."""
    return canonical_digest(comparable(document))


def same_template(one: Document, other: Document) -> bool:
    """Whether one revision is made from both."""
    left, right = (comparable(each)["properties"]["template"] for each in (one, other))
    return not any(differing_paths(left, right))


def _identity(identity: _Json) -> dict[str, Any]:
    """What can be sent again: Azure refuses the ids of principals that it adds itself."""
    users = identity.get("userAssignedIdentities") or {}
    return {"type": identity.get("type"), "userAssignedIdentities": {name: {} for name in users}}


def _region(location: str) -> str:
    return re.sub(r"\s", "", location).lower()


def _configuration(configuration: _Json, template: _Json, ending: str) -> dict[str, Any]:
    used = sorted(_without(name, ending) for name in secret_references(template))
    return {
        "activeRevisionsMode": str(configuration.get("activeRevisionsMode")).capitalize(),
        "maxInactiveRevisions": configuration.get("maxInactiveRevisions"),
        "ingress": _ingress(configuration.get("ingress") or {}),
        "registries": [
            _pick(each, ("server", "identity")) for each in configuration.get("registries") or []
        ],
        "identitySettings": [
            _pick(each, ("identity", "lifecycle"))
            for each in configuration.get("identitySettings") or []
        ],
        "secrets": [{"name": name, "value": None} for name in used],
    }


def secret_references(template: _Json) -> list[str]:
    """The full names of the secrets that a template's containers use."""
    return [
        variable["secretRef"]
        for container in template.get("containers") or []
        for variable in container.get("env") or []
        if variable.get("secretRef")
    ]


def _template(template: _Json, ending: str) -> dict[str, Any]:
    scale = template.get("scale") or {}
    rules = [
        {"name": rule["name"], "http": {"metadata": dict(rule["http"]["metadata"])}}
        if rule.get("http")
        else dict(rule)
        for rule in scale.get("rules") or []
    ]
    return {
        "containers": [_container(each, ending) for each in template.get("containers") or []],
        "scale": _pick(scale, ("minReplicas", "maxReplicas")) | {"rules": rules},
        **_listed(template, "volumes", _VOLUME),
    }


def _container(container: _Json, ending: str) -> dict[str, Any]:
    return {
        "name": container["name"],
        "image": container["image"],
        "resources": _resources(container.get("resources") or {}),
        "env": [_variable(each, ending) for each in container.get("env") or []],
        "probes": sorted(
            (_probe(each) for each in container.get("probes") or []), key=lambda each: each["type"]
        ),
        **_listed(container, "volumeMounts", _MOUNT),
    }


def _listed(source: _Json, name: str, keys: Iterable[str]) -> dict[str, Any]:
    """A member that is left out where it says nothing."""
    listed = [_pick(each, keys) for each in source.get(name) or []]
    return {name: listed} if listed else {}


def _resources(resources: _Json) -> dict[str, Any]:
    picked = _pick(resources, ("cpu", "memory"))
    if str(picked.get("memory")).endswith("Gi"):
        picked["memory"] = f"{float(picked['memory'][:-2]):g}Gi"
    return picked


def _variable(variable: _Json, ending: str) -> dict[str, Any]:
    if variable.get("secretRef"):
        return {
            "name": variable["name"],
            "secretRef": _without(variable["secretRef"], ending),
        }
    return {"name": variable["name"], "value": variable.get("value") or ""}


def _probe(probe: _Json) -> dict[str, Any]:
    http = probe.get("httpGet") or {}
    return _pick(probe, _PROBE) | {"httpGet": _pick(http, ("path", "port", "scheme"))}


def _ingress(ingress: _Json) -> dict[str, Any]:
    picked = _pick(ingress, _INGRESS)
    return picked | {"transport": str(picked.get("transport")).lower()}


def _without(name: str, ending: str) -> str:
    return name.removesuffix(ending)


def _pick(source: _Json, keys: Iterable[str]) -> dict[str, Any]:
    return {key: source[key] for key in keys if source.get(key) is not None}


def _lower(keys: Iterable[str]) -> list[str]:
    return [key.lower() for key in keys]


def _lower_values(source: _Json) -> dict[str, str]:
    return {key: str(value).lower() for key, value in source.items()}
