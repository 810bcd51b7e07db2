"""The Azure double's Container Apps: Azure's rules for environments, apps, revisions, traffic."""

from __future__ import annotations

import time
import urllib.error
from collections.abc import Iterator
from typing import Any

import pytest

from tests.azure_double.client import AzureDouble

from .double_world import GROUP, REGION, SECRET, World, changed, eventually

pytestmark = [pytest.mark.slow, pytest.mark.exhaustive]
VERSION = "2025-07-01"
ENVIRONMENT = "apps"
CONTAINER = "properties.template.containers.0"
INGRESS = "properties.configuration.ingress"
GPU = [
    {"name": "Consumption", "workloadProfileType": "Consumption"},
    {"name": "gpu", "workloadProfileType": "Consumption-GPU-NC8as-T4"},
]

Json = dict[str, Any]


class Place:
    """An environment in the world, and calls on the apps in it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.environment = world.provider("Microsoft.App/managedEnvironments", ENVIRONMENT)
        body = {"location": REGION, "properties": {"workloadProfiles": GPU}}
        world.finished(*self.call("PUT", self.environment, body))

    def id(self, name: str) -> str:
        """The identifier of an app."""
        return self.world.provider("Microsoft.App/containerApps", name)

    def call(
        self, method: str, path: str, body: Json | None = None
    ) -> tuple[int, Json, dict[str, str]]:
        """A request to Resource Manager: status, body, headers."""
        return self.world.call(method, path, body, version=VERSION)

    def put(self, name: str, body: Json) -> Json:
        """PUT an app and wait; the end of the operation, or the refusal."""
        return self.world.finished(*self.call("PUT", self.id(name), body))

    def patch(self, name: str, body: Json) -> Json:
        """PATCH an app and wait."""
        return self.world.finished(*self.call("PATCH", self.id(name), body))

    def app(self, name: str) -> Json:
        """The properties of an app."""
        properties: Json = self.call("GET", self.id(name))[1]["properties"]
        return properties

    def ready(self, name: str, suffix: str) -> Json:
        """Wait until a revision serves; its properties."""
        path = f"{self.id(name)}/revisions/{name}--{suffix}"
        running = ("Running", "RunningAtMaxScale")
        return dict(
            eventually(
                lambda: (
                    (found := self.call("GET", path)[1]["properties"])["runningState"] in running
                    and found
                )
            )
        )

    def document(self, suffix: str = "one", **environment: str) -> Json:
        """An app that is right; a test changes what it is about."""
        world = self.world
        variables = [{"name": name, "value": value} for name, value in environment.items()]
        container = {
            "name": "api",
            "image": world.image,
            "resources": {"cpu": 0.25, "memory": "0.5Gi"},
            "env": [*variables, {"name": "API_KEYS", "secretRef": "keys"}],
            "probes": [{"type": "Readiness", "httpGet": {"path": "/ready", "port": 8000}}],
        }
        configuration = {
            "activeRevisionsMode": "Multiple",
            "ingress": {"external": True, "targetPort": 8000},
            "registries": [{"server": world.server, "identity": world.identity}],
            "secrets": [{"name": "keys", "value": SECRET}],
        }
        template = {
            "revisionSuffix": suffix,
            "containers": [container],
            "scale": {"minReplicas": 1, "maxReplicas": 1},
        }
        return {
            "location": REGION,
            "identity": {"type": "UserAssigned", "userAssignedIdentities": {world.identity: {}}},
            "properties": {
                "environmentId": self.environment,
                "configuration": configuration,
                "template": template,
            },
        }


@pytest.fixture(scope="module")
def place(azure_tools: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One double for all tests here; each uses apps of its own."""
    with AzureDouble(tmp_path_factory.mktemp("double")) as double:
        yield Place(World(double))


def code(answer: Json) -> str:
    """The error's code, of a refusal or of an operation that failed."""
    error: Json = answer.get("error") or {}
    return str(error.get("code", ""))


