"""What is sent to Azure to change an app, as pure functions of a document and of what is there.

Three things make a rollout safe here. The revision that serves is pinned by its name in the very
request that starts the next one, which so begins without traffic. Every revision has secrets of
its own, by names that end with the revision's suffix: secrets belong to the whole app, and a new
value under an old name would reach the serving revision at its next restart. And the tags, with
the name of the revision last applied among them, change in the same request as all else.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from engine.deploy.config import names
from engine.deploy.targets.base import Document
from engine.deploy.targets.containerapps.document import secret_variables
from engine.deploy.targets.containerapps.shape import REVISION_TAG, secret_references, suffix_of
from engine.errors import EngineError

_Json = Mapping[str, Any]
# App and suffix have 54 characters together, with the two hyphens between (Azure's message on
# ContainerAppInvalidRevisionName); a name of an app has up to 32.
_SUFFIX_LENGTH = 20
_LETTERS: tuple[str, ...] = ("", *"bcdefghijklmnopqrstuvwxyz")


def revision_for(app_name: str, tags: Mapping[str, str], taken: Collection[str] = ()) -> str:
    """The name of the revision that a rollout makes: ``<app>--r<end of the rollout's id>``.

    A letter follows where that name is taken: a rollout may have to make the previous release anew.
    """
    plain = re.sub(r"[^a-z0-9]", "", tags[names.TAG_ROLLOUT].lower())
    name = f"{app_name}--r{plain[2 - _SUFFIX_LENGTH :]}"
    free = (name + letter for letter in _LETTERS if name + letter not in taken)
    return next(free)


def new_app(document: Document, revision: str, values: Mapping[str, str]) -> dict[str, Any]:
    """The body of the PUT that makes an app; its first revision has all traffic.

    Raises:
        EngineError: a secret has no value.
    """
    body = new_revision(document, revision, values, kept=[], traffic=everything(revision))
    body["properties"]["environmentId"] = document["properties"]["environmentId"]
    return {"location": document["location"], **body}


def new_revision(
    document: Document,
    revision: str,
    values: Mapping[str, str],
    *,
    kept: Iterable[Mapping[str, str]],
    traffic: Iterable[_Json],
) -> dict[str, Any]:
    """The body of the PATCH that starts a revision beside those that run.

    Args:
        values: of the document's secrets, by the names of their variables.
        kept: secrets of the revisions that go on running, with full names and values.
        traffic: who is served by whom; without the new revision, so that it gets nothing.

    Raises:
        EngineError: a secret has no value.
    """
    suffix = suffix_of(revision)
    body = same_revisions(document, revision, traffic)
    body["properties"]["configuration"]["secrets"] = [
        *kept,
        *_secrets(document, suffix, values),
    ]
    template = copy.deepcopy(document["properties"]["template"])
    for container in template["containers"]:
        for variable in container["env"]:
            if "secretRef" in variable:
                variable["secretRef"] = f"{variable['secretRef']}-{suffix}"
    body["properties"]["template"] = {"revisionSuffix": suffix, **template}
    return body


def same_revisions(document: Document, revision: str, traffic: Iterable[_Json]) -> dict[str, Any]:
    """The body of a PATCH that starts nothing: tags, what holds for the whole app, and traffic.

    Secrets stay as they are: Azure refuses to drop one that the newest template still names, be
    its revision active or not. The next new revision leaves behind those that nobody uses.
    """
    properties = document["properties"]
    configuration = copy.deepcopy(properties["configuration"])
    del configuration["secrets"]
    configuration["ingress"]["traffic"] = list(traffic)
    return {
        "tags": {**document["tags"], REVISION_TAG: revision},
        "identity": copy.deepcopy(document["identity"]),
        "properties": {
            "workloadProfileName": properties["workloadProfileName"],
            "configuration": configuration,
        },
    }


def everything(revision: str) -> list[dict[str, Any]]:
    """All traffic to one revision."""
    return [{"revisionName": revision, "weight": 100}]


def serving(app: _Json, active: Iterable[str]) -> list[dict[str, Any]]:
    """The shares of traffic as they are, each pinned to the name of an active revision.

    An app made elsewhere may send everything to whatever revision is the latest: pinned here, for
    otherwise the next one would serve before anybody has looked at it.
    """
    properties = app["properties"]
    latest = properties.get("latestReadyRevisionName") or properties.get("latestRevisionName")
    there = set(active)
    pinned: dict[str, int] = {}
    for share in (properties["configuration"].get("ingress") or {}).get("traffic") or []:
        name = latest if share.get("latestRevision") else share.get("revisionName")
        if name in there and share.get("weight"):
            pinned[name] = pinned.get(name, 0) + share["weight"]
    if not pinned and latest in there:
        pinned[latest] = 100
    return [{"revisionName": name, "weight": weight} for name, weight in pinned.items()]


def used_secrets(
    secrets: Iterable[Mapping[str, str]], templates: Iterable[_Json]
) -> list[dict[str, str]]:
    """Those of an app's secrets, values included, that revisions with these templates need."""
    used = {name for template in templates for name in secret_references(template)}
    return [dict(each) for each in secrets if each["name"] in used]


def all_tags(app: _Json, tags: Mapping[str, str], revision: str | None = None) -> dict[str, str]:
    """What a PATCH has to say so that an app has these tags and, for rollouts, no others.

    ``revision`` is the one that was applied last, where ``app`` may not show it yet.

    A PATCH merges. Microsoft does not say whether null removes a tag; empty text is a legal one,
    and an empty tag counts as none here.
    """
    there: Mapping[str, str] = app.get("tags") or {}
    cleared = dict.fromkeys(sorted(set(there) - set(tags) - {REVISION_TAG}), "")
    return {**cleared, REVISION_TAG: revision or applied_revision(app), **tags}


def applied_revision(app: _Json) -> str:
    """The name of the revision that was applied last; of an app made elsewhere, the latest."""
    tags: Mapping[str, str] = app.get("tags") or {}
    return str(tags.get(REVISION_TAG) or app["properties"].get("latestRevisionName") or "")


def _secrets(document: Document, suffix: str, values: Mapping[str, str]) -> list[dict[str, str]]:
    variables = secret_variables(document)
    missing = [name for name in sorted(variables) if not values.get(name)]
    if missing:
        raise EngineError(
            f"no value for the secret(s) {', '.join(missing)}",
            "set them as environment variables of this command; in GitHub, as secrets of the "
            "environment that the workflow passes on",
        )
    return [
        {"name": f"{secret}-{suffix}", "value": values[name]}
        for name, secret in sorted(variables.items())
    ]
