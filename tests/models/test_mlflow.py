"""Models that real MLflow logged, packaged from its folders and addresses, and served."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.conftest import REPOSITORY
from tests.models import asking
from tests.models.conftest import Packaged, Served
from tests.service.suite import assert_every_model_passes, copied, run_tests_of

pytestmark = pytest.mark.slow

DATA = Path(__file__).with_name("data")
# MLflow calls its store in plain files outdated, and asks to be told that it is meant.
STORE = {"MLFLOW_ALLOW_FILE_STORE": "true"}
FOLDERS = ("sklearn", "pickled", "onnx", "keras")


@pytest.fixture(scope="module")
def logged(
    program: Callable[..., str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    """Where MLflow wrote, and the id of the run."""
    output = tmp_path_factory.mktemp("mlflow")
    return output, program("mlflow_models.py", output, **STORE).split()[-1]


@pytest.fixture(scope="module")
def models(
    logged: tuple[Path, str], packaged: Packaged, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A models folder with everything that was logged."""
    folder, run = logged
    target = tmp_path_factory.mktemp("mlflow-models")
    store = STORE | {"MLFLOW_TRACKING_URI": (folder / "store").as_uri()}
    given = {"keras": ["--samples", str(folder / "keras.json")]}
    sources = [(str(folder / name), given.get(name, [])) for name in FOLDERS]
    sources += [(str(folder / "sklearn"), ["--to", "onnx", "--name", "converted"])]
    sources += [(f"runs:/{run}/model", ["--name", "by-run"]), ("models:/flowers/1", [])]
    for source, more in sources:
        done = packaged(source, "--models-dir", target, *more, **store)
        assert done.returncode == 0, f"{source}: {done.stderr}"
        assert "answered alike" in done.stdout
    return target


def test_every_logged_model_answers_as_its_framework(
    logged: tuple[Path, str], models: Path, served: Served
) -> None:
    answers = np.load(logged[0] / "answers.npz")
    expected: dict[str, Any] = dict.fromkeys(
        ["sklearn", "pickled", "onnx", "converted", "by-run", "flowers"], answers["labels"]
    )
    with served(models) as url:
        client = asking.client(url)
        assert {each.name for each in models.iterdir()} == {*expected, "keras"}
        for name, labels in expected.items():
            assert ask(client, name, answers["samples"])["label"].tolist() == labels.tolist(), name
        got = ask(client, "keras", answers["samples"])["species"]
        np.testing.assert_allclose(got, answers["keras"], rtol=1e-5, atol=1e-5)


def test_the_tests_of_a_repository_whose_only_model_is_a_keras_net_pass(
    models: Path, rendered_service: Path, service_python: Path, tmp_path: Path
) -> None:
    """It runs as ONNX, without Keras."""
    shutil.copytree(models / "keras", tmp_path / "models" / "keras")
    service = copied(rendered_service, tmp_path / "service", tmp_path / "models")
    assert_every_model_passes(service_python, service, ["keras"])


@pytest.mark.exhaustive
def test_a_keras_net_is_deployed_to_a_cluster_and_answers_as_keras(
    models: Path, rendered_service: Path, service_python: Path, tmp_path: Path
) -> None:
    """From the run of MLflow to the answer: the engine's own test of a cluster, with this model.

    Its golden record is what Keras answered in the notebook.
    """
    shutil.copytree(models / "keras", tmp_path / "models" / "keras")
    service = copied(rendered_service, tmp_path / "service", tmp_path / "models")
    engine = REPOSITORY / "tests" / "engine"
    name = "test_a_model_is_deployed_and_answers_as_in_training"
    done = run_tests_of(
        service_python,
        service,
        *("-c", str(REPOSITORY / "pyproject.toml"), "--confcutdir", str(engine)),
        f"{engine / 'kubernetes' / 'test_service.py'}::{name}",
    )
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout[-6000:]


