"""What a rollout needs to know of the place it deploys to.

A target turns a release into a complete document (a pure function) and puts documents on Azure.
The rollout decides what happens when; a target only carries out its calls, so that both targets
share one protocol of recording, verifying, keeping and restoring.

Every target gives its resource the tags of ``engine.deploy.rollout.marks``; they travel in the
document. Every document says the same of a release: its tags, and an image that cannot change.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from engine.deploy.azure_ids import same
from engine.deploy.config import names
from engine.deploy.diagnosis.evidence import Group
from engine.deploy.finding import Finding
from engine.errors import EngineError

Document = dict[str, Any]
"""A complete resource as Azure takes it; in records every secret value is replaced by None."""

Check = Callable[[], object]
"""Called before a request that changes something is tried again; raises to give up."""


LOGS_KEY = "log-analytics-key"
"""The name by which the workspace's key goes with the secrets; no variable can be called so."""


STORAGE_KEY = "edge-storage-key"
"""Likewise that of the storage account whose shares are mounted."""


@dataclass(frozen=True, slots=True)
class Release:
    """What is deployed. ``image`` is ``<registry>/<repository>@sha256:<64 hex digits>``."""

    image: str
    revision: str
    model_digest: str


@dataclass(frozen=True, slots=True)
class Places:
    """Resources that exist before the first deploy; ids are Azure's resource ids.

    ``workspace`` is the id that the Log Analytics workspace has for those who write to it.
    ``edge`` is the image that ends HTTPS, by its digest, where an environment needs it.
    """

    subscription: str
    registry_server: str
    pull_identity: str
    apps_environment: str | None = None
    workspace: str | None = None
    edge: str | None = None


@dataclass(frozen=True, slots=True)
class Live:
    """What is in Azure now, of the release that was applied last.

    ``document`` is comparable with what ``Target.document`` renders, and holds the tags too.
    ``address`` is the URL of the service, without a slash at its end. ``state`` is one line for
    people. ``settled`` is false while Azure still changes something, and then nothing else may.
    ``failure`` says why the service cannot come up as it is (it keeps crashing, its image
    cannot be pulled); None while there is hope. ``stopped``: stopped on purpose, billing nothing.
    ``since`` is when the container started last, as ISO 8601. ``copies`` are the names of its
    resources where they are several, or have another name than the environment.
    """

    document: Document
    tags: Mapping[str, str]
    address: str | None
    state: str
    settled: bool
    running: bool
    stopped: bool = False
    failure: str | None = None
    restarts: int = 0
    since: str | None = None
    copies: tuple[str, ...] = ()


