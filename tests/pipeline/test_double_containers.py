"""The Azure double's container groups: Azure's rules, and containers that really run."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.azure_double.client import AzureDouble
from tests.azure_double.engine import Engine
from tests.azure_double.engine_socket import EngineError

from .commands import CommandError, run
from .double_world import GROUP, REGION, SECRET, World, changed, eventually

pytestmark = [pytest.mark.slow, pytest.mark.exhaustive]
CONTAINER = "properties.containers.0.properties"
TEXT_OF_IMMUTABLE = "you must delete it first and then create a new one"


@pytest.fixture(scope="module")
def world(azure_tools: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One double for all tests here; each uses groups of its own."""
    with AzureDouble(tmp_path_factory.mktemp("double")) as double:
        yield World(double)


@contextlib.contextmanager
def impatient(world: World, seconds: float = 5.0) -> Iterator[None]:
    """Groups that do not come up are given up soon, and a slow crash counts as one too."""
    before = world.double.ask("aci.pace")
    world.double.ask("aci.pace", {"provisioning": seconds, "settle": 4.0, "pull_retry": 0.2})
    yield
    world.double.ask("aci.pace", before)


def code(answer: dict[str, Any]) -> str:
    """The error's code, of a refusal or of an operation that failed."""
    error: dict[str, Any] = answer.get("error") or {}
    return str(error.get("code", ""))


MISSPELT = {
    "properties.containers.0.properties.img": "x",
    "properties.containers.0.properties.resources.requests.gpus": 1,
    "properties.containers.0.properties.environmentVariables.0.secretValue": "x",
    "properties.containers.0.properties.livenessProbe": {"initialDelay": 3},
    "properties.containers.0.properties.environmentVariables.0.value": True,
    "properties.restartPolicy": 1,
    "properties.fqdn": "x",
    "properties.provisioningState": "Succeeded",
    "sku": "Standard",
    "properties.containers.0.properties": {},
}


@pytest.mark.parametrize("path", MISSPELT)
def test_a_property_that_azure_does_not_know_is_refused(world: World, path: str) -> None:
    document = changed(world.document(NAME="x"), path, MISSPELT[path])
    answer = world.create("misspelt", document)
    assert code(answer) == "InvalidRequestContent", answer
    assert path.rpartition(".")[2] in answer["error"]["message"]


HTTP = {"path": "/", "port": 8000}
TRUE = {"command": ["true"]}
RULES: dict[str, tuple[str, Any, str]] = {
    "no os type": ("properties.osType", None, "InvalidOsType"),
    "restart policy": ("properties.restartPolicy", "Sometimes", "InvalidRestartPolicy"),
    "label too short": ("properties.ipAddress.dnsNameLabel", "abcd", "InvalidDnsNameLabel"),
    "label with capitals": ("properties.ipAddress.dnsNameLabel", "Irises", "InvalidDnsNameLabel"),
    "no cpu": (f"{CONTAINER}.resources.requests.cpu", None, "ResourceRequestsNotSpecified"),
    "no resources": (f"{CONTAINER}.resources", None, "ResourceRequestsNotSpecified"),
    "limit below request": (
        f"{CONTAINER}.resources.limits",
        {"cpu": 0.1},
        "ResourceLimitsLessThanRequests",
    ),
    "32 cores": (f"{CONTAINER}.resources.requests.cpu", 32, "ServiceUnavailable"),
    "quota": (f"{CONTAINER}.resources.requests.cpu", 11, "ContainerGroupQuotaReached"),
    "container name": ("properties.containers.0.name", "API", "InvalidContainerName"),
    "image in capitals": (f"{CONTAINER}.image", "Reg.azurecr.io/X", "InvalidImageName"),
    "variable _X": (
        f"{CONTAINER}.environmentVariables.0.name",
        "_X",
        "InvalidEnvironmentVariableName",
    ),
    "two values": (
        f"{CONTAINER}.environmentVariables.0.secureValue",
        "x",
        "InvalidEnvironmentVariable",
    ),
    "reserved port": ("properties.ipAddress.ports", [{"port": 20000}], "InvalidPort"),
    "port of no container": ("properties.ipAddress.ports", [{"port": 80}], "InvalidPort"),
    "no port": ("properties.ipAddress.ports", [], "MissingIpAddressPorts"),
    "probe of two kinds": (
        f"{CONTAINER}.livenessProbe",
        {"httpGet": HTTP, "exec": TRUE},
        "InvalidProbe",
    ),
    "identity not attached": ("identity", None, "InvalidImageRegistryIdentity"),
    "no credential": ("properties.imageRegistryCredentials", None, "InaccessibleImage"),
    "other registry": (f"{CONTAINER}.image", "docker.io/library/nginx", "InaccessibleImage"),
    "volumes": (
        "properties.volumes",
        [{"name": "empty", "emptyDir": {}}],
        "NotModelledByTheDouble",
    ),
    "spot": ("properties.priority", "Spot", "NotModelledByTheDouble"),
}


