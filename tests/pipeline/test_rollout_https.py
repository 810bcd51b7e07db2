"""HTTPS on Container Instances: real Caddy, certificates of Pebble, the real `az` and Docker."""

from __future__ import annotations

import hashlib
import json
import re
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.azure_double.client import AzureDouble, Person
from tests.service.conftest import docker_engine, programs
from tests.service.containers import remove_image

from .authority import Authority, edge_image
from .commands import run
from .rollout_world import (
    SLUG,
    RolloutWorld,
    Stages,
    ended,
    eventually,
    failed,
    rollout_world,
    succeeded,
)

__all__ = ["docker_engine", "programs"]
pytestmark = pytest.mark.slow
STAGE, FLEET, DOMAIN = "secure", "twins", "api.example.org"
SHARE, FOREIGN = "certificates", "foreign.example.org"
EDGE = "aci-ml-template-test:edge"
CERTIFICATES = (
    "Microsoft.Storage/storageAccounts/read",
    "Microsoft.Storage/storageAccounts/listKeys/action",
)
HTTPS = """\
https:
  email: ops@example.org
  domains: [{domain}]
  authority: {authority}
"""
ZONE, ZONE_GROUP = "example.org", "dns"
IN_ZONE = f"  zone: {{name: {ZONE}, resource_group: {ZONE_GROUP}}}\n"
IN_GROUP = ("--resource-group", ZONE_GROUP)
ZONE_TYPE = "Microsoft.Network/dnsZones"
RECORDS = tuple(f"{ZONE_TYPE}/CNAME/{action}" for action in ("read", "write", "delete"))
SECONDS = 400


class SecureWorld(RolloutWorld):
    """A world with a storage account for certificates in each environment."""

    authority: Authority
    edge = ""
    _certificates = _own_names = ""

    @property
    def account(self) -> str:
        """The storage account of the single group's environment."""
        return _account(self.double.subscription, f"{SLUG}-{STAGE}")

    def environment(self, stage: str) -> dict[str, str]:
        """Likewise; its clients trust Pebble's certificates too."""
        found = super().environment(stage)
        both = self.authority.roots.with_name("both.pem")
        texts = (Path(found["SSL_CERT_FILE"]).read_bytes(), self.authority.roots.read_bytes())
        both.write_bytes(b"\n".join(texts))
        return {**found, "SSL_CERT_FILE": str(both)}

    def _deployer(self, stage: str, group: str) -> Person:
        account = _account(self.double.subscription, f"{SLUG}-{stage}")
        place = ("--resource-group", f"{SLUG}-{stage}")
        made = self._az(
            *("storage", "account", "create", *place, "--name", account),
            *("--location", "westeurope", "--sku", "Standard_LRS", "--kind", "StorageV2"),
            *("--min-tls-version", "TLS1_2", "--https-only", "true"),
            *("--allow-blob-public-access", "false"),
        )
        share = (*place, "--storage-account", account, "--name", SHARE)
        self._az("storage", "share-rm", "create", *share, "--quota", "1")
        if not self._certificates:
            self._certificates = self._role_for("certificates", CERTIFICATES)
            self._az("group", "create", "--name", ZONE_GROUP, "--location", "westeurope")
            self._az("network", "dns", "zone", "create", "--name", ZONE, *IN_GROUP)
            self._own_names = self._role_for("own names", RECORDS)
        zone = f"{self.double.subscription_id}/resourceGroups/{ZONE_GROUP}/providers/{ZONE_TYPE}"
        return self.double.principal(
            f"deploy-{stage}",
            ("Azure Container Instances Contributor Role", group),
            (self._role, group),
            (self._certificates, made["id"]),
            (self._own_names, f"{zone}/{ZONE}"),
            ("Traffic Manager Contributor", group),
            ("Managed Identity Operator", self.identity),
            ("Reader", self.registry),
            ("AcrPull", self.registry),
        )

    def in_zone(self) -> dict[str, str]:
        """The CNAME records in the zone, by their names, as `az` lists them."""
        found = self._az("network", "dns", "record-set", "list", "--zone-name", ZONE, *IN_GROUP)
        return {each["name"]: each["CNAMERecord"]["cname"] for each in found}

    def _places(self, stage: str) -> dict[str, str]:
        if not self.edge:
            name = f"{self.server}/{SLUG}-edge:1"
            run(self.owner, self.owner["DOCKER_COMMAND"], "tag", EDGE, name)
            pushed = run(self.owner, self.owner["DOCKER_COMMAND"], "push", name)
            digest = next(word for word in pushed.split() if word.startswith("sha256:"))
            self.edge = f"{name.removesuffix(':1')}@{digest}"
            remove_image(name)
        return {**super()._places(stage), "edge": self.edge}

    def replace_key(self) -> None:
        """The storage account's first key is another one from now on, and so is the second."""
        place = ("--resource-group", f"{SLUG}-{STAGE}", "--account-name", self.account)
        for which in ("primary", "secondary"):
            self._az("storage", "account", "keys", "renew", *place, "--key", which)

    def shown_keys(self) -> list[str]:
        """The keys of the storage account as they are now."""
        place = ("--resource-group", f"{SLUG}-{STAGE}", "--account-name", self.account)
        listed = self._az("storage", "account", "keys", "list", *place)
        return [str(each["value"]) for each in listed]

    def restart(self, stage: str) -> None:
        """Let Azure start the group's containers anew."""
        name = f"{SLUG}-{stage}"
        command = ("az", "container", "restart", "--resource-group", name, "--name", name)
        run(self.owner, *command)

    def events(self, stage: str) -> str:
        """What Azure tells of the group."""
        name = f"{SLUG}-{stage}"
        shown = self._az("container", "show", "--resource-group", name, "--name", name)
        return json.dumps(shown["instanceView"])

    def ask(self, url: str, *options: str) -> subprocess.CompletedProcess[str]:
        """curl, as from the internet."""
        proxy = self.double.network()["http_proxy"]
        trust = ("--proxy", proxy, "--cacert", str(self.authority.roots), "--max-time", "30")
        command = ["curl", "--silent", "--show-error", *trust, *options, url]
        return subprocess.run(command, capture_output=True, text=True, check=False)


