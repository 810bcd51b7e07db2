"""The YAML that docs/kubernetes.md shows is what a real API server takes, every field of it."""

from __future__ import annotations

import re
import urllib.error
from typing import Any

import pytest
import yaml
from engine.deploy.targets.aks import document
from engine.deploy.targets.aks.environment import AksEnvironment

from tests.engine.kubernetes.conftest import NAMESPACE
from tests.engine.kubernetes.control_plane import ControlPlane
from tests.engine.kubernetes.definitions import GATEWAY_API, KEDA, KSERVE, Module, define
from tests.engine.project import ROOT

pytestmark = pytest.mark.slow

TEXT = (ROOT / "docs" / "kubernetes.md").read_text(encoding="utf-8")
BLOCK = re.compile(
    r"(?:<!-- test: (?P<mark>[^>]+) -->\n)?^```yaml\n(?P<text>.*?)^```$", re.M | re.S
)
PLURALS = {
    "Gateway": "gateways",
    "TriggerAuthentication": "triggerauthentications",
    "ScaledObject": "scaledobjects",
    "InferenceService": "inferenceservices",
}


def blocks(mark: str | None) -> list[str]:
    """The blocks of YAML with this mark; None: without one, which are of environment files."""
    return [each["text"] for each in BLOCK.finditer(TEXT) if each["mark"] == mark]


def try_to_apply(plane: ControlPlane, wanted: dict[str, Any]) -> None:
    """A dry run, in which an unknown field is an error."""
    place = f"/apis/{wanted['apiVersion']}/namespaces/{NAMESPACE}/{PLURALS[wanted['kind']]}"
    options = "fieldManager=guide&dryRun=All&fieldValidation=Strict"
    path = f"{place}/{wanted['metadata']['name']}?{options}"
    plane.ask("PATCH", path, wanted, "application/apply-patch+yaml")


@pytest.mark.parametrize(
    ("mark", "module", "kinds"),
    [
        ("gateway", GATEWAY_API, ["Gateway"]),
        ("keda", KEDA, ["TriggerAuthentication", "ScaledObject"]),
        # 30 MB to download.
        pytest.param("kserve", KSERVE, ["InferenceService"], marks=pytest.mark.exhaustive),
    ],
)
def test_an_api_server_takes_what_the_guide_shows(
    control_plane: ControlPlane, mark: str, module: Module, kinds: list[str]
) -> None:
    define(control_plane, module)
    [text] = blocks(mark)
    objects = list(yaml.safe_load_all(text))
    assert [each["kind"] for each in objects] == kinds
    for each in objects:
        each["metadata"]["namespace"] = NAMESPACE
        try_to_apply(control_plane, each)
        with pytest.raises(urllib.error.HTTPError, match="field not declared in schema"):
            try_to_apply(control_plane, {**each, "spec": {**each["spec"], "unknownField": 1}})


def test_the_fields_of_the_environment_file_exist() -> None:
    """One block is a whole file, the others add to it."""
    whole, *more = (yaml.safe_load(text) for text in blocks(None))
    assert whole["target"] == "aks"
    assert more
    for fields in more:
        AksEnvironment.model_validate({**whole, "stage": "staging", **fields})


def test_the_labels_in_the_guide_are_those_of_a_release() -> None:
    assert f"{document.NAME_LABEL}: " in TEXT
    assert document.RELEASE_LABEL.replace(".", r"\.") in TEXT
    assert f"wait {document.LEAVE_SECONDS} seconds" in TEXT.replace("waits", "wait")
    [shown] = blocks("kserve")
    [container] = yaml.safe_load(shown)["spec"]["predictor"]["containers"]
    assert container["lifecycle"]["preStop"]["sleep"]["seconds"] == document.LEAVE_SECONDS
