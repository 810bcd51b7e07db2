"""Clients that we did not write get the labels that scikit-learn gave in training."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton

from tests.conftest import Rendered

from .running import running

pytestmark = pytest.mark.slow

PROBABILITIES_WITHIN = 1e-5


@pytest.fixture(scope="module", params=["onnx", "joblib"])
def url(request: pytest.FixtureRequest, rendered: Rendered, service_python: Path) -> Iterator[str]:
    """A running service of each format."""
    with running(service_python, rendered(request.param)) as url:
        yield url


@pytest.fixture(scope="module")
def golden(rendered_service: Path) -> dict[str, Any]:
    """Held-out samples and what scikit-learn answered."""
    with np.load(rendered_service / "models" / "iris" / "golden.npz") as archive:
        return dict(archive)


@pytest.mark.parametrize("binary", [False, True], ids=["json", "binary"])
def test_a_generic_open_inference_client(url: str, golden: dict[str, Any], binary: bool) -> None:
    client = triton.InferenceServerClient(url.removeprefix("http://"))
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("iris")
    (described,) = client.get_model_metadata("iris")["inputs"]
    samples = golden["input/features"]
    tensor = triton.InferInput(described["name"], samples.shape, described["datatype"])
    tensor.set_data_from_numpy(samples, binary_data=binary)
    wanted = [
        triton.InferRequestedOutput(name, binary_data=binary) for name in ("label", "probabilities")
    ]
    answer = client.infer("iris", [tensor], outputs=wanted, request_id="1")
    np.testing.assert_array_equal(answer.as_numpy("label"), golden["output/label"])
    np.testing.assert_allclose(
        answer.as_numpy("probabilities"),
        golden["output/probabilities"],
        atol=PROBABILITIES_WITHIN,
    )


def curl(url: str, body: str) -> Any:
    """Ask with curl, as the tutorials do."""
    command = ["curl", "-sS", "--fail-with-body", "-H", "Content-Type: application/json"]
    done = subprocess.run(
        [*command, "-d", body, f"{url}/predict"], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_curl_with_the_body_of_the_tutorials(url: str) -> None:
    assert curl(url, '{"data": [[5.9, 3.0, 5.1, 1.8]]}')["predictions"] == [2]
    assert curl(url, '{"data": [5.1, 3.5, 1.4, 0.2]}')["predictions"] == [0]


def test_curl_with_all_golden_samples(url: str, golden: dict[str, Any]) -> None:
    answer = curl(url, json.dumps({"data": golden["input/features"].tolist()}))
    assert answer["predictions"] == golden["output/label"].tolist()
    names = ["setosa", "versicolor", "virginica"]
    assert answer["labels"] == [names[label] for label in golden["output/label"]]