@pytest.mark.parametrize("rule", RULES)
def test_azures_rules_are_enforced(world: World, rule: str) -> None:
    path, value, expected = RULES[rule]
    answer = world.create("broken", changed(world.document(NAME="x"), path, value))
    assert code(answer) == expected, answer


def test_az_creates_shows_reads_and_deletes_a_group(world: World) -> None:
    az = world.double.env(world.owner)
    document = world.document("az-story", GREETING="hello")
    document |= {"apiVersion": "2023-05-01", "name": "az-story"}
    where = ["--resource-group", GROUP, "--name", "az-story"]

    file = ["--file", "/dev/stdin", "--location", REGION]
    made = run(az, "az", "container", "create", *where, *file, stdin=json.dumps(document))
    assert json.loads(made)["properties"]["provisioningState"] == "Succeeded"

    shown = json.loads(run(az, "az", "container", "show", *where))
    assert shown["instanceView"]["state"] == "Running"
    assert [each["name"] for each in shown["containers"][0]["instanceView"]["events"]] == [
        "Pulling",
        "Pulled",
        "Started",
    ]
    url = f"http://{shown['ipAddress']['fqdn']}:8000"
    assert eventually(lambda: world.get(f"{url}/env/API_KEYS")[0] == 200)
    assert world.get(f"{url}/env/API_KEYS")[1] == SECRET
    assert world.get(f"http://{shown['ipAddress']['ip']}:8000/env/GREETING")[1] == "hello"
    assert not _files_with(SECRET, world.double.folder)
    assert SECRET not in made + json.dumps(world.show("az-story"))
    stored = world.double.resource(world.group("az-story"))
    assert stored
    assert stored["hidden"]["sent"]["properties"] == document["properties"]

    assert "starting with hello" in run(az, "az", "container", "logs", *where)
    deleted = run(az, "az", "container", "delete", *where, "--yes")
    assert json.loads(deleted)["name"] == "az-story"
    with pytest.raises(CommandError, match="ResourceNotFound"):
        run(az, "az", "container", "show", *where)
    assert world.get(f"{url}/")[0] == 502


def test_az_creates_a_group_from_options_too(world: World) -> None:
    az = world.double.env(world.owner)
    run(
        az,
        *("az", "container", "create", "--resource-group", GROUP, "--name", "options"),
        *("--image", world.image, "--os-type", "Linux", "--cpu", "0.2", "--memory", "0.2"),
        *("--assign-identity", world.identity, "--acr-identity", world.identity),
        *("--registry-login-server", world.server, "--dns-name-label", "options"),
        *("--ports", "8000", "--secure-environment-variables", "API_KEYS=x"),
    )
    listed = json.loads(run(az, "az", "container", "list", "--resource-group", GROUP))
    assert "options" in [each["name"] for each in listed]


