"""``/acr/v1``: ACR's own calls about repositories, tags and manifests."""

from __future__ import annotations

import re
from typing import Any

from ..arm.store import Resource
from ..wire import Request, Response, json_response
from .answers import not_modelled, unknown
from .permissions import DELETE, METADATA_READ
from .storage import Storage

PATH = re.compile(
    r"^/acr/v1/(?P<repository>[^_].*?)(/_(?P<kind>tags|manifests)(/(?P<name>[^/]+))?)?$"
)
CATALOGS = ("/acr/v1/_catalog", "/v2/_catalog")
"""The second is the registry's own, which would go on listing repositories without an image."""
ACCEPTED = 202


def answers(request: Request) -> bool:
    """Whether a call is answered here."""
    return request.path.startswith("/acr/v1/") or request.path in CATALOGS


def needed(request: Request) -> tuple[str, str, str]:
    """Type, name and action of the token that a call needs; an empty type: not modelled."""
    if request.path in CATALOGS and request.method == "GET":
        return "registry", "catalog", "*"
    found = PATH.match(request.path)
    actions = {"GET": METADATA_READ, "DELETE": DELETE}
    if found is None or request.method not in actions:
        return "", "", ""
    return "repository", found["repository"], actions[request.method]


def answer(request: Request, registry: Resource, storage: Storage) -> Response:
    """Answer a call whose token is good."""
    if request.path in CATALOGS:
        return json_response(200, {"repositories": storage.repositories()})
    found = PATH.match(request.path)
    assert found is not None  # `needed` has seen it
    repository = found["repository"]
    if not storage.manifests(repository):
        return unknown(f"repository {repository}")
    about = {"registry": registry.properties["loginServer"], "imageName": repository}
    if request.method == "DELETE":
        return _delete(storage, repository, found["kind"], found["name"])
    return _show(storage, repository, found["kind"], found["name"], about, request.query)


def _show(
    storage: Storage,
    repository: str,
    kind: str | None,
    name: str | None,
    about: dict[str, Any],
    query: dict[str, str],
) -> Response:
    tags, manifests = storage.tags(repository), storage.manifests(repository)
    if kind is None:
        counts = {"manifestCount": len(manifests), "tagCount": len(tags)}
        return json_response(200, {**about, **counts})
    if kind == "tags":
        entries = [storage.tag_entry(repository, tag) for tag in tags]
        key, single = "name", "tag"
    else:
        entries = [storage.manifest_entry(repository, digest) for digest in manifests]
        key, single = "digest", "manifest"
    if name is None:
        return json_response(200, {**about, kind: _ordered(entries, query)})
    for entry in entries:
        if entry[key] == name:
            return json_response(200, {**about, single: entry})
    return unknown(f"{single} {name} of {repository}")


def _ordered(entries: list[dict[str, Any]], query: dict[str, str]) -> list[dict[str, Any]]:
    """In the order that was asked for, at most ``n``; the double does not page."""
    order = query.get("orderby", "")
    if order in ("timeasc", "timedesc"):
        backwards = order == "timedesc"
        entries = sorted(entries, key=lambda each: each["lastUpdateTime"], reverse=backwards)
    return entries[: int(query.get("n", len(entries)))]


def _delete(storage: Storage, repository: str, kind: str | None, name: str | None) -> Response:
    if kind is None:
        tags, manifests = list(storage.tags(repository)), storage.manifests(repository)
        storage.remove(repository)
        return json_response(ACCEPTED, {"manifestsDeleted": manifests, "tagsDeleted": tags})
    if kind == "tags" and name:
        return (
            Response(ACCEPTED)
            if storage.untag(repository, name)
            else unknown(f"tag {name} of {repository}")
        )
    return not_modelled(f"DELETE of {kind} through /acr/v1")
