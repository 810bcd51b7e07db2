"""Code of the owner's in a pickle: it travels in the package, or is refused with the option."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cloudpickle
import joblib
import numpy as np
import pandas as pd
import pytest
from engine.packaging import serving_set
from engine.packaging.options import Options
from engine.packaging.package import package
from engine.packaging.system import SYSTEM
from engine.serving.errors import PackageError
from engine.serving.inference.model import load_model
from engine.serving.package import system
from engine.serving.package.lock import SERVE_LOCK, Lock, read_lock
from engine.serving.package.reader import read_package
from engine.serving.runtimes.jobs import one_job
from sklearn.ensemble import RandomForestClassifier, StackingClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from tests.engine.test_packaging import CPU

pytestmark = pytest.mark.slow

LIBRARIES = ("scikit-learn", "scipy", "joblib", "threadpoolctl", "narwhals", "pandas",
             "python-dateutil", "tzdata", "cloudpickle")  # fmt: skip
TRAIN = """
import json

import cloudpickle
import joblib
import pandas as pd
from _ownhidden import fifth
from ownlazy import lazy
from ownpkg.deep.steps import part
from ownsteps import Keep, half
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer


def cell(x):
    return x * 2


count = range(40)
frame = pd.DataFrame({"low": [i / 40 for i in count], "high": [float(i % 9) for i in count]})
answers = {}
for step in (Keep(), half, part, fifth, lazy, cell):
    own = step if hasattr(step, "transform") else FunctionTransformer(step)
    model = make_pipeline(own, LogisticRegression(C=99)).fit(frame, frame.low > 0.5)
    name = getattr(step, "__name__", "keep")
    joblib.dump(model, f"{name}.joblib")
    answers[name] = model.predict_proba(frame[::5]).tolist()
with open("cloud.pkl", "wb") as file:
    cloudpickle.dump(model, file)
frame[::5].to_json("s.json", orient="split", index=False)
print(json.dumps(answers))
"""
FILES = {
    "train.py": TRAIN,
    "ownsteps.py": """
from sklearn.base import BaseEstimator, TransformerMixin


class Keep(TransformerMixin, BaseEstimator):
    def fit(self, x, y=None):
        return self

    def transform(self, x):
        return x[["low"]]


def half(x):
    return x / 2