def test_stop_start_and_restart_with_az(world: World) -> None:
    az = world.double.env(world.owner)
    world.create("az-stop", world.document("az-stop"))
    where = ["--resource-group", GROUP, "--name", "az-stop"]
    url = "http://az-stop.westeurope.azurecontainer.io:8000/"
    ran = world.docker_ids("az-stop")

    run(az, "az", "container", "restart", *where)
    eventually(lambda: world.show("az-stop")["properties"]["provisioningState"] == "Succeeded")
    assert world.docker_ids("az-stop") != ran

    run(az, "az", "container", "stop", *where)
    eventually(lambda: world.show("az-stop")["properties"]["instanceView"]["state"] == "Stopped")
    assert world.view("az-stop")["currentState"]["exitCode"] in (7147, 7148)
    assert world.get(url)[0] == 502
    run(az, "az", "container", "start", *where)
    assert eventually(lambda: world.get(url)[0] == 200)


def test_a_put_restarts_even_without_a_change_and_a_patch_of_tags_does_not(world: World) -> None:
    document = world.document("put-again")
    world.create("put-again", document)
    first, address = (
        world.docker_ids("put-again"),
        world.show("put-again")["properties"]["ipAddress"],
    )

    status, patched, _ = world.call("PATCH", world.group("put-again"), {"tags": {"state": "kept"}})
    assert (status, patched["tags"]) == (200, {"state": "kept"})
    assert world.docker_ids("put-again") == first

    world.create("put-again", document)
    assert world.docker_ids("put-again") != first
    shown = world.show("put-again")
    assert shown["tags"] == document["tags"]
    assert shown["properties"]["ipAddress"] == address


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (f"{CONTAINER}.resources.requests.cpu", 0.3),
        (f"{CONTAINER}.resources.requests.memoryInGB", 0.3),
        ("properties.restartPolicy", "Never"),
    ],
)
def test_what_cannot_change_in_place_is_refused(world: World, path: str, value: Any) -> None:
    document = world.document()
    if code(world.create("fixed", document)) == "":
        answer = world.create("fixed", changed(document, path, value))
        assert code(answer) == "InvalidContainerGroupUpdate"
        assert TEXT_OF_IMMUTABLE in answer["error"]["message"]


def test_changes_are_refused_while_a_group_is_in_transition(world: World) -> None:
    document = world.document()
    first = world.call("PUT", world.group("busy"), document)
    refused = world.call("PUT", world.group("busy"), document)
    assert (refused[0], code(refused[1])) == (409, "ContainerGroupTransitioning")
    assert world.finished(*first)["status"] == "Succeeded"

    world.double.inject(point="aci.transitioning", where="*/busy", times=2)
    answers = [world.call("PUT", world.group("busy"), document) for _ in range(3)]
    assert [answer[0] for answer in answers] == [409, 409, 200]
    world.finished(*answers[2])


def test_a_role_that_is_missing_at_that_moment_closes_the_registry(world: World) -> None:
    stranger = world.provider("Microsoft.ManagedIdentity/userAssignedIdentities", "stranger")
    world.put(stranger, {"location": REGION})
    document = json.loads(json.dumps(world.document()).replace(world.identity, stranger))
    answer = world.create("no-role", document)
    assert code(answer) == "InaccessibleImage"
    assert "Please check the image and registry credential" in answer["error"]["message"]
    world.double.principal("stranger", ("AcrPull", world.registry))
    assert world.create("no-role", document)["status"] == "Succeeded"


def test_abac_registries_do_not_honour_acr_pull(world: World) -> None:
    mode = {"properties": {"roleAssignmentMode": "AbacRepositoryPermissions"}}
    assert world.call("PATCH", world.registry, mode)[0] == 200
    try:
        assert code(world.create("abac", world.document())) == "InaccessibleImage"
        reader = "Container Registry Repository Reader"
        world.double.principal("runtime", (reader, world.registry))
        assert world.create("abac", world.document())["status"] == "Succeeded"
    finally:
        mode["properties"]["roleAssignmentMode"] = "LegacyRegistryPermissions"
        world.call("PATCH", world.registry, mode)


