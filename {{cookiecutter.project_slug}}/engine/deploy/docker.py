"""The docker command lines of this service, as argument lists, and the images on this machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from engine.deploy.say import Say
from engine.errors import EngineError
from engine.serving.release import Release

CONTAINER_PORT = 8000
NO_GPUS = "none"


class DockerError(Exception):
    """Docker cannot do what was asked; the message is for the person at the terminal."""


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """What a build may be told. ``base_image`` replaces the Dockerfile's; ``ca_bundle`` is a
    file of certificates that pip trusts inside the build, for networks that sign with their own;
    ``pull`` asks the registry for a newer base image even where one is here; ``platform`` is for
    which machines it is, "linux/amd64", where it is not for one like this.
    """

    accelerator: str
    tag: str
    base_image: str | None = None
    ca_bundle: str | None = None
    pull: bool = False
    platform: str | None = None


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How an image is run. ``port`` is this machine's; ``env`` holds NAME or NAME=VALUE, and a
    bare NAME takes its value from the environment, so that no key is in a command line;
    ``gpus`` is docker's value, or "none"; ``detached_as`` names a container that runs in the
    background and stays, for its log, until it is removed.
    """

    tag: str
    port: int = CONTAINER_PORT
    gpus: str = NO_GPUS
    env: tuple[str, ...] = ()
    detached_as: str | None = None


def client() -> str:
    """The path of the docker client, named by the variable DOCKER (default: docker).

    Raises:
        DockerError: there is no such program.
    """
    name = os.environ.get("DOCKER") or "docker"
    path = shutil.which(name)
    if path is None:
        raise DockerError(f'no program "{name}": install Docker, or name its client in DOCKER')
    return path


def build_command(docker: str, release: Release, options: BuildOptions) -> list[str]:
    """The arguments of ``docker build``, with the current folder as its context."""
    arguments = {
        "ACCELERATOR": options.accelerator,
        "GIT_REVISION": release.revision,
        "MODEL_DIGEST": release.model_digest,
        "TITLE": release.title,
        "DESCRIPTION": release.description,
        "VERSION": release.version,
    }
    if options.base_image:
        arguments["BASE_IMAGE"] = options.base_image
    command = [docker, "build", "--tag", options.tag]
    if options.pull:
        command.append("--pull")
    if options.platform:
        command += ["--platform", options.platform]
    for name, value in arguments.items():
        command += ["--build-arg", f"{name}={value}"]
    if options.ca_bundle:
        command += ["--secret", f"id=ca-bundle,src={options.ca_bundle}"]
    return [*command, "."]


EDGE_FOLDER = "engine/edge"


def edge_build_command(
    docker: str, revision: str, tag: str, base_image: str | None = None, *, pull: bool = False
) -> list[str]:
    """The arguments of ``docker build`` for the image that ends HTTPS."""
    command = [docker, "build", "--tag", tag, "--platform", PLATFORM]
    command += ["--build-arg", f"GIT_REVISION={revision}", *(["--pull"] if pull else [])]
    if base_image:
        command += ["--build-arg", f"BASE_IMAGE={base_image}"]
    return [*command, EDGE_FOLDER]


def run_command(docker: str, options: RunOptions) -> list[str]:
    """The arguments of ``docker run``: as little as the service needs, reachable from here only."""
    life = ["--detach", "--name", options.detached_as] if options.detached_as else ["--rm"]
    command = [docker, "run", *life, "--read-only", "--tmpfs", "/tmp"]  # noqa: S108 - the container's
    command += ["--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    command += ["--publish", f"127.0.0.1:{options.port}:{CONTAINER_PORT}"]
    if options.gpus != NO_GPUS:
        command += ["--gpus", options.gpus]
    for item in options.env:
        command += ["--env", item]
    return [*command, options.tag]


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


def check_edge(reference: str, revision: str) -> None:
    """Whether an image that ends HTTPS is here and is that of the commit.

    Raises:
        DockerError: there is none.
        EngineError: it is of another commit.
    """
    labels = _inspect(reference)["Config"].get("Labels") or {}
    if labels.get(_REVISION_LABEL) != revision:
        raise EngineError(
            f"the image {reference} says {_REVISION_LABEL}={labels.get(_REVISION_LABEL)}, this "
            f"checkout {revision}",
            "build it from this commit: .venv/bin/python -m engine.deploy.image build --edge",
        )


def pushed_digest(tag: str) -> str:
    """The digest that the registry returned when docker had pushed.

    Raises:
        DockerError: the registry returned none.
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
