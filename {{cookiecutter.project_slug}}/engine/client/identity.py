"""Is it the release that was meant? The service says which revision and which models it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from engine.client.failures import WrongRelease
from engine.client.refusals import json_of
from engine.client.service import Service

SHOWN = 12


class Expected(Protocol):
    """What the service must report."""

    @property
    def revision(self) -> str | None:
        """The git revision; None: any."""

    @property
    def model_digest(self) -> str:
        """The digest of all models and service.py."""


@dataclass(frozen=True, slots=True)
class ModelsOnly:
    """These models, of whichever revision."""

    model_digest: str
    revision: str | None = None


def check_release(service: Service, expected: Expected | None) -> str:
    """Compare; None compares nothing. What the service reports, in one line.

    Raises:
        WrongRelease: it reports another revision or other models, or is no such service.
    """
    facts = json_of(response := service.get("/v2"))
    revision, digest = facts.get("revision"), facts.get("model_digest")
    if not isinstance(revision, str) or not isinstance(digest, str):
        stranger = WrongRelease(
            f"GET {service.url}/v2 answers HTTP {response.status_code} without a release",
            "this is not the service of this repository: check the address",
        )
        stranger.proof = False
        raise stranger
    if expected is not None and expected.revision not in (None, revision):
        error = WrongRelease(
            f"{service.url} runs revision {_short(revision)}, not {_short(expected.revision)}",
            f"files of this checkout differ from {_short(revision)}: commit and deploy them"
            if f"{revision}-dirty" == expected.revision
            else f"deploy the revision that is meant, or check out {_short(revision)}",
        )
        error.found = (revision, digest)
        raise error
    if expected is not None and expected.model_digest != digest:
        error = WrongRelease(
            f"{service.url} serves models {_short(digest)}, not {_short(expected.model_digest)}",
            "the image was built from other models or another service.py: build, push and deploy "
            "again",
        )
        error.found = (revision, digest)
        raise error
    return f"revision {_short(revision)}, models {_short(digest)}"


def _short(value: Any) -> str:
    text = str(value)
    return text.removesuffix("-dirty")[:SHOWN] + ("-dirty" if text.endswith("-dirty") else "")