def test_attaching_an_identity_needs_a_right_on_it(world: World) -> None:
    role = "Azure Container Instances Contributor Role"
    group = f"{world.double.subscription_id}/resourceGroups/{GROUP}"
    deployer = world.double.principal("deployer", (role, group))
    refused = world.call("PUT", world.group("linked"), world.document(), person=deployer)
    assert (refused[0], code(refused[1])) == (403, "LinkedAuthorizationFailed")
    world.double.principal("deployer", ("Managed Identity Operator", world.identity))
    made = world.call("PUT", world.group("linked"), world.document(), person=deployer)
    assert world.finished(*made)["status"] == "Succeeded"


def test_an_absent_digest_fails_with_the_events_of_the_pull(world: World) -> None:
    image = world.image.partition("@")[0] + "@sha256:" + "0" * 64
    with impatient(world):
        answer = world.create("absent", changed(world.document(), f"{CONTAINER}.image", image))
    assert code(answer) == "Failed"
    assert f'Failed to pull image "{image}"' in answer["error"]["message"]
    assert "manifest unknown" in answer["error"]["message"]
    assert "provisioning state after '00:30:00'" in answer["error"]["message"]
    assert world.view("absent")["currentState"]["state"] == "Waiting"


def test_a_digest_that_was_deleted_cannot_be_pulled_again(world: World) -> None:
    """Although Docker still has it."""
    name = "secondregistry"
    registry = world.provider("Microsoft.ContainerRegistry/registries", name)
    made = world.put(registry, {"location": REGION, "sku": {"name": "Basic"}})
    world.double.principal("runtime", ("AcrPull", registry))
    server, image = made["properties"]["loginServer"], world.push(registry=name)
    document = changed(world.document(), f"{CONTAINER}.image", image)
    document = changed(document, "properties.imageRegistryCredentials.0.server", server)
    assert world.create("pruned", document)["status"] == "Succeeded"
    az, what = world.double.env(world.owner), ("--name", name, "--repository", "probe")
    run(az, "az", "acr", "repository", "delete", *what, "--yes")
    with impatient(world):
        assert code(world.create("pruned", document)) == "Failed"
    assert "manifest unknown" in json.dumps(world.view("pruned")["events"])


def test_a_crash_loop_fails_and_a_good_document_mends_it(world: World) -> None:
    # Long enough for a container to start and end on a busy machine.
    with impatient(world, 15.0):
        answer = world.create("crashes", world.document("crashes", LIFE="0.1", CODE="3"))
    assert code(answer) == "Failed"
    assert "Back-off restarting failed container" in answer["error"]["message"]
    shown = world.show("crashes")["properties"]
    assert shown["provisioningState"] == "Failed"
    view = eventually(lambda: (v := world.view("crashes")).get("previousState") and v)
    assert view["previousState"]["exitCode"] == 3
    assert view["restartCount"] >= 1
    logs = world.group("crashes") + "/containers/api/logs"
    assert eventually(lambda: "ending" in world.call("GET", logs)[1]["content"])
    assert world.create("crashes", world.document("crashes"))["status"] == "Succeeded"
    assert eventually(
        lambda: world.get("http://crashes.westeurope.azurecontainer.io:8000/")[0] == 200
    )


@pytest.mark.parametrize(
    ("policy", "exit_code", "state"),
    [("Never", "0", "Succeeded"), ("Never", "4", "Failed"), ("OnFailure", "0", "Succeeded")],
)
def test_work_that_ends(world: World, policy: str, exit_code: str, state: str) -> None:
    name = f"{policy.lower()}-{exit_code}"
    document = world.document(LIFE="0.1", CODE=exit_code)
    made = world.create(name, changed(document, "properties.restartPolicy", policy))
    assert made["status"] == "Succeeded"
    assert eventually(lambda: world.show(name)["properties"]["instanceView"]["state"] == state)
    again = world.create(name, changed(document, "properties.restartPolicy", policy))
    assert code(again) == "InvalidContainerGroupUpdate"


