"""The ways in which a running service can fail its verification, each with cause and fix."""

from __future__ import annotations

from engine.deploy.errors import DeployError
from engine.deploy.verification.report import Report


class VerifyError(DeployError):
    """The service must not be kept. ``report`` says what had passed before it failed; ``final`` is
    set where waiting longer cannot help.
    """

    report: Report | None = None
    final: bool = False


class Unreachable(VerifyError):
    """Nothing answers at the address, or what answers is not the service."""


class NotReady(VerifyError):
    """The service answers and does not become ready, or does not stay so.

    ``state`` and ``reason`` are the service's own words; "failed" is final.
    """

    def __init__(self, cause: str, fix: str, state: str = "", reason: str = "") -> None:
        super().__init__(cause, fix)
        self.state = state
        self.reason = reason
        self.final = state == "failed"


class WrongRelease(VerifyError):
    """Another revision, other models, or another service altogether.

    ``found`` is the revision and the models' digest that were reported, if any were.
    """

    found: tuple[str, str] | None = None


class WrongAnswers(VerifyError):
    """A model does not answer as in training."""


class KeyRefused(VerifyError):
    """Inference asks for an API key, and there is none here or it is not accepted."""


class Unsteady(VerifyError):
    """Some requests are answered, and others of the same kind fail."""


class TooSlow(VerifyError):
    """The answers are right and come too late."""
