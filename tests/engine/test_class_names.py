"""Names of classes: packaged from what the model or its owner says, and answered by name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import joblib
import numpy as np
import onnx
import pytest
from engine.packaging.class_outputs import with_names
from engine.packaging.options import Options
from engine.packaging.package import package
from engine.serving.errors import PackageError
from engine.serving.package.golden import write_golden
from engine.serving.package.manifest import Manifest, read_manifest
from onnx import helper
from skl2onnx import to_onnx
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.multioutput import MultiOutputClassifier

from tests.engine.server import running
from tests.engine.test_packaging import F32, save

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("steps_of_tests")]

NAMES = ["died", "lived", "missing"]
X = np.random.default_rng(5).normal(size=(90, 3)).astype(np.float32).astype(np.float64)
TEXTS = np.array(NAMES)[X.argmax(axis=1)]
FLAGS = (X > 0).astype(int)
ROWS = X[:6].tolist()


@pytest.fixture(scope="module")
def estimators() -> dict[str, Any]:
    """Fitted classifiers: with text classes, with several targets, one forest of these."""
    forest = RandomForestClassifier(5, random_state=1)
    return {
        "text": LogisticRegression().fit(X, TEXTS),
        "targets": MultiOutputClassifier(LogisticRegression()).fit(X, FLAGS),
        "forest": forest.fit(X, FLAGS),
    }


@pytest.fixture(scope="module")
def sources(estimators: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The estimators in files, exports of them, a softmax, a row of scores, and samples."""
    folder = tmp_path_factory.mktemp("sources")
    for name, each in estimators.items():
        joblib.dump(each, folder / f"{name}.joblib")
    np.savez(folder / "table.npz", features=X[:8])
    single = X[:1].astype(np.float32)
    exports = {"maps": ("text", True), "matrix": ("text", False), "list": ("targets", False)}
    for name, (which, zipmap) in exports.items():
        estimator = estimators[which]
        options = {} if zipmap else {id(estimator): {"zipmap": False}}
        onnx.save(to_onnx(estimator, single, options=options), folder / f"{name}.onnx")
    tensor = {"x": (F32, ["rows", 3])}
    for name, operator in {"softmax": "Softmax", "scores": "Identity"}.items():
        nodes = [helper.make_node(operator, ["x"], ["y"])]
        save(folder / f"{name}.onnx", nodes, tensor, {"y": (F32, ["rows", 3])})
    np.save(folder / "x.npy", X[:8].astype(np.float32))
    return folder


def packaged(
    sources: Path, models: Path, source: str, name: str, **options: Any
) -> tuple[Manifest, list[str]]:
    """Package a file with samples, and read the manifest."""
    samples = sources / ("table.npz" if source.endswith(".joblib") else "x.npy")
    chosen = Options(name=name, samples=samples, **options)
    folder, remarks = package(str(sources / source), chosen, models)
    return read_manifest(folder), remarks


