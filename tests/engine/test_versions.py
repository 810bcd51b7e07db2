"""The drift report: each difference named as harmless, risky or refused, with the fix."""

from __future__ import annotations

import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import yaml
from engine.packaging.options import Options
from engine.packaging.package import package
from engine.packaging.versions import __main__ as report
from engine.packaging.versions.compare import Places, of_model, of_places
from engine.serving import check
from engine.serving.environment import Environment, this_environment
from engine.serving.package.drift import differences
from engine.serving.package.lock import Lock, place_of, read_lock
from engine.serving.package.manifest import Manifest, read_manifest
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from tests.engine.project import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("steps_of_tests")]

NOW = {"scikit-learn": "1.9.1", "numpy": "2.4.6", "onnxruntime": "1.31.1", "pydantic": "2.14.3"}
TRAINED = {"scikit-learn": "1.9.1", "numpy": "2.4.6"}


@pytest.fixture
def model(sample_dir: Path) -> Manifest:
    """The manifest of the tests' own classifier."""
    return read_manifest(sample_dir / "sides")


def manifest(model: Manifest, form: str, python: str = "3.13.0", **packages: str) -> Manifest:
    """A manifest as if its model were trained with other versions."""
    versions = TRAINED | {name.replace("_", "-"): version for name, version in packages.items()}
    training = model.training.model_copy(update={"python": python, "packages": versions})
    return model.model_copy(update={"training": training, "format": form})


def places(image: Environment | None = None, **changes: str) -> Places:
    """Lock, environment and image that agree, but for changes of the environment."""
    installed = NOW | {name.replace("_", "-"): version for name, version in changes.items()}
    pins = {name: frozenset((version,)) for name, version in NOW.items()}
    return Places(Lock(Path("lock"), "3.13", pins), Environment("3.13.5", installed), image)


def severities(model: Manifest, where: Places) -> dict[str, str]:
    return {each.name: each.severity for each in of_model(model, where)}


def test_what_agrees_is_not_mentioned(model: Manifest) -> None:
    assert of_model(manifest(model, "joblib"), places()) == []
    assert of_places(places()) == []


@pytest.mark.parametrize(
    ("form", "changes", "severity"),
    [
        ("joblib", {"scikit_learn": "1.8.0"}, "refused"),
        ("joblib", {"scikit_learn": "1.9.0"}, "risky"),
        ("joblib", {"numpy": "1.26.4"}, "refused"),
        ("joblib", {"numpy": "2.3.0"}, "risky"),
        ("joblib", {"onnx": "1.0.0"}, "harmless"),
        ("onnx", {"scikit_learn": "1.1.0"}, "harmless"),
        ("onnx", {"onnxruntime": "1.30.0"}, "harmless"),
        ("onnx", {"onnxruntime": "1.99.0"}, "risky"),
    ],
)
def test_a_difference_is_weighed_by_the_format(
    model: Manifest, form: str, changes: dict[str, str], severity: str
) -> None:
    found = severities(manifest(model, form, **changes), places())
    assert list(found.values()) == [severity]


def test_another_python_is_risky_for_a_pickle_only(model: Manifest) -> None:
    assert severities(manifest(model, "joblib", "3.12.1"), places()) == {"Python": "risky"}
    assert severities(manifest(model, "onnx", "3.12.1"), places()) == {"Python": "harmless"}