def _account(subscription: str, group: str) -> str:
    # The name follows from the two, and nobody else's storage account may have it.
    digest = hashlib.sha256(f"{subscription}/{group}".lower().encode()).hexdigest()
    return f"edge{digest[:20]}"


@pytest.fixture(scope="module")
def world(
    docker_engine: None,
    programs: None,
    running_double: AzureDouble,
    rendered_service: Path,
    deploy_python: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[SecureWorld]:
    """Registry with images, and one environment with HTTPS."""
    folder = tmp_path_factory.mktemp("https")
    with Authority(running_double, folder) as authority:
        edge_image(rendered_service, authority, folder, EDGE)
        more = HTTPS.format(domain=DOMAIN, authority=authority.directory)
        shared = f"{SLUG}-{FLEET}.trafficmanager.net"
        authority.shared[shared] = f"{SLUG}-{FLEET}-"
        stages: Stages = {
            STAGE: {"start": 120, "more": more + IN_ZONE},
            FLEET: {"start": 120, "more": more.replace(f"[{DOMAIN}]", "[]"), "copies": 2},
        }
        try:
            for each in rollout_world(
                *(running_double, rendered_service, deploy_python, folder, stages), SecureWorld
            ):
                assert isinstance(each, SecureWorld)
                each.authority = authority
                yield each
        finally:
            remove_image(EDGE)


def serial(world: SecureWorld, address: str, name: str = "") -> str:
    """The serial number of the certificate that an address shows for a name.

    Raises:
        ssl.SSLError, OSError: it shows none that Pebble has signed for that name.
    """
    proxy, host = urlsplit(world.double.network()["http_proxy"]), urlsplit(address).hostname
    assert proxy.hostname
    assert host
    with socket.create_connection((proxy.hostname, proxy.port or 80), timeout=30) as connection:
        connection.sendall(f"CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n".encode())
        assert b" 200 " in connection.recv(4096)
        trust = ssl.create_default_context(cafile=world.authority.roots)
        with trust.wrap_socket(connection, server_hostname=name or host) as secure:
            return str((secure.getpeercert() or {})["serialNumber"])


def through(world: SecureWorld, name: str, address: str, path: str) -> str:
    """What an own name answers whose record leads to an address."""
    host = urlsplit(address).hostname
    done = world.ask(f"https://{name}{path}", "--connect-to", f"{name}:443:{host}:443")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_group_answers_over_https_and_its_certificates_outlive_releases(
    world: SecureWorld,
) -> None:
    done = succeeded(ended(world.roll_out(STAGE, "good"), SECONDS))
    address, host = done.address, urlsplit(done.address).hostname
    assert re.fullmatch(
        r"https://iris-service-secure\.[a-z0-9]+\.westeurope\.azurecontainer\.io", address
    )
    answered = world.ask(f"{address}/readyz", "--http2", "--write-out", " %{http_version}")
    assert '"ready":true' in answered.stdout.replace(" ", "")
    assert answered.stdout.endswith(" 2")
    moved = world.ask(f"http://{host}/docs?a=1", "--write-out", "%{http_code} %{redirect_url}")
    assert moved.stdout.endswith(f"308 {address}/docs?a=1")
    assert '"ready":true' in world.ask(f"http://{host}/readyz").stdout.replace(" ", "")
    closed = world.ask(f"http://{host}:8000/readyz", "--write-out", "%{http_code}")
    assert closed.stdout.endswith("502")
    assert "no public port 8000" in closed.stdout

    # The record of the own name is made in the zone.
    succeeded(world.deploy(STAGE, "start", STAGE))
    assert world.in_zone() == {DOMAIN.removesuffix(f".{ZONE}"): host}
    world.authority.aliases |= dict.fromkeys((DOMAIN, FOREIGN), str(host))
    eventually(lambda: FOREIGN in world.authority.known, 10)
    assert "ready" in through(world, DOMAIN, address, "/readyz")
    own, named = serial(world, address), serial(world, address, DOMAIN)
    assert own != named
    # Somebody else's name that leads here gets none.
    with pytest.raises(ssl.SSLError):
        serial(world, address, FOREIGN)
    assert world.authority.issued() == 2

    # What Caddy has in memory is lost, and the share is the same.
    world.restart(STAGE)
    eventually(lambda: "ready" in world.ask(f"{address}/readyz").stdout, 60)
    assert (serial(world, address), serial(world, address, DOMAIN)) == (own, named)
    assert world.authority.issued() == 2


@pytest.mark.exhaustive
def test_a_release_orders_none_and_a_replaced_key_is_found_and_deployed(
    world: SecureWorld,
) -> None:
    address = succeeded(ended(world.roll_out(STAGE, "good"), SECONDS)).address
    own, issued = serial(world, address), world.authority.issued()
    assert succeeded(ended(world.roll_out(STAGE, "other"), SECONDS)).address == address
    assert serial(world, address) == own
    # A bad release is put back, with Caddy and the share.
    failed(ended(world.roll_out(STAGE, "crash"), SECONDS))
    assert serial(world, address) == own
    assert world.authority.issued() == issued

    # A replaced key is refused at the next start, found with its fix, and deployed.
    world.replace_key()
    world.restart(STAGE)
    events = world.events
    eventually(lambda: "FailedMountAzureFileVolume" in events(STAGE), 60)
    found = world.deploy(STAGE, "doctor", STAGE)
    assert "Azure cannot mount a file share of this environment (certain)" in found.out
    assert f"engine.deploy up {STAGE}" in found.out
    done = succeeded(ended(world.roll_out(STAGE, "other"), SECONDS))
    assert serial(world, address) == own
    assert world.authority.issued() == issued
    assert not any(key in found.out + found.err + done.out + done.err for key in world.shown_keys())

    # What was made in the zone, which is in another group, goes with the environment.
    assert world.in_zone()
    succeeded(world.deploy(STAGE, "down", STAGE, "--yes", settings=world.owner))
    assert world.in_zone() == {}


@pytest.mark.exhaustive
def test_two_copies_share_their_certificates_and_a_switch_orders_none_for_the_shared_name(
    world: SecureWorld,
) -> None:
    issued = world.authority.issued()
    shared = f"{SLUG}-{FLEET}.trafficmanager.net"
    for release in ("good", "other"):
        done = succeeded(ended(world.roll_out(FLEET, release), 2 * SECONDS))
        assert done.address == f"https://{shared}"
        groups = [host for host in world.authority.known if host.startswith(f"{SLUG}-{FLEET}-")]
        eventually(lambda: shared in world.authority.known, 10)
        served = serial(world, done.address)
        alive = world.double.ask("aci.names", {})
        members = [host for host in groups if host in alive]
        seen = {serial(world, f"https://{host}", shared) for host in members}
        assert seen == {served}
        assert len(members) in (2, 4)
    # Each group's own name, of two colours, and the shared one.
    assert world.authority.issued() == issued + 5