def test_an_answer_that_keras_does_not_give_is_refused_with_its_row(
    logged: tuple[Path, str], packaged: Packaged, tmp_path: Path
) -> None:
    """What `record` wrote in the notebook is compared, and here one answer was changed."""
    content = json.loads((logged[0] / "keras.json").read_text())
    content["outputs"]["species"][3][1] += 0.1
    (tmp_path / "s.json").write_text(json.dumps(content))
    options = ("--samples", tmp_path / "s.json", "--models-dir", tmp_path / "models")
    done = packaged(logged[0] / "keras", *options)
    assert done.returncode == 1
    (line,) = [each for each in done.stderr.splitlines() if each.startswith("error:")]
    assert "the samples' output/species at [3, 1] is" in line
    assert "and Keras 3" in line
    assert not (tmp_path / "models").exists()


def ask(client: Any, name: str, samples: asking.Array) -> dict[str, asking.Array]:
    """The answers of a model with one input, whatever that is called."""
    (described,) = client.get_model_metadata(name)["inputs"]
    dtype = np.float64 if described["datatype"] == "FP64" else np.float32
    return asking.ask(client, name, {described["name"]: samples.astype(dtype)}, binary=False)


def test_the_manifest_says_what_mlflow_knew(logged: tuple[Path, str], models: Path) -> None:
    training = yaml.safe_load((models / "by-run" / "model.yaml").read_text())["training"]
    assert training["source"] == f"runs:/{logged[1]}/model"
    assert training["run"] == logged[1]
    assert training["packages"].keys() >= {"scikit-learn", "numpy", "joblib"}
    assert training["golden"].startswith("scikit-learn")
    keras = yaml.safe_load((models / "keras" / "model.yaml").read_text())["training"]
    assert keras["golden"].startswith("Keras 3.")
    assert keras["golden"].endswith(", as given with the samples")
    for path in models.glob("*/model.yaml"):
        manifest = yaml.safe_load(path.read_text())
        assert manifest["independent_rows"], (path.parent.name, manifest["training"]["batching"])
    assert keras["packages"].keys() >= {"keras", "tensorflow", "tf2onnx"}


def test_a_model_of_another_scikit_learn_is_refused_in_one_line(
    packaged: Packaged, tmp_path: Path
) -> None:
    """Both files come from a real scikit-learn 1.7.2; neither is unpickled."""
    for source in (DATA / "mlflow-1.7", DATA / "logistic-1.7.joblib"):
        done = packaged(source, "--models-dir", tmp_path)
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert "scikit-learn 1.7.2" in line
        assert "is not unpickled" in line
        assert "scikit-learn==1.7.2" in line
    assert list(tmp_path.iterdir()) == []


def test_another_scikit_learn_and_numpy_are_named_as_risky(
    logged: tuple[Path, str], packaged: Packaged, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(logged[0] / "pickled", tmp_path / "older"))
    (folder / "python_env.yaml").write_text("python: 3.10.4\n")
    (folder / "requirements.txt").write_text("scikit-learn==1.9.0\nnumpy==2.0.1\n")
    manifest = yaml.safe_load((folder / "MLmodel").read_text())
    manifest["flavors"]["sklearn"]["sklearn_version"] = "1.9.0"
    (folder / "MLmodel").write_text(yaml.safe_dump(manifest))
    done = packaged(folder, "--models-dir", tmp_path / "models")
    assert done.returncode == 0, done.stderr
    for words in ("scikit-learn 1.9.0 in training", "numpy 2.0.1 in"):
        assert f"risky: {words}" in done.stdout
    # This pickle holds data only, which any Python reads.
    assert "Python 3.10.4" not in done.stdout


def test_a_flavour_that_is_unknown_is_refused(packaged: Packaged, tmp_path: Path) -> None:
    folder = tmp_path / "prophecy"
    folder.mkdir()
    (folder / "MLmodel").write_text("flavors: {prophet: {}, python_function: {}}\n")
    done = packaged(folder, "--models-dir", tmp_path / "models")
    assert done.returncode == 1
    assert "onnx, sklearn and keras can be packaged" in done.stderr
    assert len(done.stderr.splitlines()) == 1
