"""The environment of an image, asked inside of it."""

from __future__ import annotations

import json
import subprocess

from engine.deploy.docker import DockerError, client
from engine.serving.environment import Environment

IMAGE_SECONDS = 120


def image_environment(image: str) -> Environment:
    """What an image holds, asked inside of it.

    Raises:
        DockerError: docker or the image is missing, or the image does not answer.
    """
    command = [client(), "run", "--rm", "--network", "none", "--entrypoint", "python", image]
    command += ["-m", "engine.serving.environment"]
    try:
        done = subprocess.run(  # noqa: S603 - arguments as a list
            command, capture_output=True, text=True, timeout=IMAGE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise DockerError(f"{image}: does not answer within {IMAGE_SECONDS} s") from None
    if done.returncode != 0:
        words = done.stderr.strip().splitlines()
        raise DockerError(f"{image}: cannot be asked: {words[-1] if words else 'no answer'}")
    return Environment(**json.loads(done.stdout))