def test_too_little_memory_is_seen_as_137(world: World) -> None:
    world.create("hungry", world.document("hungry"))
    url = "http://hungry.westeurope.azurecontainer.io:8000"
    eventually(lambda: world.get(f"{url}/")[0] == 200)
    assert world.get(f"{url}/eat")[0] == 502
    view = eventually(lambda: (v := world.view("hungry")).get("previousState") and v)
    assert view["previousState"]["exitCode"] == 137
    assert view["previousState"]["detailStatus"] == "OOMKilled"
    assert eventually(lambda: world.get(f"{url}/")[0] == 200)


def test_readiness_gates_traffic_and_liveness_kills(world: World) -> None:
    document = world.document("probed")
    # Liveness has patience: on a busy machine the container may be slow to listen.
    probe = {"initialDelaySeconds": 5, "periodSeconds": 1, "timeoutSeconds": 10}
    patience = 20
    for kind, path, failures in (
        ("livenessProbe", "/alive", patience),
        ("readinessProbe", "/ready", 2),
    ):
        http = {"path": path, "port": 8000, "scheme": "http"}
        changes = {"httpGet": http, **probe, "failureThreshold": failures}
        document = changed(document, f"{CONTAINER}.{kind}", changes)
    world.create("probed", document)
    url = "http://probed.westeurope.azurecontainer.io:8000"
    eventually(lambda: world.get(f"{url}/")[0] == 200)

    world.get(f"{url}/unready")
    status, text = eventually(lambda: (seen := world.get(f"{url}/"))[0] == 502 and seen)
    assert "not ready" in text
    assert world.view("probed")["restartCount"] == 0
    world.double.inject(point="aci.liveness", where="*/probed", times=patience)
    eventually(lambda: world.view("probed")["restartCount"] == 1)
    assert eventually(lambda: world.get(f"{url}/")[0] == 200)
    names = {event["name"] for event in world.view("probed")["events"]}
    assert {"Unhealthy", "Killing", "BackOff"} <= names
    assert status == 502


def test_probes_may_be_commands(world: World) -> None:
    document = world.document("command")
    probe = {"exec": {"command": ["test", "-e", "/tmp/open"]}, "periodSeconds": 1}
    assert (
        world.create("command", changed(document, f"{CONTAINER}.readinessProbe", probe))["status"]
        == "Succeeded"
    )
    url = "http://command.westeurope.azurecontainer.io:8000/"
    assert eventually(
        lambda: any("exited with 1" in each["message"] for each in world.view("command")["events"])
    )
    assert world.get(url)[0] == 502
    document = changed(document, f"{CONTAINER}.readinessProbe", {**probe, "exec": TRUE})
    world.create("command", document)
    assert eventually(lambda: world.get(url)[0] == 200)


def test_injected_failures(world: World) -> None:
    document = world.document("injected")
    world.double.inject(point="aci.capacity", where="*/injected")
    world.double.inject(point="aci.label-taken", where="*/injected")
    assert code(world.create("injected", document)) == "ServiceUnavailable"
    assert code(world.create("injected", document)) == "DnsNameLabelNotAvailable"
    world.double.inject(point="aci.pull", where="*/injected", message="toomanyrequests")
    world.double.inject(point="aci.oom", where="*/injected")
    world.double.inject(point="aci.slow-start", where="*/injected", detail={"seconds": 0.2})
    assert world.create("injected", document)["status"] == "Succeeded"
    assert any("toomanyrequests" in each["message"] for each in world.view("injected")["events"])
    assert world.view("injected")["previousState"]["detailStatus"] == "OOMKilled"
    world.double.inject(point="aci.unreachable", where="*/injected")
    url = "http://injected.westeurope.azurecontainer.io:8000/"
    assert [world.get(url)[0], eventually(lambda: world.get(url)[0] == 200)] == [502, True]
    assert world.double.pending_faults() == []


