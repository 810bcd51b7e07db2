"""The docker command lines of this service, as argument lists: nothing is quoted by hand."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass

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
