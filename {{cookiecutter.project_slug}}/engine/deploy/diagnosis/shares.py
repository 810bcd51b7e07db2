"""A file share that cannot be mounted."""

from __future__ import annotations

from collections.abc import Iterator

from engine.deploy.diagnosis.evidence import Evidence
from engine.deploy.finding import Certainty, Finding

MOUNT_FAILED = "FailedMountAzureFileVolume"
"""Azure's event of a container group whose share cannot be mounted."""
_EVENTS = frozenset({MOUNT_FAILED, "FailedMount"})  # the second is Kubernetes'
_EXPLAINS = frozenset({"unreachable", "timeout", "crash-loop", "readiness"})


def refused(evidence: Evidence) -> Iterator[Finding]:
    """Azure cannot mount a share."""
    group = evidence.group
    listed = (
        [*group.events, *(e for each in group.containers for e in each.events)] if group else []
    )
    seen = [event for event in listed if event.name in _EVENTS]
    if seen or any(MOUNT_FAILED in text or "Azure File Volume" in text for text in evidence.texts):
        yield Finding(
            "file-share",
            "Azure cannot mount a file share of this environment",
            f"was the key replaced? `.venv/bin/python -m engine.deploy up {evidence.stage}` "
            "deploys the new one. Is the share missing? `.venv/bin/python -m engine.deploy "
            "bootstrap` makes it. Else a policy or firewall forbids the account's key",
            Certainty.CERTAIN,
            tuple(str(event) for event in seen[-1:]),
            explains=_EXPLAINS,
        )
