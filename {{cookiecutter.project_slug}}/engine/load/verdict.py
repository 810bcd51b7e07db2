"""Objectives and numbers to a verdict: each missed objective, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from engine.load.measured import Measured
from engine.load.slo import Slo

BUSY_GENERATOR_PERCENT = 90.0
ERRORS = "error_ratio"


@dataclass(frozen=True, slots=True)
class Objective:
    """One objective: what was wanted and measured, in words, and ``advice`` where it was missed."""

    name: str
    wanted: str
    measured: str
    kept: bool
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """All objectives. ``notes`` are doubts about the measurement itself."""

    objectives: tuple[Objective, ...]
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every objective was kept."""
        return all(each.kept for each in self.objectives)

    @property
    def missed(self) -> tuple[Objective, ...]:
        """Those that were not kept."""
        return tuple(each for each in self.objectives if not each.kept)


def judge(slo: Slo, measured: Measured, doubt: str | None = None) -> Verdict:
    """Compare what was measured with what is promised; a run without answers keeps nothing.

    Args:
        doubt: why the figures say little; then a missed time or rate blames nothing else.
    """
    judges: tuple[Callable[[Slo, Measured], Objective], ...] = (_latency, _errors, _throughput)
    notes = []
    if measured.cpu_percent > BUSY_GENERATOR_PERCENT:
        notes.append(
            f"the load generator used {measured.cpu_percent:.0f} % of a CPU: it may have been the "
            "limit itself; run it on another machine, or with fewer users"
        )
    objectives = tuple(each(slo, measured) for each in judges)
    if doubt is not None:
        notes.append(doubt)
        objectives = tuple(
            each if each.name == ERRORS else replace(each, advice="see the note, and measure again")
            for each in objectives
        )
    return Verdict(objectives, tuple(notes))


def _latency(slo: Slo, measured: Measured) -> Objective:
    answered = measured.rps > 0
    return Objective(
        "p95_ms",
        f"at most {slo.p95_ms:g} ms",
        f"{measured.p95_ms:.1f} ms" if answered else "no successful answer",
        answered and measured.p95_ms <= slo.p95_ms,
        "give it more cpu (deploy/environments), look at queue and batch sizes in /metrics, or "
        "run the load test nearer to the region",
    )


def _errors(slo: Slo, measured: Measured) -> Objective:
    most = f"; most often {measured.failures[0][0]}" if measured.failures else ""
    return Objective(
        ERRORS,
        f"at most {slo.error_ratio:g}",
        f"{measured.error_ratio:.4f} ({measured.failed} of {measured.requests})",
        measured.requests > 0 and measured.error_ratio <= slo.error_ratio,
        f"read the service's log{most}",
    )


def _throughput(slo: Slo, measured: Measured) -> Objective:
    return Objective(
        "minimum_rps",
        f"at least {slo.minimum_rps:g} per second",
        f"{measured.rps:.1f} per second",
        measured.rps >= slo.minimum_rps,
        "with answers this slow or failing, users cannot ask more: correct those first; if they "
        "are fine, raise users",
    )
