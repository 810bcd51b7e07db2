"""A verification that runs inside of a network that does not let its asker in.

The asker sends a ``Task`` as the argument of a command, and reads the ``verdict`` from what the
command prints. Requests and expected answers are those of ``engine.client.verification``: the image
of the service has them, and the digest of its models says that they are those that are meant.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine.client import failures
from engine.client.failures import Check, NotReady, Report, VerifyError, WrongRelease
from engine.client.readiness import Progress
from engine.client.service import Limits
from engine.client.verification import MODELS, verify
from engine.errors import EngineError
from engine.serving.package.digest import models_digest

COMMAND = ("python", "-m", "engine.client")
PASSED, FAILED = 0, 1
"""Exit codes."""
_MARK = "verdict: "
_KINDS = {
    name: kind
    for name, kind in vars(failures).items()
    if isinstance(kind, type) and issubclass(kind, VerifyError)
}


class NoVerdict(VerifyError):
    """What ran inside of the network ended without a verdict, or did not run at all."""

    proof = False


@dataclass(frozen=True, slots=True)
class Task:
    """What is verified: the release at ``url``, and with which limits; None: any release."""

    url: str
    limits: Limits
    revision: str | None = None
    model_digest: str | None = None

    def argument(self) -> str:
        """The task as an argument of ``COMMAND``; it holds no secret."""
        return json.dumps(asdict(self))


@dataclass(frozen=True, slots=True)
class _Release:
    revision: str | None
    model_digest: str


def read_task(text: str) -> Task:
    """The task of an argument.

    Raises:
        EngineError: it is none.
    """
    try:
        content = json.loads(text)
        return Task(**{**content, "limits": Limits(**content["limits"])})
    except (KeyError, TypeError, ValueError) as error:
        raise EngineError(
            f"the argument is no task of a verification: {error}",
            "run it by `.venv/bin/python -m engine.deploy verify ENV`",
        ) from None


def run(task: Task, progress: Progress, models: Path = MODELS) -> tuple[int, str]:
    """Verify; the exit code, and the verdict as a line for ``verdict``.

    Args:
        progress: is called with a line at every step.
        models: the packages with the expected answers.
    """
    try:
        expected = _expected(task, models)
        report = verify(task.url, expected, task.limits, progress, models=models)
    except EngineError as error:
        return FAILED, _MARK + json.dumps(_failure(error))
    return PASSED, _MARK + json.dumps({"report": asdict(report)})


def verdict(exit_code: int, lines: Sequence[str]) -> Report:
    """What a verification found, from how it ended and what it printed.

    Raises:
        VerifyError: of the same kind and with the same words as where it ran.
        NoVerdict: it did not come to a verdict, or says something else than its exit code.
    """
    marked = [line.strip() for line in lines if line.strip().startswith(_MARK)]
    try:
        content = json.loads(marked[-1].removeprefix(_MARK))
        report, error = _report(content.get("report")), content.get("error")
        good = error is None and bool(report.checks) and report.passed
        if good != (exit_code == PASSED) or (error is None and not good):
            raise ValueError("exit code and verdict differ")
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as problem:
        said = next((line.strip() for line in reversed(lines) if line.strip()), "nothing")
        raise NoVerdict(
            f"the verification inside of the network ended with exit code {exit_code} and without "
            f"a verdict ({problem}); its last words: {said[:200]}",
            "an image that was built before the network was configured cannot verify: build and "
            "push one of this commit",
        ) from None
    if error is not None:
        raise _raised(error, report)
    return report


def _expected(task: Task, models: Path) -> _Release | None:
    if task.model_digest is None:
        return None
    own = models_digest(models)
    if own != task.model_digest:
        raise WrongRelease(
            f"the image holds the models {own[:12]}, not {task.model_digest[:12]}",
            "deploy the image that was built from the models that are meant",
        )
    return _Release(task.revision, task.model_digest)


def _failure(error: EngineError) -> dict[str, Any]:
    told: dict[str, Any] = {"cause": error.cause, "fix": error.fix, "kind": type(error).__name__}
    report = None
    if isinstance(error, VerifyError):
        told |= {"proof": error.proof, "final": error.final}
        report = asdict(error.report) if error.report else None
    if isinstance(error, NotReady):
        told |= {"state": error.state, "reason": error.reason}
    if isinstance(error, WrongRelease):
        told["found"] = error.found
    return {"report": report, "error": told}


def _report(content: dict[str, Any] | None) -> Report:
    if content is None:
        return Report("")
    return Report(content["url"], tuple(Check(**each) for each in content["checks"]))


def _raised(told: dict[str, Any], report: Report) -> VerifyError:
    kind: Callable[..., VerifyError] = _KINDS.get(told["kind"], NoVerdict)
    if kind is NotReady:
        error = NotReady(told["cause"], told["fix"], told["state"], told["reason"])
    else:
        error = kind(told["cause"], told["fix"])  # type: ignore[assignment]
    error.proof, error.final = bool(told.get("proof")), bool(told.get("final"))
    error.report = report if report.checks else None
    if isinstance(error, WrongRelease) and told.get("found"):
        revision, digest = told["found"]
        error.found = (revision, digest)
    return error
