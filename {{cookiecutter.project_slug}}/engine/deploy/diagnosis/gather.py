"""Look at everything that a diagnosis may need; what may not be looked at is left out.

Nothing is changed. Looks run beside each other, for each spends its time waiting for Azure.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from engine.deploy.az_error import AzError
from engine.deploy.config.environment import Environment
from engine.deploy.diagnosis.evidence import Evidence, Group, Problem, Unfinished
from engine.deploy.diagnosis.looks import Looks, Scene
from engine.deploy.diagnosis.registry import look_at_registry
from engine.deploy.rollout import marks
from engine.deploy.rollout.ownership import as_recorded
from engine.deploy.targets.base import Live
from engine.errors import EngineError

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
