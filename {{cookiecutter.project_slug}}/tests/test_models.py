"""Every model of this repository answers as in training, over both protocols."""

from __future__ import annotations

import os
from pathlib import Path

import httpx
import numpy as np
import pytest

from engine.client.parity import check_parity, served_records
from engine.client.service import Limits, Service
from engine.deploy.verify import key_from
from engine.serving.errors import PackageError
from engine.serving.package.golden import compare
from engine.serving.package.reader import read_package
from engine.serving.tensors.datatypes import Array

MODELS = Path(__file__).resolve().parents[1] / "models"
SECONDS = 60.0
DIRECTORIES = sorted(path.parent for path in MODELS.glob("*/model.yaml"))
every_model = pytest.mark.parametrize("directory", DIRECTORIES, ids=lambda path: path.name)


def test_there_is_a_model() -> None:
    assert DIRECTORIES, "models/ has no package; `make model FROM=…` writes one"


@every_model
def test_the_golden_samples_are_answered_as_recorded(client: httpx.Client, directory: Path) -> None:
    """As in training, over both protocols; where service.py has hooks, as `make check` records."""
    with Service(str(client.base_url), key_from(os.environ), SECONDS) as service:
        records = served_records(service, MODELS)
        (record,) = (each for each in records if each.manifest.name == directory.name)
        check_parity(service, [record], Limits(), print)


@every_model
def test_the_example_that_the_documentation_shows_works(
    client: httpx.Client, directory: Path
) -> None:
    document = client.get("/openapi.json").json()
    for path in (f"/predict/{directory.name}", f"/v2/models/{directory.name}/infer"):
        content = document["paths"][path]["post"]["requestBody"]["content"]
        answer = client.post(path, json=content["application/json"]["example"])
        # A rule of service.py may refuse the first sample.
        assert answer.status_code == 200 or answer.json()["code"] == "refused", answer.text


def altered(array: Array) -> Array:
    """Values of the same type of which none is near its original."""
    if array.dtype.kind == "O":
        return np.array([f"{each} altered" for each in array.flat], np.object_).reshape(array.shape)
    if array.dtype.kind == "b":
        return ~array
    if array.dtype.kind == "f":
        # Infinity where the doubled value does not fit the type is another value as well.
        with np.errstate(over="ignore"):
            return np.where(np.isfinite(array), 2.0 * array + 1000, 0).astype(array.dtype)
    changed: Array = array ^ array.dtype.type(1)
    return changed


@every_model
def test_a_changed_answer_is_noticed(directory: Path) -> None:
    """The tolerances are narrow enough: each output that has values is altered alone."""
    package = read_package(directory)
    golden = package.golden.outputs
    for name, value in golden.items():
        if value.size:
            with pytest.raises(PackageError, match=f"golden check failed: output '{name}'"):
                compare(package.manifest.outputs, golden, {**golden, name: altered(value)})


@every_model
def test_the_service_describes_the_model_as_it_was_packaged(
    client: httpx.Client, directory: Path
) -> None:
    manifest = read_package(directory).manifest
    described = client.get(f"/v2/models/{directory.name}").json()
    assert described["versions"] == [manifest.version]
    for kind, tensors in (("inputs", manifest.inputs), ("outputs", manifest.outputs)):
        # Hooks of service.py may add outputs behind those of the package.
        found = [(each["name"], each["datatype"], each["shape"]) for each in described[kind]]
        assert found[: len(tensors)] == [
            (each.name, each.datatype, list(each.shape)) for each in tensors
        ]


@every_model
@pytest.mark.parametrize("path", ["/predict/{}", "/v2/models/{}/infer"])
def test_a_request_without_inputs_is_refused_with_the_way_out(
    client: httpx.Client, directory: Path, path: str
) -> None:
    answer = client.post(path.format(directory.name), json={})
    assert answer.status_code == 422, answer.text
    assert answer.json()["field"] in ("data", "inputs")
    assert answer.json()["rule"]
