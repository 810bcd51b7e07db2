"""scikit-learn estimators of many kinds, served as joblib and as ONNX.

Each answers over HTTP as scikit-learn itself, or is refused with the reason while it is packaged.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml

from tests.models import asking
from tests.models.conftest import Served

pytestmark = pytest.mark.slow

REFUSED = {
    "missing-text as onnx": "The converter is implemented when the missing values are string",
    "voting as onnx": "flatten_transform==True is not implemented yet",
}
FEWEST = {"joblib": 22, "onnx": 20}
TOLERANCE = {"joblib": 1e-9, "onnx": 1e-4}
ROWS = 12


@pytest.fixture(scope="module")
def estimators(
    program: Callable[..., str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """Where the estimators are stored, and where their packages are."""
    sources = tmp_path_factory.mktemp("estimators")
    output = tmp_path_factory.mktemp("estimator-models")
    program("sklearn_models.py", sources)
    program("package_sklearn.py", sources, output)
    return sources, output


def test_a_refusal_says_why_and_names_the_other_way(estimators: tuple[Path, Path]) -> None:
    refused = json.loads((estimators[1] / "refused.json").read_text())
    assert refused.keys() == REFUSED.keys()
    for name, words in REFUSED.items():
        assert words in refused[name]
        assert "package it as joblib" in refused[name]
        assert "\n" not in refused[name]


@pytest.fixture(scope="module")
def joblib_url(estimators: tuple[Path, Path], served: Served) -> Iterator[str]:
    """The address of the service with the joblib packages, whose start takes a while."""
    with served(estimators[1] / "joblib") as url:
        yield url


def test_as_joblib_it_answers_as_scikit_learn(
    estimators: tuple[Path, Path], joblib_url: str
) -> None:
    assert all_answer(joblib_url, *estimators, "joblib") >= FEWEST["joblib"]


def test_as_onnx_it_answers_as_scikit_learn(estimators: tuple[Path, Path], served: Served) -> None:
    with served(estimators[1] / "onnx") as url:
        assert all_answer(url, *estimators, "onnx") >= FEWEST["onnx"]


def all_answer(url: str, sources: Path, output: Path, form: str) -> int:
    """Ask every model for its samples, and compare with scikit-learn; how many there are."""
    client = asking.client(url)
    folders = sorted(path.parent for path in (output / form).glob("*/model.yaml"))
    for folder in folders:
        expected = np.load(sources / "answers" / f"{folder.name}.npz")["answer"][:ROWS]
        given = {name: value[:ROWS] for name, value in golden_inputs(folder).items()}
        manifest = yaml.safe_load((folder / "model.yaml").read_text())
        assert manifest["independent_rows"], (folder.name, manifest["training"]["batching"])
        first = manifest["outputs"][0]["name"]
        for binary in {True, not can_be_json(given)}:
            got = asking.ask(client, folder.name, given, binary=binary)[first]
            assert_same(got.reshape(expected.shape), expected, TOLERANCE[form], folder.name)
    return len(folders)


def assert_same(got: asking.Array, expected: asking.Array, tolerance: float, name: str) -> None:
    """Labels are equal, numbers close."""
    if expected.dtype.kind != "f":
        assert got.tolist() == expected.tolist(), name
    else:
        np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance, err_msg=name)


def golden_inputs(folder: Path) -> dict[str, asking.Array]:
    """The sample inputs that were packaged."""
    with np.load(folder / "golden.npz") as archive:
        return asking.stored(dict(archive), "input")


def can_be_json(arrays: dict[str, asking.Array]) -> bool:
    """Whether the client can write the numbers as JSON."""
    return all(value.dtype.kind != "f" or np.isfinite(value).all() for value in arrays.values())


def test_missing_values_travel_as_null(joblib_url: str) -> None:
    """A number and a text that are missing, in the JSON that everybody writes."""
    data: dict[str, Any] = {
        "age": [31.5, None],
        "fare": [80.0, 3.5],
        "children": [0, 2],
        "port": [None, "Cherbourg"],
        "deck": ["A", "C"],
    }
    answer = httpx.post(f"{joblib_url}/predict/missing-text", json={"data": data})
    assert answer.status_code == 200, answer.text
    assert answer.json()["predictions"] == ["yes", "no"]
    # Where nothing was missing in training, null is refused with the field's name.
    refused = httpx.post(f"{joblib_url}/predict/columns", json={"data": data})
    assert refused.status_code == 422
    assert refused.json()["field"] == "data.port[0]"
