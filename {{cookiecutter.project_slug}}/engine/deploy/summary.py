"""How a rollout went, as Markdown for the page of a workflow's run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from engine.deploy.outcome import UNKNOWN, write_output
from engine.deploy.rollout.run import STARTED_AGAIN, TAGGED, UNCHANGED, UPDATED, Outcome
from engine.deploy.rollout.site import RolloutFailed
from engine.deploy.targets.base import Release
from engine.errors import EngineError, for_stage

_WORDS = {
    UPDATED: "deployed",
    UNCHANGED: "nothing to change: this release serves already",
    TAGGED: "only tags changed: the service was not restarted",
    STARTED_AGAIN: "it was stopped, and is started again",
}


@contextmanager
def serving(done: str, *, undone: str) -> Iterator[None]:
    """Write the step output ``serves``: what serves after the rollout inside.

    Args:
        done: the value when the rollout succeeds.
        undone: the value when it fails and what was there before is back.
    """
    # A killed process writes nothing more.
    write_output(serves=UNKNOWN)
    try:
        yield
    except RolloutFailed as error:
        if error.restored:
            write_output(serves=undone)
        raise
    write_output(serves=done)


def success(stage: str, release: Release, outcome: Outcome, seconds: float) -> str:
    """A rollout that ended well."""
    return "\n".join(
        [
            f"## {stage}: {_WORDS[outcome.kind]}",
            "",
            *_facts(release, outcome.address, seconds),
            "",
            outcome.report,
            "",
            f"Next: `.venv/bin/python -m engine.deploy status {stage}`; "
            f"back: `.venv/bin/python -m engine.deploy rollback {stage}`",
        ]
    )


def failure(stage: str, release: Release | None, error: EngineError, seconds: float) -> str:
    """A rollout that was not kept, or could not begin."""
    lines = [
        f"## {stage}: NOT deployed",
        "",
        *(_facts(release, None, seconds) if release else ()),
        "",
        f"**Why:** {error.cause}",
        "",
        f"**Fix:** {error.fix}",
    ]
    return for_stage("\n".join(lines), stage)


def words(kind: str) -> str:
    """How it ended, in a few words."""
    return _WORDS[kind]


def _facts(release: Release, address: str | None, seconds: float) -> list[str]:
    rows = [
        ("revision", f"`{release.revision}`"),
        ("image", f"`{release.image}`"),
        ("models", f"`{release.model_digest}`"),
        ("address", address or "-"),
        ("took", f"{seconds:.0f} s"),
    ]
    return ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]
