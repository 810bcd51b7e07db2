"""A small world in the Azure double for its own tests: registry, identity, image, documents."""

from __future__ import annotations

import copy
import json
import ssl
import time
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlencode

from tests.azure_double.client import AzureDouble, Person

from . import double_image
from .commands import run

MANAGEMENT = "https://management.azure.com"
REGION = "westeurope"
GROUP, REGISTRY, IDENTITY, REPOSITORY = "world", "worldregistry", "runtime", "probe"
VERSIONS = {
    "Microsoft.ContainerInstance": "2023-05-01",
    "Microsoft.ContainerRegistry": "2026-09-01-preview",
    "Microsoft.ManagedIdentity": "2025-05-31-preview",
}
SECRET = "planted-secret"
WAIT_SECONDS = 40.0


class World:
    """One subscription with a resource group, a registry with an image, and an identity for it.

    Attributes:
        double: where it lives.
        owner: who may do everything in it.
        image: the image in the registry, by digest.
        server: the registry's login server.
        identity: the identifier of the identity that may pull.
    """

    def __init__(self, double: AzureDouble) -> None:
        self.double = double
        self.owner = double.owner
        self._tokens: dict[str, str] = {}
        double.register()
        self.put(f"/resourcegroups/{GROUP}", {"location": REGION}, version="2024-11-01")
        self.identity = self.provider("Microsoft.ManagedIdentity/userAssignedIdentities", IDENTITY)
        self.registry = self.provider("Microsoft.ContainerRegistry/registries", REGISTRY)
        self.put(self.identity, {"location": REGION})
        made = self.put(self.registry, {"location": REGION, "sku": {"name": "Basic"}})
        self.server = made["properties"]["loginServer"]
        double.principal(IDENTITY, ("AcrPull", self.registry))
        self.image = self.push()

    def provider(self, type_name: str, name: str) -> str:
        """The identifier of a resource in the world's group."""
        namespace, _, kind = type_name.partition("/")
        return (
            f"{self.double.subscription_id}/resourceGroups/{GROUP}"
            f"/providers/{namespace}/{kind}/{name}"
        )

    def group(self, name: str) -> str:
        """The identifier of a container group."""
        return self.provider("Microsoft.ContainerInstance/containerGroups", name)

    def push(self, registry: str = REGISTRY) -> str:
        """Put the test image into a registry as the owner; gives its name by digest."""
        environment = self.double.env(self.owner)
        run(environment, "az", "acr", "login", "--name", registry)
        show = (
            "az",
            "acr",
            "show",
            "--name",
            registry,
            "--query",
            "loginServer",
            "--output",
            "tsv",
        )
        server = run(environment, *show).strip()
        name = f"{server}/{REPOSITORY}:1"
        run(environment, "docker", "tag", double_image.built(), name)
        pushed = run(environment, "docker", "push", name)
        digest = next(word for word in pushed.split() if word.startswith("sha256:"))
        return f"{server}/{REPOSITORY}@{digest}"

    def document(self, label: str = "", **environment: str) -> dict[str, Any]:
        """A container group that is right; a test changes what it is about."""
        variables = [{"name": name, "value": value} for name, value in environment.items()]
        address = {"type": "Public", "ports": [{"port": 8000, "protocol": "TCP"}]}
        container = {
            "image": self.image,
            "ports": [{"port": 8000, "protocol": "TCP"}],
            "resources": {"requests": {"cpu": 0.2, "memoryInGB": 0.2}},
            "environmentVariables": [*variables, {"name": "API_KEYS", "secureValue": SECRET}],
        }
        return {
            "location": REGION,
            "tags": {"git-revision": "abc"},
            "identity": {"type": "UserAssigned", "userAssignedIdentities": {self.identity: {}}},
            "properties": {
                "osType": "Linux",
                "restartPolicy": "Always",
                "imageRegistryCredentials": [{"server": self.server, "identity": self.identity}],
                "ipAddress": {**address, **({"dnsNameLabel": label} if label else {})},
                "containers": [{"name": "api", "properties": container}],
            },
        }

    def create(self, name: str, document: dict[str, Any]) -> dict[str, Any]:
        """PUT a group and wait for the operation; gives the operation's last answer."""
        return self.finished(*self.call("PUT", self.group(name), document))

    def show(self, name: str) -> dict[str, Any]:
        """A group as GET shows it."""
        status, body, _ = self.call("GET", self.group(name))
        assert status == 200, body
        return body

    def view(self, name: str) -> dict[str, Any]:
        """The instance view of a group's only container."""
        shown: dict[str, Any] = self.show(name)["properties"]["containers"][0]["properties"]
        view: dict[str, Any] = shown["instanceView"]
        return view

    def docker_ids(self, name: str) -> list[str]:
        """Docker's ids of what runs for a group."""
        inside = self.double.ask("aci.group", {"id": self.group(name)})
        return [each["docker"] for each in inside]

    def put(self, path: str, body: dict[str, Any], version: str = "") -> dict[str, Any]:
        """PUT something that must succeed at once."""
        where = path if path.startswith("/subscriptions") else self.double.subscription_id + path
        status, answer, _ = self.call("PUT", where, body, version=version)
        assert status in (200, 201), answer
        return answer

    def finished(
        self, status: int, body: dict[str, Any], headers: dict[str, str]
    ) -> dict[str, Any]:
        """Wait for the operation that an answer names, and give its end; a refusal as it is."""
        deadline = time.monotonic() + WAIT_SECONDS
        url = headers.get("Azure-AsyncOperation", "")
        while status < 300 and url:
            status, body, _ = self.call("GET", url)
            if body.get("status") != "InProgress":
                break
            assert time.monotonic() < deadline, f"still {body}"
            time.sleep(0.1)
        return body

    def call(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        person: Person | None = None,
        version: str = "",
    ) -> tuple[int, dict[str, Any], dict[str, str]]:
        """A request to Resource Manager: status, body ({} for none), headers."""
        if path.startswith("https://"):
            url = path
        else:
            namespace = path.rpartition("/providers/")[2].partition("/")[0]
            url = f"{MANAGEMENT}{path}?api-version={version or VERSIONS[namespace]}"
        content = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self.token(person or self.owner)}"}
        return self._send(method, url, content, {**headers, "Content-Type": "application/json"})

    def token(self, person: Person) -> str:
        """An access token for Resource Manager."""
        if person.name not in self._tokens:
            form = {
                "grant_type": "client_credentials",
                "client_id": person.client_id,
                "client_secret": person.secret,
                "scope": f"{MANAGEMENT}/.default",
            }
            url = f"https://login.microsoftonline.com/{self.double.tenant}/oauth2/v2.0/token"
            _, answer, _ = self._send("POST", url, urlencode(form).encode(), {})
            self._tokens[person.name] = answer["access_token"]
        return self._tokens[person.name]

    def get(self, url: str) -> tuple[int, str]:
        """A request as from the internet: status and text."""
        try:
            with self._opener().open(url, timeout=10) as answer:
                return int(answer.status), answer.read().decode()
        except urllib.error.HTTPError as refused:
            return refused.code, refused.read().decode()

    def _send(
        self, method: str, url: str, content: bytes | None, headers: dict[str, str]
    ) -> tuple[int, dict[str, Any], dict[str, str]]:
        request = urllib.request.Request(url, content, headers, method=method)
        try:
            with self._opener().open(request, timeout=60) as answer:
                text = answer.read()
                return answer.status, json.loads(text or b"{}"), dict(answer.headers)
        except urllib.error.HTTPError as refused:
            return refused.code, json.loads(refused.read() or b"{}"), dict(refused.headers)

    def _opener(self) -> urllib.request.OpenerDirector:
        network = self.double.network()
        trust = ssl.create_default_context(cafile=network["SSL_CERT_FILE"])
        proxies = {"http": network["http_proxy"], "https": network["https_proxy"]}
        return urllib.request.build_opener(
            urllib.request.ProxyHandler(proxies), urllib.request.HTTPSHandler(context=trust)
        )


def changed(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy with one value changed, e.g. "properties.containers.0.name"; None removes it."""
    copied = copy.deepcopy(document)
    *parents, last = path.split(".")
    place: Any = copied
    for part in parents:
        place = place[int(part)] if part.isdecimal() else place.setdefault(part, {})
    if value is None:
        place.pop(last)
    else:
        place[int(last) if last.isdecimal() else last] = value
    return copied


def eventually(question: Any, seconds: float = 15.0) -> Any:
    """Ask until the answer is true, and give it."""
    deadline = time.monotonic() + seconds
    while not (answer := question()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.1)
    return answer