@pytest.fixture(scope="module")
def manifests(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A models folder with all of them, and their manifests by name."""
    models = tmp_path_factory.mktemp("models")
    given = ("died", "lived", "missing")
    wanted: list[tuple[str, str, dict[str, Any]]] = [
        ("text.joblib", "text", {}),
        ("text.joblib", "converted", {"to": "onnx"}),
        ("maps.onnx", "maps", {}),
        ("matrix.onnx", "matrix", {}),
        ("softmax.onnx", "softmax", {"labels": given}),
        ("scores.onnx", "scores", {"labels": given}),
        ("targets.joblib", "targets", {}),
        ("targets.joblib", "targets-converted", {"to": "onnx"}),
        ("list.onnx", "list", {}),
    ]
    return models, {
        name: packaged(sources, models, source, name, **options) for source, name, options in wanted
    }


@pytest.fixture(scope="module")
def service(manifests: tuple[Path, Any]) -> Iterator[httpx.Client]:
    """A client of the service that has them."""
    with running(manifests[0]) as server, httpx.Client(base_url=server.url) as client:
        yield client


def ask(service: httpx.Client, name: str, **more: Any) -> Any:
    """The answer to the first rows."""
    answer = service.post(f"/predict/{name}", json={"data": ROWS, **more})
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("name", ["text", "converted", "maps", "matrix"])
def test_text_classes_are_named_wherever_the_model_comes_from(
    manifests: tuple[Path, Any], service: httpx.Client, estimators: dict[str, Any], name: str
) -> None:
    label, columns = manifests[1][name][0].outputs
    assert list(label.labels) == list(columns.labels) == NAMES
    assert columns.exclusive
    answer = ask(service, name, by_name=True)
    assert answer["labels"] == answer["predictions"] == estimators["text"].predict(X[:6]).tolist()
    (rows,) = answer["outputs"].values()
    assert all(list(row) == NAMES for row in rows)
    wanted = estimators["text"].predict_proba(X[:6])
    np.testing.assert_allclose([list(row.values()) for row in rows], wanted, atol=1e-5)
    (plain,) = ask(service, name)["outputs"].values()
    assert plain == [list(row.values()) for row in rows]


def test_a_softmax_with_given_labels_says_the_class_of_each_row(service: httpx.Client) -> None:
    answer = ask(service, "softmax", by_name=True)
    assert answer["labels"] == TEXTS[:6].tolist()
    powers = np.exp(X[:6])
    got = [[row[name] for name in NAMES] for row in answer["predictions"]]
    np.testing.assert_allclose(got, powers / powers.sum(axis=1, keepdims=True), atol=1e-5)
    # Scores may be of classes that do not exclude each other.
    assert "labels" not in ask(service, "scores")
    assert list(ask(service, "scores", by_name=True)["predictions"][0]) == NAMES


def test_metadata_and_the_api_document_name_them(service: httpx.Client) -> None:
    label, columns = service.get("/v2/models/text").json()["outputs"]
    assert label["parameters"] == {"labels": NAMES}
    assert columns["parameters"] == {"labels": NAMES, "exclusive": True}
    (scores,) = service.get("/v2/models/scores").json()["outputs"]
    assert scores["parameters"] == {"labels": NAMES}
    paths = service.get("/openapi.json").json()["paths"]
    schemas = {}
    for name in ("text", "softmax", "scores", "targets"):
        operation = paths[f"/predict/{name}"]["post"]
        asked, answered = operation["requestBody"], operation["responses"]["200"]
        parts = [each["content"]["application/json"]["schema"] for each in (asked, answered)]
        schemas[name] = [each["properties"] for each in parts]
    for name in ("text", "softmax"):
        assert schemas[name][1]["labels"]["items"]["enum"] == [*NAMES, None]
    assert "labels" not in schemas["scores"][1]
    assert schemas["scores"][0]["by_name"]["type"] == "boolean"
    assert "by_name" not in schemas["targets"][0]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("text", 1, '"by_name" must be true or false'),
        ("targets", True, "the model names no classes of columns; leave it out, or package"),
    ],
)
def test_a_wish_for_names_that_cannot_be_met_is_refused(
    service: httpx.Client, name: str, value: object, words: str
) -> None:
    answer = service.post(f"/predict/{name}", json={"data": ROWS, "by_name": value})
    assert answer.status_code == 422
    assert words in answer.json()["error"]
    assert answer.json()["field"] == "by_name"


@pytest.mark.parametrize("name", ["targets", "targets-converted", "list"])
def test_each_of_several_targets_has_probabilities(
    manifests: tuple[Path, Any], service: httpx.Client, estimators: dict[str, Any], name: str
) -> None:
    names = [each.name for each in manifests[1][name][0].outputs]
    assert names == ["label", "probabilities_0", "probabilities_1", "probabilities_2"]
    answer = ask(service, name)
    assert answer["predictions"] == estimators["targets"].predict(X[:6]).tolist()
    wanted = estimators["targets"].predict_proba(X[:6])
    for number, each in enumerate(wanted):
        np.testing.assert_allclose(answer["outputs"][names[1 + number]], each, atol=1e-5)


def test_a_forest_of_several_targets_says_what_its_conversion_leaves_out(
    sources: Path, tmp_path: Path
) -> None:
    made, remarks = packaged(sources, tmp_path, "forest.joblib", "forest", to="onnx")
    assert [each.name for each in made.outputs] == ["label"]
    assert "the conversion has no probabilities_2: it is left out" in remarks


def test_labels_over_flags_of_several_targets_are_refused(sources: Path, tmp_path: Path) -> None:
    flags = onnx.load(sources / "list.onnx")
    del flags.graph.output[1:]
    onnx.save(flags, tmp_path / "flags.onnx")
    options = Options(samples=sources / "x.npy", labels=("red", "green", "blue"))
    with pytest.raises(PackageError, match="no output counts them from 0 or has a column for each"):
        package(str(tmp_path / "flags.onnx"), options, tmp_path / "models")


def test_answers_to_a_list_of_maps_are_compared_as_a_matrix(
    sources: Path, estimators: dict[str, Any], tmp_path: Path
) -> None:
    answers = estimators["text"].predict_proba(X[:8]).astype(np.float32)
    for change, words in ((0.0, ""), (0.2, "golden check failed: output 'output_probability'")):
        given = {"output_probability": answers + np.float32(change)}
        write_golden(tmp_path / "s.npz", {"X": X[:8].astype(np.float32)}, given)
        options = Options(samples=tmp_path / "s.npz")
        if words:
            with pytest.raises(PackageError, match=words):
                package(str(sources / "maps.onnx"), options, tmp_path / "models")
        else:
            _, remarks = package(str(sources / "maps.onnx"), options, tmp_path / "models")
            assert "output 'output_probability': a list of maps is carried as a matrix" in str(
                remarks
            )


def test_a_text_without_dimensions_has_no_classes() -> None:
    output = {"name": "joined", "datatype": "BYTES", "shape": []}
    assert with_names([output], {"joined": np.array("abc", dtype=object)}, {}) == [output]