HTTP = {"path": "/", "port": 8000}
OTHER = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/i/other"
RULES: dict[str, tuple[str, Any, str]] = {
    "misspelt": (f"{CONTAINER}.img", "x", "InvalidRequestContent"),
    "text for a number": (f"{INGRESS}.targetPort", "8000", "InvalidRequestContent"),
    "startup spelt small": ("properties.template.scale.min", 1, "InvalidRequestContent"),
    "pair": (f"{CONTAINER}.resources.memory", "1Gi", "ContainerAppInvalidResourceTotal"),
    "megabytes": (f"{CONTAINER}.resources.memory", "512Mi", "ContainerAppInvalidMemory"),
    "port": (f"{INGRESS}.targetPort", 0, "ContainerAppInvalidIngressTargetPort"),
    "probe": (
        f"{CONTAINER}.probes.0.initialDelaySeconds",
        61,
        "ContainerAppProbeInvalid",
    ),
    "two probes": (
        f"{CONTAINER}.probes",
        [{"type": "Startup", "httpGet": HTTP}] * 2,
        "ContainerAppProbeDuplicate",
    ),
    "tcp probe": (
        f"{CONTAINER}.probes",
        [{"type": "Startup", "tcpSocket": {"port": 1}}],
        "NotModelledByTheDouble",
    ),
    "scale": ("properties.template.scale.minReplicas", 2, "ContainerAppInvalidScale"),
    "suffix": (
        "properties.template.revisionSuffix",
        "9lives",
        "ContainerAppInvalidRevisionName",
    ),
    "long suffix": (
        "properties.template.revisionSuffix",
        "a" * 50,
        "ContainerAppInvalidRevisionName",
    ),
    "secret without value": (
        "properties.configuration.secrets.0.value",
        None,
        "ContainerAppSecretInvalid",
    ),
    "secret's name": (
        "properties.configuration.secrets.0.name",
        "API_KEYS",
        "ContainerAppInvalidSecretName",
    ),
    "no such secret": (
        f"{CONTAINER}.env.0.secretRef",
        "other",
        "ContainerAppSecretRefNotFound",
    ),
    "profile": ("properties.workloadProfileName", "gpu-a100", "WorkloadProfileNameInvalid"),
    "registry": (
        "properties.configuration.registries.0.identity",
        OTHER,
        "ContainerAppRegistryIdentityNotAssigned",
    ),
    "environment": ("properties.environmentId", None, "ManagedEnvironmentNotFound"),
    "region": ("location", "northeurope", "ContainerAppLocationMismatch"),
    "traffic to nobody": (
        f"{INGRESS}.traffic",
        [{"revisionName": "rules--two", "weight": 100}],
        "ContainerAppInvalidTraffic",
    ),
    "half of the traffic": (
        f"{INGRESS}.traffic",
        [{"revisionName": "rules--one", "weight": 50}],
        "ContainerAppInvalidTraffic",
    ),
    "image": (f"{CONTAINER}.image", "python:3", "InvalidParameterValueInContainerTemplate"),
}


@pytest.mark.parametrize("rule", RULES)
def test_what_breaks_a_rule_is_refused(place: Place, rule: str) -> None:
    path, value, expected = RULES[rule]
    answer = place.put("rules", changed(place.document(), path, value))
    assert code(answer) == expected, answer
    assert place.call("GET", place.id("rules"))[0] == 404


@pytest.mark.parametrize("name", ["Iris", "9iris", "iris--x", "iris-", "i", "i" * 33])
def test_a_name_that_azure_does_not_take_is_refused(place: Place, name: str) -> None:
    assert code(place.put(name, place.document())) == "ContainerAppInvalidName"


def test_secrets_come_back_by_name_and_to_those_who_ask_for_them(place: Place) -> None:
    place.put("secretive", place.document())
    shown = place.app("secretive")["configuration"]["secrets"]
    assert shown == [{"name": "keys"}]
    _, answer, _ = place.call("POST", place.id("secretive") + "/listSecrets")
    assert answer["value"] == [{"name": "keys", "value": SECRET}]


def test_a_change_outside_of_the_template_starts_nothing(place: Place) -> None:
    place.put("tags", place.document())
    place.patch("tags", {"tags": {"a": "1"}})
    place.patch("tags", {"tags": {"b": "2"}})
    assert place.call("GET", place.id("tags"))[1]["tags"] == {"a": "1", "b": "2"}
    assert len(place.call("GET", place.id("tags") + "/revisions")[1]["value"]) == 1


def test_a_suffix_is_used_once(place: Place) -> None:
    place.put("suffix", place.document())
    answer = place.put("suffix", place.document(NAME="other"))
    assert code(answer) == "InvalidParameterValueInContainerTemplate"
    assert "revision with suffix one already exists" in answer["error"]["message"]


def test_a_secret_of_an_active_revision_cannot_be_removed(place: Place) -> None:
    place.put("in-use", place.document())
    second = place.document("two")
    second["properties"]["configuration"]["secrets"] = [{"name": "others", "value": "x"}]
    second["properties"]["template"]["containers"][0]["env"][0]["secretRef"] = "others"
    traffic = [{"revisionName": "in-use--one", "weight": 100}]
    second["properties"]["configuration"]["ingress"]["traffic"] = traffic
    assert code(place.put("in-use", second)) == "ContainerAppSecretInUse"


