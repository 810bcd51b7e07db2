"""A certificate authority for Caddy: Pebble, the test server of RFC 8555, in a container.

Beside it runs a server of DNS, which knows the groups of the Azure double by what Docker calls
them, so that Pebble asks a container group for its proof as Let's Encrypt would: over port 80.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
import time
import urllib.request
from pathlib import Path
from types import TracebackType

from tests.azure_double.client import AzureDouble
from tests.service.containers import docker, docker_client, remove_image

BASE = "python:3.13-slim-trixie"
PEBBLE = "aci-ml-template-test:pebble"
CADDY = "aci-ml-template-test:caddy"
"""In place of the official image, which cannot be pulled everywhere; the program is Debian's."""
DIRECTORY, ROOTS, NAMES = 14000, 15000, 8055
START = f"""\
while [ ! -s /pebble/key.pem ]; do sleep 0.1; done
pebble-challtestsrv -management :{NAMES} -dns01 :8053 -http01 '' -https01 '' -tlsalpn01 '' \
    -defaultIPv4 '' -defaultIPv6 '' &
exec pebble -config /pebble/config.json -dnsserver 127.0.0.1:8053
"""
CONFIG = {
    "listenAddress": f"0.0.0.0:{DIRECTORY}",
    "managementListenAddress": f"0.0.0.0:{ROOTS}",
    "certificate": "/pebble/cert.pem",
    "privateKey": "/pebble/key.pem",
    "httpPort": 80,
    "tlsPort": 443,
}
SECONDS = 30
PAUSE_SECONDS = 0.2


class Authority:
    """A running Pebble; use it as a context manager.

    Attributes:
        directory: its address for ACME, among Docker's.
        roots: the file of the certificate that its certificates are signed with.
        bundle: the file that a client of its directory has to trust.
        aliases: own names, each with the host name of the group that it leads to.
        fixed: further names, with their addresses.
        shared: names that lead to any group whose own name begins so.
        known: what its DNS knows.
    """

    def __init__(self, double: AzureDouble, folder: Path, valid_seconds: int = 86400) -> None:
        self._valid_seconds = valid_seconds
        self._double = double
        self._folder = folder
        self._container = ""
        self.known: dict[str, str] = {}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._publish, daemon=True)
        self.directory = ""
        self.roots, self.bundle = folder / "roots.pem", folder / "cert.pem"
        self.aliases: dict[str, str] = {}
        self.shared: dict[str, str] = {}
        self.fixed: dict[str, str] = {}

    def __enter__(self) -> Authority:
        image(PEBBLE, self._folder, "pebble", "pebble-challtestsrv")
        options = ("--env", "PEBBLE_VA_NOSLEEP=1", "--env", "PEBBLE_WFE_NONCEREJECT=0")
        ports = [word for port in (ROOTS, NAMES) for word in ("--publish", f"127.0.0.1::{port}")]
        made = docker("run", "--detach", *options, *ports, PEBBLE, "sh", "-c", START)
        self._container = made.strip()
        address = self._inspected("{{.NetworkSettings.IPAddress}}")
        self._certify(address)
        self.directory = f"https://{address}:{DIRECTORY}/dir"
        self._wait()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        if self._thread.is_alive():
            self._thread.join()
        docker("rm", "--force", self._container)

    def issued(self) -> int:
        """How many certificates it has issued."""
        return len(re.findall(r"Issued certificate serial", self._log()))

    def _log(self) -> str:
        command = [docker_client(), "logs", self._container]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return done.stdout + done.stderr

    def _certify(self, address: str) -> None:
        """A certificate for its own address, signed by itself."""
        given = {**CONFIG, "certificateValidityPeriod": self._valid_seconds}
        text = json.dumps({"pebble": given})
        (self._folder / "config.json").write_text(text, encoding="utf-8")
        key = self._folder / "key.pem"
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=pebble"),
                *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
                *("-addext", f"subjectAltName=IP:{address}"),
                *("-keyout", str(key), "-out", str(self.bundle)),
            ],
            check=True,
            capture_output=True,
        )
        key.chmod(0o644)
        for name in ("config.json", "cert.pem", "key.pem"):
            docker("cp", str(self._folder / name), f"{self._container}:/pebble/{name}")

    def _wait(self) -> None:
        command = ["curl", "-sSkf", f"https://{self._port(ROOTS)}/roots/0"]
        deadline = time.monotonic() + SECONDS
        while (done := subprocess.run(command, capture_output=True, check=False)).returncode:
            assert time.monotonic() < deadline, self._log()
            time.sleep(PAUSE_SECONDS)
        self.roots.write_bytes(done.stdout)

    def _publish(self) -> None:
        """Let the names of groups lead to them, as Azure's DNS does, and aliases behind them."""
        while not self._done.wait(PAUSE_SECONDS):
            found: dict[str, str] = self._double.ask("aci.names", {}) | self.fixed
            found |= {name: found[to] for name, to in self.aliases.items() if to in found}
            for name, start in self.shared.items():
                groups = [found[host] for host in sorted(found) if host.startswith(start)]
                found |= {name: groups[0]} if groups else {}
            for name, address in found.items():
                if self.known.get(name) != address:
                    self._tell("clear-a", {"host": f"{name}."})
                    self._tell("add-a", {"host": f"{name}.", "addresses": [address]})
            self.known |= found

    def _tell(self, what: str, content: object) -> None:
        url = f"http://{self._port(NAMES)}/{what}"
        with urllib.request.urlopen(url, json.dumps(content).encode(), timeout=10) as answer:
            answer.read()

    def _port(self, inside: int) -> str:
        return docker("port", self._container, f"{inside}/tcp").split()[0]

    def _inspected(self, what: str) -> str:
        return docker("inspect", "--format", what, self._container).strip()


def image(tag: str, folder: Path, *programs: str) -> None:
    """An image with programs of this machine, on the base of the service's."""
    context = folder / tag.replace(":", "-")
    context.mkdir()
    for each in programs:
        found = shutil.which(each)
        assert found, f"there is no {each}: scripts/proxies.sh install"
        shutil.copy(found, context / each)
    lines = [f"FROM {BASE}", *(f"COPY {each} /usr/bin/{each}" for each in programs)]
    (context / "Dockerfile").write_text("\n".join([*lines, "RUN mkdir -p /pebble /etc/caddy", ""]))
    docker("build", "--quiet", "--tag", tag, str(context))


def edge_image(service: Path, authority: Authority, folder: Path, tag: str) -> None:
    """The image that ends HTTPS, as the service's repository builds it, which trusts Pebble."""
    image(CADDY, folder, "caddy")
    plain = f"{tag}-plain"
    arguments = ("--build-arg", f"BASE_IMAGE={CADDY}")
    docker("build", "--quiet", "--tag", plain, *arguments, str(service / "engine" / "edge"))
    context = folder / "trusting"
    context.mkdir()
    shutil.copy(authority.bundle, context / "ca.pem")
    lines = (f"FROM {plain}", "COPY ca.pem /ca.pem", "ENV SSL_CERT_FILE=/ca.pem", "")
    (context / "Dockerfile").write_text("\n".join(lines))
    docker("build", "--quiet", "--tag", tag, str(context))
    remove_image(plain)
