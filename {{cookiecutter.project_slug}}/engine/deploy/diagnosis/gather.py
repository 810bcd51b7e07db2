"""Look at everything that a diagnosis may need; what may not be looked at is left out.

Nothing is changed. Looks run beside each other, for each spends its time waiting for Azure.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

from engine.deploy.az_error import AzError
from engine.deploy.azure_ids import is_abac, roles_of
from engine.deploy.config import names
from engine.deploy.config.environment import Environment
from engine.deploy.diagnosis.evidence import Evidence, Group, Problem, Registry, Unfinished
from engine.deploy.diagnosis.looks import Looks, Scene
from engine.deploy.rollout import marks
from engine.deploy.rollout.ownership import as_recorded
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


AT_ONCE = 4


def gather(scene: Scene, error: EngineError | None = None) -> Evidence:
    """All evidence about an environment, and about a failure that was just met."""
    looks = Looks(scene)
    live, known = looks.try_to(scene.target.what, scene.target.read)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        group = pool.submit(looks.group)
        logs = pool.submit(looks.logs, live)
        registry = pool.submit(look_at_registry, looks, live)
        unregistered = pool.submit(looks.unregistered)
        readiness = pool.submit(looks.readiness, live)
        # A release is verified at its address, so it never fails for an own name.
        outside = pool.submit(looks.outside, live) if error is None else None
    found_group = group.result()
    return Evidence(
        target=scene.environment.target,
        stage=scene.environment.stage,
        deployed=(live is not None) if known else None,
        group=found_group,
        logs=logs.result(),
        problems=(*_problems(error, live), *looks.problems),
        registry=registry.result(),
        readiness=readiness.result(),
        unfinished=_unfinished(looks, live),
        missing_secrets=_missing_secrets(scene.environment, found_group),
        gpu=scene.environment.gpu,
        unregistered=unregistered.result(),
        stopped=live is not None and live.stopped,
        outside=outside.result() if outside else (),
        unseen=tuple(sorted(looks.unseen)),
    )


def _problems(error: EngineError | None, live: Live | None) -> tuple[Problem, ...]:
    found = []
    if isinstance(error, AzError):
        found.append(Problem(error.message, error.code))
    elif error is not None:
        found.append(Problem(error.cause))
    if live is not None and live.failure:
        found.append(Problem(live.failure))
    return tuple(found)


def _unfinished(looks: Looks, live: Live | None) -> Unfinished | None:
    if live is None or marks.state(live.tags) == marks.KEPT:
        return None
    scene, rollout = looks.scene, marks.rollout(live.tags) or "?"
    recorded, known = looks.try_to(
        "records of rollouts", lambda: as_recorded(scene.target, scene.journal, live)
    )
    if not known or (recorded is not None and marks.state(recorded.tags) == marks.KEPT):
        return None
    beat, _ = looks.try_to(None, lambda: scene.journal.last_sign(rollout))
    try:
        silent = (datetime.now(UTC) - datetime.fromisoformat(beat or "")).total_seconds()
    except (TypeError, ValueError):
        silent = None
    return Unfinished(rollout, silent_seconds=silent)


def _missing_secrets(environment: Environment, group: Group | None) -> tuple[str, ...]:
    if group is None or not group.containers:
        return ()
    given = {name for container in group.containers for name in container.names}
    return tuple(name for name in environment.secrets if name not in given)
