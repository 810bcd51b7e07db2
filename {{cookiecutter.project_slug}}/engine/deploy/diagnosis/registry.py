"""Look at the registry, at the rights of the identity that pulls from it, and for the image."""

from __future__ import annotations

from typing import Any

from engine.deploy.az_error import AzError
from engine.deploy.azure_ids import is_abac, roles_of
from engine.deploy.config import names
from engine.deploy.diagnosis.evidence import Registry
from engine.deploy.diagnosis.looks import Looks
from engine.deploy.targets.base import Live
from engine.errors import EngineError


def look_at_registry(looks: Looks, live: Live | None) -> Registry | None:
    """The registry, the roles of the identity that pulls from it, and the image in it."""
    project = looks.scene.project
    place = ("--resource-group", project.shared_resource_group, "--name")
    look = ("acr", "show", *place, project.registry)
    registry, _ = looks.try_to("registry", lambda: looks.az.find(*look))
    if not registry:
        return None
    who = names.runtime_identity(project)
    identity, _ = looks.try_to("identity", lambda: looks.az.find("identity", "show", *place, who))
    has, size = _image(looks, live)
    return Registry(
        name=project.registry,
        abac=is_abac(registry),
        roles=_roles(looks, str(registry["id"]), identity),
        has_image=has,
        image_bytes=size,
    )


def _roles(looks: Looks, scope: str, identity: Any) -> frozenset[str] | None:
    if not identity:
        return None
    # Names of principals would be asked from Microsoft Graph, where a login may have no rights.
    bare = ("--fill-principal-name", "false", "--fill-role-definition-name", "false")
    look = ("role", "assignment", "list", "--scope", scope, "--include-inherited", *bare)
    found, known = looks.try_to("roles on the registry", lambda: looks.az.json(*look))
    if not known:
        return None
    return frozenset(roles_of(identity, found or []))


def _image(looks: Looks, live: Live | None) -> tuple[bool | None, int | None]:
    digest = live.tags.get(names.TAG_IMAGE) if live else None
    if not digest:
        return None, None
    project = looks.scene.project
    image = f"{names.image_repository(project)}@{digest}"
    try:
        shown = looks.az.json(
            "acr", "repository", "show", "--name", project.registry, "--image", image
        )
    except AzError as error:
        return (False if error.not_in_registry else None), None
    except EngineError:
        return None, None
    size = (shown or {}).get("imageSize")
    return True, int(size) if size else None
