"""Azure's own models and the double's rules take what the service renders for Container Instances.

The service's own tests say what a document holds. Here it is read by the models of
azure-mgmt-containerinstance, which know every property that Azure knows, and nothing else.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.azure_double.client import REPOSITORY, azure_bin
from tests.conftest import Rendered

from .other_python import run

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("azure_tools")]

Json = dict[str, Any]

SERVER = "irisservice.azurecr.io"
IDENTITY = (
    "/subscriptions/S/resourceGroups/iris-service-shared/providers/Microsoft.ManagedIdentity"
    "/userAssignedIdentities/iris-service-runtime"
)
SMALLEST: Json = {
    "stage": "staging",
    "target": "aci",
    "region": "westeurope",
    "resource_group": "iris-service-staging",
    "name": "iris-service-staging",
}
LARGEST: Json = {
    **SMALLEST,
    "cpu": 4,
    "memory_gb": 15.5,
    "port": 8080,
    "dns": {"label": "iris-demo", "reuse": "TenantReuse"},
    "variables": {"LOG_LEVEL": "info", "MY_FLAG": "yes", "EMOJI": "🌸"},
    "secrets": ["API_KEYS", "OTHER"],
    "probes": {"liveness": {"initial_delay_seconds": 0}, "readiness": {"timeout_seconds": 1}},
    "restart_policy": "OnFailure",
    "tags": {"cost-center": "007"},
}
WITH_GPU: Json = {**SMALLEST, "gpu": "v100", "gpu_count": 2, "allow_retired_gpu": True}
EVERY = {"smallest": SMALLEST, "largest": LARGEST, "gpu": WITH_GPU}

# In a rendered service: environment files in, documents with secrets out, as az is given them.
RENDER = f"""
import json, sys
from engine.deploy.targets.aci.environment import GroupEnvironment
from engine.deploy.targets.aci.document import file_for_az, render, secret_names, with_secrets
from engine.deploy.targets.base import Places, Release

release = Release("{SERVER}/iris-service@sha256:{"a" * 64}", "{"1" * 40}", "sha256:{"b" * 64}")
places = Places("S", "{SERVER}", "{IDENTITY}", workspace="{"0" * 32}")
files = {{}}
for name, fields in json.load(sys.stdin).items():
    environment = GroupEnvironment.model_validate(fields)
    document = render(environment, release, places, {{"rollout-id": "r1"}})
    values = dict.fromkeys(secret_names(document), "s" * 16)
    files[name] = file_for_az(with_secrets(document, values))
json.dump(files, sys.stdout)
"""

# Beside the real az: its YAML reader (its command line's module changes that), Azure's models, and
# the rules of the double. The round trip shows what the models would send.
JUDGE = """
import json, sys
import yaml
import azure.cli.command_modules.container.custom
from azure.mgmt.containerinstance import models
from tests.azure_double.arm.errors import ArmError
from tests.azure_double.providers import aci_rules, aci_schema

verdicts = {}
for name, text in json.load(sys.stdin).items():
    document = yaml.safe_load(text)
    body = {k: v for k, v in document.items() if k not in ("apiVersion", "name")}
    try:
        aci_schema.check(body)
        aci_rules.check(document["name"], body)
        fault = None
    except ArmError as error:
        fault = str(error)
    sent = models.ContainerGroup.deserialize(body).serialize()
    verdicts[name] = {"read": document, "fault": fault, "lost": sent != body}
json.dump(verdicts, sys.stdout)
"""


def judge(files: dict[str, str]) -> Any:
    return run(azure_bin() / "python", REPOSITORY, JUDGE, files)


@pytest.fixture(scope="module")
def files(rendered: Rendered, deploy_python: Path) -> dict[str, str]:
    """What az is given for each environment."""
    written: dict[str, str] = run(deploy_python, rendered("onnx"), RENDER, EVERY)
    return written


def test_azures_models_know_every_property_and_lose_none(files: dict[str, str]) -> None:
    for name, verdict in judge(files).items():
        assert verdict["fault"] is None, name
        assert not verdict["lost"], name


def test_az_reads_text_as_text(files: dict[str, str]) -> None:
    read = judge(files)["largest"]["read"]
    variables = read["properties"]["containers"][0]["properties"]["environmentVariables"]
    given = {variable["name"]: variable.get("value") for variable in variables}
    assert given["MY_FLAG"] == "yes"
    assert given["EMOJI"] == "🌸"
    assert given["PORT"] == "8080"
    assert read["tags"]["cost-center"] == "007"


def test_the_judge_sees_a_misspelt_property_and_a_broken_rule(files: dict[str, str]) -> None:
    misspelt = files["smallest"].replace('"restartPolicy"', '"restartPolicies"')
    too_low = files["smallest"].replace('"port": 8000', '"port": 22')
    verdicts = judge({"misspelt": misspelt, "rule": too_low})
    assert "restartPolicies" in verdicts["misspelt"]["fault"]
    assert "22" in verdicts["rule"]["fault"]


# In a rendered service: the paths of all that is read of a group, a "*" where any value is taken.
READ = """
import json, sys
from engine.deploy.targets.aci.members import PROPERTIES, VALUE

def paths(members, path):
    for each in members if isinstance(members, list) else ():
        yield from paths(each, path)
    for name, below in members.items() if isinstance(members, dict) else ():
        here = f"{path}.{name}"
        yield here
        if below is not VALUE:
            yield from paths(below, here)

json.dump(sorted(paths(PROPERTIES, "properties")), sys.stdout)
"""
# Beside the real az: the paths of all that Azure's models let one set.
SETTABLE = """
import json, re, sys
from azure.mgmt.containerinstance import models

def paths(kind, path):
    kind = re.sub(r"[\\[{](.+)[\\]}]", r"\\1", kind)
    model = getattr(models, kind, None)
    for name, each in getattr(model, "_attribute_map", {}).items():
        if not model._validation.get(name, {}).get("readonly"):
            here = f"{path}.{each['key']}".lstrip(".")
            yield here
            yield from paths(each["type"], here)

json.dump(sorted(paths("ContainerGroup", "")), sys.stdout)
"""
NEWER = {
    "properties.containerGroupProfile",
    "properties.containerGroupProfile.id",
    "properties.containerGroupProfile.revision",
    "properties.standbyPoolProfile",
    "properties.standbyPoolProfile.failContainerGroupCreateOnReuseFailure",
    "properties.standbyPoolProfile.id",
    "properties.containers.properties.configMap",
    "properties.containers.properties.configMap.keyValuePairs",
}
"""Azure's models are of 2024-05-01-preview; these came with it (azure-rest-api-specs)."""
CHOSEN_BY_AZURE = {"properties.ipAddress.ip"}


def test_a_group_is_read_into_exactly_what_azures_models_let_one_set(
    rendered: Rendered, deploy_python: Path
) -> None:
    read = set(run(deploy_python, rendered("onnx"), READ, {}))
    settable = set(run(azure_bin() / "python", REPOSITORY, SETTABLE, {}))
    settable = {path for path in settable if path.startswith("properties.")}
    # In a container and in an extension, Azure has one more "properties".
    read -= {f"properties.{kind}.properties" for kind in ("containers", "initContainers")}
    read -= {"properties.extensions.properties"}
    assert settable - read == NEWER | CHOSEN_BY_AZURE
    assert read - settable == set()