class Target(Protocol):
    """One kind of place: Azure Container Instances, or Azure Container Apps."""

    what: str
    """For people: "container group iris-staging"."""

    serves_on: bool
    """The previous release goes on serving while the next one is verified."""

    busy_seconds: float
    """How long Azure may refuse a change because of an earlier one."""

    def document(self, release: Release, tags: Mapping[str, str]) -> Document:
        """Render the complete document; secrets appear by name, without a value."""

    def secret_names(self, document: Document) -> tuple[str, ...]:
        """The secrets that the document needs values for."""

    def tags(self, document: Document) -> dict[str, str]:
        """The tags in a document."""

    def with_tags(self, document: Document, tags: Mapping[str, str]) -> Document:
        """The same document with exactly these tags."""

    def findings(self, release: Release) -> list[Finding]:
        """What only Azure knows and what would make a deploy fail; changes nothing."""

    def read(self) -> Live | None:
        """What is there now, or None."""

    def differences(self, live: Document, wanted: Document) -> tuple[str, ...]:
        """What differs apart from the tags of a rollout, a line each; empty: nothing."""

    def blockers(self, live: Document, wanted: Document) -> tuple[str, ...]:
        """Names of changed properties that Azure cannot change in place; empty: update."""

    def apply(self, document: Document, secrets: Mapping[str, str], check: Check) -> None:
        """Ask for the document; returns as soon as Azure has accepted it.

        Raises:
            AzError: Azure refused; ``transitioning`` while it works on an earlier change.
            EngineError: a secret has no value.
        """

    def candidate_addresses(self) -> tuple[str, ...]:
        """Where each copy of the release that was applied last can be verified before it is kept;
        empty as long as one has no address.
        """

    def candidate_headers(self) -> Mapping[str, str]:
        """What leads a request to the release that was applied last where its address alone does
        not.
        """

    def candidate_authority(self) -> str | None:
        """The certificate authority of those addresses, PEM; None: one of the public ones."""

    def client_headers(self) -> Mapping[str, str]:
        """What every request needs so that the place lets it through to the service; secret."""

    def keep(self, tags: Mapping[str, str]) -> None:
        """Make the applied release the one that serves, without restarting it, with these tags.

        This is the one step that decides: before it a rollout can be undone, after it it is done.
        """

    def restore(self, previous: Document, secrets: Mapping[str, str], check: Check) -> None:
        """Ask for the previous release again, completely; like ``apply``."""

    def mark(self, tags: Mapping[str, str]) -> None:
        """Change tags only, to exactly these; nothing restarts."""

    def start(self) -> None:
        """Start what was stopped."""

    def stop(self) -> None:
        """Stop it: nothing answers, nothing bills."""

    def retire(self) -> tuple[str, ...]:
        """Remove what a release before left running beside the one that serves, and wait for the
        time when no client needs it; the names of what was removed.
        """

    def left_running(self) -> str | None:
        """What another form of this environment still runs and serves, as a clause for people;
        None: nothing.
        """

    def delete(self) -> None:
        """Remove it and return when it is gone; nothing of it bills afterwards.

        Raises:
            AzError: Azure refused; ``transitioning`` while it works on an earlier change.
        """

    def logs(self, *, follow: bool) -> Iterator[str]:
        """Lines of the service's log, oldest first."""

    def evidence(self) -> Group | None:
        """What runs with its state and events, for a diagnosis; None: there is nothing."""

    def billing(self) -> str:
        """What of this environment costs money while it is there, in words."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that ran to its end: its exit code, and what it printed, the end of it."""

    exit_code: int
    lines: tuple[str, ...]


class Inside(Protocol):
    """Runs commands in the network of an environment, in containers that are removed afterwards."""

    def run(
        self,
        command: Sequence[str],
        secrets: Mapping[str, str],
        seconds: float,
        watch: Callable[[str], None],
    ) -> Ended:
        """Run a command of the image that was applied last.

        Args:
            command: anyone who may look at the environment can read it.
            secrets: variables that nobody can read.
            seconds: how long it may take, the pull of the image included.
            watch: is called with the state now and then; raises to give up.

        Raises:
            EngineError: Azure refused, it cannot run, or it took too long.
        """

    def clear(self) -> tuple[str, ...]:
        """Remove what commands that were killed have left; the names."""


_BY_DIGEST = re.compile(r"[a-z0-9][a-z0-9.:-]*/[a-z0-9][a-z0-9._/-]*@sha256:[0-9a-f]{64}")


def release_tags(release: Release) -> dict[str, str]:
    """The tags that say what runs."""
    return {
        names.TAG_REVISION: release.revision,
        names.TAG_IMAGE: release.image.partition("@")[2],
        names.TAG_MODEL: release.model_digest,
    }


def check_image(image: str, server: str) -> None:
    """Refuse an image that could change or that could not be pulled.

    Raises:
        EngineError: it is not named by its digest, or not in the registry ``server``.
    """
    if _BY_DIGEST.fullmatch(image) is None:
        raise EngineError(
            f"the image {image!r} is not named by its digest",
            "name it REGISTRY/NAME@sha256:DIGEST, as `.venv/bin/python -m engine.deploy push` "
            "prints it: a tag can be moved, and then a rollback would bring back something else",
        )
    if not same(image.partition("/")[0], server):
        raise EngineError(
            f"the image {image!r} is not in the registry {server!r}",
            "push it there (`.venv/bin/python -m engine.deploy push`): the identity of the "
            "service may pull from that registry only",
        )


def images(document: Any, *, edge: bool = False) -> Iterator[str]:
    """The value of every key "image" at any depth; what ends HTTPS beside the service only where
    ``edge`` is true.
    """
    if isinstance(document, dict):
        if document.get("name") == names.EDGE and not edge:
            return
        if isinstance(document.get("image"), str):
            yield document["image"]
        document = list(document.values())
    if isinstance(document, list):
        for item in document:
            yield from images(item, edge=edge)
