"""The document of a container app, and what is sent of it, without Azure."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from engine.deploy.az import Az
from engine.deploy.config import names
from engine.deploy.config.project import Project
from engine.deploy.say import Say
from engine.deploy.targets.base import Document, Places, Release
from engine.deploy.targets.containerapps import document as documents
from engine.deploy.targets.containerapps import request as requests
from engine.deploy.targets.containerapps import rules, shape
from engine.deploy.targets.containerapps.client import AppClient
from engine.deploy.targets.containerapps.environment import AppEnvironment
from engine.deploy.targets.containerapps.target import ContainerApps
from engine.errors import EngineError

from tests.engine.test_deploy_config import PROJECT

PULL = "/subscriptions/s/resourceGroups/g_1/providers/Microsoft.ManagedIdentity/x/iris-runtime"
PLACES = Places(
    subscription="s",
    registry_server="iris.azurecr.io",
    pull_identity=PULL,
    apps_environment="/subscriptions/s/resourceGroups/g/providers/Microsoft.App/x/iris-apps",
)
RELEASE = Release(f"iris.azurecr.io/iris@sha256:{'a' * 64}", "0" * 40, "b" * 64)
TAGS = {names.TAG_ROLLOUT: "20261121051530-abc123", names.TAG_STATE: "verifying"}
REVISION = "iris-staging--r261121051530abc123"
SECRETS = {"API_KEYS": "planted-secret"}


def environment(**changes: Any) -> AppEnvironment:
    settings: dict[str, Any] = {
        "stage": "staging",
        "target": "containerapps",
        "region": "swedencentral",
        "resource_group": "iris-staging",
        "name": "iris-staging",
        "cpu": 1.0,
        "memory_gb": 2.0,
        "secrets": ["API_KEYS"],
        "variables": {"LOG_LEVEL": "info"},
        "telemetry": False,
    }
    return AppEnvironment.model_validate(settings | changes)


def render(**changes: Any) -> Document:
    return documents.render(environment(**changes), RELEASE, PLACES, TAGS)


def faults(**changes: Any) -> list[str]:
    """The fields that break a rule of the target."""
    project, given = Project.model_validate(PROJECT), environment(**changes)
    return [
        ".".join(map(str, each.at)) for rule in rules.RULES for each in rule.check(project, given)
    ]


def answer(body: dict[str, Any]) -> dict[str, Any]:
    """What Azure gives back for a body: defaults filled in, cases changed, no secret values."""
    app = copy.deepcopy(body)
    app["location"] = "Sweden Central"
    app["identity"]["userAssignedIdentities"] = {PULL.lower(): {"principalId": "p"}}
    configuration = app["properties"]["configuration"]
    configuration["secrets"] = [{"name": each["name"]} for each in configuration["secrets"]]
    configuration["ingress"] |= {
        "transport": "Http",
        "fqdn": "iris-staging.calm.swedencentral.azurecontainerapps.io",
        "exposedPort": 0,
        "customDomains": [{"name": "iris.example.org"}],
    }
    configuration["registries"][0] |= {"username": "", "passwordSecretRef": ""}
    container = app["properties"]["template"]["containers"][0]
    container["resources"] |= {"cpu": 1, "memory": "2.0Gi", "ephemeralStorage": "4Gi"}
    container["probes"].reverse()
    app["properties"]["template"]["scale"] |= {"cooldownPeriod": 300, "pollingInterval": 30}
    return app


def test_pulls_by_identity_and_keeps_it_from_the_container() -> None:
    configuration = render()["properties"]["configuration"]
    assert configuration["registries"] == [{"server": "iris.azurecr.io", "identity": PULL}]
    assert configuration["identitySettings"] == [{"identity": PULL, "lifecycle": "None"}]


@pytest.mark.parametrize(
    ("variables", "lifecycle"),
    [
        ({"MODEL_URI": "https://a.blob.core.windows.net/c/m.zip#sha256=0"}, "Main"),
        ({"MODEL_URI": "file:///m.zip, https://a.blob.core.windows.net/c/m.zip"}, "Main"),
        ({"CAPTURE": "https://a.blob.core.windows.net/captured"}, "Main"),
        ({"MODEL_URI": "https://a.blob.core.windows.net/c/m.zip?sig=s#sha256=0"}, "None"),
        ({"CAPTURE": "/captured"}, "None"),
    ],
)
def test_the_container_gets_the_identity_where_it_reads_or_writes_blobs(
    variables: dict[str, str], lifecycle: str
) -> None:
    document = render(variables=variables)["properties"]
    settings = document["configuration"]["identitySettings"]
    assert settings == [{"identity": PULL, "lifecycle": lifecycle}]
    (container,) = document["template"]["containers"]
    told = [each for each in container["env"] if each["name"] == "IDENTITY_RESOURCE_ID"]
    own = {"name": "IDENTITY_RESOURCE_ID", "value": PULL}
    assert told == ([own] if lifecycle == "Main" else [])


def test_serves_https_only_and_never_replaces_a_revision() -> None:
    configuration = render(port=9000)["properties"]["configuration"]
    assert configuration["ingress"] == {
        "external": True,
        "targetPort": 9000,
        "transport": "http",
        "allowInsecure": False,
    }
    assert configuration["activeRevisionsMode"] == "Multiple"


def test_asks_our_routes_on_our_port() -> None:
    probes = render()["properties"]["template"]["containers"][0]["probes"]
    assert {each["type"]: each["httpGet"]["path"] for each in probes} == {
        "Liveness": "/healthz",
        "Readiness": "/readyz",
        "Startup": "/healthz",
    }
    assert {each["httpGet"]["port"] for each in probes} == {8000}


def test_all_probe_numbers_are_ones_that_azure_takes() -> None:
    for probe in render()["properties"]["template"]["containers"][0]["probes"]:
        assert 1 <= probe.get("initialDelaySeconds", 1) <= 60
        assert 1 <= probe["periodSeconds"] <= 240
        assert 1 <= probe["failureThreshold"] <= 10


def test_scales_by_requests_from_zero() -> None:
    scale = render(replicas={"min": 0, "max": 3, "concurrent_requests": 7})
    assert scale["properties"]["template"]["scale"] == {
        "minReplicas": 0,
        "maxReplicas": 3,
        "rules": [{"name": "http", "http": {"metadata": {"concurrentRequests": "7"}}}],
    }


def test_the_port_of_the_ingress_wins_over_a_variable() -> None:
    env = render(variables={"PORT": "1"})["properties"]["template"]["containers"][0]["env"]
    assert [each for each in env if each["name"] == "PORT"] == [{"name": "PORT", "value": "8000"}]


def test_telemetry_is_a_secret_and_a_name() -> None:
    document = render(telemetry=True)
    secrets = document["properties"]["configuration"]["secrets"]
    connection = {"name": "applicationinsights-connection-string", "value": None}
    assert connection in secrets
    env = document["properties"]["template"]["containers"][0]["env"]
    assert {
        "name": "APPLICATIONINSIGHTS_CONNECTION_STRING",
        "secretRef": connection["name"],
    } in env
    assert {"name": "OTEL_SERVICE_NAME", "value": "iris-staging"} in env


def test_a_secret_is_there_by_name_only() -> None:
    document = render()
    assert document["properties"]["configuration"]["secrets"] == [
        {"name": "api-keys", "value": None}
    ]
    assert documents.secret_variables(document) == {"API_KEYS": "api-keys"}


@pytest.mark.parametrize(
    ("gpu", "cpu", "memory", "profile"),
    [("t4", 8.0, 56.0, "gpu-t4"), ("a100", 24.0, 220.0, "gpu-a100"), ("none", 4.0, 8.0, None)],
)
def test_a_gpu_is_a_workload_profile(
    gpu: str, cpu: float, memory: float, profile: str | None
) -> None:
    properties = render(gpu=gpu, cpu=cpu, memory_gb=memory)["properties"]
    assert properties["workloadProfileName"] == (profile or "Consumption")
    resources = properties["template"]["containers"][0]["resources"]
    assert resources == {"cpu": cpu, "memory": f"{memory:g}Gi"}
    assert faults(gpu=gpu, cpu=cpu, memory_gb=memory) == []


def test_an_image_must_be_named_by_its_digest_and_be_in_our_registry() -> None:
    for image in ("iris.azurecr.io/iris:1", f"other.azurecr.io/iris@sha256:{'a' * 64}"):
        with pytest.raises(EngineError):
            documents.render(environment(), Release(image, "", ""), PLACES, {})


def test_without_a_container_apps_environment_there_is_no_document() -> None:
    places = Places("s", "iris.azurecr.io", PULL, None)
    with pytest.raises(EngineError, match="bootstrap"):
        documents.render(environment(), RELEASE, places, {})


def test_the_first_revision_has_all_traffic() -> None:
    body = requests.new_app(render(), REVISION, SECRETS)
    ingress = body["properties"]["configuration"]["ingress"]
    assert ingress["traffic"] == [{"revisionName": REVISION, "weight": 100}]
    assert body["tags"][shape.REVISION_TAG] == REVISION
    assert body["properties"]["environmentId"] == PLACES.apps_environment


def test_a_further_revision_has_no_traffic_and_secrets_of_its_own() -> None:
    kept = [{"name": "api-keys-r1", "value": "old"}]
    traffic = requests.everything("iris-staging--r1")
    body = requests.new_revision(render(), REVISION, SECRETS, kept=kept, traffic=traffic)
    configuration = body["properties"]["configuration"]
    assert configuration["ingress"]["traffic"] == traffic
    assert configuration["secrets"] == [
        *kept,
        {"name": "api-keys-r261121051530abc123", "value": "planted-secret"},
    ]
    assert "api-keys-r261121051530abc123" in json.dumps(body["properties"]["template"])


def test_a_missing_secret_is_named_before_anything_is_sent() -> None:
    with pytest.raises(EngineError, match="API_KEYS"):
        requests.new_app(render(), REVISION, {})


def test_going_back_sends_neither_template_nor_secrets() -> None:
    body = requests.same_revisions(render(), REVISION, requests.everything(REVISION))
    assert "template" not in body["properties"]
    assert "secrets" not in body["properties"]["configuration"]


def test_names_of_revisions_fit_under_the_longest_name_of_an_app() -> None:
    name = requests.revision_for("a" * 32, TAGS)
    assert len(name) <= 54
    assert requests.revision_for("a" * 32, TAGS, {name}) == name + "b"
    assert len(name + "b") <= 54


def test_traffic_to_the_latest_revision_is_pinned_before_there_is_a_later_one() -> None:
    shares = [{"latestRevision": True, "weight": 80}, {"revisionName": "x--old", "weight": 20}]
    app = {
        "properties": {
            "latestReadyRevisionName": "x--new",
            "configuration": {"ingress": {"traffic": shares}},
        }
    }
    assert requests.serving(app, ["x--new", "x--old"]) == [
        {"revisionName": "x--new", "weight": 80},
        {"revisionName": "x--old", "weight": 20},
    ]
    # Azure goes on listing revisions that were deactivated.
    assert requests.serving(app, ["x--new"]) == [{"revisionName": "x--new", "weight": 80}]


def test_only_secrets_that_a_running_revision_needs_are_kept() -> None:
    secrets = [{"name": "api-keys-r1", "value": "a"}, {"name": "api-keys-r0", "value": "b"}]
    template = {"containers": [{"env": [{"name": "API_KEYS", "secretRef": "api-keys-r1"}]}]}
    assert requests.used_secrets(secrets, [template]) == secrets[:1]


def test_a_tag_that_goes_is_made_empty_and_an_empty_one_is_none() -> None:
    app = answer(requests.new_app(render(tags={"team": "iris"}), REVISION, SECRETS))
    app["tags"] = requests.all_tags(app, {"b": "2"})
    assert app["tags"]["team"] == ""
    assert app["tags"][shape.REVISION_TAG] == REVISION
    assert shape.document_of(app, REVISION, app["properties"]["template"])["tags"] == {"b": "2"}


def test_what_azure_answers_is_read_back_as_the_document_that_was_sent() -> None:
    document = render(probes={"liveness": {"initial_delay_seconds": 0}})
    app = answer(requests.new_app(document, REVISION, SECRETS))
    read = shape.document_of(app, REVISION, app["properties"]["template"])
    assert shape.differences(read, document) == ()
    assert read["tags"] == document["tags"]
    assert "planted-secret" not in json.dumps(read)


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"cpu": 2.0, "memory_gb": 4.0}, "template.containers[service].resources.cpu"),
        ({"replicas": {"min": 0}}, "template.scale.minReplicas"),
        ({"variables": {"LOG_LEVEL": "debug"}}, "template.containers[service].env[LOG_LEVEL]"),
        ({"secrets": []}, "configuration.secrets[api-keys]"),
        ({"tags": {"team": "iris"}}, "tags.team"),
    ],
)
def test_every_change_is_a_difference(changes: dict[str, Any], path: str) -> None:
    app = answer(requests.new_app(render(), REVISION, SECRETS))
    read = shape.document_of(app, REVISION, app["properties"]["template"])
    assert any(path in found for found in shape.differences(read, render(**changes)))
    assert shape.blockers(read, render(**changes)) == ()


@pytest.mark.parametrize(
    "changes", [{"port": 8080}, {"region": "westus3"}, {"gpu": "t4", "cpu": 8.0}]
)
def test_what_a_serving_revision_would_notice_blocks_an_update(changes: dict[str, Any]) -> None:
    assert shape.blockers(render(), render(**changes))


def test_the_tags_of_a_rollout_are_no_difference() -> None:
    other = documents.with_tags(render(), {**render()["tags"], names.TAG_STATE: "kept"})
    assert shape.differences(render(), other) == ()


def test_every_pair_that_azure_lists_is_allowed_and_no_other() -> None:
    for quarters in range(1, 17):
        assert faults(cpu=quarters / 4, memory_gb=quarters / 2) == []
    assert faults(cpu=1.0, memory_gb=1.5) == ["memory_gb"]
    assert faults(cpu=0.3, memory_gb=0.6) == ["cpu"]
    assert faults(cpu=4.25, memory_gb=8.5) == ["cpu"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": "a" * 33}, "name"),
        ({"name": "9-lives"}, "name"),
        ({"name": "a"}, "name"),
        ({"gpu": "v100"}, "gpu"),
        ({"gpu": "t4", "cpu": 9.0}, "cpu"),
        ({"gpu": "t4", "memory_gb": 57.0}, "memory_gb"),
        ({"gpu": "t4", "gpu_count": 2}, "gpu_count"),
        ({"secrets": ["API_KEYS", "api_keys"]}, "secrets"),
        ({"probes": {"liveness": {"initial_delay_seconds": 61}}}, "probes.liveness.initial_delay"),
        ({"probes": {"readiness": {"failure_threshold": 11}}}, "probes.readiness.failure"),
    ],
)
def test_what_azure_would_refuse_is_a_fault(changes: dict[str, Any], field: str) -> None:
    found = faults(**changes)
    assert [each for each in found if each.startswith(field)], found


def test_a_region_without_the_gpu_and_a_gpu_that_never_sleeps_are_warnings() -> None:
    rich = environment(gpu="a100", region="westeurope", replicas={"min": 1})
    assert len(list(rules.warnings(rich))) == 2
    assert list(rules.warnings(environment())) == []


class Late(AppClient):
    """Azure, which goes on showing the app as it was before every change."""

    def __init__(self, shown: dict[str, Any] | None) -> None:
        self.now, self.patches = 0.0, list[dict[str, Any]]()
        super().__init__(
            Az(Say()), "s", "g", "iris-staging", sleep=self.passes, clock=lambda: self.now
        )
        self.shown = shown

    def passes(self, seconds: float) -> None:
        self.now += seconds

    def app(self) -> dict[str, Any] | None:
        return self.shown

    def revisions(self) -> list[dict[str, Any]]:
        return []

    def secrets(self) -> list[dict[str, str]]:
        return []

    def _send(self, method: str, path: str, body: Any, check: Any) -> None:
        self.patches.append(body)


@pytest.mark.parametrize("there", [False, True], ids=["first", "update"])
def test_all_traffic_goes_to_the_applied_revision_even_where_azure_does_not_show_it_yet(
    *, there: bool
) -> None:
    former = answer(requests.new_app(render(), "iris-staging--r0", SECRETS)) | {
        "name": "iris-staging"
    }
    client = Late(former if there else None)
    target = ContainerApps(Az(Say()), environment(), PLACES, client)
    target.apply(render(), SECRETS, lambda: None)
    client.shown = former
    kept = {names.TAG_ROLLOUT: TAGS[names.TAG_ROLLOUT], names.TAG_STATE: "kept"}
    target.keep(kept)
    sent = client.patches[-1]
    share = {"revisionName": REVISION, "weight": 100}
    assert sent["properties"]["configuration"]["ingress"]["traffic"] == [share]
    assert sent["tags"][shape.REVISION_TAG] == REVISION
    target.mark(kept)
    assert client.patches[-1]["tags"][shape.REVISION_TAG] == REVISION
    assert 100 < client.now < 200, "the tags were waited for, and not for ever"
