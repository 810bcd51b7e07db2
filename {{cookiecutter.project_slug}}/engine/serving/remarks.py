"""Remarks on an environment that breaks no rule and is probably not what was meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher

# Measured on names that clusters, clouds and telemetry set: PAGER is 0.89 from PAGE. At 0.9 a
# letter too many, too few or exchanged is found in names of six letters and more.
ALIKE = 0.9
# Has dozens of variables of its own, which the telemetry libraries read.
STANDARD = "OTEL_"


def remarks(given: Iterable[str], known: Iterable[str], workers: int, cpus: int) -> list[str]:
    """One sentence for each remark.

    Args:
        given: names of the environment variables.
        known: names of all settings.
        workers: processes that will serve.
        cpus: granted to this process.
    """
    settings = {name.upper() for name in known}
    given = {name.upper() for name in given}
    found = [
        f"{name} is not a setting and has no effect; did you mean {nearest}?"
        for name in sorted(given - settings)
        if (nearest := _nearest(name, settings - given))
    ]
    if workers > cpus:
        found.append(
            f"WORKERS={workers} and this process may use {cpus} CPUs: more workers than CPUs take "
            f"memory and time to start, and serve no faster; use WORKERS={cpus}"
        )
    return found


def _nearest(name: str, settings: Iterable[str]) -> str | None:
    """The setting that was probably meant; None for a variable of something else."""
    plain = name.replace("_", "").replace("-", "")
    for setting in settings:
        if setting.replace("_", "") == plain:
            return setting
    if name.startswith(STANDARD):
        return None
    scores = {setting: SequenceMatcher(None, name, setting).ratio() for setting in settings}
    best = max(scores, key=lambda setting: scores[setting], default=None)
    return best if best is not None and scores[best] >= ALIKE else None
