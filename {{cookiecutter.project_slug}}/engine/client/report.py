"""What a verification found, as lines for a terminal and as Markdown."""

from __future__ import annotations

from dataclasses import dataclass


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
