"""The ways in which a running service can fail its verification, each with cause and fix."""

from __future__ import annotations

from engine.client.report import Report
from engine.errors import EngineError


class VerifyError(EngineError):
    """The service is not verified. ``report`` says what had passed before it failed.

    ``final``: waiting longer cannot help. ``proof``: the service itself showed that it is wrong;
    without it, the fault may be in the network, in Azure, or in what asks.
    """

    report: Report | None = None
    final: bool = False
    proof: bool = True


class Unreachable(VerifyError):
    """Nothing answers at the address, or what answers is not the service."""

    proof = False


class NotReady(VerifyError):
    """The service answers and does not become ready, or does not stay so.

    ``state`` and ``reason`` are the service's own words; "failed" is final.
    """

    def __init__(self, cause: str, fix: str, state: str = "", reason: str = "") -> None:
        super().__init__(cause, fix)
        self.state = state
        self.reason = reason
        self.final = state == "failed"
        self.proof = bool(state)


class WrongRelease(VerifyError):
    """Another revision, other models, or another service altogether.

    ``found`` is the revision and the models' digest that were reported, if any were.
    """

    found: tuple[str, str] | None = None


class Replaced(WrongRelease):
    """Azure shows the image of another deploy, which may be right, or of the one before."""

    proof = False


class WrongAnswers(VerifyError):
    """A model does not answer as in training."""


class KeyRefused(VerifyError):
    """Inference asks for an API key, and there is none here or it is not accepted."""

    final = True
    proof = False


class Unsteady(VerifyError):
    """Some requests are answered, and others of the same kind fail.

    Proof only if the service itself reports an error: a lost connection is none.
    """


class TooSlow(VerifyError):
    """The answers are right and come too late: the service, its neighbours or the path are slow."""

    proof = False
