"""Images on this machine: what they are, and whether they are what is to be pushed."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from typing import Any

from engine.deploy.docker import DockerError, client
from engine.deploy.say import Say
from engine.errors import EngineError
from engine.serving.release import Release

PLATFORM = "linux/amd64"
"""What Container Instances and Container Apps run; a build on an ARM machine has to be told."""

_REVISION_LABEL = "org.opencontainers.image.revision"
_MODEL_LABEL = "org.openinference.model.digest"


def check(reference: str, release: Release, expected_id: str | None) -> None:
    """Whether an image that is here is that of the release, and one that Azure can run.

    Raises:
        EngineError: it is another one.
    """
    shown = _inspect(reference)
    if expected_id is not None and shown["Id"] != expected_id:
        raise EngineError(
            f"the image {reference} has the id {shown['Id']}, and {expected_id} was expected",
            "push the image that was built and scanned: run the whole workflow again",
        )
    labels = shown["Config"].get("Labels") or {}
    expected = {_REVISION_LABEL: release.revision, _MODEL_LABEL: release.model_digest}
    for label, value in expected.items():
        if labels.get(label) != value:
            raise EngineError(
                f"the image {reference} says {label}={labels.get(label)}, this checkout {value}",
                "build it from this commit: .venv/bin/python -m engine.deploy.image build",
            )
    platform = f"{shown['Os']}/{shown['Architecture']}"
    if platform != PLATFORM:
        raise EngineError(
            f"the image {reference} is for {platform}, and Azure runs {PLATFORM}",
            f"build it with DOCKER_DEFAULT_PLATFORM={PLATFORM} in the environment",
        )


def pushed_digest(tag: str) -> str:
    """What docker was told by the registry when it had pushed.

    Raises:
        DockerError: it was told nothing.
    """
    repository = tag.rpartition(":")[0]
    for reference in _inspect(tag).get("RepoDigests") or ():
        name, _, digest = reference.partition("@")
        if name == repository:
            return str(digest)
    raise DockerError(f"docker knows no digest of {tag} after pushing it")


def _inspect(reference: str) -> dict[str, Any]:
    command = [client(), "image", "inspect", reference]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        raise DockerError(f"there is no image {reference} here: {done.stderr.strip()}")
    shown: dict[str, Any] = json.loads(done.stdout)[0]
    return shown


def docker_run(say: Say, command: Sequence[str], *, dry_run: bool) -> None:
    """Run docker; its own output shows the progress, on stderr like all progress.

    Raises:
        DockerError: it failed.
    """
    if dry_run:
        say.planned(command, stdin=False)
        return
    say.command(command)
    status = subprocess.run(command, stdout=2, check=False).returncode  # noqa: S603
    if status != 0:
        raise DockerError(f"docker {command[1]} failed (exit code {status}); the cause is above")