def test_a_gpu_is_accepted_and_fails_because_it_is_retired(world: World) -> None:
    path = f"{CONTAINER}.resources.requests.gpu"
    document = changed(world.document(), path, {"count": 1, "sku": "V100"})
    answer = world.create("graphics", document)
    assert (answer["status"], code(answer)) == ("Failed", "ServiceUnavailable")
    assert world.show("graphics")["properties"]["provisioningState"] == "Failed"


def test_labels_are_unique_in_a_region_unless_a_scope_adds_a_hash(world: World) -> None:
    world.create("first-label", world.document("same-label"))
    assert code(world.create("second-label", world.document("same-label"))) == (
        "DnsNameLabelNotAvailable"
    )
    path = "properties.ipAddress.autoGeneratedDomainNameLabelScope"
    document = changed(world.document("same-label"), path, "ResourceGroupReuse")
    assert world.create("second-label", document)["status"] == "Succeeded"
    parts = world.show("second-label")["properties"]["ipAddress"]["fqdn"].split(".")
    assert (parts[0], parts[2]) == ("same-label", REGION)


def test_a_delete_ends_a_group_that_does_not_come_up(world: World) -> None:
    pending = world.call("PUT", world.group("hopeless"), world.document(LIFE="0.1"))
    deleted = world.call("DELETE", world.group("hopeless"))
    assert deleted[0] == 200
    assert world.finished(*pending)["status"] == "Failed"
    assert world.call("GET", world.group("hopeless"))[0] == 404


def test_a_killed_double_leaves_nothing_once_another_has_started(
    azure_tools: None, tmp_path: Path
) -> None:
    double = AzureDouble(tmp_path / "killed")
    double.start()
    doomed = World(double)
    doomed.create("orphan", doomed.document())
    container = doomed.docker_ids("orphan")[0]
    assert _docker("ps", "--quiet", "--no-trunc", "--filter", f"id={container}")
    process = double._process
    assert process
    process.kill()
    process.wait()
    eventually(lambda: not _processes(double.folder))
    double.stop()  # the program `az` of its tests
    with AzureDouble(tmp_path / "next"):
        assert not _docker("ps", "--all", "--quiet", "--filter", f"id={container}")
        assert not _docker("images", "--quiet", f"{doomed.server}/probe")
    assert not _docker(
        "volume", "ls", "--quiet", "--filter", f"label=azure-double.run={double.run_id}"
    )


def _files_with(text: str, folder: Path) -> list[Path]:
    files = [each for each in folder.rglob("*") if each.is_file()]
    return [each for each in files if text.encode() in each.read_bytes()]


def _processes(folder: Path) -> list[str]:
    """Command lines of processes that have to do with a folder, such as its docker-registry."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(each.read_text(errors="replace").replace("\0", " "))
    return [line for line in found if str(folder) in line]


def _docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize("status", ["running", "exited", "gone"])
def test_a_stop_that_docker_refuses_is_a_fault_only_while_the_container_runs(
    monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    """It was refused once, without a word, as the container ended by itself."""
    empty: dict[str, Any] = {"ExitCode": 0, "OOMKilled": False, "StartedAt": "", "FinishedAt": ""}

    async def answer(self: Engine, method: str, path: str, *_: Any) -> bytes:
        if method == "POST":
            raise EngineError("", 500)
        if status == "gone":
            raise EngineError("no such container", 404)
        state = {"State": empty | {"Status": status}, "NetworkSettings": {"Ports": {}}}
        return json.dumps(state).encode()

    monkeypatch.setattr(Engine, "_raw", answer)
    refused = pytest.raises(EngineError) if status == "running" else contextlib.nullcontext()
    # In a thread of its own: the browser's library leaves an event loop running in this one.
    with ThreadPoolExecutor(1) as aside, refused:
        aside.submit(asyncio.run, Engine({}, "/nowhere").stop("it", 1)).result()
