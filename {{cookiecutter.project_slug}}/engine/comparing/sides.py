"""The two sides of a comparison: each a running service and the packages that it serves.

Each service is a process or a container of its own, so that a model is asked with the libraries,
the modules and the `service.py` that it is served with, and none meets those of the other.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from engine.client import wire
from engine.client.failures import VerifyError
from engine.client.refusals import is_ours, json_of, refusal
from engine.client.service import Service, TooLarge
from engine.deploy.docker import DockerError, RunOptions, client, run_command
from engine.deploy.verify import key_from
from engine.errors import EngineError
from engine.load.local import free_port, local_service, started
from engine.scoring.errors import ScoringError
from engine.serving.errors import InvalidInput
from engine.serving.inference.model import Model
from engine.serving.package.digest import MANIFEST, find_packages
from engine.serving.package.manifest import Manifest
from engine.serving.package.reader import read_package
from engine.serving.tensors.datatypes import Array

ANSWER_SECONDS = 120.0
IN_IMAGE = "/service/models"
# An image of a registry, or the id of one that is here.
BY_DIGEST = re.compile(r"(.+@)?sha256:[0-9a-f]{64}")


class NoSuchModel(ScoringError):
    """The other side serves no model of that name."""


@dataclass(frozen=True, slots=True)
class Side:
    """A service that runs.

    Args:
        title: for messages: "the candidate".
        service: asks it.
        models: folder with the packages that it serves.
    """

    title: str
    service: Service
    models: Path

    def model(self, name: str | None) -> Model:
        """A model that is asked over HTTP.

        Args:
            name: None where there is one.

        Raises:
            NoSuchModel: there is no such model.
            ScoringError: there are several, and none is named.
            PackageError: the package is not right.
        """
        folders = {folder.name: folder for folder in find_packages(self.models)}
        if name is None and len(folders) > 1:
            raise ScoringError(
                f"{self.title} has several models ({', '.join(folders)}); name one with MODEL="
            )
        chosen = name or next(iter(folders))
        if chosen not in folders:
            there = ", ".join(map(repr, folders))
            raise NoSuchModel(f"{self.title} has no model {chosen!r}, but {there}")
        package = read_package(folders[chosen])
        return Model(package, Asked(self.title, self.service, package.manifest))


class Asked:
    """A runtime that asks a service."""

    provider = "http"

    def __init__(self, title: str, service: Service, manifest: Manifest) -> None:
        self._title = title
        self._service = service
        self._manifest = manifest

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs that the service answers.

        Raises:
            InvalidInput: it refuses the rows, or its model fails on them.
            ScoringError: it does not answer.
        """
        request = wire.infer_binary(self._manifest.name, inputs)
        try:
            response = self._service.ask(request)
            if response.status_code == 200:
                length = response.headers.get(wire.LENGTH)
                return wire.read_infer(response.content, length, self._manifest)
            if response.status_code in (422, 500) and is_ours(response):
                told = json_of(response)
                raise InvalidInput(
                    str(told["error"]), field=told.get("field"), rule=told.get("rule")
                )
            raise refusal(f"POST {request.path}", response)
        except TooLarge:
            raise InvalidInput("the rows have more bytes than the service takes") from None
        except wire.Unreadable as error:
            raise ScoringError(f"{self._title}: {error}") from None
        except VerifyError as error:
            raise ScoringError(f"{self._title}: {error.cause}; {error.fix}") from None


@contextmanager
def from_folder(title: str, models: Path, log: Path) -> Iterator[Side]:
    """Serve a folder of packages, or one package, with the libraries of this environment.

    Raises:
        ScoringError: it does not become ready.
    """
    with tempfile.TemporaryDirectory() as folder:
        if (models / MANIFEST).exists():
            # A service looks for packages in a folder.
            alone = Path(folder) / "models"
            alone.mkdir()
            (alone / models.resolve().name).symlink_to(models.resolve())
            models = alone
        with _named(title, log), local_service(log, models) as url, _asked(url) as service:
            yield Side(title, service, models)


@contextmanager
def from_image(title: str, reference: str, log: Path) -> Iterator[Side]:
    """Run an image as its container would run in Azure, on the CPU and for this machine alone.

    Raises:
        ScoringError: Docker cannot get it, or it does not become ready.
    """
    name = f"compared-{uuid.uuid4().hex[:12]}"
    with tempfile.TemporaryDirectory() as folder, _named(title, log):
        models = Path(folder) / "models"
        _docker(reference, "create", "--name", name, reference)
        try:
            _docker(reference, "cp", f"{name}:{IN_IMAGE}", str(models))
        finally:
            _docker(reference, "rm", "--force", name)
        port = free_port()
        options = RunOptions(reference, port, env=("EXECUTION_PROVIDERS=cpu",))
        docker, run, *others = run_command(client(), options)
        command = [docker, run, "--name", name, *others]
        try:
            with started(command, port, log, os.environ) as url, _asked(url) as service:
                yield Side(title, service, models)
        finally:
            # Where the client was killed, its container goes on.
            subprocess.run([client(), "rm", "--force", name], capture_output=True, check=False)  # noqa: S603


@contextmanager
def _asked(url: str) -> Iterator[Service]:
    with Service(url, key_from(os.environ), ANSWER_SECONDS) as service:
        yield service


@contextmanager
def _named(title: str, log: Path) -> Iterator[None]:
    """Say which side a failure is about."""
    try:
        yield
    except EngineError as error:
        raise ScoringError(f"{title}: {error.cause}; its log is {log}") from None
    except DockerError as error:
        raise ScoringError(f"{title}: {error}") from None


def _docker(reference: str, *arguments: str) -> None:
    done = subprocess.run([client(), *arguments], capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        told = " ".join(done.stderr.split())
        raise ScoringError(
            f"docker {arguments[0]} of {reference} failed: {told}; if the registry refuses, log in "
            "with `az acr login --name REGISTRY`"
        )
