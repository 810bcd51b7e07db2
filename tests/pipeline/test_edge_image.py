"""The image that ends HTTPS, alone: a certificate is renewed before it ends, for own names only."""

from __future__ import annotations

import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.azure_double.client import AzureDouble
from tests.service.conftest import docker_engine, programs
from tests.service.containers import docker, remove_image

from .authority import PEBBLE, Authority, edge_image

__all__ = ["docker_engine", "programs"]
pytestmark = [pytest.mark.slow, pytest.mark.exhaustive]
NAME = "iris.abc.westeurope.azurecontainer.io"
FOREIGN = "foreign.example.org"
"""A name that somebody lets lead here, too."""
IMAGE = "aci-ml-template-test:edge-alone"
VALID_SECONDS = 60
"""Caddy renews when a third is left."""
LIMIT_SECONDS = 90


@pytest.fixture
def port(
    docker_engine: None,
    programs: None,
    running_double: AzureDouble,
    rendered_service: Path,
    tmp_path: Path,
) -> Iterator[tuple[Authority, int]]:
    """Where port 443 of a running container is reached; something answers behind it."""
    with Authority(running_double, tmp_path, VALID_SECONDS) as authority:
        edge_image(rendered_service, authority, tmp_path, IMAGE)
        behind = docker("run", "--detach", "--publish", "127.0.0.1::443", PEBBLE, *_SERVER)
        network = f"container:{behind.strip()}"
        settings = {
            "EDGE_AUTHORITY": authority.directory,
            "EDGE_NAMES": "iris[.][a-z0-9]+[.]westeurope[.]azurecontainer[.]io",
        }
        told = [word for each in settings.items() for word in ("--env", "=".join(each))]
        edge = docker("run", "--detach", "--network", network, *told, IMAGE)
        try:
            address = docker(
                "inspect", "--format", "{{.NetworkSettings.IPAddress}}", behind.strip()
            )
            authority.fixed |= dict.fromkeys((NAME, FOREIGN), address.strip())
            yield authority, int(docker("port", behind.strip(), "443/tcp").rpartition(":")[2])
        finally:
            docker("rm", "--force", "--volumes", edge.strip(), behind.strip())
            remove_image(IMAGE)


_SERVER = ("python3", "-m", "http.server", "8000")


def test_a_certificate_is_renewed_while_all_requests_are_answered(
    port: tuple[Authority, int],
) -> None:
    authority, number = port
    deadline, failures, seen = time.monotonic() + LIMIT_SECONDS, [], list[str]()
    while FOREIGN not in authority.known:
        time.sleep(0.1)
    assert "ALERT" in _refusal(authority, number)
    assert authority.issued() == 0
    trust = ("--cacert", str(authority.roots), "--connect-to", f"{NAME}:443:127.0.0.1:{number}")
    command = ["curl", "-sS", "--fail", "--max-time", "30", "--output", "/dev/null", *trust]
    while len(seen) < 2 and time.monotonic() < deadline:
        done = subprocess.run(
            [*command, f"https://{NAME}/"], capture_output=True, text=True, check=False
        )
        if done.returncode:
            failures.append(done.stderr)
        served = _serial(authority, number)
        seen += [served] if served not in seen else []
        time.sleep(1)
    assert failures == []
    assert len(seen) == 2
    assert authority.issued() >= 2


def _refusal(authority: Authority, number: int) -> str:
    """Why a connection for somebody else's name is refused, once Caddy listens."""
    while True:
        try:
            _serial(authority, number, FOREIGN)
        except ssl.SSLEOFError:
            time.sleep(0.1)
        except ssl.SSLError as error:
            return str(error)
        except OSError:
            time.sleep(0.1)
        else:
            return "a certificate was shown"


def _serial(authority: Authority, number: int, name: str = NAME) -> str:
    trust = ssl.create_default_context(cafile=authority.roots)
    with (
        socket.create_connection(("127.0.0.1", number), timeout=30) as connection,
        trust.wrap_socket(connection, server_hostname=name) as secure,
    ):
        return str((secure.getpeercert() or {})["serialNumber"])