def test_traffic_is_split_as_weighed_and_each_revision_has_an_address(place: Place) -> None:
    place.put("split", place.document(NAME="one"))
    second = place.document("two", NAME="two")
    shares = [
        {"revisionName": "split--one", "weight": 75},
        {"revisionName": "split--two", "weight": 25, "label": "beta"},
    ]
    second["properties"]["configuration"]["ingress"]["traffic"] = shares
    assert code(place.put("split", second)) == ""
    for suffix in ("one", "two"):
        fqdn = place.ready("split", suffix)["fqdn"]
        assert place.world.get(f"https://{fqdn}/env/NAME") == (200, suffix)
    address = "https://" + place.app("split")["configuration"]["ingress"]["fqdn"]
    answers = [place.world.get(address + "/env/NAME")[1] for _ in range(8)]
    assert (answers.count("one"), answers.count("two")) == (6, 2)
    label = address.replace("split.", "split---beta.")
    assert place.world.get(label + "/env/NAME") == (200, "two")


def test_in_single_mode_the_newest_replaces_the_others(place: Place) -> None:
    path = "properties.configuration.activeRevisionsMode"
    place.put("single", changed(place.document(), path, "Single"))
    place.put("single", changed(place.document("two", NAME="x"), path, "Single"))
    _, answer, _ = place.call("GET", place.id("single") + "/revisions")
    assert [each["properties"]["active"] for each in answer["value"]] == [False, True]


def test_a_revision_that_is_not_active_does_not_answer(place: Place) -> None:
    place.put("inactive", place.document())
    fqdn = place.ready("inactive", "one")["fqdn"]
    path = f"{place.id('inactive')}/revisions/inactive--one"
    assert place.call("POST", path + "/deactivate")[0] == 200
    assert place.world.get(f"https://{fqdn}/")[0] == 404
    assert place.call("POST", path + "/activate")[0] == 200
    place.ready("inactive", "one")
    assert place.world.get(f"https://{fqdn}/")[0] == 200


def test_while_azure_works_on_an_app_no_other_change_is_taken(place: Place) -> None:
    status, _, headers = place.call("PUT", place.id("busy"), place.document())
    assert status == 201
    refused = place.call("PATCH", place.id("busy"), {"tags": {}})
    assert (refused[0], code(refused[1])) == (409, "ContainerAppOperationInProgress")
    place.world.finished(status, {}, headers)
    assert place.call("PATCH", place.id("busy"), {"tags": {}})[0] == 202


def test_an_operation_can_be_made_to_fail(place: Place) -> None:
    where = place.id("doomed")
    place.world.double.inject(point="app.operation", where=where, message="no room for a GPU")
    answer = place.put("doomed", place.document())
    assert "no room for a GPU" in answer["error"]["message"]
    assert place.app("doomed")["provisioningState"] == "Failed"


def test_a_gpu_has_other_limits(place: Place) -> None:
    body = changed(place.document(), "properties.workloadProfileName", "gpu")
    resources = {"cpu": 8.0, "memory": "56Gi"}
    large = changed(body, f"{CONTAINER}.resources", resources)
    assert code(place.put("gpu", large)) == ""
    larger = changed(body, f"{CONTAINER}.resources", {**resources, "cpu": 9.0})
    assert code(place.put("gpu", larger)) == "ContainerAppInvalidResourceTotal"


def test_a_profile_that_the_region_lacks_and_an_environment_in_use(place: Place) -> None:
    profiles = [*GPU, {"name": "a100", "workloadProfileType": "Consumption-GPU-NC24-A100"}]
    refused = place.call("PATCH", place.environment, {"properties": {"workloadProfiles": profiles}})
    assert code(refused[1]) == "WorkloadProfileTypeNotSupported"
    place.put("tenant", place.document())
    refused = place.call("DELETE", place.environment)
    assert (refused[0], code(refused[1])) == (409, "ManagedEnvironmentNotEmpty")


def test_nothing_of_a_deleted_group_runs_on(tmp_path_factory: pytest.TempPathFactory) -> None:
    with AzureDouble(tmp_path_factory.mktemp("double")) as double:
        place = Place(World(double))
        place.put("doomed", place.document())
        fqdn = place.ready("doomed", "one")["fqdn"]
        group = f"{double.subscription_id}/resourceGroups/{GROUP}"
        place.world.finished(*place.world.call("DELETE", group, version="2024-11-01"))
        deadline = time.monotonic() + 20
        while double.resources(group) and time.monotonic() < deadline:
            time.sleep(0.2)
        with pytest.raises(urllib.error.URLError):
            place.world.get(f"https://{fqdn}/")
