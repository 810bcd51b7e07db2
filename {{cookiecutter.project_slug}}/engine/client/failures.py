"""What a verification found: its checks, as text and as Markdown, and how it can fail."""

from __future__ import annotations

from dataclasses import dataclass

from engine.errors import EngineError


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was checked: its name, what was found, and the seconds it took."""

    name: str
    passed: bool
    detail: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Report:
    """All checks of one address, in the order in which they ran."""

    url: str
    checks: tuple[Check, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    def with_check(self, check: Check) -> Report:
        """This report and one more check."""
        return Report(self.url, (*self.checks, check))

    def text(self) -> str:
        """A short table for a terminal."""
        width = max((len(check.name) for check in self.checks), default=0)
        return "\n".join(
            f"{_verdict(check):6}  {check.name:{width}}  {check.seconds:5.1f} s  {check.detail}"
            for check in self.checks
        )

    def markdown(self) -> str:
        """A table for the summary page of a workflow."""
        rows = [
            f"| {check.name} | {_verdict(check)} | {_cell(check.detail)} | {check.seconds:.1f} s |"
            for check in self.checks
        ]
        head = ["| check | result | found | took |", "|---|---|---|---|"]
        return "\n".join([f"Verified: {self.url}", "", *head, *rows])


def _verdict(check: Check) -> str:
    return "ok" if check.passed else "FAILED"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


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
