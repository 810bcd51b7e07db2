"""How fast time goes for container groups: what takes Azure minutes takes the double seconds."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any


@dataclass
class Pace:
    """Waiting times in seconds. Compressed, never skipped.

    Attributes:
        provisioning: until a group that does not run counts as failed; 30 minutes in Azure.
        settle: how long a container must live to count as running.
        backoff, backoff_limit: before a crashed container starts again; doubles each time.
        pull_retry: before an image is pulled again.
        probe_factor: the delays and periods of probes are multiplied by it; time-outs are not.
        probe_minimum: the shortest delay between two probes.
        stop_grace: between SIGTERM and SIGKILL.
        poll: how often a replica looks whether it may sleep, or is ready for who waits.
    """

    provisioning: float = 20.0
    settle: float = 0.8
    backoff: float = 0.5
    backoff_limit: float = 5.0
    pull_retry: float = 2.0
    probe_factor: float = 0.2
    probe_minimum: float = 0.2
    stop_grace: int = 10
    poll: float = 0.15

    def change(self, values: dict[str, Any]) -> dict[str, Any]:
        """Set some of them, by name; answers with all.

        Raises:
            ValueError: there is no such waiting time.
        """
        names = {field.name for field in fields(self)}
        if unknown := set(values) - names:
            raise ValueError(f"no waiting time {sorted(unknown)}; there are {sorted(names)}")
        for name, value in values.items():
            setattr(self, name, value)
        return {name: getattr(self, name) for name in sorted(names)}

    def probe(self, seconds: float) -> float:
        """How long a probe's delay or period takes here."""
        return max(self.probe_minimum, seconds * self.probe_factor)