""",
    "ownpkg/deep/steps.py": "from ..factors import BY\n\n\ndef part(x):\n    return x / BY\n",
    "ownpkg/factors.py": "BY = 3\n",
    "_ownhidden.py": "def fifth(x):\n    return x / 5\n",
    "ownlazy.py": "def lazy(x):\n    import skl2onnx\n\n    return x * bool(skl2onnx)\n",
    "steps.txt": "",
    "my-steps.py": "",
    "sklearn.py": "",
    "types.py": "",
    "engine/x.py": "",
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A folder with pipelines that another process fitted, and what each answers there."""
    folder = tmp_path_factory.mktemp("trained")
    taken = ("sklearn.py", "types.py")
    for path, text in FILES.items():
        place = folder / ("taken" if path in taken else "") / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    done = subprocess.run([sys.executable, "train.py"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


def packaged(source: Path, models: Path, *modules: str) -> tuple[Path, list[str]]:
    """Package what was trained, with the modules beside it: the package and the remarks."""
    folder = source.parent
    given = tuple(folder / each for each in modules)
    options = Options(samples=folder / "s.json", modules=given, licence="MIT")
    return package(str(source), options, models)


@pytest.fixture
def lock(tmp_path: Path) -> Lock:
    """The lock of what is served, and scikit-learn and pandas in it."""
    path = tmp_path / "lock.txt"
    more = "".join(f"{name}=={metadata.version(name)}\n" for name in LIBRARIES)
    path.write_text(SERVE_LOCK.read_text() + more)
    return read_lock(path)


@pytest.mark.parametrize(
    ("name", "module", "elsewhere"),
    [
        ("keep", "ownsteps.py", False),
        ("half", "ownsteps.py", False),
        ("part", "ownpkg", True),
        ("fifth", "_ownhidden.py", False),
    ],
)
def test_modules_travel_in_the_package_and_are_imported_from_there(
    tmp_path: Path,
    trained: tuple[Path, dict[str, Any]],
    lock: Lock,
    name: str,
    module: str,
    elsewhere: bool,
) -> None:
    source, answers = trained
    folder, _ = packaged(source / f"{name}.joblib", tmp_path, module)
    model = load_model(read_package(folder), CPU)
    served = model.run(model.package.golden.inputs)["probabilities"]
    np.testing.assert_allclose(served, answers[name], rtol=1e-9)
    if elsewhere:
        # Another process, that has nothing of the source's folder and only the lock's libraries.
        serving_set.check(folder, lock)


def test_a_module_that_no_image_has_is_named_with_its_option(
    tmp_path: Path, trained: tuple[Path, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.serving.runtimes.own_modules.OWN_MODULES._modules", {})
    for each in [name for name in sys.modules if name.startswith("ownpkg")]:
        monkeypatch.delitem(sys.modules, each)
    with pytest.raises(PackageError, match="it needs the module 'ownpkg', which is not here; a f"):
        packaged(trained[0] / "part.joblib", tmp_path)
    monkeypatch.syspath_prepend(trained[0])
    with pytest.raises(
        PackageError, match=r'no image has; package it with .*"--module \S+/ownpkg"'
    ):
        packaged(trained[0] / "part.joblib", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_module_with_another_content_is_refused(
    tmp_path: Path, trained: tuple[Path, Any]
) -> None:
    folder, _ = packaged(trained[0] / "half.joblib", tmp_path, "ownsteps.py")
    code = folder / "ownsteps.py"
    other = tmp_path / "other" / code.name
    other.parent.mkdir()
    other.write_text(code.read_text().replace("/ 2", "/ 3"))
    with pytest.raises(PackageError, match="one process holds only one module 'ownsteps'; rename"):
        packaged(trained[0] / "half.joblib", tmp_path, str(other))
    code.write_text(other.read_text())
    with pytest.raises(PackageError, match="the file was altered"):
        read_package(folder)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("taken/sklearn.py", "is also the name of an installed module; rename yours"),
        ("taken/types.py", "is also the name of an installed module; rename yours"),
        ("engine", "is also the name of an installed module; rename yours"),
        ("steps.txt", "is not a Python file or a folder"),
        ("my-steps.py", "is not a Python file or a folder"),
        ("absent.py", "cannot be read: No such file"),
    ],
)
def test_what_cannot_be_a_module_is_refused(
    tmp_path: Path, trained: tuple[Path, Any], name: str, words: str
) -> None:
    with pytest.raises(PackageError, match=f"--module .*{name}: .*{words}"):
        packaged(trained[0] / "half.joblib", tmp_path, name)


def test_what_a_script_defined_is_refused_with_the_way_out(
    tmp_path: Path, trained: tuple[Path, Any]
) -> None:
    with pytest.raises(PackageError, match=r"needs 'cell', which it does not hold; .*%%writefile"):
        packaged(trained[0] / "cell.joblib", tmp_path)


def test_a_cloudpickle_brings_its_code_and_is_named_in_the_manifest(
    tmp_path: Path, trained: tuple[Path, Any]
) -> None:
    source, answers = trained
    folder, remarks = packaged(source / "cloud.pkl", tmp_path)
    model = load_model(read_package(folder), CPU)
    served = model.run(model.package.golden.inputs)["probabilities"]
    np.testing.assert_allclose(served, answers["cell"], rtol=1e-9)
    assert "__main__" not in " ".join(remarks)
    assert model.manifest.training.packages["cloudpickle"] == cloudpickle.__version__
    assert model.manifest.training.holds_code


def test_a_library_of_training_that_only_a_run_imports_is_found_before_the_image(
    tmp_path: Path, trained: tuple[Path, Any], lock: Lock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.packaging.write.serving_lock", lambda: lock)
    with pytest.raises(PackageError) as error:
        packaged(trained[0] / "lazy.joblib", tmp_path / "models", "ownlazy.py")
    assert str(error.value) == (
        "with the packages of lock.txt alone, as in the image: lazy: the golden inputs cannot be "
        "run: it needs the module 'skl2onnx', which is not here; a file of yours goes into the "
        "package with --module skl2onnx.py, a folder with --module skl2onnx, and a library into "
        "requirements/serve-cpu.in (then run `make lock`)"
    )
    assert list((tmp_path / "models").iterdir()) == []


def test_debian_packages_of_libraries_reach_the_image_s_build(
    tmp_path: Path,
    trained: tuple[Path, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert SYSTEM["lightgbm"] == ("libgomp1",)
    monkeypatch.setitem(SYSTEM, "pandas", ("libone1", "libtwo2++"))
    _, remarks = packaged(trained[0] / "half.joblib", tmp_path, "ownsteps.py")
    assert any("the Debian packages libone1, libtwo2++; this machine" in each for each in remarks)
    assert system.main(tmp_path) == 0
    assert capsys.readouterr().out == "libone1\nlibtwo2++\n"
    manifest = tmp_path / "half" / "model.yaml"
    manifest.write_text(manifest.read_text().replace("- libone1", "- libone1; reboot"))
    assert system.main(tmp_path) == 1
    assert "the name of a Debian package" in capsys.readouterr().err


def parallel() -> dict[str, Any]:
    """Models with processes or threads of their own, some of them in fitted copies."""
    tree = RandomForestClassifier(5, n_jobs=-1, random_state=1)
    union = FeatureUnion([("a", StandardScaler()), ("b", MinMaxScaler())], n_jobs=2)
    near = make_pipeline(union, KNeighborsClassifier(n_jobs=2))
    return {
        "forest": tree,
        "union": near,
        "voting": VotingClassifier([("t", tree), ("n", near)]),
        "stacking": StackingClassifier([("t", tree)], LogisticRegression(), cv=2),
        "search": GridSearchCV(tree, {"max_depth": [2]}, cv=2),
    }


def test_lists_that_cannot_be_changed_hide_no_processes() -> None:
    """Those of pandas turn what they are added to into one of them; statsmodels holds such."""
    names = pd.MultiIndex.from_product([["a"], ["b"]], names=["x", "y"]).names
    forest = RandomForestClassifier(n_jobs=2)
    assert one_job(SimpleNamespace(model=forest, names=names)) == 1
    assert forest.n_jobs == 1


@pytest.mark.parametrize("name", parallel())
def test_no_request_starts_processes_or_threads_of_joblib(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    x = np.random.default_rng(5).normal(size=(60, 3))
    with joblib.parallel_config(backend="threading"):
        model = parallel()[name].fit(x, x[:, 0] > 0)
    joblib.dump(model, tmp_path / "m.joblib")
    np.savez(tmp_path / "s.npz", X=x[:8])
    options = Options(samples=tmp_path / "s.npz", name="jobs")
    with joblib.parallel_config(backend="threading"):
        expected = model.predict(x[:8]).tolist()
        folder, remarks = package(str(tmp_path / "m.joblib"), options, tmp_path / "models")
    assert any(each.startswith("n_jobs is set to 1 while serving") for each in remarks)
    with caplog.at_level(logging.INFO):
        served = load_model(read_package(folder), CPU)
    assert "jobs: n_jobs is 1 while serving" in caplog.text
    asked: list[int | None] = []
    begin = joblib.Parallel.__init__

    def noted(self: joblib.Parallel, n_jobs: int | None = None, **more: Any) -> None:
        asked.append(n_jobs)
        begin(self, n_jobs, **more)

    monkeypatch.setattr(joblib.Parallel, "__init__", noted)
    got = served.run(served.package.golden.inputs)["label"]
    assert got.tolist() == expected
    assert asked
    assert set(asked) <= {1, None}