def test_another_python_is_harmless_where_the_pickle_holds_only_data(
    fitted: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.joblib"
    x = np.load(fitted.with_suffix(".npy"))
    joblib.dump(Doubled().fit(x, x[:, 0]), other)
    severity = []
    for source in (fitted, other):
        folder, _ = package(str(source), Options(samples=fitted.with_suffix(".npy")), tmp_path)
        made = read_manifest(folder)
        packages = made.training.packages
        severity += [each.severity for each in differences(made, packages, python="3.2.1")]
    assert severity == ["harmless", "risky"]


class Doubled(LinearRegression):  # type: ignore[misc]
    """An estimator whose code is no library's."""


@pytest.fixture
def fitted(tmp_path: Path) -> Path:
    """A regression in a file, with samples beside it."""
    x = np.arange(12.0).reshape(6, 2)
    joblib.dump(LinearRegression().fit(x, x[:, 0]), tmp_path / "plain.joblib")
    np.save(tmp_path / "plain.npy", x)
    return tmp_path / "plain.joblib"


def test_a_module_that_only_the_training_set_has_is_refused_everywhere_alike(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment has the training set, and an image will have the lock alone."""
    table = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": ["x", "y", "x"]})
    steps = make_column_transformer((OneHotEncoder(), ["b"]), remainder="passthrough")
    model = make_pipeline(steps, LinearRegression()).fit(table, [1.0, 2.0, 3.0])
    joblib.dump(model, tmp_path / "m.joblib")
    table.to_csv(tmp_path / "m.csv", index=False)
    lock = tmp_path / "serve-cpu.txt"
    monkeypatch.setattr("engine.serving.package.lock.SERVE_LOCK", lock)
    monkeypatch.setattr("engine.serving.package.lock.read_lock", lambda: read_lock(lock))
    monkeypatch.setenv("MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.setattr("engine.packaging.serving_set.check", lambda *_: None)
    names = ("scikit-learn", "numpy", "joblib", "scipy")
    lock.write_text("".join(f"{name}=={metadata.version(name)}\n" for name in names))
    wanted = f"the model needs pandas {pd.__version__}, and serve-cpu.txt does not have it; add "
    wanted += f"pandas=={pd.__version__} to requirements/serve-cpu.in"
    options = Options(samples=tmp_path / "m.csv", licence="MIT")
    _, remarks = package(str(tmp_path / "m.joblib"), options, tmp_path / "models")
    assert [each for each in remarks if "needs" in each] == [f"{wanted} and run `make lock`"]
    doctor = ["--lock", str(lock)]
    for command, arguments in ((check.main, []), (report.main, doctor)):
        assert command(arguments) == 1
        said = capsys.readouterr()
        assert "needs pandas" in said.out + said.err
        assert f"add pandas=={pd.__version__} to requirements/serve-cpu.in" in said.out + said.err
    lock.write_text(lock.read_text() + f"pandas=={pd.__version__}\n")
    _, remarks = package(str(tmp_path / "m.joblib"), options, tmp_path / "models")
    assert [each for each in remarks if "needs" in each] == []
    assert check.main([]) == report.main(doctor) == 0


@pytest.mark.parametrize(
    ("locked", "place"),
    [
        ("scikit-learn==1.9.1 \\\n", "requirements/serve-cpu.in"),
        ("onnxruntime==1.31.1 \\\n", "requirements/train.in"),
    ],
)
def test_a_version_is_pinned_where_the_training_lock_takes_it_from(
    tmp_path: Path, locked: str, place: str
) -> None:
    (tmp_path / "serve-cpu.txt").write_text(locked)
    assert place_of("scikit-learn", tmp_path) == place


def test_the_finding_says_what_stands_where_and_which_line_to_change(model: Manifest) -> None:
    image = Environment("3.13.5", NOW | {"scikit-learn": "1.7.2"})
    (finding,) = of_model(manifest(model, "joblib"), places(image))
    assert finding.severity == "refused"
    assert finding.versions == "training 1.9.1, image 1.7.2"
    assert "scikit-learn==1.9.1 into requirements/serve-cpu.in" in finding.fix


def test_an_image_that_is_older_than_the_lock_is_named() -> None:
    image = Environment("3.12.9", NOW | {"onnxruntime": "1.30.0", "pydantic": "2.0"})
    found = {each.name: (each.severity, each.fix) for each in of_places(places(image))}
    assert found == {
        "onnxruntime": ("risky", "make image"),
        "Python": ("risky", "make image"),
        "pydantic": ("harmless", "make image"),
    }


def test_an_old_driver_is_refused_for_the_gpu_image() -> None:
    here = Environment("3.13.5", NOW | {"onnxruntime-gpu": "1.31.1"}, cuda_driver="12.8")
    (finding,) = of_places(Places(places().lock, here))
    assert (finding.severity, finding.name) == ("refused", "CUDA")


def test_the_lock_of_this_repository_is_what_is_installed() -> None:
    lock = read_lock(ROOT / "requirements" / "serve-cpu.txt", ROOT / ".python-version")
    assert lock.pins["numpy"]
    findings = of_places(Places(lock, this_environment()))
    assert [each for each in findings if each.name != "Python"] == []


def test_the_command_fails_when_a_model_would_be_refused(
    sample_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report.main(["--models-dir", str(sample_dir)]) == 0
    target = Path(shutil.copytree(sample_dir / "sides", tmp_path / "sides"))
    content: dict[str, Any] = yaml.safe_load((target / "model.yaml").read_text())
    content["format"] = "joblib"
    content["training"]["packages"]["scikit-learn"] = "0.24.1"
    for output in content["outputs"]:
        output["method"] = "predict"
    (target / "model.yaml").write_text(yaml.safe_dump(content))
    capsys.readouterr()
    assert report.main(["--models-dir", str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    assert "refused   scikit-learn: training 0.24.1" in printed
    assert "fix: add scikit-learn==0.24.1" in printed or "fix: put scikit-learn==0.24.1" in printed
