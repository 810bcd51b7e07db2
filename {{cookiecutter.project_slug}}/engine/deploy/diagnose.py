"""From what Azure, GitHub and the service show of a failure to its cause and what to do about it.

``diagnose`` is pure: the same evidence gives the same findings. Each rule is a small function in
``engine.deploy.diagnosis``; what can be said as a table is one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from engine.client.failures import (
    KeyRefused,
    NotReady,
    TooSlow,
    WrongAnswers,
    WrongRelease,
)
from engine.deploy.diagnosis import container, image, login, network, platform, progress
from engine.deploy.diagnosis.evidence import Evidence
from engine.deploy.diagnosis.gather import gather
from engine.deploy.diagnosis.looks import Scene
from engine.deploy.finding import Certainty, Finding, most_telling
from engine.deploy.targets import kind_names
from engine.deploy.targets.kind import kind_named
from engine.errors import EngineError

RULES: tuple[Callable[[Evidence], Iterable[Finding]], ...] = (
    *platform.RULES,
    *login.RULES,
    *image.RULES,
    *container.RULES,
    *network.RULES,
    *progress.RULES,
)
SHOWN_CHARACTERS = 200
SHOWN_LINES = 15


def diagnose(evidence: Evidence) -> tuple[Finding, ...]:
    """Everything that the evidence shows, the surest first; empty: nothing is wrong."""
    names = kind_names() if evidence.target is None else (evidence.target,)
    rules = (*RULES, *(rule for name in names for rule in kind_named(name).diagnoses))
    return most_telling([*evidence.outside, *(found for rule in rules for found in rule(evidence))])


def explain(scene: Scene, error: EngineError, tell: Callable[[str], None]) -> EngineError:
    """The same failure with the cause and the fix that the evidence in Azure shows.

    What names its cause already, or finds no surer one, comes back as it is. Otherwise the end of
    the log is shown too: a container group that is put back takes the log with it.
    """
    if _is_precise(error):
        return error
    evidence = gather(scene, error)
    said = [line for line in evidence.logs if line.strip()]
    if said:
        tell("its log ends:")
    for line in said[-SHOWN_LINES:]:
        tell(f"| {line}")
    return explained(error, evidence)


def explained(error: EngineError, evidence: Evidence) -> EngineError:
    """The failure in the words of the surest finding, if there is one."""
    for found in diagnose(evidence):
        if not found.symptom and found.certainty < Certainty.POSSIBLE:
            seen = " ".join(error.cause.split())
            told = found.cause.partition(": ")[2]
            if told and told in seen:
                return EngineError(found.cause, found.fix)
            return EngineError(f"{found.cause} (seen as: {seen[:SHOWN_CHARACTERS]})", found.fix)
    return error


def _is_precise(error: EngineError) -> bool:
    if isinstance(error, NotReady):
        return error.final
    return isinstance(error, (WrongRelease, WrongAnswers, TooSlow, KeyRefused))
